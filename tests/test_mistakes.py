"""The likeliest mistakes of a new user: each ends in one line that says what to do, and leaves nothing half-written."""

import contextlib
import json
import resource
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agentgym.cli.main import build_app
from agentgym.sampling.http import Endpoint
from agentgym_trajectories import select as selecting
from agentgym_trajectories.store import FILE, Store
from tests.conftest import oracle_episode

DESK = "--env desk/Orders-v0"
TRAIN = "train sft gold --model base --out out"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, nano_dir: Path) -> Path:
    """A folder with what a user has by then: a run, a model; and what is wrong with some."""
    import agentgym

    folder = tmp_path_factory.mktemp("place")
    env = agentgym.make("desk/Orders-v0")
    with Store(folder / "gold", create=True) as store:
        for task in env.tasks("train")[:6]:
            store.add(oracle_episode(env, task))
        store.flush()
        store.add_selection("empty", selecting.apply(store.trajectories(), [selecting.Length(turns=0)]))
    shutil.copytree(folder / "gold", folder / "newer")
    with contextlib.closing(sqlite3.connect(folder / "newer" / FILE)) as file:
        file.execute("PRAGMA user_version = 99")
    shutil.copytree(nano_dir, folder / "base")
    for name in ("notokenizer", "notemplate"):
        shutil.copytree(nano_dir, folder / name)
    for file_ in (*(folder / "notokenizer").glob("tokenizer*"), folder / "notemplate/chat_template.jinja"):
        file_.unlink()
    config = json.loads((folder / "notemplate/tokenizer_config.json").read_text())
    (folder / "notemplate/tokenizer_config.json").write_text(json.dumps(config | {"chat_template": None}))
    (folder / "odd.yaml").write_text("env: desk/Orders-v0\nroundz: 3\n")
    (folder / "file").write_text("no folder")
    return folder


def ended(place: Path, command: str, *files: str) -> tuple[int, list[str]]:
    """Exit code and the lines on stderr of a command; of all that it wrote only `files` are left."""
    before = set(place.rglob("*"))
    done = CliRunner().invoke(build_app(), command.split(), prog_name="agentgym")
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    assert "Traceback" not in done.output
    left = {str(path.relative_to(place)) for path in set(place.rglob("*")) - before}
    assert left == set(files)
    return done.exit_code, done.stderr.splitlines()


@pytest.fixture
def at(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(place)
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    return place


# Each with what its line begins with, and what it tells to do.
MISTAKES = {
    "an environment misspelt": (
        f"collect {DESK[:-6]}s-v0 --out out",
        "there is no environment 'desk/Ords-v0'",
        "did you mean 'desk/Orders-v0'?",
    ),
    "an argument that the environment does not take": (
        f"collect {DESK} --env-arg levle=hard --out out",
        "desk/Orders-v0 does not take these arguments (got an unexpected keyword argument 'levle')",
        "see `agentgym env show desk/Orders-v0`",
    ),
    "a value that the argument does not take": (
        f"collect {DESK} --env-arg level=extreme --out out",
        "there is no level 'extreme'",
        "use one of easy, medium, hard",
    ),
    "a file of tasks that is not there": (
        "collect --env code/Python-v0 --env-arg data=nowhere.jsonl --out out",
        "there is no file nowhere.jsonl",
        "give the tasks' JSON lines with data=PATH",
    ),
    "a run misspelt": ("select glod", "there are no episodes at glod", "collect some with `agentgym collect --out glod`"),
    "a store of a newer version": ("select newer", "newer/episodes.db was written by a newer agentgym", "upgrade to read it"),
    "a hub's name for a model directory": (
        "train sft gold --model Qwen/Qwen3-0.6B --out out",
        "there is no model directory Qwen/Qwen3-0.6B",
        "`hf download Qwen/Qwen3-0.6B --local-dir DIRECTORY` fetches one from the hub",
    ),
    "a hub's name for a policy": (
        f"eval {DESK} --policy Qwen/Qwen3-0.6B",
        "there is no policy 'Qwen/Qwen3-0.6B'",
        "hf download Qwen/Qwen3-0.6B",
    ),
    "a run for a policy": (
        f"collect {DESK} --policy gold --out out",
        "no model can be loaded from gold (it has no config.json)",
        "`agentgym model init` makes a small one",
    ),
    "a model without its tokenizer": (
        "train sft gold --model notokenizer --out out",
        "there is no tokenizer in notokenizer",
        "copy the tokenizer* files of the model it came from",
    ),
    "a model without a chat template": (
        "train sft gold --model notemplate --out out",
        "this tokenizer has no chat template",
        "choose an instruction-tuned model, or set one",
    ),
    "no key for a server": (
        f"collect {DESK} --policy openai:gpt-5 --out out",
        "the server api.openai.com needs an API key",
        "set OPENAI_API_KEY",
    ),
    "a selector misspelt": ("select gold --by rewrd", "there is no selector 'rewrd'", "use one of reward, errors"),
    "an option that a selector does not have": (
        "select gold --by reward:mn=1",
        "selector 'reward' has no option 'mn'",
        "it has min",
    ),
    "a selection that nobody made": (
        f"{TRAIN} --selection clean",
        "gold/episodes.db has no selection 'clean'",
        "make it with `agentgym select`",
    ),
    "a selection that keeps nothing": (
        f"{TRAIN} --selection empty",
        "there are no rows to train on",
        "collect more, or select less strictly",
    ),
    "an objective misspelt": (f"{TRAIN} --objective neftun", "there is no objective 'neftun'", "use one of agenttuning"),
    "a method misspelt": (
        f"train rl {DESK} --model base --out out --method gppo",
        "no method 'gppo' of reinforcement learning",
        "choose from grpo",
    ),
    "a training in an environment that is not there": (
        "train rl --env desk/Order-v0 --model base --out out --eval-tasks 0",
        "there is no environment 'desk/Order-v0'",
        "did you mean 'desk/Orders-v0'?",
    ),
    "a reward misspelt": (
        f"train rl {DESK} --model base --out out --reward jugde",
        "there is no reward 'jugde'",
        "use one of environment, part",
    ),
    "a search misspelt": (f"collect {DESK} --search mctss --out out", "there is no search 'mctss'", "use one of agent-q, mcts"),
    "pairs before a search": ("pairs gold", "nothing in gold makes pairs by step, distinct, cap", "--search mcts"),
    "preferences before pairs": (
        "train preference gold --pairs default --model base --out out",
        "gold/episodes.db has no pairs 'default'",
        "make them with `agentgym pairs`",
    ),
    "a loss misspelt": (
        "train preference gold --pairs default --loss dppo --model base --out out",
        "no preference loss 'dppo'",
        "choose from dpo",
    ),
    "an out folder that holds something": (
        "train sft gold --model base --out gold",
        "gold exists already",
        "choose another --out, or remove it",
    ),
    "a folder below a file": (
        f"collect {DESK} --out file/run",
        "file/run cannot be made (Not a directory)",
        "choose another path",
    ),
    "a folder that cannot be made": (
        f"collect {DESK} --out /proc/x1",
        "/proc/x1 cannot be made (",
        "choose another path",
    ),
    "a model's folder that cannot be made": (
        "model init gold --out /proc/x1",
        "/proc/x1 cannot be written (",
        "choose another --out",
    ),
    "a training's folder that cannot be written": (
        "train sft gold --model base --out file/out",
        "file/out cannot be written (Not a directory)",
        "choose another --out",
    ),
    "a folder that cannot be written": (
        f"collect {DESK} --out /proc",
        "/proc/episodes.db cannot be opened (unable to open database file)",
        "choose another path",
    ),
    "a recipe misspelt": (
        "loop agentq --out out",
        "there is no recipe 'agentq'",
        "give a YAML file, or one of agent-q",
    ),
    "a key that recipes do not have": ("loop odd.yaml --out out", "recipe odd.yaml", "roundz"),
    "a split misspelt": (f"collect {DESK} --split tset --out out", "there is no split 'tset'", "use one of train"),
    "an option misspelt": (
        f"collect {DESK} --taks 3 --out out",
        "No such option: --taks",
        "--tasks) (see `agentgym collect --help`)",
    ),
    "no number where one is wanted": (
        f"collect {DESK} --tasks many --out out",
        "Invalid value for '--tasks'",
        "(see `agentgym collect --help`)",
    ),
    "an option left out": (f"collect {DESK}", "Missing option '--out'", "(see `agentgym collect --help`)"),
    "a command misspelt": ("colect", "No such command 'colect'", "Did you mean 'collect'"),
    "a command of a group misspelt": ("train stf", "No such command 'stf'", "Did you mean 'sft'?"),
    "an option of agentgym misspelt": ("--vresion", "No such option: --vresion", "--version"),
    "nowhere to play": ("collect --out out", "say where to play", "--env ID or --mcp SERVER"),
    "a format that cannot be written": ("export gold --to out.csv", "there is no format 'csv'", "use one of jsonl, parquet, hf"),
    "nothing that could be verified": (
        "verify gold --policy base",
        "no trajectory of gold has token ids",
        "verify what a model directory or vLLM has played",
    ),
    "updates of what is no training": (
        "train tokens gold --update 1 --task train-1",
        "there are no updates in gold",
        "give the directory that `agentgym train rl --out` made",
    ),
    "a report of nothing": ("report glod --out out/r.html", "nothing was measured in glod", "give the directory of"),
    "a server's program that is not there": (
        "collect --mcp nosuchserver --instructions Go. --policy random --out out",
        "there is no program 'nosuchserver'",
        "give an MCP server's command line",
    ),
    "a method of synthesis misspelt": (
        f"synthesize magpi {DESK} --policy oracle --out out",
        "there is no method 'magpi'",
        "use one of magpie",
    ),
    "a rubric that is not there": (
        "eval --env instruct/Prompts-v0 --env-arg rubric=nowhere.json --policy oracle",
        "there is no rubric nowhere.json",
        "give a JSON file",
    ),
    "a tracker misspelt": (f"{TRAIN} --track tensorbord", "there is no tracker 'tensorbord'", "use one of tensorboard"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_that_says_what_to_do(at: Path, name: str) -> None:
    command, wrong, remedy = MISTAKES[name]
    code, lines = ended(at, command)
    assert code == 2
    assert len(lines) == 1
    assert lines[0].startswith(f"Error: {wrong}")
    assert remedy in lines[0]


def test_as_a_user_runs_it(at: Path) -> None:
    """The same in a process of its own: nothing but the line, no traceback, no warning."""
    words = ["collect", "--env", "desk/Ordrs-v0", "--out", "out"]
    done = subprocess.run([sys.executable, "-m", "agentgym", *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "Error: there is no environment 'desk/Ordrs-v0': did you mean 'desk/Orders-v0'?\n"
    assert not Path("out").exists()


# ---- what is not installed ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "module", "extra"),
    [
        (f"collect {DESK} --policy vllm:base --out out", "vllm", "vllm"),
        (f"collect {DESK} --policy vllm:base --out out", "aiohttp", "vllm"),
        (f"collect {DESK} --policy openai:gpt-5 --out out", "aiohttp", "openai"),
        (f"collect {DESK} --workers ray --out out", "ray", "ray"),
        (f"{TRAIN} --track wandb", "", "wandb"),
        ("select gold --by near", "datasketch", "select"),
        ("export gold --to out.parquet", "pyarrow", "export"),
        ("view gold", "uvicorn", "view"),
        ("demo --out out", "trl", "train"),
    ],
)
def test_a_missing_extra_is_named(at: Path, monkeypatch: pytest.MonkeyPatch, command: str, module: str, extra: str) -> None:
    if module:
        for loaded in [name for name in sys.modules if name.startswith(("agentgym.sampling.vllm", "agentgym.sampling.openai"))]:
            monkeypatch.delitem(sys.modules, loaded)
        for loaded in (
            "agentgym.sampling.http",
            "agentgym_trajectories.cluster",
            "agentgym_training.demo",
            "agentgym_training.sft",
        ):
            monkeypatch.delitem(sys.modules, loaded, raising=False)
        monkeypatch.setitem(sys.modules, module, None)
    code, lines = ended(at, command)
    assert code == 2
    assert len(lines) == 1
    assert f"pip install 'agentgym[{extra}]'" in lines[0]


def test_without_a_docker_engine(at: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tool cannot run; that is nobody's answer, and no episode is scored."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{at}/docker.sock")
    code, lines = ended(at, "collect --env code/Maths-v0 --env-arg sandbox=docker --tasks 2 --out out")
    assert (code, len(lines)) == (2, 1)
    assert lines[0].startswith("Error: no Docker Engine can be used at unix://")
    assert lines[0].endswith("start one, or take the local sandbox")


def test_without_a_browser(at: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("playwright")
    from agentgym_envs.web import browser

    monkeypatch.setattr(browser, "of_the_system", lambda: None)
    monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", "/nowhere")
    try:
        code, lines = ended(at, "collect --env web/Shop-v0 --env-arg backend=browser --tasks 1 --out out")
    finally:
        for opened in list(browser.opened.values()):
            opened.close()
    assert (code, len(lines)) == (2, 1)
    assert lines[0] == "Error: there is no Chromium: install chromium-headless-shell, or `playwright install chromium`"


# ---- the machine --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["view gold --port {}", f"serve {DESK} --port {{}}"])
def test_a_port_that_is_in_use(at: Path, command: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, lines = ended(at, command.format(port))
    assert (code, len(lines)) == (2, 1)
    assert f"{port} cannot be listened on (Address already in use): choose another --port" in lines[0]


@pytest.mark.parametrize("command", [f"collect {DESK} --tasks 300 --out full", f"{TRAIN} --max-steps 1"])
def test_a_disk_that_is_full(at: Path, command: str) -> None:
    """Files may have 64 KiB, which fails as a full disk does; what was written until then may stay, to go on from."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65536, hard))
    try:
        done = CliRunner().invoke(build_app(), command.split(), prog_name="agentgym")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        for made in ("full", "out"):
            shutil.rmtree(made, ignore_errors=True)
    assert done.exit_code == 2, done.exception
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: ")
    assert "cannot be written" in line
    assert line.endswith(("mend that and run the command again", "make room, and run the command again"))


class _Refusing(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(401)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *text: object) -> None:
        pass


@pytest.fixture
def refusing() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), _Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()


def test_a_key_that_is_refused(at: Path, monkeypatch: pytest.MonkeyPatch, refusing: str) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong")
    code, lines = ended(at, f"collect {DESK} --policy openai:{refusing}#model --tasks 2 --out out")
    assert (code, len(lines)) == (2, 1)
    assert lines[0].startswith(f"Error: POST {refusing}/chat/completions was refused with status 401; give the right API key")
    assert "sk-wrong" not in lines[0]
    code, lines = ended(at, f"collect {DESK} --policy openai:{refusing}#model --tasks 2 --max-tokens 9 --out out")
    assert "401" in lines[0]  # nothing was begun, so other settings are no conflict


def test_a_server_that_is_not_there(at: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may come back, so each attempt is on record, and the command can be given again."""
    monkeypatch.setattr(Endpoint, "base_delay", 0.001)
    monkeypatch.setattr(Endpoint, "longest_delay", 0.002)
    command = f"collect {DESK} --policy openai:http://127.0.0.1:9/v1#model --tasks 2 --attempts 1 --out out"
    code, lines = ended(at, command, "out", f"out/{FILE}")
    shutil.rmtree("out")
    assert (code, len(lines)) == (1, 1)
    assert lines[0].startswith("Error: no episode could be played (SamplerFailure: POST http://127.0.0.1:9/v1/chat/completions")
    assert "Cannot connect" in lines[0]
    assert lines[0].endswith("mend that, and run the command again")


def test_settings_that_are_not_those_of_the_run(at: Path) -> None:
    """What is there is kept as it is."""
    play = f"collect {DESK} --policy base --tasks 1 --out played --max-tokens"
    assert CliRunner().invoke(build_app(), [*play.split(), "8"]).exit_code == 0
    code, lines = ended(at, f"{play} 9")
    assert (code, len(lines)) == (2, 1)
    assert lines[0].endswith("give these settings again, or another --out")
    with Store("played") as store:
        assert store.query("SELECT count(*) FROM episodes") == [(1,)]
