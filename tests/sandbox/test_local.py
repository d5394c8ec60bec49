"""The local sandbox alone: kernels that lack something, users without rights, hosts that die, states."""

import functools
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentgym import EnvironmentFailure, UserError
from agentgym.sandbox import Cell, Checkpoint, Exam, Limits, LocalSandbox, Result, local
from agentgym.sandbox.guest import confine
from agentgym.sandbox.guest.serve import packed
from tests.sandbox.conftest import BRIEF, LIMITS
from tests.sandbox.test_attacks import gone, processes

REFUSE = """
import ctypes, struct, sys
from agentgym.sandbox.guest import confine, linux
code = [(0x20, 0, 0, 0)]
for number in {numbers}:
    code += [(0x15, 0, 1, number), (0x06, 0, 0, 0x00050000 | 38)]
code += [(0x06, 0, 0, 0x7FFF0000)]
packed = b"".join(struct.pack("=HBBI", *c) for c in code)
confine.no_new_privileges()
linux.prctl(linux.PR_SET_SECCOMP, 2, ctypes.byref(confine._Program(len(packed) // 8, packed)))
from agentgym import UserError
from agentgym.sandbox import LocalSandbox
try:
    LocalSandbox()
    print("made")
except UserError as error:
    print("refused:", error)
try:
    with LocalSandbox(allow_unsafe=True) as sandbox:
        print(sandbox.safe, sandbox.run(["echo", "hi"]).output)
except UserError as error:
    print("refused:", error)
"""
UNSHARE = {"x86_64": 272, "aarch64": 97}[os.uname().machine]
SECCOMP = {"x86_64": 317, "aarch64": 277}[os.uname().machine]


def refusing(*numbers: int) -> list[str]:
    """What happens where the kernel does not know some system calls."""
    code = REFUSE.format(numbers=numbers)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert not done.returncode, done.stderr
    return done.stdout.splitlines()


def test_a_kernel_without_landlock() -> None:
    refused, unsafe, *_ = refusing(444)
    assert refused.startswith("refused: this kernel gives no safe local sandbox, it lacks: landlock")
    assert unsafe == "False hi"


def test_a_kernel_without_namespaces() -> None:
    first, second = refusing(UNSHARE)
    assert first.startswith("refused: this machine has no local sandbox")
    assert "unshare" in first
    assert second == first


@pytest.fixture
def unknown() -> Iterator[None]:
    """What the kernel misses is asked for anew."""
    local.missing.cache_clear()
    yield
    local.missing.cache_clear()


def test_something_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "missing", lambda: ("landlock", "seccomp"))
    with pytest.raises(UserError, match="lacks: landlock; seccomp"):
        LocalSandbox()
    assert not LocalSandbox(allow_unsafe=True).safe


def test_a_guest_that_does_not_start(unknown: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "_base_executable", "/bin/false")
    with pytest.raises(UserError, match=r"this machine has no local sandbox .*: use the docker sandbox"):
        LocalSandbox()


def test_a_guest_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    with LocalSandbox(LIMITS) as sandbox:
        sandbox.run(["true"])
        link = sandbox._link
        assert isinstance(link, local._LocalLink)
        with pytest.raises(TimeoutError, match="the guest does not answer"):
            link.exchange(packed({"do": "run", "command": ["sleep", "9"]}), 0.05)
        link._process.send_signal(signal.SIGSTOP)  # it cannot end by itself either
        monkeypatch.setattr(local, "START", 0.1)
    assert link._process.returncode == -signal.SIGKILL


def test_the_filter_is_there_for_both_kinds_of_machines() -> None:
    for machine in confine.ARCHITECTURE:
        code = confine.bpf(machine)
        instructions = [struct.unpack_from("=HBBI", code, i) for i in range(0, len(code), 8)]
        returns = {k for op, _, _, k in instructions if op == 0x06}
        assert len(instructions) < 4096
        assert 0x7FFF0000 in returns
        assert all(0 <= i + 1 + max(t, f) < len(instructions) for i, (op, t, f, _) in enumerate(instructions) if op & 7 == 5)
    with pytest.raises(OSError, match="no seccomp filter for riscv64"):
        confine.bpf("riscv64")


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Sandboxes are started by a user without rights, with the system's own Python."""
    if os.geteuid() or not os.access("/usr/bin/python3.11", os.X_OK):
        pytest.skip("the other tests run as such a user, or there is no Python that it can read")
    place = tempfile.mkdtemp()
    os.chmod(place, 0o755)
    shutil.copytree(Path(local.__file__).parent, f"{place}/sandbox")
    shutil.rmtree(f"{place}/sandbox/guest/__pycache__", ignore_errors=True)
    started = functools.partial(subprocess.Popen, user=65534, group=65534, extra_groups=[])
    monkeypatch.setattr(local.subprocess, "Popen", started)
    monkeypatch.setattr(local, "__file__", f"{place}/sandbox/local.py")
    monkeypatch.setattr(sys, "_base_executable", "/usr/bin/python3.11")
    monkeypatch.setattr(sys, "base_prefix", "/usr")
    local.missing.cache_clear()
    yield
    local.missing.cache_clear()
    shutil.rmtree(place)


def test_a_user_without_rights(nobody: None) -> None:
    with LocalSandbox(BRIEF) as sandbox:
        assert sandbox.safe
        shown = "import os; print(os.getuid(), os.path.exists('/etc/shadow'), os.path.exists('/proc/self'))"
        assert sandbox.run(["python", "-c", shown]).output == "1000 False False\n"
        bomb = "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass"
        assert sandbox.run(["python", "-c", bomb]).timed_out
        many = "import os, time\nfor _ in range(8):\n    if not os.fork(): x = b'x' * (32 << 20); time.sleep(9)\ntime.sleep(9)"
        assert sandbox.run(["python", "-c", many]).out_of_memory
        for whom in ("1", "-1", "os.getppid()"):
            sandbox.run(["python", "-c", f"import os, signal\nfor s in (2, 10, 12, 15, 9): os.kill({whom}, s)"])
        assert sandbox.execute("6 * 7") == Result(0, "42\n")
        assert sandbox.examine(Exam("def f(): return 1", ("f",), ("assert f() == 1",))).passed == 1
        sandbox.write_file("a", b"b")
        state = sandbox.snapshot()
        sandbox.write_file("a", b"c")
        sandbox.restore(state)
        assert sandbox.read_file("a") == b"b"


def test_a_killed_host_leaves_nothing() -> None:
    code = """
import sys, threading
from agentgym.sandbox import LocalSandbox
sandbox, other = LocalSandbox(), LocalSandbox()
sandbox.execute("import subprocess; subprocess.Popen(['sleep', '96123456'])")
threading.Thread(target=other.run, args=(["sleep", "96123456"],), daemon=True).start()
print(sandbox._link._process.pid, flush=True)
sys.stdin.read()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as host:
        assert host.stdout is not None
        outer = int(host.stdout.readline())
        while not any("sleep 96123456" in line for line in processes()):
            time.sleep(0.01)
        host.send_signal(signal.SIGKILL)
        host.wait()
        assert gone("sleep 96123456")
        assert gone(f" {outer} ")
        until = time.monotonic() + 5
        while Path(f"/proc/{outer}/mem").exists() and time.monotonic() < until:
            time.sleep(0.01)
        assert not Path(f"/proc/{outer}/mem").exists() or Path(f"/proc/{outer}/stat").read_text().split()[2] == "Z"


def test_a_guest_that_dies_is_the_environments_failure_for_files_and_a_result_for_programs() -> None:
    with LocalSandbox(LIMITS) as sandbox:
        sandbox.execute("x = 1")
        sandbox._link._process.kill()  # type: ignore[union-attr]
        sandbox._link._process.wait()  # type: ignore[union-attr]
        with pytest.raises(EnvironmentFailure, match="the sandbox broke"):
            sandbox.read_file("x")
        assert sandbox.run(["echo", "again"]).output == "again\n"


def test_states() -> None:
    with LocalSandbox(LIMITS) as sandbox:
        fresh = sandbox.snapshot()
        sandbox.write_file("data/numbers.txt", b"1 2 3")
        sandbox.execute("import random\nnumbers = open('data/numbers.txt').read().split()")
        sandbox.execute("numbers.append('4'); open('out.txt', 'w').write(' '.join(numbers)); random.random()")
        state = sandbox.snapshot()
        first = sandbox.execute("numbers.append('5'); random.random(), numbers").output
        sandbox.execute("import os; os.remove('out.txt')")
        sandbox.restore(state)
        assert sandbox.snapshot().key == state.key
        assert sandbox.execute("numbers.append('5'); random.random(), numbers").output == first
        assert sandbox.read_file("out.txt") == b"1 2 3 4"
        sandbox.restore(fresh)
        assert sandbox.snapshot().key == fresh.key
        assert "NameError" in sandbox.execute("numbers").output
        with LocalSandbox(LIMITS) as other:
            other.restore(state)
            assert other.execute("numbers.append('5'); random.random(), numbers").output == first


def test_files_that_came_from_elsewhere_than_the_cells() -> None:
    with LocalSandbox(LIMITS) as sandbox:
        sandbox.execute("x = 1")
        sandbox.write_file("beside", b"kept")
        state = sandbox.snapshot()
        sandbox.restore(Checkpoint())
        sandbox.restore(state)
        assert sandbox.execute("x, open('beside').read()").output == "(1, 'kept')\n"


def test_a_session_that_does_not_come_back() -> None:
    with LocalSandbox(LIMITS) as sandbox:
        sandbox.execute("import time; print(time.perf_counter_ns())")
        state = sandbox.snapshot()
        sandbox.restore(state)
        with pytest.raises(EnvironmentFailure, match="cell 1 of a session did not come back"):
            sandbox.execute("1")
        sandbox.restore(Checkpoint(cells=(Cell("object()", Result(0, "<object object at 0x7f0123456789>\n")),)))
        assert sandbox.execute("2").output == "2\n"


def test_commands() -> None:
    with LocalSandbox(LIMITS) as sandbox:
        assert sandbox.run(["no-such-program"]).exit_code == 127
        assert sandbox.run(["/work"]).exit_code == 126
        assert sandbox.run(["bash", "-c", "exit 3"]).exit_code == 3
        assert sandbox.run(["bash", "-c", "kill -11 $$"]).exit_code == -11
        assert sandbox.run(["bash", "-c", "echo out; echo err >&2; echo out"]).output == "out\nerr\nout\n"
        assert sandbox.run(["cat"], stdin="grüße\n".encode()).output == "grüße\n"
        assert sandbox.run(["printf", "\\xff\ud800"]).output.startswith("\ufffd")
        assert not sandbox.run(["echo", "a\0b"]).ok
    sandbox.close()


def test_states_by_the_hundred() -> None:
    """A session that is stopped and goes on loses neither signal."""
    with LocalSandbox(LIMITS) as sandbox:
        for number in range(100):
            if number % 20 == 0:
                sandbox.restore(Checkpoint())
                assert sandbox.execute("x = 1").ok
            assert sandbox.execute("x += 1; x") == Result(0, f"{number % 20 + 2}\n")


def test_packages_of_others_are_not_shown() -> None:
    with LocalSandbox(LIMITS) as sandbox:
        for package in ("pip", "setuptools", "msgspec", "agentgym"):
            assert "ModuleNotFoundError" in sandbox.run(["python", "-c", f"import {package}"]).output


def child(pid: int) -> int:
    """The first child of a process."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        if stat.read_text().rpartition(")")[2].split()[1] == str(pid):
            return int(stat.parent.name)
    raise AssertionError(f"{pid} has no child")


def test_nothing_is_left_open() -> None:
    def opened() -> int:
        return len(os.listdir("/proc/self/fd"))

    LocalSandbox(Limits()).close()
    before = opened()
    for _ in range(3):
        with LocalSandbox(LIMITS) as sandbox:
            sandbox.execute("1")
            guest = child(child(sandbox._link._process.pid))  # type: ignore[union-attr]
            for _ in range(5):
                sandbox.execute("import os; os._exit(0)")
                sandbox.run(["true"])
                sandbox.examine(Exam("", (), ()))
            assert len(os.listdir(f"/proc/{guest}/fd")) < 12
    assert opened() == before
