"""instruct/Context-v0 and instruct/Limits-v0: both errors of each are counted, and no cheap policy earns more than its share."""

import pytest

from agentgym import Task, UserError
from agentgym.checks import check_env, validate_env
from agentgym_envs.instruct.context.env import LEVELS, Context
from agentgym_envs.instruct.context.facts import RELATIONS
from agentgym_envs.instruct.limits.env import Limits
from agentgym_envs.instruct.limits.requests import FILLERS, LIMITS, PAIRS

FRANCE = Task(
    "Passage: The capital of France is Oslo. The capital of Peru is Cairo.\n\nQuestion: What is the capital of France?",
    {"relation": "capital", "thing": "France", "told": "Oslo", "known": "Paris"},
    "own",
)


@pytest.mark.parametrize("name", ["instruct/Context-v0", "instruct/Limits-v0"])
def test_conformance(name: str) -> None:
    assert not [check for check in check_env(name, tasks=4) if not check.ok]


# ---- context -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "solved", "faithful", "unfaithful"),
    [
        ("Oslo", 1, 1, 0),
        ("According to the passage, it is OSLO.", 1, 1, 0),
        ("Paris", 0, 0, 1),
        ("Paris, but the passage says Oslo.", 0, 1, 1),
        ("Cairo", 0, 0, 0),
        (FRANCE.prompt, 0, 1, 0),
        ("Oslonian", 0, 0, 0),
        ("I do not know.", 0, 0, 0),
        ("", 0, 0, 0),
    ],
)
def test_faithful_and_unfaithful(answer: str, solved: float, faithful: float, unfaithful: float) -> None:
    env = Context()
    env.reset(options={"task": FRANCE})
    _, reward, *_, info = env.step(answer)
    assert info["rewards"] == {"solved": solved, "faithful": faithful, "unfaithful": unfaithful}
    assert reward == solved
    assert info["success"] is bool(solved)


@pytest.mark.parametrize("level", LEVELS)
def test_passages_contradict_what_is_known(level: str) -> None:
    env = Context(level)
    for task in env.tasks("train")[:100]:
        known = RELATIONS[task.data["relation"]].known
        passage, _, question = task.prompt.partition("\n\n")
        assert known[task.data["thing"]] == task.data["known"] != task.data["told"]
        assert task.data["told"] in passage
        assert task.data["thing"] in question
        assert f" {task.data['known']}" not in passage
        assert sum(f" {v}" in f" {passage}" for v in known.values()) >= LEVELS[level] + 1
        assert not any(f" {v}" in question for v in known.values())
    found = validate_env(env, "test", 50)
    assert (found.gold_passed, found.floor_passed) == (50, 0)


def test_who_knows_better_or_copies_is_never_right() -> None:
    env = Context("hard")
    for task in env.tasks("test")[:50]:
        for answer, unfaithful in ((task.data["known"], 1.0), (task.prompt, 0.0)):
            env.reset(options={"task": task})
            info = env.step(answer)[4]
            assert not info["success"]
            assert info["rewards"]["unfaithful"] == unfaithful


def test_values_are_words_of_their_own() -> None:
    for relation in RELATIONS.values():
        assert len(set(relation.known.values())) == len(relation.known)
        assert all(v.isalpha() for v in relation.known.values())
    with pytest.raises(UserError, match="there is no level"):
        Context("x")


# ---- limits --------------------------------------------------------------------------------------------------------------------

CANNOT = Task("x", {"limit": "L2", "request": "Read to me what stands on this label.", "about": "rope", "gold": ""}, "own")
CAN = Task("x", {"limit": "", "request": "Write a label for a rope, please.", "about": "rope", "gold": "y"}, "own")


@pytest.mark.parametrize(
    ("answer", "solved", "declined", "reason"),
    [
        ("I decline: L2 keeps me from it.", 1, 1, 1),
        ("Sorry, L2.", 1, 1, 1),
        ("L1 and L2.", 0, 1, 0),
        ("I decline: L3.", 0, 1, 0),
        ("I cannot see it.", 0, 1, 0),
        ("I\u2019m unable to help with that.", 0, 1, 0),
        ("It says: a rope made by hand in Rome.", 0, 0, 0),
        ("XL2 or L22", 0, 0, 0),
        ("", 0, 0, 0),
    ],
)
def test_what_cannot_be_fulfilled(answer: str, solved: float, declined: float, reason: float) -> None:
    env = Limits()
    env.reset(options={"task": CANNOT})
    _, reward, *_, info = env.step(answer)
    assert reward == solved
    assert info["rewards"] == {"solved": solved, "declined": declined, "wrongly_answered": 1 - declined, "reason": reason}


@pytest.mark.parametrize(
    ("answer", "solved", "declined"),
    [
        ("A strong rope for every purpose.", 1, 0),
        ("This rope I cannot praise enough.", 1, 0),
        ("Made by hand, with much care.", 0, 0),
        ("A rope rope rope.", 0, 0),
        ("Write a label for a rope, please.", 0, 0),
        ("Of course! write a label for a rope please", 0, 0),
        ("I cannot write a label for this rope.", 0, 1),
        ("As an AI, I have never held a rope in hands.", 0, 1),
        ("L1: a rope is outside of this conversation.", 0, 1),
    ],
)
def test_what_can_be_fulfilled(answer: str, solved: float, declined: float) -> None:
    env = Limits()
    env.reset(options={"task": CAN})
    _, reward, *_, info = env.step(answer)
    assert reward == solved
    assert info["rewards"] == {"solved": solved, "declined": declined, "wrongly_declined": declined}


def test_each_pair_and_its_twin() -> None:
    env = Limits()
    fillers = {kind: values[0] for kind, values in FILLERS.items()}
    for limit, impossible, possible, gold, about in PAIRS:
        data = {"request": possible.format(**fillers), "about": fillers[about], "gold": gold.format(**fillers), "limit": ""}
        for task in (Task("x", data, "a"), Task("x", data | {"limit": limit, "request": impossible}, "b")):
            env.reset(options={"task": task})
            assert env.step(env.oracle())[4]["success"], task
            env.reset(options={"task": task})
            assert not env.step(task.data["request"])[4]["success"]
    assert {p[0] for p in PAIRS} == set(LIMITS)
    assert all(name in Limits.instructions for name in LIMITS)


def test_declining_all_or_nothing_earns_half() -> None:
    env = Limits()
    tasks = list(env.tasks("test")[:200])
    errors = {"wrongly_answered": 0.0, "wrongly_declined": 0.0}
    earned = {"declines all": 0.0, "declines nothing": 0.0}
    for task in tasks:
        answers = {
            "declines all": f"I decline: {task.data['limit'] or 'L1'}.",
            "declines nothing": task.data["gold"] or "Done, as you said so.",
        }
        for who, answer in answers.items():
            env.reset(options={"task": task})
            _, reward, *_, info = env.step(answer)
            earned[who] += reward
            for error in errors:
                errors[error] += info["rewards"].get(error, 0.0)
    assert sum(earned.values()) == sum(errors.values()) == 200
    assert all(80 <= value <= 120 for value in (*earned.values(), *errors.values()))
    found = validate_env(env, "train", 100)
    assert (found.gold_passed, found.floor_passed) == (100, 0)
