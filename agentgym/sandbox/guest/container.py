"""The guest as the first process of a container: it can be neither killed nor looked into by its jobs, which have its user.

The Engine has taken all rights away already (no capabilities, no network, a root that cannot be written, limits of memory,
processes and cores); jobs lose what is left, and what they leave behind is found in ``/proc``.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence

from . import confine, files, jobs, linux
from .jobs import Job, Limits, Room
from .serve import Guest, packed
from .wire import send

KILLING = 2.0  # seconds; what survives so long is killed together with the session


class ContainerRoom(Room):
    """Jobs in the guest's own process namespace."""

    def __init__(self, limits: Limits) -> None:
        super().__init__(limits, os.open("/proc", os.O_RDONLY | os.O_DIRECTORY))
        self._before: dict[int, set[int]] = {}  # by job: the processes that were there already
        self._killed = _oom_kills()
        for name in ("work", "tmp"):
            os.mkdir(f"/mnt/{name}", 0o755)

    def spawn(self, main: Callable[[], None], keep: Sequence[int]) -> Job:
        """Two processes: one that collects what has ended, and `main`."""
        before = self.pids()
        read, write = os.pipe()
        pid = os.fork()
        if not pid:
            jobs.guarded(lambda: self._begin(main, (*keep, write), write))
        os.close(write)
        self._before[pid] = before
        return Job(pid, read)

    def _begin(self, main: Callable[[], None], keep: Sequence[int], status: int) -> None:
        jobs.keep_only(keep)
        os.setsid()
        linux.prctl(linux.PR_SET_CHILD_SUBREAPER, 1)
        os.chdir("/work")
        _first_to_go()
        confine.limit(self.limits.memory, self.limits.disk, None)
        confine.no_new_privileges()
        for take in (confine.landlock, confine.seccomp):
            try:
                take()
            except OSError:  # the Engine's own profile may refuse it; what it would take is taken by the Engine too
                continue
        jobs.first_process(main, status)

    def kill(self, job: Job) -> None:
        """Kill all that was not there before it, again and again: what it is about to start is stopped first."""
        before = self._before.pop(job.pid)
        until = time.monotonic() + KILLING
        while left := self.pids() - before:
            for number in (signal.SIGSTOP, signal.SIGKILL):
                for pid in left:
                    _signal(pid, number)
            list(jobs.reaped())
            if time.monotonic() > until:
                jobs.signal_all(signal.SIGKILL)
        os.close(job.status)
        self._killed = _oom_kills()  # what the kernel killed meanwhile is not the next job's doing

    def stop(self, job: Job, stopped: bool) -> None:
        """A session is alone when it is stopped."""
        jobs.signal_all(signal.SIGSTOP if stopped else signal.SIGCONT)

    def out_of_memory(self) -> bool:
        """Too much by our own count, or the kernel has killed a process of this container."""
        list(jobs.reaped())
        before, self._killed = self._killed, _oom_kills()
        return self._killed > before or super().out_of_memory()

    def clear(self) -> None:
        """Remove them one by one, as the code could itself."""
        read, write = os.pipe()

        def main() -> None:
            files.clear()
            os.write(write, b"1")

        job = self.spawn(main, (write,))
        os.close(write)
        cleared = os.read(read, 1)
        os.close(read)
        self.kill(job)
        if not cleared:
            raise OSError("the files cannot be removed")


def _first_to_go() -> None:
    """Where memory runs out before our own count sees it, the kernel is to kill a job and not the guest, who tells of it."""
    linux.prctl(linux.PR_SET_DUMPABLE, 1)  # who cannot be looked into has no files in /proc of their own
    try:
        with open("/proc/self/oom_score_adj", "w") as score:
            score.write("1000")
    except OSError:  # the kernel then takes the largest, which is a job most often
        pass
    finally:
        linux.prctl(linux.PR_SET_DUMPABLE, 0)


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _oom_kills() -> int:
    for path in ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"):
        try:
            with open(path) as lines:
                return next(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))
        except (OSError, StopIteration):
            continue
    return 0


def main() -> None:
    """Serve on standard input and output; the limits are the last argument."""
    linux.prctl(linux.PR_SET_DUMPABLE, 0)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    requests, answers, null = os.dup(0), os.dup(1), os.open("/dev/null", os.O_RDWR)
    jobs.attach(null, null)
    room = ContainerRoom(Limits(**json.loads(sys.argv[-1])))
    send(answers, packed({"missing": []}))
    Guest(room).serve(requests, answers)
