"""Roles and tries: who acts stands in the nodes, tokens stay exact, and each role is trained apart."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

import agentgym
from agentgym import Environment, Message, StopReason, Task, Tasks, UserError, assistant, call, tool
from agentgym.sampling import SampleRequest, Scripted
from agentgym.sampling.transformers import TransformersSampler, load_tokenizer
from agentgym.tokens import Chat
from agentgym_training.rows import training_rows
from agentgym_trajectories.players import Deadlines, LocalPlayers
from agentgym_trajectories.programs import AGAIN, ASK, LESSONS, PLAN, REFLECT, program_named
from agentgym_trajectories.rollout import Memory, Rollout
from agentgym_trajectories.store import Store
from agentgym_trajectories.tree import Trajectory
from agentgym_trajectories.verify import inexact
from tests.commands import run


class Vault(Environment):
    """Open the vault: turn the dial, then say the word. Part of the reward is for turning."""

    instructions = "Open the vault."
    max_turns = 4

    def __init__(self, judged: bool = True) -> None:
        self.judged = judged

    def tasks(self, split: str = "train") -> Tasks:
        return Tasks(lambda i: Task(f"Vault {i}.", {"i": i}, f"{split}-{i}", split), range(100))

    def begin(self, task: Task) -> str:
        self.state = 0
        return task.prompt

    @tool
    def twist(self, dial: int) -> str:
        """Turn a dial."""
        self.state += dial
        return f"It stands at {self.state}."

    def score(self, answer: str) -> dict[str, float]:
        return {"open": (float(answer == "sesame") + float(self.state == 2)) / 2}


@pytest.fixture(autouse=True)
def registered() -> None:
    agentgym.register("test/Vault-v0", Vault)


def play(name: str, policy: Any, tasks: int = 1, samplers: Any = None, **args: Any) -> list[Trajectory]:
    program, sink = program_named(name, samplers), Memory()
    sampler = policy if not callable(policy) else Scripted(policy)
    players = LocalPlayers("test/Vault-v0", args, sampler, Deadlines(), program.play, program.version(sampler.version))
    plan = Rollout("test/Vault-v0", args, attempts=1, concurrency=4)
    progress = asyncio.run(plan.play(Vault().tasks()[:tasks], players, sink))
    assert progress.played == tasks, sink.failures
    return [t for e in sink.episodes for t in e.trajectories()]


def test_a_planner_a_caller_and_a_summariser_share_an_episode() -> None:
    seen: list[str] = []

    def planner(request: SampleRequest) -> str:
        seen.append(request.messages[0].content)
        done = "stands" in request.messages[-1].content
        return "It is turned. Next: answer" if done else "Turn it. Next: call."

    def rest(request: SampleRequest) -> Message:
        asked = request.messages[-1].content
        return {ASK["caller"]: assistant("", call("twist", dial=2)), ASK["summariser"]: assistant("sesame")}[asked]

    (only,) = play("alpha-umi", rest, samplers={"planner": Scripted(planner, "wise")})
    assert [(a.role, a.reward) for a in only.actions] == [
        ("planner", None),
        ("caller", 0.0),
        ("planner", None),
        ("summariser", 1.0),
    ]
    assert [m.role for m in only.messages] == [
        "system",
        "user",
        "assistant",
        "user",
        "assistant",
        "tool",
        "assistant",
        "user",
        "assistant",
    ]
    assert only.success
    assert only.reward == 1.0
    assert only.episode.version == "scripted+alpha-umi,planner=wise"
    assert [a.version for a in only.actions] == ["wise", "scripted"] * 2
    assert seen[0] == f"Open the vault.\n\n{PLAN}"
    assert only.not_of("planner") == {a.id for a in only.actions if a.role != "planner"}


def test_a_planner_that_acts_at_once_is_taken_at_its_word() -> None:
    def eager(request: SampleRequest) -> Message:
        return assistant("", call("twist", dial=1))

    (only,) = play("alpha-umi", eager)
    assert [a.role for a in only.actions] == ["planner"] * 4
    assert only.leaf.end is StopReason.MAX_TURNS


def tries(request: SampleRequest) -> Message:
    """Turns the dial only once it has learnt something."""
    last, first = request.messages[-1].content, request.messages[0].content
    learnt = first.count("\n- ") or sum(m.content == AGAIN for m in request.messages)
    if last == REFLECT:
        return assistant(f"Lesson {learnt + 1}.")
    if learnt == 2 and "stands" not in last:
        return assistant("", call("twist", dial=2))
    return assistant("sesame" if learnt else "hello")


def test_lessons_of_failed_tries_open_the_next_conversation() -> None:
    (only,) = play("reflexion", tries)
    assert [a.role for a in only.actions] == ["actor", "reflector", "actor", "reflector", "actor", "actor"]
    assert [b[0].anew for b in only.branches] == [False, True, True]
    assert only.messages[0].content == f"Open the vault.\n\n{LESSONS}\n- Lesson 1.\n- Lesson 2."
    assert [m.role for m in only.messages] == ["system", "user", "assistant", "tool", "assistant"]
    assert [a.reward for a in only.actions] == [0.0, None, 0.5, None, 0.0, 1.0]
    assert [a.rewards for a in only.actions if a.role == "reflector"] == [{"improvement": 0.5}, {"improvement": 0.5}]
    assert (only.reward, only.success) == (1.0, True)  # of the last try alone
    assert only.episode.drift == 0


def test_tries_in_one_conversation() -> None:
    (only,) = play("rise", tries)
    assert [m.content for m in only.messages if m.content == AGAIN] == [AGAIN] * 2
    assert len(only.branches) == 1
    assert {a.role for a in only.actions} == {"actor"}
    assert [a.success for a in only.actions] == [False, False, None, True]
    assert (only.reward, only.success) == (1.0, True)
    (hopeless,) = play("rise", lambda _: "no")
    assert (len(hopeless.actions), hopeless.reward, hopeless.leaf.end) == (3, 0.0, StopReason.TERMINATED)


def test_roles_over_real_tokens_are_exact_and_trained_apart(nano_dir: Path, tmp_path: Path) -> None:
    chat = Chat(load_tokenizer(nano_dir))
    for name, roles in (("alpha-umi", ("planner", "caller")), ("reflexion", ("actor", "reflector")), ("rise", ("actor",))):
        sampler = TransformersSampler(nano_dir, max_tokens=6, max_batch=4)
        found = play(name, sampler, tasks=3)
        with Store(tmp_path / name, create=True) as store:
            for episode in {id(t.episode): t.episode for t in found}.values():
                store.add(episode)
            found = list(store.trajectories())
        assert [inexact(t, chat) for t in found] == [""] * 3
        whole = training_rows(found, chat.tokenizer)
        apart = [
            r for role in {a.role for t in found for a in t.actions} for r in training_rows(found, chat.tokenizer, role=role)
        ]
        assert sum(sum(r.weights) for r in apart) == sum(sum(r.weights) for r in whole) == sum(t.sampled_tokens for t in found)
        for role in roles:
            assert {a.role for t in found for a in t.actions} >= {role}
            trained = [n for r in training_rows(found, chat.tokenizer, role=role) for n, _, _ in r.turns]
            assert len(trained) == sum(a.role == role for t in found for a in t.actions)


def test_what_was_said_without_tokens_is_rendered_with_the_same_masks(nano_dir: Path) -> None:
    tokenizer = load_tokenizer(nano_dir)
    (only,) = play("reflexion", tries)
    rows = training_rows([only], tokenizer)
    assert len(rows) == 3  # a conversation for each try
    (lessons, more) = training_rows([only], tokenizer, role="reflector")
    texts = [tokenizer.decode([i for i, w in zip(r.input_ids, r.weights, strict=True) if w]) for r in (lessons, more)]
    assert ["Lesson 1." in texts[0], "Lesson 2." in texts[1]] == [True, True]
    assert "hello" not in texts[0]


def test_wrong_requests_are_one_clear_error(nano_dir: Path, tmp_path: Path) -> None:
    common = ("collect", "--env", "test/Vault-v0", "--out", tmp_path / "run", "--tasks", 1)
    for options, text in (
        (("--program", "dance"), "use one of alpha-umi, reflexion, rise"),
        (("--program", "rise", "--role", "planner=oracle"), "rise has no role 'planner': it has actor"),
        (("--program", "rise", "--role", "actor"), "write ROLE=POLICY"),
        (("--role", "actor=oracle"), "--role belongs to --program"),
        (("--program", "rise", "--search", "mcts"), "give one of them"),
        (("--program", "alpha-umi", "--role", f"planner={nano_dir}"), "need one vocabulary"),
        (("--program", "alpha-umi", "--role", "planner=oracle", "--workers", "ray"), "--role is for --workers local"),
    ):
        assert text in run(*common, *options, code=2)["error"]
    with pytest.raises(UserError, match="does not say whether a try succeeded"):
        play("rise", lambda _: "no", judged=False)


def test_a_program_is_collected_and_a_role_of_it_trained(nano_dir: Path, tmp_path: Path) -> None:
    done = run(
        *("collect", "--env", "test/Vault-v0", "--policy", nano_dir, "--program", "reflexion", "--role", f"reflector={nano_dir}"),
        *("--tasks", 2, "--max-tokens", 5, "--out", tmp_path / "run"),
    )
    assert done["played"] == 2
    run(
        "train",
        "sft",
        tmp_path / "run",
        "--model",
        nano_dir,
        "--role",
        "reflector",
        "--max-steps",
        1,
        "--out",
        tmp_path / "trained",
    )
    assert (tmp_path / "trained" / "config.json").exists()
