"""The host's side of a sandbox: requests to the guest in it, and the session's history.

The two backends differ in how a guest is started and spoken to; `Link` is that difference.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Protocol, Self

import msgspec

from agentgym.errors import EnvironmentFailure
from agentgym.sandbox.base import Cell, Checkpoint, Exam, Limits, Report, Result
from agentgym.sandbox.guest.serve import KILLED, packed, unpacked

GRACE = 10.0  # seconds beyond the limit until a guest that does not answer is given up
_ADDRESS = re.compile(r"\b0x[0-9a-f]{6,}\b")  # differs from process to process


class Link(Protocol):
    """A connection to a guest."""

    def exchange(self, frame: bytes, seconds: float) -> bytes:
        """Send a request, return the answer.

        Raises:
            OSError, EOFError: the guest is gone or does not answer.
        """
        ...

    def close(self) -> None:
        """End the guest and all that it started."""
        ...


class HostedSandbox(ABC):
    """A `Sandbox` whose work is done by a guest; it is started when first needed.

    Args:
        limits: See `Limits`.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._link: Link | None = None
        self._state = Checkpoint()
        self._alive = False  # whether the session has run all of the state's cells
        self._owed = False  # whether the state's files are still to be put where they belong

    @abstractmethod
    def _connect(self) -> Link:
        """Start a guest.

        Raises:
            EnvironmentFailure: there is none to be had now.
        """

    # ---- programs -------------------------------------------------------------------------------------------------------

    def run(self, command: Sequence[str], stdin: bytes = b"") -> Result:
        """See `Sandbox.run`."""
        self._settle()
        try:
            answer, _ = self._ask("run", stdin, command=[_encodable(word) for word in command])
        except _Gone:
            return self._ended()
        return msgspec.convert(answer, Result)

    def execute(self, code: str) -> Result:
        """See `Sandbox.execute`."""
        if not self._alive:
            self._resume()
        result = self._cell(code)
        cells = (*self._state.cells, Cell(code, result)) if self._alive else ()
        self._state = msgspec.structs.replace(self._state, cells=cells)
        return result

    def examine(self, exam: Exam) -> Report:
        """See `Sandbox.examine`."""
        asked = {"names": exam.names, "tests": exam.tests, "setup": exam.setup}
        self._settle()
        try:
            answer, _ = self._ask("examine", _encodable(exam.program).encode(), exam=asked)
        except _Gone:
            answer = {"report": None, "output": self._ended().output}
        reported = answer.pop("report")
        if reported is None:
            why = "too much time" if answer.get("timed_out") else "too much memory" if answer.get("out_of_memory") else "its end"
            reported = {"loaded": False, "error": f"the exam was ended: {why}", "failures": ["not reached"] * len(exam.tests)}
        return msgspec.convert(answer | reported, Report)

    def _cell(self, code: str) -> Result:
        try:
            answer, _ = self._ask("execute", _encodable(code).encode())
        except _Gone:
            return self._ended()
        self._alive = answer.pop("alive")
        return msgspec.convert(answer, Result)

    def _resume(self) -> None:
        """Begin the session; if it has a history, by running it again."""
        state = self._state
        if not state.cells:
            self._state = msgspec.structs.replace(state, began=self._pack())
            return
        if self._owed or state.began != state.files:
            self._unpack(state.began)
        for number, cell in enumerate(state.cells, 1):
            result = self._cell(cell.code)
            if _comparable(result) != _comparable(cell.result):
                was, now = cell.result.output[-200:], result.output[-200:]
                raise EnvironmentFailure(f"cell {number} of a session did not come back: it gave {was!r} and now {now!r}")
        if self._pack() != state.files:
            self._files("fill", state.files)

    # ---- files and states -----------------------------------------------------------------------------------------------

    def read_file(self, path: str) -> bytes:
        """See `Sandbox.read_file`."""
        return self._files("read", path=_encodable(path))

    def write_file(self, path: str, content: bytes) -> None:
        """See `Sandbox.write_file`."""
        self._files("write", content, path=_encodable(path))

    def snapshot(self) -> Checkpoint:
        """See `Sandbox.snapshot`."""
        self._state = msgspec.structs.replace(self._state, files=self._pack())
        return self._state

    def restore(self, checkpoint: Checkpoint) -> None:
        """See `Sandbox.restore`; done when it is needed, since a session that comes back begins with other files."""
        self._alive, self._owed, self._state = False, True, checkpoint

    def _settle(self) -> None:
        if self._owed:
            self._unpack(self._state.files)

    def _unpack(self, files: bytes) -> None:
        self._owed = False
        self._files("unpack", files)

    def _pack(self) -> bytes:
        return self._files("pack")

    def _files(self, operation: str, content: bytes = b"", **header: Any) -> bytes:
        self._settle()
        try:
            answer, content = self._ask(operation, content, **header)
        except _Gone as error:
            raise EnvironmentFailure(f"the sandbox broke while it handled files: {error}") from error
        if answer["error"] is None:
            return content
        number, text = answer["error"]
        if number is None:
            raise EnvironmentFailure(f"the sandbox cannot {operation}: {text}")
        what = str(header.get("path", operation))
        raise (FileNotFoundError if operation == "read" else OSError)(number, text, what)

    # ---- the guest ------------------------------------------------------------------------------------------------------

    def _ask(self, operation: str, content: bytes = b"", **header: Any) -> tuple[dict[str, Any], bytes]:
        if self._link is None:
            self._link = self._connect()
        try:
            frame = self._link.exchange(packed(header | {"do": operation}, content), self.limits.seconds + GRACE)
            return unpacked(frame)
        except (OSError, EOFError, ValueError) as error:
            self._drop()
            raise _Gone(f"{type(error).__name__}: {error}") from error

    def _ended(self) -> Result:
        """What a call is worth in which the guest was lost: code can do that only where it may signal the guest."""
        self._state, self._owed = Checkpoint(), False
        return Result(KILLED, "the sandbox was ended by this; its files and variables are gone")

    def _drop(self) -> None:
        link, self._link, self._alive = self._link, None, False
        if link is not None:
            link.close()

    def close(self) -> None:
        """See `Sandbox.close`."""
        self._drop()
        self._state, self._owed = Checkpoint(), False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_link", None) is not None:
            self.close()


class _Gone(Exception):
    """The guest is gone."""


def _encodable(text: str) -> str:
    """Text that UTF-8 can hold."""
    return text.encode(errors="replace").decode()


def _comparable(result: Result) -> tuple[int, str]:
    return result.exit_code, _ADDRESS.sub("0x", result.output)
