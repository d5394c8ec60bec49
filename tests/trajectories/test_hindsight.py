"""Paths that are named afterwards: what they are demonstrations of, they solve; what means nothing is given up."""

import asyncio
import random
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import agentgym
from agentgym import Environment, Message, Task, Tasks, assistant, call, tool
from agentgym.sampling import Sampler, SampleRequest, Scripted, replay, wanderer
from agentgym.tasks import SPLITS, split_of
from agentgym_trajectories.hindsight import EXPLORE, JUDGE, NAME, Asked, Hindsight, Rules, explorations
from agentgym_trajectories.players import Deadlines, LocalPlayers
from agentgym_trajectories.rollout import Memory, Rollout
from agentgym_trajectories.store import Store
from agentgym_trajectories.tree import Episode, Trajectory
from tests.commands import run

ENV = "test/Line-v0"
ITEMS = {"web/Shop-v0": 800, "web/Booking-v0": 400}


class Line(Environment):
    """Steps to the left and to the right; nobody has a rule for what they mean."""

    max_turns = 7

    def tasks(self, split: str = "train") -> Tasks:
        return Tasks.of(Task(f"Go to {i}.", {"to": i}, split=split) for i in range(4))

    def begin(self, task: Task) -> str:
        self.state = 0
        return task.prompt

    @tool
    def go(self, by: int) -> str:
        """Go."""
        self.state += by
        return f"You are at {self.state}."

    def score(self, answer: str) -> dict[str, float]:
        return {"there": float(self.state == self.task.data["to"])}


@pytest.fixture(autouse=True)
def registered() -> None:
    agentgym.register(ENV, Line)


def mixed(gold: float) -> Scripted:
    """An explorer who now and then knows what it wants, and goes on after the end of that."""

    def policy(request: SampleRequest) -> Message:
        rng = random.Random(request.seed)
        right: Message = request.env.oracle()
        finished = right.tool_calls[0].name == "finish"
        return right if rng.random() < gold and not finished else request.env.explore(rng)

    return Scripted(policy, "mixed")


def explore(env: str, sampler: Sampler, way: Hindsight, tasks: int, split: str = "train", **env_args: Any) -> list[Episode]:
    sink = Memory()
    with closing(agentgym.make(env, **env_args)) as made:
        chosen = explorations(made.tasks(split)[:tasks])
    players = LocalPlayers(env, env_args, sampler, Deadlines(), way.play, way.version(sampler.version))
    progress = asyncio.run(Rollout(env, env_args, concurrency=4).play(chosen, players, sink))
    assert (progress.played, progress.failed) == (tasks, 0)
    return sorted(sink.episodes, key=lambda e: e.task.id)


def only(episode: Episode) -> Trajectory:
    (found,) = episode.trajectories()
    return found


def again(episode: Episode) -> Trajectory:
    """The same actions in a new environment, for the same task."""
    sink, turns = Memory(), [n.messages[0] for n in only(episode).actions]
    asyncio.run(Rollout(episode.env, episode.env_args).run([episode.task], replay({episode.task.id: turns}), sink))
    return only(sink.episodes[0])


@pytest.mark.parametrize("env", ITEMS)
@pytest.mark.parametrize(("sampler", "stages"), [(wanderer, {"look"}), (lambda: mixed(0.75), {"look", "order"})])
def test_what_was_named_is_solved(env: str, sampler: Callable[[], Sampler], stages: set[str]) -> None:
    episodes = explore(env, sampler(), Hindsight(), 40, items=ITEMS[env])
    named = [e for e in episodes if e.task.difficulty == "hindsight"]
    assert len(named) >= 2
    assert {e.task.data["goal"]["until"] for e in named} >= stages
    for episode in named:
        done = only(episode)
        assert (done.reward, done.success) == (1.0, True)
        assert done.actions[-1].messages[0] == assistant("", call("finish"))
        assert episode.task.prompt in done.messages[1].content
        assert split_of(episode.task.data["goal"]["item"]) == "train"
    for episode in named[:6]:
        repeated = again(episode)
        assert (repeated.reward, repeated.success) == (1.0, True)
        assert repeated.messages == only(episode).messages
    for done in (only(e) for e in episodes if e not in named):
        assert (done.reward, done.success) == (0.0, False)
        assert EXPLORE in done.messages[1].content
        assert len(done.actions) == 4 or done.leaf.end == "terminated"


def test_no_split_gets_anothers_items() -> None:
    for split in SPLITS:
        episodes = explore("web/Shop-v0", mixed(0.6), Hindsight(every=2), 12, split, items=800)
        named = [e for e in episodes if e.task.difficulty == "hindsight"]
        assert named
        assert {split_of(e.task.data["goal"]["item"]) for e in named} == {split}


def walker(names: dict[int, str], verdict: str, steps: int = 9) -> Scripted:
    """Goes one to the right at each turn; asked for a name, it has these, by the number of steps taken."""

    def policy(request: SampleRequest) -> Message | str:
        taken = sum(m.role == "tool" for m in request.messages)
        asked = request.messages[-1].content
        if asked in (NAME, JUDGE):
            return names.get(taken, "NONE.") if asked == NAME else verdict
        return assistant("", call("go", by=1)) if taken < steps else "I am done."

    return Scripted(policy, "walker")


@pytest.mark.parametrize(
    ("names", "steps", "turns", "prompt"),
    [
        ({2: "Go two.", 4: " Go\nfour. "}, 9, 4, "Go four."),  # six steps mean nothing
        ({4: "Go four."}, 9, None, EXPLORE),  # two steps mean nothing: nobody looks further
        ({2: "Go two.", 3: "Go three."}, 3, 3, "Go three."),  # it ended itself
        ({2: "Go two.", 4: "Go four.", 6: "Go six.", 7: "Go seven."}, 9, 6, "Go six."),  # the seventh was the last turn
    ],
)
def test_paths_are_cut_where_they_mean_nothing(names: dict[int, str], steps: int, turns: int | None, prompt: str) -> None:
    (episode,) = explore(ENV, walker(names, "Yes, it was.", steps), Hindsight(Asked(), every=2), 1)
    done = only(episode)
    assert done.messages[0].content == prompt == episode.task.prompt
    assert episode.task.id == "explore-train-0"
    assert (done.success, done.reward) == ((True, 1.0) if turns else (False, 0.0))
    assert len(done.actions) == (turns + 1 if turns else 2)
    if turns:
        assert done.leaf.rewards == {"judged": 1.0}
        assert done.messages[-1] == assistant("Done.")


def test_a_judge_may_say_no() -> None:
    judge = walker({}, "no")
    way = Hindsight(Asked(Scripted(lambda request: "Go." if request.messages[-1].content == NAME else "no")), every=2)
    (episode,) = explore(ENV, judge, way, 1)
    assert (only(episode).reward, only(episode).success, episode.task.prompt) == (0.0, False, "Go.")


def test_environments_without_rules_name_nothing() -> None:
    way = Hindsight(Rules())
    episodes = explore(ENV, wanderer(), way, 4)
    assert all(e.task.prompt == EXPLORE and not only(e).success for e in episodes)
    assert way.version("random") == "random+hindsight/rules"


def test_the_command(tmp_path: Path) -> None:
    asked = ("collect", "--env", "web/Shop-v0", "--env-arg", "items=800", "--policy", "random", "--hindsight", "rules")
    arguments = (*asked, "--tasks", "12", "--out", tmp_path / "run")
    told = [run(*arguments) for _ in "12"]
    assert [(t["played"], t["resumed"]) for t in told] == [(12, 0), (0, 12)]
    with Store(tmp_path / "run") as store:
        assert {e.task.id for e in store.episodes()} == {f"explore-train-{i}" for i in range(12)}
    assert "leave --search" in run(*arguments, "--search", "mcts", code=2)["error"]
