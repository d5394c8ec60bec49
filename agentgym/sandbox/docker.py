"""The sandbox in containers of a Docker Engine, through the docker SDK.

===================  ================================================================================================
boundary             held by
===================  ================================================================================================
files                an image of this machine's Python and some programs, read-only; one file system in memory for
                     ``/work`` and ``/tmp``; no volumes, no IPC with others
environment          of six fixed variables
network              none
processes            the container's own namespace and pids limit; what a program leaves behind is found and killed
memory, cores        the container's cgroup; below it the guest's own count, which names what ended a call
disk                 size and number of files of the file system in memory
time                 a deadline; a session is stopped between its cells
kernel               a user without capabilities, no new privileges, the Engine's system call filter and Landlock or,
                     beside it, our own filter for each program
===================  ================================================================================================

The guest is the container's first process, so that its jobs cannot kill it, and nobody may look into it. It ends when the host's
end of its standard input closes, and the container is removed with it: a host that is killed leaves nothing. Should the Engine
have been down just then, the next start finds the container by its label and removes it.

Not covered: the user id is the same in all containers and may exist on the host, so that limits of the kernel for each user
(pipes, watches) are shared; the Engine itself, which runs as root.
"""

import atexit
import contextlib
import json
import os
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import docker
from docker.errors import DockerException
from docker.types import LogConfig
from requests.exceptions import RequestException

from agentgym.errors import EnvironmentFailure, NotInstalled
from agentgym.sandbox import image
from agentgym.sandbox.base import MIB, Limits
from agentgym.sandbox.guest.serve import packed, unpacked
from agentgym.sandbox.hosted import HostedSandbox, Link

LABEL = "agentgym.sandbox"
SOCKET = "unix:///var/run/docker.sock"  # where an Engine usually is
USER = 61000  # hardly anybody's on the host
START = 30.0  # seconds until a container serves
WAIT = 300.0  # seconds until a container is free
MOST = 64  # containers at once
GUEST = 64 * MIB  # bytes of memory for the guest itself
PIDS = 4  # processes of the guest's own


class DockerSandbox(HostedSandbox):
    """A `Sandbox` in a container; see the module for what holds which boundary.

    Its container comes from a pool that all sandboxes of this process share, and goes back there, emptied, when it is closed.

    Args:
        limits: See `Limits`.

    Raises:
        NotInstalled: no Engine can be reached (``DOCKER_HOST`` says where another one is).
    """

    def __init__(self, limits: Limits = Limits()) -> None:
        super().__init__(limits)
        self._pool = pool()

    def _connect(self) -> Link:
        return self._pool.take(self.limits)

    def close(self) -> None:
        """See `Sandbox.close`; the container is kept for the next sandbox."""
        link, self._link = self._link, None
        super().close()
        if isinstance(link, _Container):
            self._pool.give(link)


class Pool:
    """Warm containers: `most` at once, used and idle ones together.

    Args:
        client: A `docker.DockerClient`.
        most: How many containers there may be.
    """

    def __init__(self, client: Any, most: int = MOST) -> None:
        self._client = client
        self._most, self._count = most, 0
        self._idle: list[_Container] = []
        self._changed = threading.Condition()
        remove_orphans(client)
        self._image = image.ensure(client)
        atexit.register(self.close)

    def take(self, limits: Limits, wait: float = WAIT) -> "_Container":
        """A container with these limits: an idle one, or a new one, for which an idle one with other limits may have to go.

        Raises:
            EnvironmentFailure: all are in use, or the Engine makes none.
        """
        until = time.monotonic() + wait
        with self._changed:
            while True:
                fitting = next((c for c in self._idle if c.limits == limits), None)
                if fitting is not None:
                    self._idle.remove(fitting)
                    return fitting
                if self._count >= self._most and self._idle:
                    self._idle.pop(0).close()
                if self._count < self._most:
                    break
                if not self._changed.wait(until - time.monotonic()):
                    raise EnvironmentFailure(f"all {self._most} containers are in use: play fewer episodes at once")
            self._count += 1
        try:
            return _Container(self._client, self._image, limits, self._ended)
        except BaseException:
            self._ended()
            raise

    def give(self, container: "_Container") -> None:
        """Take a container back: emptied, or removed where that fails."""
        try:
            answer, _ = unpacked(container.exchange(packed({"do": "unpack"}), START))
            failed = answer["error"] is not None
        except (OSError, EOFError, ValueError):
            failed = True
        if failed:
            container.close()
            return
        with self._changed:
            self._idle.append(container)
            self._changed.notify()

    def _ended(self) -> None:
        with self._changed:
            self._count -= 1
            self._changed.notify()

    def close(self) -> None:
        """Remove the idle containers."""
        with self._changed:
            for container in self._idle:
                container.hang_up()  # all of them end at the same time
            while self._idle:
                self._idle.pop().close()


class _Container:
    """A container and the stream to its guest."""

    def __init__(self, client: Any, image_name: str, limits: Limits, ended: Callable[[], None]) -> None:
        self.limits = limits
        self._api, self._ended = client.api, ended
        self._read, self._said = b"", b""
        try:
            self._id = self._create(image_name)
            self._stream = self._api.attach_socket(self._id, {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1})
            self._socket: socket.socket = getattr(self._stream, "_sock", self._stream)
            self._api.start(self._id)
        except (DockerException, RequestException) as error:
            self._remove()
            raise EnvironmentFailure(f"the Engine makes no container: {error}") from error
        try:
            self._frame(time.monotonic() + START)
        except (OSError, EOFError) as error:
            self._remove()
            raise EnvironmentFailure(f"a container did not start: {self._said.decode(errors='replace') or error}") from error

    def _create(self, image_name: str) -> str:
        limits = self.limits
        memory = limits.memory + limits.disk + GUEST
        host = self._api.create_host_config(
            auto_remove=True,
            network_mode="none",
            ipc_mode="none",
            read_only=True,
            cap_drop=["ALL"],
            security_opt=["no-new-privileges:true"],
            mem_limit=memory,
            memswap_limit=memory,
            pids_limit=limits.processes + PIDS,
            nano_cpus=int(limits.cpus * 1e9),
            tmpfs={"/mnt": f"exec,size={limits.disk},nr_inodes={limits.files + 3},mode=755,uid={USER},gid={USER}"},
            log_config=LogConfig(type=LogConfig.types.NONE),
        )
        start = "import sys; sys.path.insert(0, '/'); from guest import container; container.main()"
        made = self._api.create_container(
            image_name,
            ["/guest/bin/python", "-I", "-S", "-B", "-c", start, json.dumps(asdict(limits))],
            user=f"{USER}:{USER}",
            environment={},
            stdin_open=True,
            labels={LABEL: _owner(os.getpid())},
            hostname="sandbox",
            host_config=host | {"StdinOnce": True},
        )
        return str(made["Id"])

    def exchange(self, frame: bytes, seconds: float) -> bytes:
        """See `Link.exchange`."""
        self._socket.settimeout(seconds)
        self._socket.sendall(len(frame).to_bytes(4, "big") + frame)
        return self._frame(time.monotonic() + seconds)

    def _frame(self, until: float) -> bytes:
        size = int.from_bytes(self._exactly(4, until), "big")
        return self._exactly(size, until)

    def _exactly(self, size: int, until: float) -> bytes:
        """Bytes of the guest's standard output, which comes in pieces between those of its standard error."""
        parts = [self._read]
        have = len(self._read)
        while have < size:
            kind, length = struct.unpack(">BxxxL", self._raw(8, until))
            piece = self._raw(length, until)
            if kind == 1:
                parts.append(piece)
                have += length
            else:
                self._said = (self._said + piece)[-1000:]
        whole = b"".join(parts)
        self._read = whole[size:]
        return whole[:size]

    def _raw(self, size: int, until: float) -> bytes:
        parts: list[bytes] = []
        while size:
            self._socket.settimeout(max(0.001, until - time.monotonic()))
            part = self._socket.recv(min(size, MIB))
            if not part:
                raise EOFError("the guest is gone")
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def close(self) -> None:
        """See `Link.close`."""
        if self._id:
            self._remove()
            self._ended()

    def hang_up(self) -> None:
        """Close its input, which ends the guest."""
        with contextlib.suppress(AttributeError, OSError):
            self._socket.close()
            self._stream.close()

    def _remove(self) -> None:
        """Once its input is closed the guest ends, and the Engine removes the container; this is in case it does not."""
        identity, self._id = getattr(self, "_id", ""), ""
        self.hang_up()
        if identity:
            with contextlib.suppress(DockerException, RequestException):
                self._api.remove_container(identity, force=True)


_pools: dict[tuple[int, str], Pool] = {}
_pools_lock = threading.Lock()


def pool() -> Pool:
    """This process's pool.

    Raises:
        NotInstalled: no Engine can be reached.
    """
    host = os.environ.get("DOCKER_HOST", "")
    with _pools_lock:
        if (os.getpid(), host) not in _pools:
            client = connect()
            try:
                _pools[os.getpid(), host] = Pool(client)
            except (DockerException, RequestException) as error:
                raise _unusable(error) from error
        return _pools[os.getpid(), host]


def connect() -> Any:
    """A `docker.DockerClient` of the Engine, which answers.

    Raises:
        NotInstalled: no Engine can be reached.
    """
    host = os.environ.get("DOCKER_HOST") or SOCKET
    try:
        if host.startswith("unix://"):  # the SDK says less of a socket that nobody listens to, and forgets to close it
            with socket.socket(socket.AF_UNIX) as tried:
                tried.connect(host.removeprefix("unix://"))
        return docker.from_env(timeout=120)
    except (OSError, DockerException, RequestException) as error:
        raise _unusable(error) from error


def _unusable(error: Exception) -> NotInstalled:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else error
    where = os.environ.get("DOCKER_HOST") or SOCKET
    return NotInstalled(f"no Docker Engine can be used at {where} ({reason}): start one, or take the local sandbox")


# ---- containers whose host is gone ------------------------------------------------------------------------------------


def remove_orphans(client: Any) -> int:
    """Remove the containers of hosts that have ended; how many there were.

    Args:
        client: A `docker.DockerClient`.
    """
    removed = 0
    for container in client.api.containers(all=True, filters={"label": LABEL}):
        owner = container["Labels"][LABEL]
        place, _, pid = owner.rpartition(":")[0].rpartition(":")
        if place == _place() and pid.isdecimal() and _owner(int(pid)) != owner:
            with contextlib.suppress(DockerException):  # the Engine may be removing it just now
                client.api.remove_container(container["Id"], force=True)
                removed += 1
    return removed


def _place() -> str:
    """This machine since its start, and this process namespace: where a process id means something."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot}:{os.readlink('/proc/self/ns/pid')}"


def _owner(pid: int) -> str:
    """Names a process for good: ids are given again, but not with the same time of start."""
    try:
        started = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        started = "ended"
    return f"{_place()}:{pid}:{started}"
