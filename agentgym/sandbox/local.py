"""The sandbox without a daemon: namespaces and what else the kernel gives, set up by a process of its own.

===================  ================================================================================================
boundary             held by
===================  ================================================================================================
files                a mount namespace with a root of its own: the system's programs and libraries and this Python,
                     read-only; ``/work`` and ``/tmp`` in memory; Landlock beside it. No ``/proc``, ``/sys``, ``/etc``
environment          an environment of six fixed variables; none of the caller's processes can be seen
network              an empty network namespace; Landlock (TCP, abstract sockets); seccomp (other socket families)
processes            a process namespace for each call, killed as a whole; RLIMIT_NPROC
memory               the sum over all processes, looked at every 10 ms; RLIMIT_AS for each
disk                 size and number of files of the file system in memory
time                 a deadline; a session is stopped between its cells
kernel               no capabilities, no new privileges, a seccomp filter; root is not mapped to root
===================  ================================================================================================

Not covered: `Limits.cpus`; memory taken faster than 10 ms is only bounded by RLIMIT_AS (twice the limit and 256 MiB for each
process); buffers of pipes and sockets count nowhere (128 open files for each process bound them); the system's
programs and libraries can be read (Python packages that others installed are not among them).
"""

import functools
import json
import os
import select
import socket
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

from agentgym.errors import EnvironmentFailure, NotInstalled
from agentgym.sandbox.base import Limits
from agentgym.sandbox.guest.serve import unpacked
from agentgym.sandbox.hosted import HostedSandbox, Link

START = 20.0  # seconds


class LocalSandbox(HostedSandbox):
    """A `Sandbox` of this kernel's own means; see the module for what holds which boundary.

    Args:
        limits: See `Limits`.
        allow_unsafe: Go on where the kernel cannot give all of them; `missing` says which.

    Raises:
        NotInstalled: the kernel gives no namespaces, or, without `allow_unsafe`, not all of the rest.
    """

    def __init__(self, limits: Limits = Limits(), *, allow_unsafe: bool = False) -> None:
        super().__init__(limits)
        self.missing = missing()
        if self.missing and not allow_unsafe:
            lacks = "; ".join(self.missing)
            raise NotInstalled(f"this kernel gives no safe local sandbox, it lacks: {lacks}. Use docker, or allow_unsafe")

    @property
    def safe(self) -> bool:
        """Whether every boundary holds."""
        return not self.missing

    def _connect(self) -> Link:
        link = _LocalLink(self.limits)
        link.start()
        return link


@functools.cache
def missing() -> tuple[str, ...]:
    """What this kernel cannot give to a local sandbox.

    Raises:
        NotInstalled: not even namespaces.
    """
    link = _LocalLink(Limits())
    try:
        return link.start()
    except EnvironmentFailure as error:
        raise NotInstalled(f"this machine has no local sandbox ({error}): use the docker sandbox") from error
    finally:
        link.close()


class _LocalLink:
    """A guest in namespaces of its own, spoken to by a socket."""

    def __init__(self, limits: Limits) -> None:
        self._socket, theirs = socket.socketpair()
        life, self._life = os.pipe()
        guest = Path(__file__).parent
        start = f"import sys; sys.path.insert(0, {str(guest)!r}); from guest import local; local.main()"
        interpreter = os.path.realpath(getattr(sys, "_base_executable", sys.executable))
        words = [theirs.fileno(), life, interpreter, os.path.realpath(sys.base_prefix), json.dumps(asdict(limits))]
        command = [interpreter, "-I", "-S", "-c", start, *map(str, words)]
        with theirs:
            self._process = subprocess.Popen(
                command, env={}, pass_fds=(theirs.fileno(), life), stdin=subprocess.DEVNULL, stdout=2, stderr=subprocess.PIPE
            )
        os.close(life)

    def start(self) -> tuple[str, ...]:
        """Wait until it serves; what it misses."""
        try:
            return tuple(unpacked(self._receive(START))[0]["missing"])
        except (OSError, EOFError, ValueError) as error:
            said = self._said()
            self.close()
            raise EnvironmentFailure(f"the local sandbox did not start: {said or error}") from error

    def _said(self) -> str:
        """Why it did not come up."""
        self._process.kill()
        assert self._process.stderr is not None
        return self._process.stderr.read().decode(errors="replace")[-500:]

    def exchange(self, frame: bytes, seconds: float) -> bytes:
        """See `Link.exchange`."""
        self._socket.settimeout(seconds)
        self._socket.sendall(len(frame).to_bytes(4, "big") + frame)
        return self._receive(seconds)

    def _receive(self, seconds: float) -> bytes:
        until = time.monotonic() + seconds
        return self._exactly(int.from_bytes(self._exactly(4, until), "big"), until)

    def _exactly(self, size: int, until: float) -> bytes:
        parts: list[bytes] = []
        while size:
            if not select.select([self._socket], [], [], max(0.0, until - time.monotonic()))[0]:
                raise TimeoutError("the guest does not answer")
            part = self._socket.recv(min(size, 1 << 20))
            if not part:
                raise EOFError("the guest is gone")
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def close(self) -> None:
        """See `Link.close`."""
        if self._life >= 0:
            os.close(self._life)  # the outer process kills all and ends
            self._life = -1
            self._socket.close()
            assert self._process.stderr is not None
            self._process.stderr.close()
            try:
                self._process.wait(START)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
