"""Attacks on the sandboxes, the same for both: each asserts that the boundary holds and that the host is untouched."""

import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentgym.sandbox import Checkpoint, Result, Sandbox
from tests.sandbox.conftest import BRIEF, LIMITS

SYSCALLS = """
import ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *args):
    ctypes.set_errno(0)
    given = [ctypes.c_long(a) if isinstance(a, int) else a for a in args]
    print("refused" if libc.syscall(ctypes.c_long(number), *given) == -1 else "granted", ctypes.get_errno())
"""


def python(sandbox: Sandbox, code: str) -> Result:
    return sandbox.run(["python", "-I", "-S", "-c", code])


def works(sandbox: Sandbox) -> None:
    """After an attack the next call is as good as ever."""
    assert python(sandbox, "print(6 * 7)") == Result(0, "42\n")


def processes() -> set[str]:
    """Command lines of all processes on this machine that the tests' markers could be in."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                found.add((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
            except OSError:
                continue
    return found


def gone(marker: str) -> bool:
    """Whether no process of this name is left, soon."""
    until = time.monotonic() + 5
    while time.monotonic() < until:
        if not any(marker in line and "pytest" not in line for line in processes()):
            return True
        time.sleep(0.02)
    return False


# ---- taking too much --------------------------------------------------------------------------------------------------


def test_fork_bomb(brief: Sandbox) -> None:
    code = "import os\nn = 0\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass"
    assert python(brief, code).timed_out
    works(brief)


def test_processes_are_counted_over_all_generations(sandbox: Sandbox) -> None:
    code = """
import os, time
def started():
    try:
        pid = os.fork()
    except OSError:
        return False
    if not pid:
        time.sleep(60)
    return True
print(len([i for i in range(100) if started()]))"""
    result = python(sandbox, code)
    assert 0 < int(result.output) <= LIMITS.processes + 4
    works(sandbox)


def test_threads_count_as_processes(sandbox: Sandbox) -> None:
    code = """
import threading, time
n = 0
try:
    for n in range(200):
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
except RuntimeError:
    pass
print(n, flush=True)
import os
os._exit(0)"""
    assert int(python(sandbox, code).output) <= LIMITS.processes + 4


@pytest.mark.parametrize("piece", ["bytearray(8 << 20)", "mmap.mmap(-1, 8 << 20)"], ids=["private", "shared"])
def test_memory_bomb(sandbox: Sandbox, piece: str) -> None:
    code = f"""
import mmap
kept = []
while True:
    kept.append({piece})
    for i in range(0, 8 << 20, 4096):
        kept[-1][i] = 1"""
    result = python(sandbox, code)
    assert result.out_of_memory
    assert result.exit_code == -9
    works(sandbox)


def test_memory_bomb_of_many_processes(sandbox: Sandbox) -> None:
    code = """
import os, time
for _ in range(8):
    if not os.fork():
        kept = b"x" * (32 << 20)
        time.sleep(60)
time.sleep(60)"""
    assert python(sandbox, code).out_of_memory
    works(sandbox)


def test_forked_memory_counts_once(sandbox: Sandbox) -> None:
    code = """
import os, time
kept = b"x" * (32 << 20)
for _ in range(8):
    if not os.fork():
        time.sleep(60)
time.sleep(0.3)"""
    assert python(sandbox, code).ok


def test_one_huge_allocation(sandbox: Sandbox) -> None:
    result = python(sandbox, "x = bytearray(1 << 36)")
    assert result.exit_code == 1
    assert "MemoryError" in result.output


def test_disk_fill(sandbox: Sandbox) -> None:
    code = """
import os
written = 0
for root in ("/work", "/tmp"):
    for i in range(64):
        try:
            with open(f"{root}/{i}", "wb") as file:
                while True:
                    written += file.write(b"x" * 65536)
                    file.flush()
        except OSError:
            pass
print(written)"""
    assert int(python(sandbox, code).output) <= LIMITS.disk + 64 * 65536 * 4
    assert sum(int(s) for s in sandbox.run(["bash", "-c", "cat /work/* /tmp/* | wc -c"]).output.split()) <= LIMITS.disk
    sandbox.restore(Checkpoint())
    works(sandbox)


def test_inode_fill(sandbox: Sandbox) -> None:
    code = """
n = 0
try:
    while True:
        open(f"/work/{n}", "w").close()
        n += 1
except OSError:
    print(n)"""
    assert int(python(sandbox, code).output) <= LIMITS.files
    works(sandbox)


def test_output_flood(brief: Sandbox) -> None:
    result = brief.run(["bash", "-c", "echo first; head -c 1000000000 /dev/zero | tr '\\0' x; echo; echo last"])
    assert result.truncated
    assert len(result.output) < LIMITS.output + 100
    assert result.output.startswith("first\n")
    assert result.timed_out or result.output.endswith("last\n")
    works(brief)


def test_output_flood_of_a_cell(sandbox: Sandbox) -> None:
    result = sandbox.execute("for _ in range(100): print('x' * 1_000_000)\nprint('last')")
    assert result.ok
    assert result.truncated
    assert result.output.endswith("last\n")
    assert sandbox.execute("1 + 1").output == "2\n"


@pytest.mark.parametrize("code", ["while True: pass", "import time; time.sleep(1000)", "import signal; signal.pause()"])
def test_endless_loop_and_sleep(brief: Sandbox, code: str) -> None:
    began = time.monotonic()
    assert python(brief, code).timed_out
    assert time.monotonic() - began < BRIEF.seconds + 20
    works(brief)


def test_stdin_is_empty_and_ends(sandbox: Sandbox) -> None:
    assert python(sandbox, "print(len(__import__('sys').stdin.read()))").output == "0\n"
    assert sandbox.run(["cat"], stdin=b"x" * 300_000).truncated


def test_endless_cell_ends_the_session(brief: Sandbox) -> None:
    brief.execute("x = 1")
    assert brief.execute("while True: pass").timed_out
    assert "NameError" in brief.execute("x").output


def test_ignored_signals(brief: Sandbox) -> None:
    code = "import signal\nfor s in signal.valid_signals():\n    try: signal.signal(s, signal.SIG_IGN)\n    except (OSError, ValueError): pass\nwhile True: pass"
    assert python(brief, code).timed_out
    works(brief)


# ---- staying behind ---------------------------------------------------------------------------------------------------


def test_background_process(sandbox: Sandbox) -> None:
    marker = f"sleep 98{secrets.randbelow(10**6):06}"
    result = sandbox.run(["bash", "-c", f"setsid {marker} & (setsid {marker} &) ; nohup {marker} >/dev/null 2>&1 & echo done"])
    assert result == Result(0, "done\n")
    assert gone(marker)
    works(sandbox)


def test_daemon_of_a_timed_out_program(brief: Sandbox) -> None:
    marker = f"sleep 97{secrets.randbelow(10**6):06}"
    assert brief.run(["bash", "-c", f"(setsid {marker} &); sleep 100"]).timed_out
    assert gone(marker)


def test_zombies(sandbox: Sandbox) -> None:
    code = """
import os, time
for _ in range(100):
    while True:
        try:
            pid = os.fork()
            break
        except OSError:
            time.sleep(0.001)
    if not pid:
        if not os.fork():
            os._exit(0)
        os._exit(0)
    os.waitpid(pid, 0)
print("done")"""
    assert python(sandbox, code).output.endswith("done\n")
    works(sandbox)


def test_session_is_stopped_between_cells(sandbox: Sandbox) -> None:
    sandbox.execute(
        "import threading\nn = 0\ndef count():\n    global n\n    while True: n += 1\nthreading.Thread(target=count, daemon=True).start()"
    )
    first = int(sandbox.execute("n").output)
    time.sleep(0.3)
    code = "import os, time, subprocess\np = subprocess.Popen(['bash', '-c', 'while :; do echo >> /tmp/ticks; done'])\nwhile not os.path.exists('/tmp/ticks'): time.sleep(0.01)"
    assert int(sandbox.execute("n").output) < first + 20_000_000
    sandbox.execute(code)
    ticks = sandbox.read_file("/tmp/ticks")
    time.sleep(0.2)
    assert sandbox.read_file("/tmp/ticks") == ticks


# ---- other processes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("whom", "signal"),
    [*((whom, 9) for whom in ("os.getppid()", "1", "-1", "0", "-os.getppid() or -1")), ("1", 15), ("-1", 15), ("-1", 19)],
)
def test_killing_parents(brief: Sandbox, whom: str, signal: int) -> None:
    python(brief, f"import os, signal\nsignal.signal(15, signal.SIG_IGN)\ntry: os.kill({whom}, {signal})\nexcept OSError: pass")
    works(brief)


def test_host_processes_cannot_be_seen(sandbox: Sandbox) -> None:
    code = f"import os\nfor pid in ({os.getpid()}, {os.getppid()}):\n    try: os.kill(pid, 0); print('seen')\n    except OSError as e: print(type(e).__name__)"
    assert "seen" not in python(sandbox, code).output


def test_proc(sandbox: Sandbox) -> None:
    code = """
import glob
for path in glob.glob("/proc/[0-9]*/environ") + ["/proc/1/environ", "/proc/self/environ"]:
    try: print(open(path).read())
    except OSError as error: print(error.errno)"""
    assert os.environ.get("PYTHONPATH", "no such path") not in python(sandbox, code).output
    for path in ("/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/sys/kernel/uevent_helper"):
        assert not sandbox.run(["bash", "-c", f"echo x > {path}"]).ok


def test_launchers_environment(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTGYM_TEST_SECRET", "s3cret")
    code = "import os; print(dict(os.environ))"
    for result in (python(sandbox, code), sandbox.execute(code), sandbox.run(["env"])):
        assert result.ok
        assert "s3cret" not in result.output
        assert "AGENTGYM" not in result.output


def test_open_files(sandbox: Sandbox) -> None:
    code = """
import os
for fd in range(3, 1024):
    try: os.fstat(fd); print("open", fd)
    except OSError: pass"""
    assert python(sandbox, code).output == ""


# ---- files of the host ------------------------------------------------------------------------------------------------


@pytest.fixture
def secret(tmp_path: Path) -> Iterator[Path]:
    """A file of the host that all may read."""
    path = tmp_path / "secret.txt"
    path.write_text("s3cret")
    path.chmod(0o644)
    yield path
    assert path.read_text() == "s3cret"


@pytest.mark.parametrize(
    "path",
    ["/etc/shadow", "/etc/passwd", "/root/.bashrc", "/root/.ssh", "/home", "/var/run/docker.sock", str(Path.home() / ".bashrc")],
)
def test_reading_the_host(sandbox: Sandbox, path: str) -> None:
    result = python(sandbox, f"import os\np = {path!r}\nprint(os.listdir(p) if os.path.isdir(p) else open(p).read())")
    if result.ok:  # a container may have an empty one of its own
        assert path in ("/etc/passwd", "/home", "/etc/shadow")
        assert not Path(path).is_file() or result.output.strip() != Path(path).read_text().strip()


def test_reading_a_known_path(sandbox: Sandbox, secret: Path) -> None:
    assert "FileNotFoundError" in python(sandbox, f"open({str(secret)!r})").output
    assert "s3cret" not in sandbox.run(["bash", "-c", "grep -rs s3cret /tmp /work /home /var /mnt"]).output


def test_climbing_out(sandbox: Sandbox, secret: Path) -> None:
    code = f"import os\nfor _ in range(50): os.chdir('..')\nprint(os.path.exists('.{secret}'), sorted(os.listdir('.')))"
    assert python(sandbox, code).output.startswith("False")
    assert "PermissionError" in python(sandbox, "import os; os.mkdir('d'); os.chroot('d')").output


def test_symlinks_that_the_host_reads(sandbox: Sandbox, secret: Path) -> None:
    sandbox.run(
        ["bash", "-c", f"ln -s {secret} link; ln -s /etc/shadow shadow; ln -s / root; ln -s loop loop; ln -s /work/loop /tmp/l"]
    )
    for path in ("link", "shadow", f"root{secret}", "root/etc/shadow", "loop", f"../../..{secret}", str(secret)):
        with pytest.raises(FileNotFoundError):
            sandbox.read_file(path)
    with pytest.raises(OSError, match=r"."):
        sandbox.write_file("link", b"overwritten")
    packed = sandbox.snapshot()
    sandbox.restore(Checkpoint())
    sandbox.restore(packed)
    assert sandbox.run(["readlink", "link"]).output == f"{secret}\n"


def test_hard_links(sandbox: Sandbox, secret: Path) -> None:
    for path in (str(secret), "/usr/bin/env", "/guest/serve.py"):
        assert not python(sandbox, f"import os; os.link({path!r}, '/work/hard')").ok


def test_pipes_and_devices_that_the_host_reads(sandbox: Sandbox) -> None:
    sandbox.run(["bash", "-c", "mkfifo pipe; ln -s /dev/zero zero; mkdir directory"])
    for path in ("pipe", "zero", "directory", "\0", "x" * 5000):
        with pytest.raises((OSError, ValueError), match=r"."):
            sandbox.read_file(path)
    for path in ("pipe", "zero", "directory"):
        with pytest.raises(OSError, match=r"."):
            sandbox.write_file(path, b"x")


def test_packing_a_hostile_tree(sandbox: Sandbox) -> None:
    code = r"""
import os, socket
deep = 0
for deep in range(100):
    os.mkdir("d" * 100)
    os.chdir("d" * 100)
os.chdir("/work")
os.makedirs("closed/inner")
open("closed/inner/file", "w").write("kept")
os.chmod("closed/inner/file", 0)
os.chmod("closed/inner", 0)
os.chmod("closed", 0)
open(b"\xff\xfe", "w").write("name")
os.mkfifo("pipe")
socket.socket(socket.AF_UNIX).bind("socket")
os.symlink("/", "root")
os.symlink("closed", "/tmp/elsewhere")
"""
    assert python(sandbox, code).ok
    packed = sandbox.snapshot()
    sandbox.restore(Checkpoint())
    assert python(sandbox, "import os; print(os.listdir('/work'), os.listdir('/tmp'))").output == "[] []\n"
    sandbox.restore(packed)
    shown = "stat -c %a closed; chmod 700 closed closed/inner closed/inner/file; cat closed/inner/file; stat -c %F pipe; readlink /tmp/elsewhere"
    assert sandbox.run(["bash", "-c", shown]).output == "0\nkeptfifo\nclosed\n"


def test_interpreters_own_files(sandbox: Sandbox) -> None:
    code = """
import os, sys
for path in (os.__file__, sys.executable, os.path.realpath(sys.executable), "/guest/serve.py", "/guest/session.py", "/usr/bin/env", "/bin/sh"):
    for action in (lambda: open(path, "a"), lambda: os.unlink(path), lambda: os.chmod(path, 0o777), lambda: os.rename(path, "/tmp/x")):
        try: action(); print("done", path)
        except OSError: pass
for directory in (os.path.dirname(os.__file__), "/guest", "/", "/usr/lib", "/etc", "/dev"):
    try: open(directory + "/sitecustomize.py", "w"); print("done", directory)
    except OSError: pass"""
    assert python(sandbox, code).output == ""


def test_device_nodes(sandbox: Sandbox) -> None:
    assert not python(sandbox, "import os; os.mknod('disk', 0o60600, os.makedev(8, 0))").ok
    assert not python(sandbox, "import os; os.mknod('mem', 0o20600, os.makedev(1, 1))").ok
    code = "import os; print([p for p in ('mem', 'kmem', 'sda', 'vda', 'kvm', 'fuse', 'net/tun', 'vsock', 'kmsg') if os.path.exists('/dev/' + p)])"
    assert python(sandbox, code).output == "[]\n"


def test_dev_shm(sandbox: Sandbox) -> None:
    code = """
n = 0
try:
    with open("/dev/shm/x", "wb") as file:
        while True:
            n += file.write(b"x" * 65536)
            file.flush()
except OSError:
    print(n)"""
    assert int(python(sandbox, code).output) <= LIMITS.disk + 65536


def test_memory_that_nothing_counts(sandbox: Sandbox) -> None:
    code = SYSCALLS + "import os\ntry: os.memfd_create('x'); print('granted')\nexcept OSError: pass\ncall(29, 0, 1 << 24, 0o1600)"
    assert "granted" not in python(sandbox, code).output


# ---- rights -----------------------------------------------------------------------------------------------------------


def test_user_has_no_rights(sandbox: Sandbox) -> None:
    code = """
import os
print(len({*os.getresuid(), *os.getresgid()}), 0 in os.getresuid())
for action in (lambda: os.setuid(0), lambda: os.setgid(0), lambda: os.setgroups([0]), lambda: os.seteuid(1), lambda: os.nice(-5)):
    try: action(); print("done")
    except OSError: pass"""
    assert python(sandbox, code).output == "1 False\n"


def test_setuid_programs(sandbox: Sandbox) -> None:
    sandbox.run(["bash", "-c", "cp /usr/bin/env /bin/bash /tmp/; chmod 6755 /tmp/env /tmp/bash"])
    assert sandbox.run(["/tmp/bash", "-p", "-c", "echo $((EUID > 0))"]).output == "1\n"
    assert not sandbox.run(["bash", "-c", "su -c id || sudo -n id"]).ok


def test_limits_cannot_be_raised(sandbox: Sandbox) -> None:
    code = """
import resource
for kind in (resource.RLIMIT_NPROC, resource.RLIMIT_AS, resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE):
    soft, hard = resource.getrlimit(kind)
    try: resource.setrlimit(kind, (hard + 1, hard + 1)); print("raised", kind)
    except (ValueError, OSError): pass"""
    assert python(sandbox, code).output == ""


# x86_64 numbers; on other machines the filter's own table is tested for its names alone.
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers are those of x86_64")
@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("ptrace traceme", "101, 0, 0, 0, 0"),
        ("ptrace attach", "101, 16, 1, 0, 0"),
        ("process_vm_readv", "310, 1, 0, 0, 0, 0, 0"),
        ("pidfd_getfd", "438, 0, 0, 0"),
        ("mount", "165, b'x', b'/tmp', b'tmpfs', 0, None"),
        ("umount", "166, b'/work', 2"),
        ("pivot_root", "155, b'/tmp', b'/tmp'"),
        ("fsopen", "430, b'tmpfs', 0"),
        ("open_tree", "428, -100, b'/', 1"),
        ("unshare user", "272, 0x10000000"),
        ("unshare network", "272, 0x40000000"),
        ("clone user", "56, 0x10000011, 0, 0, 0, 0"),
        ("clone3", "435, 0, 0"),
        ("setns", "308, 0, 0"),
        ("bpf", "321, 0, 0, 0"),
        ("io_uring", "425, 8, b'x' * 200"),
        ("perf_event_open", "298, b'x' * 200, 0, -1, -1, 0"),
        ("userfaultfd", "323, 0"),
        ("keyctl", "250, 0, -3, 0"),
        ("add_key", "248, b'user', b'x', b'x', 1, -3"),
        ("open_by_handle_at", "304, -100, b'x' * 200, 0"),
        ("kexec", "246, 0, 0, 0, 0"),
        ("init_module", "175, b'x', 1, b''"),
        ("reboot", "169, 0xfee1dead, 672274793, 0, 0"),
        ("clock_settime", "227, 0, b'x' * 16"),
        ("sethostname", "170, b'x', 1"),
        ("x32 getpid", "0x40000027"),
        ("unknown", "9999"),
    ],
)
def test_system_calls(sandbox: Sandbox, name: str, call: str) -> None:
    hostname = socket.gethostname()
    output = python(sandbox, f"{SYSCALLS}call({call})").output
    assert output.startswith("refused"), name
    assert int(output.split()[1]) in (1, 38), name
    assert socket.gethostname() == hostname


# ---- network ----------------------------------------------------------------------------------------------------------


def test_loopback_tcp(sandbox: Sandbox) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        code = f"import socket\nfor host in ('127.0.0.1', '::1', '0.0.0.0'):\n    try: socket.create_connection((host, {port}), 0.5); print('connected')\n    except OSError: pass"
        assert python(sandbox, code).output == ""
        server.settimeout(0.05)
        with pytest.raises(TimeoutError):
            server.accept()


def test_loopback_udp(sandbox: Sandbox) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(0.1)
        code = f"import socket\nsocket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', {server.getsockname()[1]}))"
        python(sandbox, code)
        with pytest.raises(TimeoutError):
            server.recv(1)


def test_abstract_socket(sandbox: Sandbox) -> None:
    name = f"\0agentgym-{secrets.token_hex(8)}"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(name)
        server.listen()
        assert not python(sandbox, f"import socket; socket.socket(socket.AF_UNIX).connect({name!r})").ok


def test_unix_socket_in_a_file(sandbox: Sandbox, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        server.listen()
        assert not python(sandbox, f"import socket; socket.socket(socket.AF_UNIX).connect({str(tmp_path / 's')!r})").ok


def test_dns(sandbox: Sandbox) -> None:
    code = "import socket\nprint(socket.gethostbyname('pypi.org'))"
    assert not python(sandbox, code).ok


@pytest.mark.parametrize("family", ["AF_NETLINK", "AF_PACKET", "AF_VSOCK", "AF_ALG", "AF_BLUETOOTH", "AF_CAN"])
def test_other_socket_families(sandbox: Sandbox, family: str) -> None:
    assert not python(sandbox, f"import socket; socket.socket(socket.{family}, socket.SOCK_RAW)").ok
    assert not python(sandbox, f"import socket; socket.socket(socket.{family}, socket.SOCK_STREAM)").ok


def test_outside(sandbox: Sandbox) -> None:
    assert not python(sandbox, "import socket; socket.create_connection(('192.0.2.1', 80), 0.5)").ok
    assert not python(sandbox, "import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)").ok


# ---- the next episode, and the guest itself ---------------------------------------------------------------------------


def test_poisoned_session(sandbox: Sandbox) -> None:
    sandbox.execute(
        "import builtins, sys, json\nbuiltins.print = builtins.repr = lambda *a: 'poisoned'\nsys.modules['math'] = json"
    )
    sandbox.execute("sys.stdout.write = lambda *a: 0")
    for name in (
        "sitecustomize.py",
        "usercustomize.py",
        "json.py",
        "random.py",
        "site.py",
        "guest/__init__.py",
        ".bashrc",
        ".pythonrc.py",
    ):
        sandbox.write_file(name, b"print('poisoned')")
    assert "poisoned" not in python(sandbox, "import json, random").output
    sandbox.restore(Checkpoint())
    assert sandbox.execute("import math, json, random\nprint(math.pi > 3, repr('x'))\nmath.floor(1.5)").output == "True 'x'\n1\n"
    assert sandbox.run(["bash", "-c", "ls -A /work /tmp; true"]).output == "/tmp:\n\n/work:\n"


def test_a_session_that_talks_to_the_guest(sandbox: Sandbox) -> None:
    forged = """
import os
for fd in range(3, 128):
    for data in (b"\\x7f\\xff\\xff\\xff", b"\\x00\\x00\\x00\\x010", b"x" * 100_000, b'\\x00\\x00\\x00\\x02{}'):
        try: os.set_blocking(fd, False); os.write(fd, data)
        except OSError: pass"""
    sandbox.execute(forged)
    sandbox.execute("1")
    works(sandbox)
    sandbox.restore(Checkpoint())
    assert sandbox.execute("6 * 7").output == "42\n"


@pytest.mark.parametrize(
    "code",
    [
        "import os; os._exit(7)",
        "import sys; sys.exit(7)",
        "raise SystemExit(7)",
        "import os, signal; os.kill(os.getpid(), 9)",
        "import ctypes; ctypes.string_at(0)",
        "import os; os.closerange(0, 100)",
        "import os; os.close(3); os.close(4)",
    ],
)
def test_a_session_that_ends_itself(sandbox: Sandbox, code: str) -> None:
    sandbox.execute("x = 1")
    result = sandbox.execute(code)
    assert not result.timed_out
    assert "NameError" in sandbox.execute("x").output or "close(" in code
    works(sandbox)


def test_another_sandbox(sandbox: Sandbox) -> None:
    sandbox.write_file("mine", b"s3cret")
    sandbox.execute("x = 's3cret'")
    with type(sandbox)(LIMITS) as other:  # type: ignore[call-arg]
        assert other.run(["bash", "-c", "ls -A /work /tmp; grep -rs s3cret /mnt /work /tmp; true"]).output == "/tmp:\n\n/work:\n"


def test_sixteen_at_once(shared: Sandbox) -> None:
    failed: list[object] = []

    def use() -> None:
        try:
            with type(shared)(LIMITS) as sandbox:  # type: ignore[call-arg]
                for i in range(3):
                    assert python(sandbox, f"print({i})") == Result(0, f"{i}\n")
                    assert sandbox.execute(f"{i}") == Result(0, f"{i}\n")
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=use) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
