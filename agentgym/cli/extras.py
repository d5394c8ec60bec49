"""The extras of this distribution, as its metadata have them: which packages each one brings, and which of them are here."""

import re
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, requires, version

_LINE = re.compile(r"(?P<name>[\w.-]+)(?P<wanted>[^;]*)(?:;\s*extra\s*==\s*['\"](?P<extra>[\w-]+)['\"])?")


def packages() -> Mapping[str, Mapping[str, str]]:
    """By extra (those that all need, by ``""``), the packages that it brings, each with the versions that will do."""
    found: dict[str, dict[str, str]] = {}
    try:
        lines = requires("agentgym") or []
    except PackageNotFoundError:
        return found
    for line in lines:
        if parsed := _LINE.match(line):
            found.setdefault(parsed["extra"] or "", {})[parsed["name"]] = parsed["wanted"].strip()
    return found


def extra_of(module: str) -> str:
    """The first extra that brings a module; empty when none does."""
    same = module.replace("-", "_").lower()
    names = ((extra, name) for extra, brings in packages().items() for name in brings if extra)
    return next((extra for extra, name in names if name.replace("-", "_").lower() == same), "")


def lacking(error: Exception) -> str:
    """The extra that brings the module whose absence this error tells; empty when it is nothing of that kind."""
    return extra_of((error.name or "").partition(".")[0]) if isinstance(error, ImportError) else ""


def installed(package: str) -> str:
    """The version of a package that is here; empty when it is not."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def usable(package: str, wanted: str) -> bool:
    """Whether a package is here in one of the versions that will do."""
    found = installed(package)
    return bool(found) and fits(found, wanted)


def fits(found: str, wanted: str) -> bool:
    """Whether a version will do, as far as numbers tell: ``>=2.11,<2.14`` and the like."""
    numbers = _numbers(found)
    for bound in filter(None, wanted.split(",")):
        relation, limit = re.match(r"\s*([<>=!~]+)\s*(.*)", bound).groups()  # type: ignore[union-attr]
        if (relation == ">=" and numbers < _numbers(limit)) or (relation == "<" and numbers >= _numbers(limit)):
            return False
    return True


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text.partition("+")[0])[:3])
