"""Each method of synthesis on a case whose answer is known; what the sampler was told is told to nobody else."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import agentgym
from agentgym import Environment, Message, SamplerFailure, Task, Tasks, UserError, assistant, call, tool
from agentgym.sampling import Sample, Sampler, SampleRequest, Scripted, Usage
from agentgym.sampling.transformers import load_tokenizer
from agentgym.tokens import Chat, Conversation
from agentgym_training.rows import training_rows
from agentgym_trajectories import pairs as pairing
from agentgym_trajectories import select as selecting
from agentgym_trajectories.episode import Pulse
from agentgym_trajectories.hindsight import JUDGE, NAME
from agentgym_trajectories.hosts import Host
from agentgym_trajectories.players import Deadlines, LocalPlayers
from agentgym_trajectories.programs import LESSONS, REFLECT
from agentgym_trajectories.rollout import Memory, Rollout
from agentgym_trajectories.store import Store
from agentgym_trajectories.synthesis import (
    METHODS,
    Dropped,
    Method,
    Synthesis,
    fireact,
    magpie,
    self_align,
    several,
)
from agentgym_trajectories.synthesis.scene import Scene, Unusable, did, whisper
from agentgym_trajectories.tree import Episode, Trajectory
from agentgym_trajectories.verify import inexact
from tests.commands import run
from tests.templates import tokenizer

ENV = "test/Sums-v0"
Policy = Callable[[SampleRequest], Message | str]


class Sums(Environment):
    """Say what two numbers make. A tool adds; 7 and above cannot be done without it, says nobody. One try has three turns."""

    instructions = "Add."
    max_turns = 3

    def __init__(self, texts: list[str] | None = None, judged: bool = True) -> None:
        self.texts, self.judged = texts, judged

    def tasks(self, split: str = "train") -> Tasks:
        if self.texts is not None:
            return Tasks.of(Task(t) for t in self.texts)
        return Tasks(lambda i: Task(f"What is {i} + {i}?", {"answer": 2 * i}, f"{split}-{i}", split), range(20))

    def begin(self, task: Task) -> str:
        self.state = 0
        return task.prompt

    @tool
    def add(self, a: int, b: int) -> int:
        """Add."""
        self.state += 1
        return a + b

    def score(self, answer: str) -> dict[str, float]:
        return {"right": float(answer == str(self.task.data.get("answer", "?")))}


@pytest.fixture(autouse=True)
def registered() -> None:
    agentgym.register(ENV, Sums)


def synthesise(
    spec: str,
    policy: Any,
    count: int = 4,
    roles: Mapping[str, Any] | None = None,
    seed: int = 0,
    concurrency: int = 3,
    **args: Any,
) -> tuple[list[tuple[Trajectory, str]], Memory]:
    """All trajectories that a method makes, in the order of tasks, with the reasons why they are not kept."""
    method = selecting.parse(spec, METHODS, "method")
    sampler, samplers = _sampler(policy), {k: _sampler(v, k) for k, v in (roles or {}).items()}
    plays, sink = Synthesis(spec, method, samplers), Memory()
    tasks = method.tasks(Sums(**args).tasks(), count, seed)
    players = LocalPlayers(ENV, args, sampler, Deadlines(), plays.play, plays.version(sampler.version))
    plan = Rollout(ENV, args, method.samples, seed, concurrency)
    asyncio.run(plan.play(tasks, players, sink))
    sink.episodes.sort(key=lambda e: (len(e.task.id), e.task.id, e.sample))
    made = [t for e in sink.episodes for t in e.trajectories()]
    judged = {id(t): reason for t, reason in selecting.apply(made, [Dropped(), *method.selectors()])}
    return [(t, judged[id(t)]) for t in made], sink


def _sampler(policy: Any, version: str = "scripted") -> Sampler:
    return Scripted(policy, version) if callable(policy) else policy


def asked(request: SampleRequest) -> str:
    return request.messages[-1].content


def told(request: SampleRequest) -> str:
    """The system message, where there is one."""
    return request.messages[0].content if request.messages[0].role == "system" else ""


def numbers(text: str) -> list[int]:
    return [int(w) for w in text.replace("?", " ").split() if w.isdigit()]


def solve(request: SampleRequest) -> str:
    return str(sum(numbers(asked(request))))


def answers(t: Trajectory) -> str:
    return t.actions[-1].messages[0].content


class Speaker:
    """A model that says what a function of its whole prompt's text says, in tokens."""

    context: int | None = None

    def __init__(self, chat: Chat, says: Callable[[str], str], version: str = "speaker") -> None:
        self.chat, self.says, self.version, self.usage, self.seen = chat, says, version, Usage(), list[str]()

    async def sample(self, requests: Any) -> list[Sample]:
        return [self._one(r) for r in requests]

    async def close(self) -> None: ...

    def _one(self, request: SampleRequest) -> Sample:
        assert request.prompt_ids is not None
        self.seen.append(self.chat.tokenizer.decode(request.prompt_ids, skip_special_tokens=False))
        ids = [*self.chat.encode(self.says(self.seen[-1])), self.chat.turn_end_id]
        return Sample(self.chat.parse(ids), ids, [-0.5] * len(ids), version=self.version)


@pytest.fixture(scope="module")
def chat(nano_dir: Path) -> Chat:
    return Chat(load_tokenizer(nano_dir))


# ---- the foundation ----------------------------------------------------------------------------------------------------


@given(hidden=st.lists(st.booleans(), min_size=1, max_size=4), turns=st.integers(0, 2))
@settings(max_examples=20, deadline=None)
def test_attempts_stand_side_by_side_and_what_was_whispered_nowhere(chat: Chat, hidden: list[bool], turns: int) -> None:
    """With real tokens: an attempt is exact where nothing was whispered; where it was, its ids are those that were sampled."""

    def says(prompt: str) -> str:
        done = prompt.count('{"a": 1, "b": 1}')
        return '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": 1}}\n</tool_call>' if done < turns else "2"

    speaker, episode = Speaker(chat, says), Episode(ENV, Sums().tasks()[1], 0, "v", nodes=[])
    scene = Scene(Host(Sums()), speaker, episode, 3, Pulse(), {})

    async def attempts() -> list[Trajectory]:
        return [await scene.attempt(whisper("Psst.") if h else None) for h in hidden]

    made = asyncio.run(attempts())
    scene.end("m")
    assert [n.id for n in episode.nodes] == list(range(len(episode.nodes)))
    assert [t.leaf.id for t in episode.trajectories()] == [t.leaf.id for t in made]
    assert sum(len(t.nodes) for t in made) == len(episode.nodes)
    assert "Psst" in "".join(speaker.seen) or not any(hidden)
    for t, h in zip(made, hidden, strict=True):
        assert "Psst" not in str(t.messages)
        assert (t.reward, len(t.actions)) == (1.0, turns + 1)
        (row,) = training_rows([t], chat.tokenizer)
        plain = Conversation(chat, episode.tools)  # as if nobody had whispered
        for n in t.nodes:
            plain.act(n.messages[0], n.token_ids) if n.kind == "action" else plain.observe(n.messages)
        assert row.input_ids == plain.ids
        assert [i for i, w in zip(row.input_ids, row.weights, strict=True) if w] == [
            i for n in t.actions for i in n.token_ids or []
        ]
        assert (row.logprobs is None) == h
        assert h or inexact(t, chat) == ""


class Patient(Sums):
    """Three turns of words, and a world of its own each time."""

    def begin(self, task: Task) -> str:
        super().begin(task)
        return f"{task.prompt} Your number is {self.np_random.integers(10**9)}."

    def reply(self, message: Message) -> str | None:
        return "And then?" if self.turn < 3 else None


def patient(shape: str) -> tuple[Scene, Speaker]:
    spoken = Chat(tokenizer(shape))

    def says(prompt: str) -> str:
        return spoken.dialect.render(assistant(f"Number {prompt.count('And then?')}.", thinking="Hm."))

    speaker = Speaker(spoken, says)
    return Scene(Host(Patient()), speaker, Episode(ENV, Sums().tasks()[1], 0, "v", nodes=[]), 3, Pulse(), {}), speaker


@pytest.mark.parametrize("shape", ["chatml", "thinking", "mistral"])
def test_a_whisper_leaves_no_trace_where_the_template_rewrites_history(shape: str) -> None:
    """Rows of a whispered attempt are those of the same attempt without a whisper, however many branches it has."""
    scene, speaker = patient(shape)

    async def both() -> list[Trajectory]:
        return [await scene.attempt(edit) for edit in (None, whisper("Psst."))]

    rows = []
    for t in asyncio.run(both()):
        assert did(t).splitlines()[::2] == ["Number 0.", "Number 1.", "Number 2."]
        made = training_rows([t], speaker.chat.tokenizer)
        assert len(made) == (3 if shape == "thinking" else len(t.branches))
        said = [i for r in made for i, w in zip(r.input_ids, r.weights, strict=True) if w]
        assert said == [i for n in t.actions for i in n.token_ids or []]
        rows.append([(r.input_ids, r.weights) for r in made])
    assert "Psst" in "".join(speaker.seen)
    assert rows[0] == rows[1]


def test_attempts_begin_alike_and_are_sampled_each_for_itself() -> None:
    seeds = list[int]()

    def policy(request: SampleRequest) -> str:
        seeds.append(request.seed)
        return "x"

    scene = Scene(Host(Patient()), Scripted(policy), Episode(ENV, Sums().tasks()[1], 0, "v", nodes=[]), 3, Pulse(), {})

    async def three() -> list[Trajectory]:
        return [await scene.attempt() for _ in range(3)]

    made = asyncio.run(three())
    assert len({t.messages[1].content for t in made}) == 1
    assert len(set(seeds)) == 9


def test_another_request_under_a_template_that_rewrites_history() -> None:
    scene, speaker = patient("thinking")
    done = asyncio.run(scene.attempt())
    number = done.messages[1].content.partition("Your")[2]
    again = scene.reword(done, "Count.")
    assert [b[0].messages[1].content for b in again.branches] == [f"Count. Your{number}"] * 3
    assert [m.content for m in again.messages[2:]] == [m.content for m in done.messages[2:]]
    assert scene.task.data == {}
    made = training_rows([again], speaker.chat.tokenizer)
    said = [i for r in made for i, w in zip(r.input_ids, r.weights, strict=True) if w]
    assert said == [i for n in done.actions for i in n.token_ids or []]


def test_who_writes_nothing_is_asked_again_and_each_time_is_counted() -> None:
    silent = Counter[str]()

    def policy(request: SampleRequest) -> str:
        if "topics" not in asked(request):
            return "fine"
        key = asked(request)
        silent[key] += 1
        return "" if sum(silent.values()) <= 2 else ("No question." if sum(silent.values()) == 3 else "Question: What?")

    made, sink = synthesise("genqa", policy, count=1)
    assert [t.episode.task.prompt for t, _ in made] == []  # three tries are what an episode has
    assert [(attempt, type(f).__name__, str(f)) for _, attempt, f in sink.failures] == [
        (0, "Unusable", "nothing was written"),
        (1, "Unusable", "nothing was written"),
        (2, "Unusable", "no question in 'No question.'"),
    ]
    made, sink = synthesise("genqa", policy, count=1)
    assert [t.episode.task.prompt for t, _ in made] == ["What?"]


def test_what_does_not_fit_is_unusable_and_what_no_template_shows_is_an_error(chat: Chat) -> None:
    speaker = Speaker(chat, lambda _: " ")
    scene = Scene(Host(Sums()), speaker, Episode(ENV, Sums().tasks()[1], 0, "v", nodes=[]), 0, Pulse(), {})
    with pytest.raises(Unusable, match="the new task is empty"):
        scene.become(" ")
    speaker.context = 3
    with pytest.raises(Unusable, match="longer than the model's context"):
        asyncio.run(scene.ask("one two three four"))
    mute = tokenizer("chatml")
    mute.chat_template = "{% for m in messages %}{% if m.role == 'assistant' %}{{ m.content }}<|im_end|>{% endif %}{% endfor %}"
    scene.sampler = Speaker(Chat(mute), str)
    with pytest.raises(UserError, match="does not show what a user says"):
        asyncio.run(magpie.Magpie().write(scene))


def test_a_sampler_that_breaks_is_tried_again() -> None:
    broken = iter([True, False, True])

    def policy(request: SampleRequest) -> str:
        if next(broken, False):
            raise SamplerFailure("down")
        return "Question: Why?" if "topics" in asked(request) else "because"

    made, sink = synthesise("genqa", policy, count=2, concurrency=1)
    assert len(made) == 2
    assert [str(f) for *_, f in sink.failures] == ["down", "down"]


def test_equal_seeds_make_equal_records_however_many_are_in_flight() -> None:
    def policy(request: SampleRequest) -> str:
        return f"Question: {request.seed}" if "topics" in asked(request) else str(request.seed)

    def records(**how: Any) -> list[Any]:
        made, _ = synthesise("genqa", policy, count=6, **how)
        return [(t.episode.task, answers(t)) for t, _ in made]

    assert records() == records(concurrency=1)
    assert records() != records(seed=1)
    assert all(task.origin["method"] == "genqa" for task, _ in records())


def test_attempts_of_two_vocabularies_are_not_kept_together(chat: Chat) -> None:
    class Two(Method):
        async def play(self, scene: Scene) -> None:
            await scene.attempt()
            await scene.attempt(role="other")

    played = Two().play(Scene(Host(Sums()), Scripted(solve), Episode(ENV, Sums().tasks()[1], 0, "v", nodes=[]), 0, Pulse(), {}))
    asyncio.run(played)  # the other is the same
    mixed = Scene(
        Host(Sums()),
        Scripted(solve),
        Episode(ENV, Sums().tasks()[1], 0, "v", nodes=[]),
        0,
        Pulse(),
        {"other": Speaker(chat, str)},
    )
    with pytest.raises(UserError, match="one vocabulary"):
        asyncio.run(Two().play(mixed))


# ---- new tasks ---------------------------------------------------------------------------------------------------------


def test_magpie_writes_on_from_the_users_empty_turn(chat: Chat) -> None:
    before = chat.render([agentgym.user("PROBE")], (), prompt=False).partition("PROBE")[0]
    count = iter(range(100))

    def says(prompt: str) -> str:
        return f"Tell me about number {next(count)}." if prompt.endswith(before) and "Add." not in prompt else "It is a number."

    speaker = Speaker(chat, says)
    made, _ = synthesise("magpie", speaker, count=3)
    assert sorted(t.episode.task.prompt for t, _ in made) == [f"Tell me about number {i}." for i in range(3)]
    assert speaker.seen.count(before) == 3  # the template alone, and nothing else
    for t, reason in made:
        assert (reason, inexact(t, chat), answers(t)) == ("", "", "It is a number.")
        assert t.messages[1].content == t.episode.task.prompt
        assert t.leaf.spent == len(chat.encode(t.episode.task.prompt)) + 1  # what the task cost
        assert t.episode.task.origin == {"method": "magpie", "prompt": "written"}
        assert all(n.logprobs is not None for n in t.actions)
    (under, _), *_ = synthesise("magpie:system=You sell shoes.", speaker, count=1)[0]
    assert any("You sell shoes." in seen and seen.endswith(before) for seen in speaker.seen)
    assert "shoes" not in str(under.messages)


def test_magpie_asks_in_words_where_there_is_no_template_and_drops_what_is_nearly_the_same() -> None:
    heard = list[SampleRequest]()

    def customer(request: SampleRequest) -> str:
        heard.append(request)
        words = "please tell me how I can mend the front wheel of my old red bicycle at home without any tools"
        return words if len(heard) < 3 else "What is rain?"

    made, _ = synthesise("magpie", lambda r: "so", count=3, roles={"user": customer}, concurrency=1)
    assert {asked(r) for r in heard} == {magpie.ASK}
    assert [reason for _, reason in made] == ["", "near: nearly the same as episode 0", ""]


def test_genqa_draws_the_numbers_and_takes_the_question() -> None:
    prompts = list[str]()

    def policy(request: SampleRequest) -> str:
        if "topics" not in asked(request):
            return f"answer to {asked(request)}"
        prompts.append(asked(request))
        return f"1. Rain. Question: no. I choose.\nQuestion: What falls {len(prompts)} times?"

    made, _ = synthesise("genqa:topics=9", policy, count=5, concurrency=1)
    assert [t.episode.task.prompt for t, _ in made] == [f"What falls {i} times?" for i in range(1, 6)]
    drawn = [(t.episode.task.origin["topic"], t.episode.task.origin["subtopic"]) for t, _ in made]
    assert len(set(drawn)) > 2
    assert all(1 <= n <= 9 for both in drawn for n in both)
    assert all(f"Choose topic {a} " in p and f"Choose subtopic {b} " in p for p, (a, b) in zip(prompts, drawn, strict=True))


def test_self_guide_answers_after_examples_that_the_record_does_not_show() -> None:
    inputs = iter(["What is 3 + 4?", "What is 2 + 2?", "What is " + "1 + " * 40 + "1?", "What is 9 + 1?"])
    seen = list[list[Message]]()

    def policy(request: SampleRequest) -> str:
        if "another input" in asked(request):
            assert asked(request).count("Input: ") == 2
            return f"Input: {next(inputs)}"
        seen.append(list(request.messages))
        return solve(request) if "9" not in asked(request) else "a very long answer indeed"

    made, _ = synthesise("self-guide:shots=2,answer=answer", policy, concurrency=1)
    assert [t.episode.task.prompt[:14] for t, _ in made] == [
        "What is 3 + 4?",
        "What is 2 + 2?",
        "What is 1 + 1 ",
        "What is 9 + 1?",
    ]
    for messages in seen:
        assert [m.role for m in messages] == ["system", "user", "assistant", "user", "assistant", "user"]
        assert all(str(sum(numbers(q.content))) == a.content for q, a in zip(messages[1:5:2], messages[2:5:2], strict=True))
    assert all([m.role for m in t.messages] == ["system", "user", "assistant"] for t, _ in made)
    reasons = [reason for _, reason in made]
    assert (reasons[0], answers(made[0][0])) == ("", "7")
    assert "input of 83 words is not between 5.0 and 5.0" in reasons[2]
    assert "output of 5 words is not between 1.0 and 1.0" in reasons[3]
    with pytest.raises(UserError, match="at least two tasks with 'reference'"):
        synthesise("self-guide", policy)


def test_self_guide_drops_what_repeats_an_example() -> None:
    def policy(request: SampleRequest) -> str:
        if "another input" not in asked(request):
            return solve(request)
        return asked(request).split("Input: ")[1].partition("\n")[0]

    made, _ = synthesise("self-guide:answer=answer", policy, count=1)
    assert [reason for _, reason in made] == ["dropped: the input repeats an example"]


def test_halves_are_cut_in_the_middle() -> None:
    texts = ["one two three four", "one two three four five", "alone"]
    made, _ = synthesise("halves", lambda r: f"after {asked(r).split()[-1]}", texts=texts, judged=False)
    assert [(t.episode.task.prompt, t.episode.task.origin["rest"], answers(t)) for t, _ in made] == [
        ("one two", "three four", "after two"),
        ("one two three", "four five", "after three"),
        ("alone", "", "after alone"),
    ]


def test_llm2llm_teaches_where_the_student_fails_and_nowhere_else() -> None:
    def student(request: SampleRequest) -> str:
        return solve(request) if numbers(asked(request))[0] < 2 else "0"

    def teacher(request: SampleRequest) -> str:
        if "A student failed" not in asked(request):
            return f"taught {solve(request)}"
        assert "What the student did:\n0\n" in asked(request)
        return f"What is {numbers(asked(request))[0]} + 10?"

    made, _ = synthesise("llm2llm", student, roles={"teacher": teacher})
    assert [(t.episode.task.prompt, answers(t), reason) for t, reason in made] == [
        ("What is 0 + 0?", "0", "dropped: the student solves it"),
        ("What is 1 + 1?", "2", "dropped: the student solves it"),
        ("What is 2 + 10?", "taught 12", ""),
        ("What is 3 + 10?", "taught 13", ""),
    ]
    taught = made[2][0]
    assert taught.actions[-1].version == "teacher"
    assert taught.episode.task.origin["instead_of"] == "What is 2 + 2?"
    assert taught.episode.task.origin["failed"] == "0"
    assert len(taught.episode.nodes) == 2  # the failed try is no part of the new task's record
    with pytest.raises(UserError, match="claims no reward"):
        synthesise("llm2llm", student, judged=False)


def test_reflection_betters_the_instruction_then_the_answer() -> None:
    def policy(request: SampleRequest) -> str:
        text = asked(request)
        if text.startswith("Instruction:"):
            return "Tell me how much 5 + 5 is." if "better instruction" in text else "Use numbers."
        if text.startswith("Request:"):
            assert "Tell me how much 5 + 5 is." in text
            return "Say it in words."
        if text.startswith("Criticism:"):
            return "YES, it does."
        return "ten" if "Say it in words." in told(request) else "10"

    (first, why), (second, kept) = synthesise("reflection", policy, count=1)[0]
    assert first.episode.task.prompt == "Tell me how much 5 + 5 is."
    assert first.episode.task.origin["instead_of"] == "What is 0 + 0?"
    assert (answers(first), why) == ("10", "dropped: it was refined")
    assert (answers(second), kept) == ("ten", "")


# ---- other trajectories of given tasks ---------------------------------------------------------------------------------


def test_each_task_is_done_by_several_policies_each_under_a_principle() -> None:
    principles = set[str]()

    def policy(name: str) -> Policy:
        def say(request: SampleRequest) -> str:
            principles.add(told(request).removeprefix("Add.\n\n"))
            return solve(request) if name == "b" else name

        return say

    def pool() -> dict[str, Any]:
        return {"roles": {"b": policy("b"), "c": policy("c")}, "count": 12}

    made, sink = synthesise("several:samples=2,principles=true", policy("a"), **pool())
    by = [t.episode.task.origin["by"] for t, _ in made]
    assert all(len(set(by[i : i + 2])) == 2 for i in range(0, 24, 2))
    assert set(Counter(by)) == {"scripted", "b", "c"}
    assert all(t.leaf.version == t.episode.task.origin["by"] for t, _ in made)
    assert principles == set(several.PRINCIPLES.values())
    assert {t.messages[0].content for t, _ in made} == {"Add."}
    every, sink = synthesise("several:samples=3", policy("a"), **pool())
    assert Counter(t.episode.task.origin["by"] for t, _ in every) == {"scripted": 12, "b": 12, "c": 12}
    makers, filters = pairing.parse(["outcome"])
    group = [e for e in sink.episodes if e.task.id == "train-3"]
    found = [p for p, dropped in pairing.make_pairs([group], makers, filters) if not dropped]
    assert {(p.chosen.leaf.version, p.rejected.leaf.version) for p in found} == {("b", "c"), ("b", "scripted")}
    with pytest.raises(UserError, match="needs several policies"):
        synthesise("several", policy("a"))


def actor(request: SampleRequest) -> Message | str:
    """Acts for even sums, thinks for those under 6, and learns from a failure."""
    number = numbers(" ".join(m.content for m in request.messages if m.role == "user"))[0]
    if asked(request) == REFLECT:
        return "Use the tool."
    if fireact.COT in told(request):
        return solve(request) if number < 3 else "a guess"
    if request.messages[-1].role == "tool":
        return asked(request)
    if number % 2 == 0 or LESSONS in told(request):
        return assistant("", call("add", a=number, b=number))
    return "no idea"


def test_fireact_mixes_ways_and_keeps_what_succeeds_by_each() -> None:
    made, _ = synthesise("fireact", actor, count=6)
    kept = {(t.episode.task.id, t.episode.task.origin["way"]) for t, reason in made if not reason}
    react, cot, reflexion = ({int(i[6:]) for i, way in kept if way == wanted} for wanted in fireact.WAYS)
    assert (react, cot, reflexion) == ({0, 2, 4}, {0, 1, 2}, {0, 1, 2, 3, 4, 5})
    assert all(fireact.COT not in str(t.messages) for t, _ in made)
    (lesson,) = (t for t, _ in made if (t.episode.task.id, t.episode.task.origin["way"]) == ("train-1", "reflexion"))
    assert [a.role for a in lesson.actions] == ["actor", "reflector", "actor", "actor"]


def test_self_training_keeps_each_right_trace_once() -> None:
    def policy(request: SampleRequest) -> str:
        assert "Do not guess" in told(request)
        right = solve(request)
        return right if request.seed % 3 else f"{right}?"

    made, _ = synthesise("self-training:samples=6", policy, count=8)
    for number in range(8):
        own = [(t, reason) for t, reason in made if t.episode.task.id == f"train-{number}"]
        wrong = [reason for t, reason in own if not t.success]
        kept = [t for t, reason in own if not reason]
        assert len(own) == 6
        assert wrong == ["reward: reward 0 is under 1"] * len(wrong)
        assert len(kept) == int(any(t.success for t, _ in own))
        assert all(t.messages[0].content == "Add." for t, _ in own)
    assert {t.success for t, _ in made} == {True, False}


def test_self_align_thinks_by_principles_and_forgets_them(tmp_path: Path) -> None:
    (tmp_path / "own.txt").write_text("1 (kind). Be kind.\n")

    def policy(request: SampleRequest) -> str:
        if "Do not answer yet" in asked(request):
            return "Principle 1 calls for kindness." if "Be kind." in asked(request) else "Principle 6."
        return "kindly" if "Be kind." in told(request) and "calls for kindness" in told(request) else told(request)

    ((t, _),) = synthesise(f"self-align:principles={tmp_path / 'own.txt'}", policy, count=1)[0]
    assert [m.content for m in t.messages] == ["Add.", "What is 0 + 0?", "kindly"]
    assert t.episode.task.origin["thoughts"] == "Principle 1 calls for kindness."
    ((usual, _),) = synthesise("self-align", policy, count=1)[0]
    assert self_align.PRINCIPLES in answers(usual)
    with pytest.raises(UserError, match="there are no principles"):
        synthesise("self-align:principles=/nowhere", policy)


def test_ilf_keeps_the_best_refinement_that_does_what_the_criticism_says() -> None:
    """By task: 0 refines to the right answer, 1 does not use the criticism, 2 was right before, 3 cannot be bettered."""
    tries = Counter[str]()

    def policy(request: SampleRequest) -> str:
        text = asked(request)
        if "What was said about it:" not in told(request):
            return "4" if numbers(text)[0] == 2 else "0.5"
        tries[text] += 1
        if numbers(text)[0] == 0:
            return "0" if tries[text] == 2 else "1"
        return f"worse {tries[text]}"

    def critic(request: SampleRequest) -> str:
        text = asked(request)
        if text.startswith("Request:"):
            return f"About {numbers(text)[0]}."
        return "NO." if "About 1." in text else "YES"

    made, sink = synthesise("ilf:refinements=3", policy, roles={"critic": critic}, concurrency=1)
    by_task = [[(answers(t), reason.removeprefix("dropped: ")) for t, reason in made[i : i + 4]] for i in range(0, 16, 4)]
    other, unused = "another refinement was better, or first", "it does not do what the criticism asks for"
    less = "a reward of 0 is less than the first answer's 1"
    assert by_task[0] == [("0.5", "it was refined"), ("1", other), ("0", ""), ("1", other)]
    assert [r for _, r in by_task[1]] == ["it was refined", *[unused] * 3]
    assert [r for _, r in by_task[2]] == ["it was refined", *[less] * 3]
    assert [r for _, r in by_task[3]] == ["it was refined", "", other, other]
    assert made[0][0].episode.task.origin["critique"] == "About 0."
    makers, filters = pairing.parse(["outcome"])
    found = [p for p, dropped in pairing.make_pairs([[sink.episodes[0]]], makers, filters) if not dropped]
    assert {(answers(p.chosen), answers(p.rejected)) for p in found} == {("0", "0.5"), ("0", "1")}
    with pytest.raises(UserError, match="at least one refinement"):
        selecting.parse("ilf:refinements=0", METHODS, "method")


def test_relabelled_tries_keep_their_ids_and_get_the_request_that_they_fulfil(chat: Chat) -> None:
    def says(prompt: str) -> str:
        return "0" if "1 + 1" not in prompt else "3"

    def labeller(request: SampleRequest) -> str:
        spoken = [m.content for m in request.messages]
        if spoken[-1] == NAME:
            return {"What is 1 + 1?": "What is 1 + 2?", "What is 2 + 2?": "What is 0 + 0?"}.get(spoken[1], "NONE.")
        assert spoken[-1] == JUDGE
        return "YES" if spoken[1:3] == ["What is 1 + 2?", "3"] else "NO"

    made, _ = synthesise("relabel", Speaker(chat, says), roles={"labeller": labeller})
    solved, renamed, doubtful, nothing = made
    assert solved[1] == ""
    assert inexact(solved[0], chat) == ""
    t, reason = renamed
    assert (reason, t.episode.task.prompt, t.episode.task.origin["instead_of"]) == ("", "What is 1 + 2?", "What is 1 + 1?")
    assert [m.content for m in t.messages] == ["Add.", "What is 1 + 2?", "3"]
    assert (t.success, t.reward, t.leaf.rewards) == (True, 1.0, {"judged": 1.0})
    (row,) = training_rows([t], chat.tokenizer)
    assert [i for i, w in zip(row.input_ids, row.weights, strict=True) if w] == t.leaf.token_ids
    assert "What is 1 + 2?" in chat.tokenizer.decode(row.input_ids)
    assert row.logprobs is None
    assert "does not fulfil" in doubtful[1]
    assert (doubtful[0].success, doubtful[0].reward) == (False, 0.0)
    assert "the right answer to nothing" in nothing[1]


def test_relabelling_where_the_opening_does_not_spell_the_request() -> None:
    class Silent(Sums):
        def begin(self, task: Task) -> str:
            super().begin(task)
            return "Guess."

    agentgym.register(ENV, Silent)
    ((t, reason),) = synthesise("relabel", lambda r: {NAME: "Say what you want.", JUDGE: "YES"}.get(asked(r), "x"), count=1)[0]
    assert (reason, [m.content for m in t.messages]) == ("", ["Add.", "Say what you want.", "x"])


def test_edge_measures_what_a_guideline_does_to_rewards_and_keeps_what_it_does_not_cover(tmp_path: Path) -> None:
    """The guideline solves 0 and 1, changes nothing in 2 (never solved) and 3 (always), and spoils 4."""
    guideline = tmp_path / "guide.txt"
    guideline.write_text("Double it.\n")

    def policy(request: SampleRequest) -> str:
        number, guided = numbers(asked(request))[0], "Double it." in told(request)
        return solve(request) if number == 3 or (guided and number < 2) or (not guided and number == 4) else "no"

    made, _ = synthesise(f"edge:guideline={guideline},tries=3,keep=0.6", policy, count=5)
    effects = {t.episode.task.id: t.episode.task.origin["effect"] for t, _ in made}
    assert effects == {"train-0": 1.0, "train-1": 1.0, "train-2": 0.0, "train-3": 0.0, "train-4": -1.0}
    assert {t.episode.task.id for t, reason in made if not reason} == {"train-2", "train-3", "train-4"}
    assert len(made) == 5 * 6
    assert all("Double" not in str(t.messages) for t, _ in made)
    with pytest.raises(UserError, match="there is no guideline"):
        selecting.parse("edge:guideline=/nowhere", METHODS, "method")


# ---- as a command ------------------------------------------------------------------------------------------------------


def test_a_nano_policy_synthesises_and_is_trained_on_it(nano_dir: Path, tmp_path: Path) -> None:
    """A run that is given again plays what is missing; what a model sampled under a whisper is trained on id for id."""
    out, common = tmp_path / "run", ("--env", ENV, "--policy", nano_dir, "--max-tokens", 6, "--out", tmp_path / "run")
    done = run("synthesize", "self-training:samples=2", *common, "--tasks", 2)
    assert (done["played"], done["resumed"], done["of"], done["prompts"]) == (4, 0, 4, 0)
    done = run("synthesize", "self-training:samples=2", *common, "--tasks", 3)
    assert (done["played"], done["resumed"], done["of"]) == (2, 4, 6)
    with Store(out) as store:
        found = list(store.trajectories())
    chat = Chat(load_tokenizer(nano_dir))
    assert all("Do not guess" not in str(t.messages) for t in found)
    for t in found:
        rows = training_rows([t], chat.tokenizer)
        trained = [i for r in rows for i, w in zip(r.input_ids, r.weights, strict=True) if w]
        assert trained == [i for n in t.actions for i in n.token_ids or []]
    run("select", out, "--by", "length:turns=9", "--name", "all")
    run("train", "sft", out, "--selection", "all", "--model", nano_dir, "--max-steps", 1, "--out", tmp_path / "trained")
    assert (tmp_path / "trained" / "config.json").exists()


def test_what_a_nano_policy_writes_is_a_task_or_a_counted_failure(nano_dir: Path, tmp_path: Path) -> None:
    """It has learnt nothing yet: most of what it writes in a user's place has no end."""
    common = ("--env", ENV, "--policy", nano_dir, "--max-tokens", 24, "--tasks", 3, "--attempts", 2, "--out", tmp_path / "run")
    done = run("synthesize", "magpie", *common)
    assert done["played"] + done["failed"] == 3
    assert done["of"] == done["played"]
    with Store(tmp_path / "run") as store:
        lost = store.query("SELECT task, count(*) FROM failures WHERE kind = 'Unusable' GROUP BY task")
        chat = Chat(load_tokenizer(nano_dir))
        assert all(inexact(t, chat) == "" for t in store.trajectories())
    assert sum(n for _, n in lost) == done["tries_failed"] >= 2 * done["failed"]


def test_tasks_that_were_written_are_lines_that_others_can_play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def writer(request: SampleRequest) -> str:
        words = asked(request)
        return "so it goes" if words != magpie.ASK else f"Say {request.seed}" if request.seed % 2 else "Say it all once more now"

    monkeypatch.setattr("agentgym_trajectories.cli_synthesize.open_sampler", lambda *_, **__: Scripted(writer))
    out = tmp_path / "run"
    done = run("synthesize", "magpie", "--env", ENV, "--policy", "x", "--tasks", 12, "--out", out)
    lines = [json.loads(line) for line in (out / "prompts.jsonl").read_text().splitlines()]
    assert done["prompts"] == done["kept"] == len(lines) < 12
    assert [set(line) for line in lines] == [{"id", "prompt", "split", "origin"}] * len(lines)
    assert sum("once more" in line["prompt"] for line in lines) == 1
    with Store(out) as store:
        kept = [(t.episode.task.id, t.episode.task.prompt) for t in store.trajectories("default")]
    assert sorted(kept) == sorted((line["id"], line["prompt"]) for line in lines)


def test_wrong_requests_are_one_clear_error(tmp_path: Path) -> None:
    common = ("--env", ENV, "--policy", "oracle", "--out", tmp_path / "run")
    for spec, more, text in (
        ("dance", (), "there is no method 'dance': use one of magpie"),
        ("magpie:loud=1", (), "has no option 'loud'"),
        ("edge", (), "'guideline'"),
        ("fireact", ("--role", "user=oracle"), "fireact has no role 'user': it has reflector"),
        ("self-align", ("--role", "user=oracle"), "it has none"),
        ("halves", ("--start", 30), "has no tasks from number 30 on"),
    ):
        assert text in run("synthesize", spec, *common, *more, code=2)["error"]
    assert not (tmp_path / "run" / "prompts.jsonl").exists()
