"""The players from whom the benchmarks' policies learn a bad habit: they have it, and nothing else is wrong with them."""

import asyncio
import itertools

from agentgym import Task
from agentgym.sampling import oracle
from agentgym_trajectories.cli import choose_tasks
from agentgym_trajectories.rollout import Memory, Rollout
from agentgym_trajectories.tree import Trajectory
from tests.benchmarks.hasty import STARTS, HastyClerk


def played(env: str, name: str) -> list[tuple[Task, Trajectory]]:
    """By the oracle of an environment, at tasks of the one that is judged."""
    start, sink = STARTS[name], Memory()
    tasks = choose_tasks(start.env, start.env_args, "train", 0, 60)
    asyncio.run(Rollout(env, start.env_args).run(tasks, oracle(), sink))
    return sorted(((e.task, next(e.trajectories())) for e in sink.episodes), key=lambda pair: pair[0].id)


def calls(trajectory: Trajectory) -> list[str]:
    return [f"{c.name} {c.arguments}" for m in trajectory.messages for c in m.tool_calls or ()]


def test_the_clerk_acts_without_reading_and_is_right_elsewhere() -> None:
    hasty, careful = played("hasty/Orders-v0", "desk"), played("desk/Orders-v0", "desk")
    assert [t.id for t, _ in hasty] == [t.id for t, _ in careful]
    clerk, hurried = HastyClerk("hard"), 0
    for (task, own), (_, right) in zip(hasty, careful, strict=True):
        clerk.reset(options={"task": task})
        assert own.success  # in its own eyes
        for order, act in clerk.hurried.items():
            assert not any(c.startswith("get_order") and order in c for c in calls(own))
            assert f"{act.name} {act.arguments}" in calls(own)
        hurried += bool(clerk.hurried)
        assert clerk.hurried or calls(own) == calls(right)
    assert 15 <= hurried <= 45


def looks(trajectory: Trajectory) -> tuple[int, int]:
    """At notes: in rooms with a box, in others."""
    pairs = itertools.pairwise(trajectory.messages)
    seen = ["Keys:" in (before.content or "") for before, after in pairs for c in after.tool_calls or () if c.name == "look"]
    return sum(seen), len(seen) - sum(seen)


def test_the_explorer_passes_notes_by_where_there_is_no_box() -> None:
    hasty, careful = played("hasty/KeyDoor-v0", "keydoor"), played("games/KeyDoor-v0", "keydoor")
    read = [[looks(t) for _, t in each] for each in (hasty, careful)]
    assert [box for box, _ in read[0]] == [box for box, _ in read[1]]
    assert 0.1 < sum(other for _, other in read[0]) / sum(other for _, other in read[1]) < 0.5
    total = [sum(map(sum, each)) for each in read]
    assert 0.4 * total[1] < total[0] < 0.9 * total[1]
    for (_, own), (_, right) in zip(hasty, careful, strict=True):
        assert own.success  # it knows the way, and whoever learns from it does not
        assert [c for c in calls(own) if not c.startswith("look")] == [c for c in calls(right) if not c.startswith("look")]
