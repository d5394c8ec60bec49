"""Sandboxes: places to run code that an agent wrote. `base` says what they promise."""

from agentgym.errors import NotInstalled, UserError
from agentgym.sandbox.base import MIB, Cell, Checkpoint, Exam, Limits, Report, Result, Sandbox
from agentgym.sandbox.local import LocalSandbox

__all__ = ["MIB", "Cell", "Checkpoint", "Exam", "Limits", "LocalSandbox", "Report", "Result", "Sandbox", "open_sandbox"]

KINDS = ("local", "docker")


def open_sandbox(kind: str, limits: Limits = Limits()) -> Sandbox:
    """A sandbox by the name of its backend.

    Raises:
        UserError: there is no such backend.
        NotInstalled: it does not work here.
    """
    if kind == "local":
        return LocalSandbox(limits)
    if kind == "docker":
        try:
            from agentgym.sandbox.docker import DockerSandbox
        except ImportError as error:
            raise NotInstalled(f"the docker sandbox needs more ({error}): pip install 'agentgym[docker]'") from error
        return DockerSandbox(limits)
    raise UserError(f"there is no sandbox {kind!r}: use one of {', '.join(KINDS)}")
