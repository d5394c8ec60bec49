"""instruct/IFEval-v0: each of the 25 types by hand, the published file, and a second check that was written in another way."""

import json
import os
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentgym import Task, UserError, assistant
from agentgym.checks import check_env, validate_env
from agentgym.errors import NotInstalled
from agentgym_envs.instruct.ifeval import language
from agentgym_envs.instruct.ifeval.env import IFEval, convert
from agentgym_envs.instruct.ifeval.judge import accuracy, instructions_of, judge, loosened
from agentgym_envs.instruct.ifeval.tasks import KINDS
from agentgym_envs.instruct.text import sentences, tokens
from tests.envs.ifeval_cases import CASES
from tests.envs.ifeval_second import follows, follows_loosely
from tests.envs.ifeval_writers import random_answer, violating_answer

DATA = f"{os.environ.get('AGENTGYM_DATA')}/ifeval"
needs_data = pytest.mark.skipif("AGENTGYM_DATA" not in os.environ, reason="AGENTGYM_DATA is not set")


def row(*instructions: tuple[str, dict[str, Any]], prompt: str = "Write.", **others: Any) -> dict[str, Any]:
    return {
        "prompt": prompt,
        "instruction_id_list": [i for i, _ in instructions],
        "kwargs": [k for _, k in instructions],
        **others,
    }


def parts(answer: str, *instructions: tuple[str, dict[str, Any]]) -> dict[str, float]:
    return judge(instructions_of(row(*instructions)), answer)


def strictly(kind: str, arguments: dict[str, Any], answer: str) -> bool:
    return parts(answer, (kind, arguments))["prompt_strict"] == 1.0


# ---- the 25 types by hand -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", CASES)
def test_each_type_judges_answers_made_by_hand(kind: str) -> None:
    good, bad = ({json.dumps(case, sort_keys=True): case for case in side} for side in CASES[kind])
    assert len(good) >= 20
    assert len(bad) >= 20
    assert [case for case in good.values() if not strictly(kind, *case)] == []
    assert [case for case in bad.values() if strictly(kind, *case)] == []
    assert not strictly(kind, next(iter(good.values()))[0], " \n")  # an empty answer follows nothing


@pytest.mark.parametrize("kind", CASES)
def test_the_second_check_judges_them_alike(kind: str) -> None:
    good, bad = CASES[kind]
    assert [case for case in good if not follows(kind, *case)] == []
    assert [case for case in bad if follows(kind, *case)] == []


def test_every_type_has_its_cases() -> None:
    assert {str(k.__struct_config__.tag) for k in KINDS} == set(CASES)
    assert len(KINDS) == 25


def test_text_is_cut_as_documented() -> None:
    assert tokens("Don't: 3.5, a_b!") == ["Don", "t", "3", "5", "a_b"]
    assert sentences("Mr. Fox met J. R. Lee. See e.g. that") == ["Mr. Fox met J. R. Lee.", "See e.g. that"]
    assert sentences("So do I. 1. Yes") == ["So do I.", "Yes"]
    assert sentences("... !") == []


# ---- parts of the reward -------------------------------------------------------------------------------------------------------

NO_COMMA = ("punctuation:no_comma", {})
QUOTED = ("startend:quotation", {})
ROPES = ("keywords:frequency", {"keyword": "rope", "relation": "at least", "frequency": 1})
TENTS = ("keywords:frequency", {"keyword": "tent", "relation": "at least", "frequency": 1})


def test_strict_and_loose() -> None:
    answer = 'Sure, here it is:\n"A rope."\n*Bye, then.*'
    assert parts(answer, NO_COMMA, QUOTED, ROPES, TENTS) == {
        "prompt_strict": 0.0,
        "prompt_loose": 0.0,
        "instruction_strict": 0.25,
        "instruction_loose": 0.75,
        "instructions": 4.0,
        "punctuation:no_comma": 0.0,
        "startend:quotation": 0.0,
        "keywords:frequency": 0.5,
    }
    assert parts(answer, NO_COMMA, QUOTED)["prompt_loose"] == 1.0
    assert set(loosened("a\n*b*\nc")) == {"*b*\nc", "a\n*b*", "*b*", "a\nb\nc", "b\nc", "a\nb", "b"}
    assert loosened("a") == []
    assert parts("a, b", NO_COMMA)["prompt_loose"] == 0.0  # what is left without the only line is no text


def test_the_four_numbers_of_the_paper() -> None:
    found = accuracy([parts("a rope", ROPES), parts("a rope,\n*b*", NO_COMMA, ROPES, TENTS), parts("a", QUOTED)])
    assert found == pytest.approx(
        {"prompt_strict": 1 / 3, "prompt_loose": 1 / 3, "instruction_strict": 2 / 5, "instruction_loose": 3 / 5}
    )


# ---- files ---------------------------------------------------------------------------------------------------------------------


def test_a_row_as_a_task() -> None:
    nulls = {"num_bullets": None, "keyword": "rope", "relation": "less than", "frequency": 2}  # as the copy on the hub has them
    task = convert(row(("keywords:frequency", nulls), ("detectable_format:title", None), key=7), "")  # type: ignore[arg-type]
    assert (task.id, task.split, task.difficulty, task.prompt) == ("ifeval-7", "test", "medium", "Write.")
    assert convert(row(NO_COMMA), "train").split == "train"
    env = IFEval()
    env.reset(options={"task": task})
    assert env.step(assistant("<<A rope>>"))[4]["rewards"]["prompt_strict"] == 1.0


@pytest.mark.parametrize(
    ("broken", "named"),
    [
        (row(("keywords:rhyme", {})), "keywords:rhyme"),
        (row(("keywords:frequency", {"keyword": "a", "relation": "exactly", "frequency": 1})), "relation"),
        (row(("detectable_format:number_bullet_lists", {})), "num_bullets"),
        (row(("keywords:letter_frequency", {"letter": "ab", "let_relation": "at least", "let_frequency": 1})), "letter"),
        (row(("language:response_language", {"language": "xx"})), "xx"),
        (row(), "0 instructions"),
        ({"prompt": "x", "instruction_id_list": ["punctuation:no_comma"], "kwargs": []}, "1 instructions have 0"),
        ({"question": "x"}, "prompt"),
    ],
)
def test_rows_that_are_none_are_refused(tmp_path: Path, broken: dict[str, Any], named: str) -> None:
    (tmp_path / "input.jsonl").write_text(json.dumps(row(NO_COMMA)) + "\n" + json.dumps(broken))
    with pytest.raises(UserError, match=named) as error:
        IFEval(str(tmp_path)).tasks("test")
    assert "row 2" in str(error.value)


def test_bad_arguments() -> None:
    with pytest.raises(UserError, match="there is no level"):
        IFEval(level="x")
    with pytest.raises(UserError, match="there is no file"):
        IFEval("/nowhere").tasks("test")
    env = IFEval()
    with pytest.raises(UserError, match="holds no verifiable instructions"):
        env.reset(options={"task": Task("x", {}, "own")})


def test_what_tells_languages_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(language.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(NotInstalled, match=r"agentgym\[instruct\]"):
        IFEval()


def test_a_language_that_the_writer_does_not_speak() -> None:
    env = IFEval()
    env.reset(options={"task": convert(row(("language:response_language", {"language": "zh-cn"})), "")})
    assert env.oracle() is None
    assert env.step(assistant("老人慢慢地走过街道，在商店里买了面包。"))[4]["success"]


@pytest.mark.parametrize(
    "much",
    [
        ("length_constraints:number_words", {"relation": "at least", "num_words": 10**9}),
        ("length_constraints:nth_paragraph_first_word", {"num_paragraphs": 10**9, "nth_paragraph": 1, "first_word": "a"}),
        ("keywords:frequency", {"keyword": "a", "relation": "at least", "frequency": 10**9}),
        ("keywords:letter_frequency", {"letter": "a", "let_relation": "at least", "let_frequency": 10**9}),
    ],
)
def test_the_writer_writes_no_endless_texts(much: tuple[str, dict[str, Any]]) -> None:
    env = IFEval()
    env.reset(options={"task": convert(row(much), "")})
    assert env.oracle() is None


# ---- the environment -----------------------------------------------------------------------------------------------------------


def test_conformance() -> None:
    assert not [check for check in check_env("instruct/IFEval-v0", tasks=3) if not check.ok]


@pytest.mark.parametrize("level", [None, "easy", "medium", "hard"])
def test_own_prompts_can_be_followed(level: str | None) -> None:
    found = validate_env(IFEval(level=level), "test", 60)
    assert (found.gold_passed, found.floor_passed) == (60, 0)


def test_own_prompts_have_all_types_and_say_their_arguments() -> None:
    tasks = IFEval().tasks("train")[:400]
    seen = {kind for task in tasks for kind in task.data["instruction_id_list"]}
    assert seen == set(CASES)
    for task in tasks:
        for kind, arguments in zip(task.data["instruction_id_list"], task.data["kwargs"], strict=True):
            named = kind not in ("combination:repeat_prompt", "language:response_language")
            values = [v for value in arguments.values() for v in (value if isinstance(value, list) else [value])]
            assert task.prompt.startswith(task.data["request"])
            assert all(str(v) in task.prompt for v in values if named)
            assert "{" not in task.prompt


@pytest.mark.parametrize(
    "text", ["<" * 10**5, "[" * 10**5, "*" * 10**5, "\n" * 10**5, "a. " * 10**5, "<<" + ">" * 10**5, "A." * 10**5]
)
def test_long_answers_take_time_in_proportion(text: str) -> None:
    """A check that tries every beginning with every end would take minutes."""
    for kind, (good, _) in CASES.items():
        parts(text, (kind, good[0][0]))


# ---- the published file, judged twice ------------------------------------------------------------------------------------------


@needs_data
def test_the_published_file() -> None:
    env = IFEval(DATA)
    assert [len(env.tasks(split)) for split in ("train", "validation", "test")] == [0, 0, 541]
    kinds = [kind for task in env.tasks("test") for kind in task.data["instruction_id_list"]]
    assert len(kinds) == 834
    failed = [check.name for check in check_env("instruct/IFEval-v0", tasks=3, data=DATA) if not check.ok]
    assert not failed  # a file may be a test alone
    assert set(kinds) == set(CASES)


# Their instructions contradict each other, strictly read: what is to be repeated holds what must not occur.
CONTRADICTORY = {"ifeval-1627", "ifeval-3369", "ifeval-3371", "ifeval-3718", "ifeval-374"}


@needs_data
def test_the_second_check_agrees_on_all_prompts() -> None:
    env = IFEval(DATA)
    unsolved, answers, differences = set(), 0, []
    counts = {"oracle": 0.0, "violating": 0.0, "random": 0.0}
    for task in env.tasks("test"):
        env.reset(options={"task": task})
        gold, rng = env.oracle(), random.Random(task.id)
        if gold is None:
            unsolved.add(task.id)
        written = {
            "oracle": gold.content if gold else "We could not write what was asked for.",
            "violating": violating_answer(task.data, rng),
            "random": random_answer(task.data, rng),
        }
        for writer, answer in written.items():
            answers += 1
            for kind, arguments in zip(task.data["instruction_id_list"], task.data["kwargs"], strict=True):
                found = parts(answer, (kind, arguments))
                second = follows(kind, arguments, answer), follows_loosely(kind, arguments, answer)
                if (found["prompt_strict"], found["prompt_loose"]) != tuple(map(float, second)):
                    differences.append((writer, kind, arguments, answer))
            counts[writer] += judge(instructions_of(task.data), answer)["prompt_strict"]
    assert differences == []
    assert answers == 3 * 541
    assert unsolved == CONTRADICTORY
    assert counts["oracle"] == 541 - len(CONTRADICTORY)
    assert counts["violating"] == 0
    assert 0 < counts["random"] < 541


PIECES = [
    "*",
    "**",
    "***",
    "\n",
    "\n\n",
    " ",
    "[",
    "]",
    "<<",
    ">>",
    "<",
    "-",
    '"',
    "'",
    ",",
    ".",
    "!",
    "?",
    "P.",
    "S.",
    "p",
    "Mr.",
    "U.S.",
]
PIECES += [
    "a",
    "B",
    "I",
    "One",
    "TWO",
    "rope",
    "Tent",
    "q",
    "elm",
    "Section",
    "1",
    "3.5",
    "{",
    "}",
    "rock",
    "_",
    "é",
    "(",
    ")",
    "\t",
    "```",
    "json",
]
TOLD = {
    "language:response_language",
    "change_case:english_capital",
    "change_case:english_lowercase",
}  # of no language in particular


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join), st.data())
def test_both_checks_agree_on_whatever_is_written(answer: str, data: st.DataObject) -> None:
    for kind in sorted(CASES.keys() - TOLD):
        arguments = data.draw(st.sampled_from([a for side in CASES[kind] for a, _ in side]))
        assert strictly(kind, arguments, answer) == follows(kind, arguments, answer), (kind, arguments)
