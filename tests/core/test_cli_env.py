"""The command line: what it prints, what it returns, how its errors end, and a scaffold that works as it is."""

import json
import os
import site
import subprocess
import sys
import venv
from importlib.metadata import EntryPoint
from pathlib import Path

import gymnasium
import pytest
import typer
from typer.testing import CliRunner

import agentgym
from agentgym import Environment, EnvironmentFailure, Task, UserError, assistant, call, procedural, register, registry, tool
from agentgym.cli import main, scaffold
from agentgym.cli.output import Output, parse_env_args

ROOT = Path(agentgym.__file__).parents[1]


class Echo(Environment):
    """Say a word again [bracketed].

    More about it.
    """

    def __init__(self, level="easy", honest=True):
        self.level = level
        self.honest = honest

    def tasks(self, split="train"):
        return procedural(lambda rng: Task(f"Say {rng.randint(0, 10**6)} ({self.level}).", {}), split)

    @tool
    def look(self, deep: bool | None = None) -> str:
        """Look around."""
        return "Nothing."

    def score(self, answer):
        return {"said": float(answer == self.task.prompt.split()[1])}

    def oracle(self):
        if self.turn == 0:
            return assistant("", call("look"))
        return assistant(self.task.prompt.split()[1] if self.honest else "no")


class PassesOn(Echo):
    """Say a word again; what it does not know itself it passes on."""

    def __init__(self, level="easy", **more):
        super().__init__(level, **more)


class Leveled(Echo):
    """Say a word again, at a level that exists."""

    def __init__(self, level="easy"):
        if level not in ("easy", "hard"):
            raise UserError(f"there is no level {level!r}: use one of easy, hard")
        super().__init__(level)


@pytest.fixture(autouse=True)
def only_echo(monkeypatch):
    """The registry holds `Echo` and nothing else."""
    monkeypatch.setattr(registry, "_specs", {})
    monkeypatch.setattr(registry, "_loaded", True)
    register("tiny/Echo-v0", Echo)
    yield
    for env_id in registry._specs:
        gymnasium.registry.pop(env_id)


def run(*args):
    return CliRunner().invoke(main.build_app(), [str(a) for a in args], prog_name="agentgym")


def run_json(*args):
    """The result of a command; text for people must be on stderr alone."""
    done = run(*args, "--json")
    (line,) = done.stdout.splitlines()
    return done.exit_code, json.loads(line)


# ---- env -----------------------------------------------------------------------------------------------------------------


def test_list():
    done = run("env", "list")
    assert done.exit_code == 0
    assert "tiny/Echo-v0" in done.stdout
    assert "Say a word again [bracketed]." in done.stdout
    assert "Next: agentgym env show tiny/Echo-v0" in done.stdout
    description = {"id": "tiny/Echo-v0", "family": "tiny", "description": "Say a word again [bracketed]."}
    assert run_json("env", "list") == (0, {"environments": [description]})


def test_list_shows_what_cannot_be_imported():
    register("tiny/Missing-v0", "no_such_package:Env")
    (_, missing) = run_json("env", "list")[1]["environments"]
    assert missing["description"] == "(cannot be imported: No module named 'no_such_package')"
    assert "Error: tiny/Missing-v0 cannot be imported" in run("env", "show", "tiny/Missing-v0").stderr


def test_list_says_how_to_install_what_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    register("tiny/Torch-v0", "torch.nothing:Env")
    (_, missing) = run_json("env", "list")[1]["environments"]
    assert missing["description"] == "(not installed: pip install 'agentgym[train]')"


def test_show():
    text = run("env", "show", "tiny/Echo-v0", "--env-arg", "level=hard").stdout
    for part in ("Say a word again [bracketed].", "More about it.", "look", "deep: boolean | null", "train endless", "(hard)."):
        assert part in text
    code, data = run_json("env", "show", "tiny/Echo-v0")
    assert code == 0
    assert data["splits"] == {"train": None, "validation": None, "test": None}
    assert data["tools"][0]["function"]["name"] == "look"
    assert data["example"]["messages"][0]["role"] == "user"


def test_check():
    done = run("env", "check", "tiny/Echo-v0")
    assert done.exit_code == 0
    assert "checks passed" in done.stdout
    assert "Next: agentgym collect --env tiny/Echo-v0" in done.stdout
    sound = {"env": "tiny/Echo-v0", "ok": True, "failed": [], "tasks": 100, "gold_passed": 100, "floor_passed": 0}
    assert run_json("env", "check", "tiny/Echo-v0") == (0, sound)
    assert run_json("env", "check", "--all") == (0, {"ok": True, "environments": [sound]})


def test_a_failed_check_has_exit_code_1():
    code, data = run_json("env", "check", "tiny/Echo-v0", "--env-arg", "honest=false")
    assert (code, data["ok"], data["gold_passed"]) == (1, False, 0)
    assert [f["name"] for f in data["failed"]] == ["the oracle solves every task", "the tasks are sound"]


def test_check_all_goes_on_after_a_broken_environment():
    register("a/Missing-v0", "no_such_package:Env")
    code, data = run_json("env", "check", "--all")
    assert code == 1
    assert [(r["env"], r["ok"]) for r in data["environments"]] == [("a/Missing-v0", False), ("tiny/Echo-v0", True)]


def test_wrong_arguments_are_no_broken_promise():
    register("tiny/Leveled-v0", Leveled)
    register("tiny/PassesOn-v0", PassesOn)
    for env, pair, text in (
        ("Leveled", "level=huge", "there is no level 'huge': use one of easy, hard"),
        ("Leveled", "lvl=hard", "tiny/Leveled-v0 does not take these arguments (got an unexpected keyword argument 'lvl')"),
        ("PassesOn", "lvl=hard", "tiny/PassesOn-v0 does not take these arguments (Echo.__init__() got an unexpected"),
    ):
        done = run("env", "check", f"tiny/{env}-v0", "--env-arg", pair)
        assert (done.exit_code, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
        assert done.stderr.startswith(f"Error: {text}")


def test_of_several_those_are_left_out_that_do_not_take_the_arguments():
    register("tiny/Leveled-v0", Leveled)
    code, data = run_json("env", "check", "tiny", "--env-arg", "level=huge")
    assert (code, [r["env"] for r in data["environments"]]) == (0, ["tiny/Echo-v0"])
    assert data["skipped"] == {"tiny/Leveled-v0": "there is no level 'huge': use one of easy, hard"}
    done = run("env", "check", "tiny", "--env-arg", "lvl=huge")
    assert done.exit_code == 2
    assert done.stderr.startswith("Error: none of 2 environments was checked: give --env-arg what they take")


def test_a_bug_in_making_is_no_wrong_argument():
    register("tiny/Buggy-v0", lambda: len(3))
    with pytest.raises(TypeError, match="has no len"):
        registry.make("tiny/Buggy-v0")


def test_validate():
    code, data = run_json("env", "validate", "tiny/Echo-v0", "--split", "test", "--limit", 7)
    assert code == 0
    assert (data["tasks"], data["gold_passed"], data["floor_passed"], data["gold_failed"]) == (7, 7, 0, [])
    done = run("env", "validate", "tiny/Echo-v0", "--env-arg", "honest=false", "--limit", 3)
    assert done.exit_code == 1
    assert "Not sound: expected the oracle to solve all 3 tasks, it solved 0, not train-0, train-1, train-2." in done.stdout
    data = run_json("env", "validate", "tiny/Echo-v0", "--env-arg", "honest=false", "--limit", 1)[1]
    assert data["gold_failed"] == ["train-0"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["show", "tiny/Ecko-v0"], "Error: there is no environment 'tiny/Ecko-v0': did you mean 'tiny/Echo-v0'?"),
        (["show", "tiny/Echo-v0", "--env-arg", "level"], "Error: --env-arg 'level' is no argument: write KEY=VALUE"),
        (["show", "tiny/Echo-v0", "--env-arg", "colour=red"], "Error: tiny/Echo-v0 does not take these arguments"),
        (["check"], "Error: say which environment to check"),
        (["check", "tiny/Echo-v0", "--all"], "Error: say which environment to check"),
        (
            ["check", "nobody/None-v0"],
            "Error: there is no environment 'nobody/None-v0': see `agentgym env list`; environments of",
        ),
        (["validate", "tiny/Echo-v0", "--split", "nope"], "Error: there is no split 'nope'"),
        (["validate", "tiny/Echo-v0", "--limit", "0"], "Error: split 'train' has no end: give a limit"),
        (["validate", "tiny/Echo-v0", "--limit", "many"], "Error: Invalid value for '--limit'"),
        (["list", "--colour"], "Error: No such option: --colour"),
    ],
)
def test_wrong_requests_have_exit_code_2_and_one_line(args, message):
    done = run("env", *args)
    assert done.exit_code == 2
    assert done.stderr.splitlines()[-1].startswith(message)
    assert len(done.stderr.splitlines()) <= 4


# ---- env new -------------------------------------------------------------------------------------------------------------


def test_a_scaffold_is_small_and_whole(tmp_path):
    code, data = run_json("env", "new", "my_env", "--dir", tmp_path, "--no-install")
    assert (code, data) == (0, {"env": "my_env/MyEnv-v0", "path": str(tmp_path / "my_env"), "installed": False})
    files = sorted((tmp_path / "my_env").iterdir())
    assert [f.name for f in files] == ["README.md", "my_env.py", "pyproject.toml", "test_my_env.py"]
    assert sum(len(f.read_text().splitlines()) for f in files) < 100
    assert list(tmp_path.iterdir()) == [tmp_path / "my_env"]


@pytest.mark.parametrize("name", ["My_Env", "my-env", "1env", "_env", "class", "", "../env", "json", "agentgym"])
def test_names_that_cannot_be_packages_are_refused(tmp_path, name):
    done = run("env", "new", name, "--dir", tmp_path, "--no-install")
    assert done.exit_code == 2
    assert done.stderr.startswith("Error: ")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten_and_nothing_half_written(tmp_path, monkeypatch):
    (tmp_path / "my_env").mkdir()
    assert "exists already" in run("env", "new", "my_env", "--dir", tmp_path).stderr
    assert "make it first" in run("env", "new", "my_env", "--dir", tmp_path / "nowhere").stderr
    monkeypatch.setitem(scaffold._FILES, "more", "no-such-template")
    with pytest.raises(FileNotFoundError):
        scaffold.create("other_env", tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["my_env"]


def test_where_it_cannot_be_installed_the_folder_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    done = run("env", "new", "my_env", "--dir", tmp_path)
    assert done.exit_code == 0
    assert "It could not be installed from here." in done.stdout
    assert f"Next: pip install -e {tmp_path / 'my_env'}" in done.stdout


@pytest.fixture
def own_python(tmp_path, monkeypatch):
    """The Python of a fresh virtual environment that sees the packages of this one, so that this one stays as it is."""
    pytest.importorskip("hatchling")
    pytest.importorskip("editables")
    venv.create(tmp_path / "venv", with_pip=False)
    python = tmp_path / "venv" / "bin" / "python"
    (own,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    lines = [f"import site; site.addsitedir({path!r})" for path in site.getsitepackages()]
    (own / "outer.pth").write_text("\n".join(lines))
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *sys.path]))
    return python


def test_a_scaffold_installs_and_passes_its_checks(tmp_path, own_python):
    code, data = run_json("env", "new", "my_env", "--dir", tmp_path)
    assert (code, data["installed"]) == (0, True)

    def agentgym_json(*args):
        done = subprocess.run([own_python, "-m", "agentgym", *args, "--json"], capture_output=True, text=True, check=True)
        return json.loads(done.stdout.splitlines()[-1])

    listed = agentgym_json("env", "list")["environments"]
    assert "Find a hidden number; each guess is answered with higher, lower or right." in [e["description"] for e in listed]
    checked = agentgym_json("env", "check", "my_env/MyEnv-v0")
    assert checked | {"failed": []} == checked
    assert (checked["tasks"], checked["gold_passed"], checked["floor_passed"]) == (100, 100, 0)


# ---- the root ------------------------------------------------------------------------------------------------------------


def boom_user(say: str = "no"):
    """Fail as a user."""
    raise UserError(say)


def boom_environment():
    """Fail as an environment."""
    raise EnvironmentFailure("the container died")


def boom_interrupt():
    """Be interrupted."""
    raise KeyboardInterrupt


def boom_extra():
    """Need an extra."""
    raise ModuleNotFoundError("No module named 'torch'", name="torch.nn")


def boom_bug():
    """Have a bug."""
    raise ModuleNotFoundError("No module named 'agentgym.nothing'", name="agentgym.nothing")


group = typer.Typer(help="A group.")
group.command("user")(boom_user)
group.command("other")(boom_bug)


@pytest.fixture
def commands(monkeypatch):
    """Let `agentgym` have the commands of this file."""

    def set_commands(**values):
        points = [EntryPoint(name, f"{__name__}:{value}", main.GROUP) for name, value in values.items()]
        monkeypatch.setattr(main, "entry_points", lambda group: points)

    return set_commands


@pytest.mark.parametrize(
    ("function", "code", "text"),
    [
        ("boom_user", 2, "Error: no\n"),
        ("boom_environment", 1, "Error: the container died\n"),
        ("boom_interrupt", 130, "Interrupted.\n"),
        ("boom_extra", 2, "Error: No module named 'torch'; install it with: pip install 'agentgym[train]'\n"),
    ],
)
def test_errors_end_in_one_line_and_an_exit_code(commands, function, code, text):
    commands(boom=function)
    done = run("boom")
    assert (done.exit_code, done.stdout, done.stderr) == (code, "", text)


def test_a_bug_is_not_hidden(commands):
    commands(boom="boom_bug")
    assert isinstance(run("boom").exception, ModuleNotFoundError)


def test_errors_inside_a_group_end_the_same_way(commands):
    commands(many="group")
    done = run("many", "user", "--say", "never")
    assert (done.exit_code, done.stderr) == (2, "Error: never\n")


def test_a_command_that_cannot_be_imported_leaves_the_others_alone(commands):
    commands(zzz="boom_user", lost="no_such_function", env="group")
    done = run("--help")
    assert done.exit_code == 0
    names = [line.split()[0] for line in done.stdout.partition("Commands:")[2].split("\n") if line.strip()]
    assert names == ["env", "lost", "zzz"]
    for args in (["lost"], ["lost", "--help"], ["lost", "a", "--b=c"]):
        done = run(*args)
        assert done.exit_code == 2
        assert done.stderr.startswith("Error: `agentgym lost` is not available (AttributeError")
        assert len(done.stderr.splitlines()) == 1


def test_version_and_no_arguments():
    assert run("--version").stdout == f"agentgym {agentgym.__version__}\n"
    assert "Usage: agentgym" in run().output


def test_help_imports_no_torch():
    code = (
        "import sys, agentgym.cli.main as m\n"
        "try: m.build_app()(['--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit(bool({'torch', 'transformers', 'datasets'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False)
    assert done.returncode == 0


# ---- output --------------------------------------------------------------------------------------------------------------


def test_env_args_are_json_or_text():
    pairs = ["n=3", "level=hard", 'words=["a"]', 'three="3"', "flag=true", "empty=", "odd=a=b", "nan=NaN"]
    values = {"n": 3, "level": "hard", "words": ["a"], "three": "3", "flag": True, "empty": "", "odd": "a=b", "nan": "NaN"}
    assert parse_env_args(pairs) == values
    assert parse_env_args(None) == {}


@pytest.mark.parametrize("pair", ["", "level", "=3", "a b=3"])
def test_malformed_env_args_are_refused(pair):
    with pytest.raises(UserError, match="KEY=VALUE"):
        parse_env_args([pair])


@pytest.mark.parametrize("as_json", [False, True])
def test_texts_and_results_do_not_mix(capsys, as_json):
    out = Output(as_json)
    out.say("[bold]text[/nothing] " + "long " * 40)
    with out.progress() as bar:
        assert list(bar.track(range(3))) == [0, 1, 2]
    out.next_steps("agentgym x")
    out.result({"path": Path("a/b"), "n": 1})
    stdout, stderr = capsys.readouterr()
    text, other = (stderr, stdout) if as_json else (stdout, stderr)
    assert text.splitlines() == ["[bold]text[/nothing] " + "long " * 40, "Next: agentgym x"]
    assert other == ('{"path":"a/b","n":1}\n' if as_json else "")
