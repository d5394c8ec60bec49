"""Pages of documentation, played as a reader would: every block of code, in its order, in one fresh folder.

A page's commands are run as they stand, at tiny sizes: `SMALL` says what is appended to each (of an option that is given twice, the
last value counts), `STAND_INS` what takes the place of a service that a test cannot have, and `NEEDS` which commands are not run, and
what they need. A block whose first line is ``python NAME`` is that file; other Python is run as it stands.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml
from typer.testing import CliRunner

from agentgym import register
from agentgym.cli.main import build_app
from agentgym_trajectories.store import Store

ROOT = Path(__file__).parents[1]
SMALL = {
    "collect": "--tasks 2 --max-tokens 8",
    "synthesize": "--tasks 2 --max-tokens 8",
    "eval": "--tasks 2 --max-tokens 8",
    "compare": "--steps 2 --tasks 2 --max-tokens 8",
    "model init": "--warmup-steps 2",
    "train sft": "--max-steps 2",
    "train preference": "--max-steps 2",
    "train reward": "--max-steps 2",
    "train rl": "--updates 1 --tasks 1 --samples 2 --max-tokens 4 --eval-tasks 0",
    "train es": "--updates 1 --pairs 1 --tasks 1 --max-tokens 4",
    "train tokens": "--update 1 --task train-0",
    "env validate": "--limit 2",
    "env new": "--no-install",
}
# More, where a command has such a word.
ALSO = {"--policy oracle": "--tasks 24", "--samples": "--samples 2", "--simulations": "--simulations 2"}
STAND_INS = {
    r"--policy vllm:\S+ (.*)--guided": "--policy runs/policy \\1",  # what vLLM would write, transformers does
    r"--policy vllm:\S+": "--policy runs/policy",
    r"--sampler vllm": "--sampler transformers",
    r"--workers ray": "--workers local",  # Ray's own test is in tests/trajectories/test_rollout.py
    r"sandbox=docker": "sandbox=local",  # those of the Engine are in tests/sandbox/
    r"backend=browser": "backend=text",  # those of Chromium are in tests/envs/test_web_browser.py
    r"--by step:\S+": "--by step:theta=0.2",
    r"url=http://localhost:8001": "url=http://127.0.0.1:{serving}",
}
NEEDS = {
    r"^(make|pip|source) ": "sets the environment up that tests run in; continuous integration runs `make test`",
    r"^python -m tests\.": "minutes; benchmarks are started by hand",
    r"^(vllm|ray) ": "the program of that package; see tests/core/test_vllm_server.py and tests/trajectories/test_rollout.py",
    r"--mcp https://": "a server of somebody; see tests/connect/test_mcp.py",
    r"^agentgym (loop|run) (?!mine.yaml --out runs/small)": "hours; the tests of recipes run each at tiny size",
    r"^agentgym env check code/Python-v0": "a minute; tests/envs/test_code_python.py does it",
    r"tau2_bench/|BFCL_v4|ifeval|mt_bench": "the data of those benchmarks",
}
if find_spec("tensorboard") is None:
    NEEDS[r"--track tensorboard"] = "TensorBoard"
ANSWER = {"choices": [{"message": {"role": "assistant", "content": "I cannot help."}, "finish_reason": "stop"}]}


@dataclass(frozen=True)
class Block:
    """A block of code.

    Attributes:
        section: The heading that it stands under.
        language: Empty for commands.
        file: Its name, if it is a file.
        code: What stands in it.
    """

    section: str
    language: str
    file: str
    code: str

    @property
    def commands(self) -> list[str]:
        """Its lines without comments."""
        lines = (
            re.sub(r"(^|\s+)#.*", "", line) for line in self.code.splitlines()
        )  # as a shell, which needs the blank before it
        return [line for line in lines if line]


def blocks(page: str) -> list[Block]:
    """All blocks of a page of this project."""
    found = []
    section = ""
    text = (ROOT / page).read_text("utf-8")
    for heading, info, code in re.findall(r"^## (.*)$|^```(.*)\n((?:.*\n)*?)```$", text, re.MULTILINE):
        if heading:
            section = heading
        else:
            language, _, file = info.partition(" ")
            found.append(Block(section, language, file, code))
    return found


def sized(command: str) -> str:
    """A command at tiny size, without what no test can have."""
    for pattern, stand_in in STAND_INS.items():
        command = re.sub(pattern, stand_in, command)
    words = command.split()
    words = words[1:] if words[0] == "agentgym" else words[2:]
    more = [SMALL[name] for name in (words[0], " ".join(words[:2])) if name in SMALL]
    more += [extra for word, extra in ALSO.items() if word in command]
    return " ".join([command, *more])


class Reader:
    """Somebody who plays pages in a folder.

    Attributes:
        served: How many pages and servers answered.
        left_out: Commands that were not run, with what they need.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.served = folder, 0
        self.left_out: dict[str, str] = {}
        self._servers: list[subprocess.Popen[str]] = []
        self._port = 0

    def play(self, block: Block) -> None:
        """Do what a block says."""
        if block.file:
            file = self.folder / block.file
            file.parent.mkdir(exist_ok=True)
            file.write_text(block.code)
            sys.modules.pop(file.stem, None)  # a command of its own process would not have the old one
        elif block.language == "python":
            exec(compile(block.code, block.section, "exec"), {"__name__": "page"})
        elif block.language in ("yaml", "json"):  # which JSON is as well
            assert yaml.safe_load(block.code) is not None
        elif block.language == "":
            for command in block.commands:
                self.run(command)
        else:
            raise AssertionError(f"nobody knows how to play {block.language!r}")

    def run(self, command: str) -> None:
        """Run a command, or remember why not; it has to succeed."""
        if needs := next((why for pattern, why in NEEDS.items() if re.search(pattern, command)), ""):
            self.left_out[command] = needs
            return
        small = sized(command).format(serving=self._port)
        words = shlex.split(small)
        if words[0] == "python":  # a file that adds methods, and is the command line then
            exec(compile((self.folder / words[1]).read_text(), words[1], "exec"), vars(_module(words[1])))
            words = words[1:]
        if words[1] in ("serve", "view") and "--export" not in words:
            self._serve([*words[1:], "--port", str(self._free())])
            return
        if words[1] == "pairs":
            enlighten(Path(words[2]))
        if "runs/refined" in words and words[1] == "train":
            keep(Path("runs/refined"))
        words, file = (words[:-2], words[-1]) if words[-2] == ">" else (words, "")
        done = CliRunner().invoke(build_app(), words[1:], prog_name="agentgym")
        assert done.exit_code == 0, (small, done.output, done.exception)
        if file:
            (self.folder / file).write_text(done.output)
        if words[1:3] == ["env", "new"]:  # what `pip install` of the package does
            sys.path.insert(0, str(self.folder / words[3]))
            name = words[3]
            register(f"{name}/{name.capitalize()}-v0", f"{name}:{name.capitalize()}")

    def _free(self) -> int:
        with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
            return int(server.server_port)

    def _serve(self, words: list[str]) -> None:
        """Start what serves until Ctrl-C, and look at it; it goes on serving."""
        self._port = int(words[-1])
        server = subprocess.Popen([sys.executable, "-m", "agentgym", *words], stdout=subprocess.PIPE, text=True)
        self._servers.append(server)
        until = time.monotonic() + 120
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/{'' if words[0] == 'view' else 'health'}") as answer:
                    assert answer.status == 200
                    break
            except OSError:
                assert server.poll() is None, server.communicate()
                assert time.monotonic() < until
                time.sleep(0.05)
        self.served += 1

    def close(self) -> None:
        """Press Ctrl-C wherever something is served."""
        for server in self._servers:
            server.send_signal(signal.SIGINT)
        for server in self._servers:
            server.communicate(timeout=60)


def _module(name: str) -> Any:
    """A module for a file's definitions, as dataclasses want one."""
    module = type(sys)(name.removesuffix(".py"))
    sys.modules[module.__name__] = module
    return module


def enlighten(run: Path) -> None:
    """Give the first two actions of each tree values that differ: a policy of two steps finds no difference by itself."""
    with Store(run) as store:
        for row, nodes in store.query("SELECT id, nodes FROM episodes"):
            changed = json.loads(nodes)
            first = [n for n in changed if n["kind"] == "action" and n["parent"] == 0 and n.get("visits")]
            for node, value in zip(first, (1.0, 0.0), strict=False):
                node["value"] = value
            store._db.execute("UPDATE episodes SET nodes = ? WHERE id = ?", (json.dumps(changed), row))


def keep(run: Path) -> None:
    """Let a run's selection keep all: a policy of two steps betters nothing."""
    with Store(run) as store:
        assert store.query("SELECT count(*) FROM selections")[0][0] > 0
        store._db.execute("UPDATE selections SET reason = ''")


class _Chat(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = json.dumps(ANSWER).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *text: object) -> None:
        pass


@contextmanager
def chat_server() -> Iterator[dict[str, str]]:
    """A server of the chat API, as the variables that name it."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Chat) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield {"OPENAI_BASE_URL": f"http://127.0.0.1:{server.server_port}/v1", "OPENAI_API_KEY": "sk-page"}
        server.shutdown()


def furnish(folder: Path) -> None:
    """What a reader brings along: a task file, a server with tools, and what is asked of it."""
    program = {"prompt": "Write a function double(x).", "code": "def double(x):\n    return 2 * x", "task_id": 1}
    rows = [program | {"task_id": i, "test_list": [f"assert double({i}) == {2 * i}"]} for i in range(601, 613)]
    (folder / "mbpp.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    shutil.copy(ROOT / "tests/connect/servers.py", folder / "server.py")
    (folder / "tasks.jsonl").write_text('{"prompt": "Add 3 and 4."}\n{"prompt": "Note that it rains."}\n')
    prompts = [{"prompt": f"Name {i} rivers.", "split": "train"} for i in range(2, 8)]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in prompts))
    (folder / "rubric.json").write_text('[{"kind": "length", "most": 20}]')
    (folder / "check.py").write_text("def score(answer, task, calls):\n    return float(bool(calls))\n")
    assert os.path.samefile(folder, ".")
