"""The sites' pages as documents: HTML without a parse error, and a name for every control.

What is right is said by html5lib, which reads as the HTML standard says and knows nothing of the project.
"""

import random
from collections.abc import Iterator
from typing import Any
from xml.etree.ElementTree import Element

import html5lib
import pytest

from agentgym_envs.web import text
from tests.envs.web_walk import SITES, walk

WALKS, STEPS = 12, 15
SILENT = ("hidden", "submit", "reset", "button")


def pages(made: Any, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """All pages that some walks come by, half of their steps being right ones."""
    seen: set[str] = set()
    read = text.read

    def reading(html: str) -> Any:
        seen.add(html)
        return read(html)

    monkeypatch.setattr(text, "read", reading)
    env = made(items=SITES[made])
    for number in range(WALKS):
        walk(env, env.tasks("validation")[number], number, STEPS, gold=0.5)
    env.close()
    return seen


def words(element: Element) -> str:
    """What is written in an element; pictures say their alternatives."""
    return " ".join(" ".join([*part.itertext(), part.get("alt", "")]) for part in element.iter()).strip()


def unnamed(root: Element) -> Iterator[str]:
    """Controls that nothing names: no label, no content, no attribute."""
    labels = {e.get("for"): words(e) for e in root.iter("label")}
    wrapped = {id(e): words(label) for label in root.iter("label") for e in label.iter()}
    for kind in ("input", "select", "textarea", "button", "a"):
        for e in root.iter(kind):
            if e.get("type") == "hidden":
                continue
            own = words(e) if kind in ("button", "a") else e.get("value", "") if e.get("type") in SILENT else ""
            if not (own or e.get("aria-label") or labels.get(e.get("id", "-")) or wrapped.get(id(e))):
                yield f"{kind} {e.attrib}"


@pytest.mark.parametrize("made", SITES)
def test_pages_are_html_and_their_controls_have_names(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found = pages(made, monkeypatch)
    assert len(found) > 30
    for html in random.Random(0).sample(sorted(found), 30):
        root = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(html)
        ids = [e.get("id") for e in root.iter() if e.get("id")]
        assert len(ids) == len(set(ids))
        assert {e.get("for") for e in root.iter("label")} - {None} <= set(ids)
        assert root.get("lang")
        assert words(root.find("head/title"))
        assert all(e.get("alt") is not None for e in root.iter("img"))
        assert list(unnamed(root)) == []


def test_what_is_wrong_is_found() -> None:
    def root(body: str) -> Element:
        return html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(f"<!DOCTYPE html><title>t</title>{body}")

    assert len(list(unnamed(root('<input name="a"><label for="b">B</label><input id="b"><a href="/"></a>')))) == 2
    with pytest.raises(html5lib.html5parser.ParseError):
        root("<p><div></p>")
