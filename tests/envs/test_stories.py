"""tools/TextWorld-v0 and tools/ScienceWorld-v0, where their packages (and Java) are installed."""

import importlib.util
import json
import shutil
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import gymnasium
import pytest
from typer.testing import CliRunner

from agentgym import Environment, ErrorCategory, Message, Task, Tasks, UserError, assistant, call, register, registry
from agentgym.checks import check_env, validate_env
from agentgym.cli.main import build_app
from agentgym.errors import NotInstalled
from agentgym.tasks import check_split
from agentgym_envs.tools.stories import textworld as textworld_module
from agentgym_envs.tools.stories.base import needs
from agentgym_envs.tools.stories.prose import Scene
from agentgym_envs.tools.stories.scienceworld import ScienceWorld
from agentgym_envs.tools.stories.textworld import TextWorld

has_textworld = pytest.mark.skipif(importlib.util.find_spec("textworld") is None, reason="textworld is not installed")
has_scienceworld = pytest.mark.skipif(
    importlib.util.find_spec("scienceworld") is None or shutil.which("java") is None,
    reason="scienceworld is not installed, or there is no Java",
)


def act(env: Environment, command: str) -> tuple[str, tuple[Any, ...]]:
    observation, *_, info = env.step(assistant("", call("act", command=command)))
    return observation.messages[0].content, info["errors"]


def play(env: Environment) -> list[str]:
    """The oracle's commands, to the end."""
    commands = []
    while True:
        action = env.oracle()
        assert isinstance(action, Message)
        commands += [str(c.arguments and c.arguments["command"]) for c in action.tool_calls]
        *_, terminated, truncated, info = env.step(action)
        if terminated or truncated:
            assert info["success"]
            return commands


# ---- words ------------------------------------------------------------------------------------------------------------------------


def scene(*facts: str) -> Scene:
    """Facts such as ``in apple c_1``."""
    made = [SimpleNamespace(name=f.split()[0], arguments=[SimpleNamespace(name=a) for a in f.split()[1:]]) for f in facts]
    return Scene(made, {"apple": "apple", "pen": "red pen", "c_1": "chest", "s_1": "shelf", "r": "attic"})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[if c_1 is locked]a locked[else if c_1 is open]an opened[otherwise]a closed[end if] chest", "an opened chest"),
        ("[if c_1 is closed]x[else if c_1 is locked]y[otherwise]z[end if]", "z"),
        ("[if c_1 is open]x[else if c_1 is open]y[otherwise]z[end if]", "x"),
        (
            "[if c_1 is open and there is something in the c_1]It holds [a list of things in the c_1].[end if]",
            "It holds a apple.",
        ),
        ("[if c_1 is open and the c_1 contains nothing]Empty![end if]", ""),
        ("[if there is nothing on the s_1]Bare.[end if] [if there is something on the s_1]Full.[end if]", "Bare."),
        ("[if c_1 is open]a[if c_1 is locked]b[otherwise]c[end if]d[end if]e", "acde"),
        ("[if c_1 is locked]a[if c_1 is open]b[end if][end if]e", "e"),
        ("It is [something else].", "It is something else."),
        ("", ""),
    ],
)
def test_descriptions_become_words(text: str, words: str) -> None:
    assert scene("open c_1", "in apple c_1", "at P r", "at pen r", "at c_1 r").told(text) == words


def test_what_lies_on_the_floor() -> None:
    found = scene("open c_1", "in apple c_1", "at P r", "at pen r", "at c_1 r", "in pen I")
    assert found.room() == "r"
    assert found.loose("r") == ["red pen"]
    assert found.held("I") == ["red pen"]


# ---- TextWorld ---------------------------------------------------------------------------------------------------------------------


@has_textworld
def test_textworld_keeps_its_promises() -> None:
    assert not [check for check in check_env(lambda: TextWorld("easy"), tasks=1) if not check.ok]


@has_textworld
def test_textworld_is_won_by_its_own_solution_at_every_level() -> None:
    env = TextWorld()
    seen: dict[str, list[str]] = {}
    for task in env.tasks()[:12]:
        if task.difficulty not in seen:
            env.reset(options={"task": task})
            seen[task.difficulty] = play(env)
    assert len(seen["easy"]) == 2
    assert len(seen["hard"]) >= 6
    assert validate_env(TextWorld("easy"), "test", 2).floor_passed == 0


@has_textworld
def test_textworld_tells_what_is_there_and_what_can_be_done() -> None:
    env = TextWorld("medium")
    observation, _ = env.reset(options={"task": env.tasks()[0]})
    assert "-= " in observation.messages[-1].content
    text, errors = act(env, "dance")
    assert errors == (ErrorCategory.TOOL_ERROR,)
    possible = text.partition("what can: ")[2].split(", ")
    assert {"look", "inventory"} <= set(possible)
    for command in possible:
        before = env.snapshot()
        text, errors = act(env, command.upper())
        assert text
        assert not errors
        env.restore(before)
    assert act(env, "inventory")[0].startswith("You carry: ")


@has_textworld
def test_textworld_returns_to_states_by_playing_again() -> None:
    env, other = TextWorld("medium"), TextWorld("medium")
    env.reset(options={"task": env.tasks()[1]})
    env.step(env.oracle())
    snapshot, key = env.snapshot(), env.state_key()
    rest = play(env)
    other.reset(options={"task": other.tasks()[0]})
    for instance in (env, other):
        instance.restore(snapshot)
        assert instance.state_key() == key
        assert play(instance) == rest


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise needs("textworld", "textworld")

    monkeypatch.setattr(textworld_module, "_module", missing)
    with pytest.raises(NotInstalled, match=r"pip install 'agentgym\[textworld\]'"):
        TextWorld()
    with pytest.raises(UserError, match="there is no level 'x'"):
        TextWorld("x")


# ---- ScienceWorld ------------------------------------------------------------------------------------------------------------------


@has_scienceworld
def test_scienceworld_is_won_by_its_own_solution_and_can_be_returned_to() -> None:
    env = ScienceWorld()
    sizes = [len(env.tasks(split)) for split in ("train", "validation", "test")]
    assert sizes == [3592, 1796, 1819]
    env.reset(options={"task": "use-thermometer-258"})
    for _ in range(3):
        env.step(env.oracle())
    snapshot, key = env.snapshot(), env.state_key()
    rest = play(env)
    other = ScienceWorld()
    other.reset(options={"task": "boil-0"})
    other.restore(snapshot)
    assert other.state_key() == key
    assert play(other) == rest
    with pytest.raises(UserError, match="ids look like 'boil-0'"):
        env.find_task("boil-99999")


@has_scienceworld
def test_scienceworld_answers_what_nobody_knows() -> None:
    env = ScienceWorld()
    opening, _ = env.reset(options={"task": "boil-0"})
    assert "Your task is to boil water" in opening.messages[-1].content
    text, errors = act(env, "frobnicate")
    assert "No known action" in text
    assert errors == (ErrorCategory.TOOL_ERROR,)
    assert act(env, "look around")[1] == ()
    info = env.step("That is all.")[-1]
    assert info["rewards"] == {"won": 0.0, "score": 0.0}


# ---- checks of all environments ------------------------------------------------------------------------------------------------------


class Absent(Environment):
    """Needs what is not there."""

    def __init__(self) -> None:
        raise needs("nothing", "nothing")

    def tasks(self, split: str = "train") -> Tasks:
        """None."""
        return Tasks.of([])


class Present(Environment):
    """Needs nothing."""

    def tasks(self, split: str = "train") -> Tasks:
        """One for each split."""
        check_split(split)
        return Tasks.of([Task(f"Say {split}.", split=split)])

    def score(self, answer: str) -> dict[str, float]:
        """Whether it was said."""
        return {"said": float(answer == self.task.split)}


@pytest.fixture
def absence() -> Iterator[None]:
    """A family of environments, one of which cannot be made here."""
    made = {"absence/Absent-v0": Absent, "absence/Present-v0": Present}
    for name, cls in made.items():
        register(name, cls)
    yield
    for name in made:
        del registry._specs[name], gymnasium.registry[name]


@pytest.mark.usefixtures("absence")
def test_a_check_of_several_environments_says_what_is_not_installed() -> None:
    result = CliRunner().invoke(build_app(), ["env", "check", "absence", "--json"])
    found = json.loads(result.output.splitlines()[-1])
    assert result.exit_code == 0, result.output
    assert found["skipped"] == {"absence/Absent-v0": "this game needs the package nothing: pip install 'agentgym[nothing]'"}
    assert [e["env"] for e in found["environments"]] == ["absence/Present-v0"]
    alone = CliRunner().invoke(build_app(), ["env", "check", "absence/Absent-v0"])
    assert alone.exit_code == 1
