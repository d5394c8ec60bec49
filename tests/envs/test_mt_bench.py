"""instruct/MtBench-v0 and instruct/Gsm8k-v0: two turns and their judge, the published files, answers without tools."""

import asyncio
import json
import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agentgym import EnvironmentFailure, Message, SamplerFailure, Task, UserError, assistant
from agentgym.checks import check_env, validate_env
from agentgym.sampling import SampleRequest, Scripted
from agentgym_envs.instruct.gsm8k import Gsm8k
from agentgym_envs.instruct.mt_bench.env import MtBench
from agentgym_envs.instruct.mt_bench.files import OWN, WITH_REFERENCE, filled

needs_data = pytest.mark.skipif("AGENTGYM_DATA" not in os.environ, reason="AGENTGYM_DATA is not set")
DATA = f"{os.environ.get('AGENTGYM_DATA')}/mt_bench"
QUESTIONS = [
    {"question_id": 1, "category": "writing", "turns": ["Write {a}.", "Shorter."]},
    {"question_id": 2, "category": "math", "turns": ["1+1?", "Times 3?"], "reference": ["old 2", "old 6"]},
    {"question_id": 3, "category": "coding", "turns": ["Code.", "Faster."], "reference": ["only one"]},
]
REFERENCES = [{"question_id": 2, "choices": [{"turns": ["It is 2.", "It is 6."]}], "model_id": "m"}]


def folder(path: Path, questions: Any = QUESTIONS, prompts: Any = None) -> str:
    (path / "mt_bench" / "reference_answer").mkdir(parents=True)
    (path / "mt_bench" / "question.jsonl").write_text("\n".join(map(json.dumps, questions)))
    (path / "mt_bench" / "reference_answer" / "m.jsonl").write_text("\n".join(map(json.dumps, REFERENCES)))
    if prompts is not None:
        (path / "judge_prompts.jsonl").write_text("\n".join(map(json.dumps, prompts)))
    return str(path)


def play(env: MtBench, task: Task, *answers: str) -> tuple[list[str], float, dict[str, Any]]:
    observation, _ = env.reset(seed=0, options={"task": task})
    said, reward, info = [observation.messages[-1].content], 0.0, dict[str, Any]()
    for answer in answers:
        observation, reward, _, _, info = env.step(assistant(answer))
        said += [m.content for m in observation.messages]
    return said, reward, info


def rates(policy: Callable[[str, str], str]) -> Scripted:
    """A judge that decides by system message and question."""

    def judge(request: SampleRequest) -> str:
        said = {m.role: m.content for m in request.messages}
        return policy(said.get("system", ""), said["user"])

    return Scripted(judge)


# ---- two turns -----------------------------------------------------------------------------------------------------------------


def test_conformance() -> None:
    assert not [check for check in check_env("instruct/MtBench-v0", tasks=3) if not check.ok]
    assert not [check for check in check_env("instruct/Gsm8k-v0", tasks=3) if not check.ok]


def test_own_questions_build_on_each_other() -> None:
    with closing(MtBench()) as env:
        found = validate_env(env, "test", 20)
        assert (found.gold_passed, found.floor_passed) == (20, 0)
        task = env.tasks()[0]
        first, second = task.data["reference"]
        said, reward, info = play(env, task, f"#### {first}", "I do not know")
        assert said == task.data["turns"]
        assert (reward, info["success"]) == (0.5, False)
        assert info["rewards"] == {"first": 1.0, "second": 0.0, "score": 5.5}
        assert play(env, task, first, second)[2]["rewards"]["score"] == 10.0


def test_the_judge_reads_the_first_turn_alone_and_then_both(tmp_path: Path) -> None:
    heard: list[SampleRequest] = []

    def judge(request: SampleRequest) -> str:
        heard.append(request)
        return "[[10]]" if "ANSWER2" in request.messages[-1].content else "Fine. [[4]]"

    with closing(MtBench(folder(tmp_path), Scripted(judge), enough=0.6)) as env:
        _, reward, info = play(env, env.tasks("test")[0], "ANSWER1", "ANSWER2")
        assert reward == pytest.approx((1 / 3 + 1) / 2)
        assert info["rewards"] == pytest.approx({"first": 1 / 3, "second": 1.0, "score": 7.0})
        assert info["success"]
        assert env.oracle() is None
        one, two = (r.messages[-1].content for r in heard)
        assert "Write {a}." in one
        assert "ANSWER1" in one
        assert "Shorter." not in one
        assert two.index("Write {a}.") < two.index("ANSWER1") < two.index("Shorter.") < two.index("ANSWER2")
        play(env, env.tasks("test")[1], "x", "y")
        one, two = (r.messages[-1].content for r in heard[2:])
        assert "It is 2." in one
        assert "It is 6." not in one
        assert "old" not in one + two
        assert "It is 6." in two
        play(env, env.tasks("test")[2], "x", "y")  # a reference for one of the turns alone is none
        assert "only one" not in heard[4].messages[-1].content + heard[5].messages[-1].content


def test_the_first_answer_is_a_part_of_the_state(tmp_path: Path) -> None:
    judge = rates(lambda _, text: "[[10]]" if "good" in text else "[[1]]")
    with closing(MtBench(folder(tmp_path), judge)) as env:
        env.reset(options={"task": env.tasks("test")[0]})
        start = env.snapshot()
        env.step("good")
        middle, key = env.snapshot(), env.state_key()
        env.restore(start)
        env.step("bad")
        assert env.state_key() != key
        assert env.step("bad")[4]["rewards"]["first"] == 0.0
        env.restore(middle)
        assert env.step("bad")[4]["rewards"] == {"first": 1.0, "second": 1.0, "score": 10.0}  # both turns are read


def test_mistakes_before_the_answer_cost_turns_alone() -> None:
    with closing(MtBench()) as env:
        env.reset(options={"task": env.tasks()[0]})
        env.step(Message("assistant", malformed="broken"))
        for answer in env.task.data["reference"]:
            *_, info = env.step(assistant(answer))
        assert info["success"]


@pytest.mark.parametrize("answer", ["", "It is good.", "[[11]]", "7", None])
def test_a_judge_that_gives_no_rating_is_no_reward(tmp_path: Path, answer: str | None) -> None:
    def judge(_: SampleRequest) -> str:
        if answer is None:
            raise SamplerFailure("down")
        return answer

    with closing(MtBench(folder(tmp_path), Scripted(judge))) as env, pytest.raises(EnvironmentFailure, match="no rating"):
        play(env, env.tasks("test")[0], "x", "y")


def test_a_judge_that_refuses_is_no_reward(tmp_path: Path) -> None:
    def judge(_: SampleRequest) -> str:
        raise UserError("wrong key")

    with closing(MtBench(folder(tmp_path), Scripted(judge))) as env, pytest.raises(EnvironmentFailure, match="wrong key"):
        play(env, env.tasks("test")[0], "x", "y")


# ---- files ---------------------------------------------------------------------------------------------------------------------


def test_published_prompts_are_what_the_judge_is_told(tmp_path: Path) -> None:
    prompts = [
        {"name": "single-v1", "type": "single", "system_prompt": "S1", "prompt_template": "One: {question} / {answer}"},
        {"name": "single-v1-multi-turn", "system_prompt": "S2", "prompt_template": "{question_2} / {answer_2}"},
        {"name": "pair-v2", "system_prompt": "", "prompt_template": "{unknown}"},
    ]
    heard: list[tuple[str, str]] = []

    def note(instructions: str, text: str) -> str:
        heard.append((instructions, text))
        return "[[5]]"

    with closing(MtBench(folder(tmp_path, prompts=prompts), rates(note))) as env:
        play(env, env.tasks("test")[0], "A", "B")
    assert heard == [("S1", "One: Write {a}. / A"), ("S2", "Shorter. / B")]


@pytest.mark.parametrize(
    ("questions", "prompts", "named"),
    [
        ([{"question_id": 1, "category": "x", "turns": ["one"]}], None, "question.jsonl is not of MT-Bench's layout"),
        ([{"question": "x"}], None, "question.jsonl is not of MT-Bench's layout"),
        (QUESTIONS, [{"name": "single-v1"}], "judge_prompts.jsonl is not of MT-Bench's layout"),
        (QUESTIONS, [{"name": "single-v1", "system_prompt": "", "prompt_template": "{essay}"}], "single-v1 cannot be filled in"),
    ],
)
def test_files_of_another_layout(tmp_path: Path, questions: Any, prompts: Any, named: str) -> None:
    with pytest.raises(UserError, match=named):
        MtBench(folder(tmp_path, questions, prompts), rates(lambda *_: "[[5]]"))


def test_bad_arguments(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a script cannot judge"):
        MtBench(folder(tmp_path))
    with pytest.raises(UserError, match=r"no question\.jsonl"):
        MtBench("/nowhere", rates(lambda *_: ""))
    with pytest.raises(UserError, match="there is no policy"):
        MtBench(judge="nobody")
    with pytest.raises(UserError, match="there is no level"):
        Gsm8k(level="x")


@needs_data
def test_the_published_questions() -> None:
    heard: list[tuple[str, str]] = []

    def note(instructions: str, text: str) -> str:
        heard.append((instructions, text))
        return "Rating: [[8]]"

    with closing(MtBench(DATA, rates(note))) as env:
        tasks = env.tasks("test")
        assert [len(env.tasks(s)) for s in ("train", "validation", "test")] == [0, 0, 80]
        assert [t.data["category"] for t in tasks if t.data["reference"]] == ["reasoning"] * 10 + ["math"] * 10 + ["coding"] * 10
        assert {t.data["category"] for t in tasks} > set(WITH_REFERENCE)
        for task in tasks:
            assert play(env, task, "<first>", "<second>")[2]["rewards"]["score"] == pytest.approx(8.0)
        text = "\n".join(t for _, t in heard)
    assert len(heard) == 160
    assert not [check for check in check_env(lambda: MtBench(DATA, rates(lambda *_: "[[7]]")), tasks=2) if not check.ok]
    assert sum("[The Start of Reference Answer]" in t or "<|The Start of Reference Answer|>" in t for _, t in heard) == 60
    assert "{" + "question" not in text
    assert all("<first>" in t for _, t in heard)


def test_own_templates_take_all_that_is_known() -> None:
    for template in OWN:
        text = filled(template, ("Q1", "Q2"), ("A1", "A2"), ("R1", "R2"))
        second, compared = "multi" in template.name, "math" in template.name
        assert [part in text for part in ("Q1", "A1", "Q2", "A2", "R1", "R2")] == [
            True,
            True,
            second,
            second,
            compared,
            second and compared,
        ]


# ---- Gsm8k -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "solved", "stated"),
    [
        ("#### 1,800", 1, 1),
        ("1800", 1, 1),
        (r"So \boxed{1800}", 1, 1),
        ("18 * 100\n#### 1800 apples.", 1, 1),
        ("#### 1801", 0, 1),
        ("It is 1800, I think, or so.", 0, 0),
        ("#### 1800\n#### 7", 0, 1),
        ("", 0, 0),
    ],
)
def test_answers_without_tools(answer: str, solved: float, stated: float) -> None:
    env = Gsm8k()
    env.reset(options={"task": Task("How many?", {"answer": "1,800", "steps": []}, "x")})
    _, reward, terminated, _, info = env.step(answer)
    assert (reward, terminated, info["rewards"]) == (solved, True, {"solved": solved, "stated": stated})
    assert not env.tools.schemas


@pytest.mark.parametrize("level", [None, "easy", "medium", "hard"])
def test_own_problems(level: str | None) -> None:
    found = validate_env(Gsm8k(level=level), "test", 20)
    assert (found.gold_passed, found.floor_passed) == (20, 0)


@needs_data
def test_gsm8k_loads() -> None:
    env = Gsm8k(f"{os.environ['AGENTGYM_DATA']}/gsm8k")
    assert len(env.tasks("test")) == 1319
    found = validate_env(env, "test", 60)
    assert (found.gold_passed, found.floor_passed) == (60, 0)


def test_many_episodes_wait_for_the_judge_together(tmp_path: Path) -> None:
    """On one event loop, as the rollout engine plays them."""
    data = folder(tmp_path)

    async def one(env: MtBench) -> float:
        await env.areset(options={"task": env.tasks("test")[0]})
        await env.astep("x")
        return (await env.astep("y"))[1]

    async def all_of_them() -> list[float]:
        return await asyncio.gather(*(one(MtBench(data, rates(lambda *_: "[[10]]"))) for _ in range(8)))

    assert asyncio.run(all_of_them()) == [1.0] * 8
