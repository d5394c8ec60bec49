"""instruct/Verifiable-v0: every kind of constraint, the judge's guards, and the proof that each task can be solved."""

import random
from collections import Counter
from itertools import islice

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentgym import Environment, Message, Task, UserError, assistant
from agentgym.registry import make
from agentgym.tasks import SPLITS
from agentgym_envs.instruct.constraints import KINDS, AnyConstraint, Constraint
from agentgym_envs.instruct.constraints.base import compose
from agentgym_envs.instruct.env import Verifiable
from agentgym_envs.instruct.judge import ECHO, Instruction, judge
from agentgym_envs.instruct.tasks import LEVELS
from agentgym_envs.instruct.text import folded, lines, paragraphs, sentences, words
from agentgym_envs.instruct.vocabulary import ADVERBIALS, BESIDE, ENDINGS, KEYWORDS, OPENINGS, PREDICATES, TITLES, TOPICS
from agentgym_envs.instruct.writer import gold

JSON = {"keys": {"summary": "string", "rating": "integer", "popular": "boolean", "facts": "array of strings"}}
GOOD_JSON = '{"summary": "It is old.", "rating": 3, "popular": true, "facts": ["It leaks.", "It rusts."]}'

# kind, parameters, answers that fulfil it, answers that do not
CASES = [
    ("words_exactly", {"n": 4}, ["one two three four", "I don't like long-lost"], ["one two three", "1. one 2. two three", ""]),
    ("words_at_least", {"n": 3}, ["one two three", "a b c d"], ["one two", "- 1 2 3"]),
    ("words_at_most", {"n": 3}, ["one two three", "one"], ["one two three four"]),
    ("sentences", {"n": 2}, ["One. Two!", 'He said "no." She left', "1. One. 2. Two."], ["One", "One. Two? Three.", "v1.2 is"]),
    ("lines", {"n": 2}, ["one\ntwo", "one\n\n two \n"], ["one two", "one\ntwo\nthree"]),
    ("paragraphs", {"n": 2}, ["a\n\nb", "a\nb\n \t\nc", "a\r\n\r\nb", "a\n\n\n\nb"], ["a\nb", "a\n\nb\n\nc"]),
    ("bullets", {"n": 2}, ["- a\n- b", "- a b\n\n- c"], ["- a", "- a\n- b\n- c", "* a\n* b", "So\n- a\n- b", "-a\n-b", "- a\n-"]),
    ("numbered", {"n": 2}, ["1. a\n2. b"], ["1. a\n3. b", "1) a\n2) b", "1. a\n2. b\n3. c", "1. a\n2. 2", "1. a"]),
    ("quoted", {}, ['"One two."'], ['One "two".', '"', '"one" "two"', "'one'", "", '"one']),
    ("title", {}, ["<<A Day>>\nText.", "<<A Day>> \n\nText."], ["<<A Day>> Text.", "<<A>>", "<<>>\na", "a\n<<A>>", "<<1>>\na"]),
    (
        "json",
        JSON,
        [GOOD_JSON, GOOD_JSON.replace(", ", ",\n")],
        [
            "",
            "[1]",
            f"Here: {GOOD_JSON}",
            f"```json\n{GOOD_JSON}\n```",
            GOOD_JSON.replace("3", "3.5"),
            GOOD_JSON.replace("3", "true"),
            GOOD_JSON.replace("true", "1"),
            GOOD_JSON.replace("It is old.", " "),
            GOOD_JSON.replace('"It is old."', "5"),
            GOOD_JSON.replace('["It leaks.", "It rusts."]', "[]"),
            GOOD_JSON.replace('"It rusts."', "7"),
            GOOD_JSON.replace('["It leaks.", "It rusts."]', '"It leaks."'),
            GOOD_JSON.replace('"rating": 3, ', ""),
            GOOD_JSON.replace("{", '{"year": 1, '),
            "[" * 100_000,
        ],
    ),
    ("include", {"words": ["rope", "tent"]}, ["A Rope and a tent.", "TENT, ROPE"], ["A rope.", "ropes and tents", ""]),
    ("repeat", {"word": "rope", "n": 2}, ["Rope on rope."], ["rope", "rope rope rope", "rope ropes", ""]),
    ("avoid", {"words": ["very", "nice"]}, ["good", "nicely", "every"], ["Very good", "a NICE day"]),
    ("starts_with", {"phrase": "In my view"}, ["In my view it is.", "IN MY VIEW, so"], ["So in my view", "In my viewpoint", ""]),
    ("ends_with", {"phrase": "That is all."}, ["THAT IS ALL."], ["That is all", "That is all. So", "xThat is all."]),
    ("upper", {}, ["ALL UP 3!"], ["ALL Up"]),
    ("lower", {}, ["all low 3!"], ["All low"]),
    ("title_case", {}, ["A Day - Of 3 Don't Long-lost"], ["A day", "A DAY", "A Long-Lost Day"]),
    ("capital_words", {"n": 2}, ["ONE and TWO", "ONE TWO THREE"], ["ONE two", "I am A man", ""]),
    ("letter_at_least", {"letter": "k", "n": 2}, ["Kick"], ["key", ""]),
    ("letter_at_most", {"letter": "k", "n": 1}, ["key", ""], ["Kick"]),
    ("no_letter", {"letter": "k"}, ["pet"], ["Key"]),
    ("commas", {"n": 2}, ["a, b, c"], ["a, b", "a, b, c, d"]),
    ("no_commas", {}, ["a b"], ["a, b"]),
    ("exclamations", {"n": 2}, ["Oh! No!", "Oh!!"], ["Oh!", "Oh! No! So!"]),
]  # fmt: skip


def constraint(kind: str, **parameters: object) -> Constraint:
    return msgspec.convert({"kind": kind, **parameters}, AnyConstraint)  # type: ignore[arg-type]


def instruct(*constraints: dict[str, object], prompt: str = "Describe the old bridge to us.", noun: str = "bridge") -> Task:
    return Task(prompt, {"adjective": "old", "noun": noun, "constraints": list(constraints)}, id="own")


# ---- the constraints ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "parameters", "good", "bad"), CASES, ids=[c[0] for c in CASES])
def test_each_kind_accepts_and_rejects(kind, parameters, good, bad):
    checked = constraint(kind, **parameters)
    assert checked.kind == kind
    assert [a for a in good if not checked.holds(a)] == []
    assert [a for a in bad if checked.holds(a)] == []


def test_every_kind_has_its_cases():
    assert {c[0] for c in CASES} == {str(k.__struct_config__.tag) for k in KINDS}
    assert len(KINDS) == len(CASES)


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)
def test_phrasings_state_all_parameters(kind):
    rng = random.Random(0)
    drawn = kind.draw(rng)
    said = {drawn.sentence(rng) for _ in range(30)}
    assert len(said) == len(kind.phrases) >= 2
    for value in msgspec.structs.asdict(drawn).values():
        for part in value if isinstance(value, list | dict) else [value]:
            assert all(str(part) in sentence for sentence in said)
    assert not any("{" in sentence for sentence in said)


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)
def test_parameters_survive_json(kind):
    drawn = kind.draw(random.Random(1))
    assert msgspec.json.decode(msgspec.json.encode(drawn), type=AnyConstraint) == drawn


def test_text_is_cut_as_documented():
    assert words("1. It's a long-lost day: 3pm, _x_") == ["It's", "a", "long-lost", "day", "pm", "x"]
    assert folded("A Day") == ["a", "day"]
    assert sentences('He said "no." Then: 3.5! And') == ['He said "no.', "Then: 3.5!", "And"]
    assert lines(" a \n\n b") == ["a", "b"]
    assert paragraphs("a\nb\n\nc") == ["a\nb", "c"]


# ---- the judge ----------------------------------------------------------------------------------------------------------

NO_COMMAS = {"kind": "no_commas"}
UPPER = {"kind": "upper"}


def test_parts_of_the_reward():
    task = instruct(NO_COMMAS, UPPER)
    assert judge(task, "THE BRIDGE IS VERY OLD") == {"solved": 1.0, "share": 1.0, "no_commas": 1.0, "upper": 1.0}
    assert judge(task, "the bridge is very old") == {"solved": 0.0, "share": 0.5, "no_commas": 1.0, "upper": 0.0}
    assert judge(task, "the bridge, is very old") == {"solved": 0.0, "share": 0.0, "no_commas": 0.0, "upper": 0.0}


@pytest.mark.parametrize(
    "answer",
    [
        "",
        " \n",
        "bridge",
        "bridge bridge bridge bridge bridge bridge",
        "a fine day without any topic",
        "the bridge is old",
        "1 2 3 4 5",
    ],
)
def test_what_is_no_text_on_the_topic_scores_nothing(answer):
    assert set(judge(instruct(NO_COMMAS), answer).values()) == {0.0}


def test_quoting_a_part_of_the_instruction_scores_nothing():
    task = instruct(NO_COMMAS)
    assert judge(task, "DESCRIBE the old bridge to US and so on")["share"] == 0.0
    assert judge(task, "I describe the old bridge and so on")["solved"] == 1.0


def test_a_task_without_constraints_is_never_solved():
    assert judge(instruct(), "the bridge is very old") == {"solved": 0.0, "share": 0.0}


def test_what_may_be_quoted_is_shorter_than_an_echo():
    assert max(len(words(phrase)) for phrase in (*OPENINGS, *ENDINGS)) < ECHO


# ---- tasks and oracle ---------------------------------------------------------------------------------------------------


def solve(env: Environment, task: Task) -> tuple[float, bool, bool, dict]:
    env.reset(options={"task": task})
    _, reward, terminated, truncated, info = env.step(env.oracle())
    return reward, terminated, truncated, info


@settings(max_examples=150, deadline=None)
@given(level=st.sampled_from([None, *LEVELS]), split=st.sampled_from(SPLITS), index=st.integers(0, 2**62))
def test_the_oracle_solves_every_task_in_one_step_and_nothing_scores_nothing(level, split, index):
    env = Verifiable(level=level)
    task = env.tasks(split)[index]
    reward, terminated, truncated, info = solve(env, task)
    assert (reward, terminated, truncated, info["success"]) == (1.0, True, False, True)
    assert len(task.data["constraints"]) == LEVELS[task.difficulty]
    assert level in (None, task.difficulty)
    for degenerate in ("", task.prompt, f'"{task.prompt}"', f"Sure! {task.prompt.upper()}", task.prompt.partition(". ")[2]):
        assert set(judge(task, degenerate).values()) == {0.0}


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 2**62), count=st.integers(1, 3))
def test_composed_constraints_settle_different_aspects(seed, count):
    composed = compose(random.Random(seed), count, KINDS)
    claims = Counter(claim for c in composed for claim in c.claims)
    assert len(composed) == count
    assert max(claims.values()) == 1


def test_every_kind_occurs_at_every_level():
    for level in LEVELS:
        tasks = islice(Verifiable(level).tasks("train"), 600)
        seen = {c["kind"] for task in tasks for c in task.data["constraints"]}
        assert seen == {str(k.__struct_config__.tag) for k in KINDS}


def test_splits_are_disjoint_and_tasks_are_the_same_each_time():
    env = Verifiable()
    content = {split: {(t.prompt, str(t.data)) for t in env.tasks(split)[:300]} for split in SPLITS}
    assert not content["train"] & content["validation"]
    assert not content["train"] & content["test"]
    assert not content["validation"] & content["test"]
    assert list(env.tasks("test")[:20]) == list(Verifiable().tasks("test")[:20])
    assert {t.difficulty for t in env.tasks("train")[:40]} == set(LEVELS)


def test_tasks_are_judged_from_plain_json():
    for task in Verifiable().tasks("train")[:50]:
        again = msgspec.json.decode(msgspec.json.encode(task), type=Task)
        assert again == task
        assert gold(again) == gold(task)


def test_the_oracles_texts_differ():
    env = Verifiable()
    texts = [gold(task) for task in env.tasks("train")[:300]]
    assert len(set(texts)) == 300
    assert len({text[:20] for text in texts if text}) > 150


def test_keywords_occur_in_no_other_text():
    others = " ".join((*TOPICS, *PREDICATES, *ADVERBIALS, *BESIDE, *OPENINGS, *ENDINGS, *TITLES))
    assert set(KEYWORDS).isdisjoint(folded(others))
    assert not any("," in fragment for fragment in (*PREDICATES, *ADVERBIALS, *BESIDE, *OPENINGS, *ENDINGS))


UNSOLVABLE = [
    [{"kind": "no_letter", "letter": "b"}],
    [{"kind": "words_exactly", "n": 2000}],
    [{"kind": "json", "keys": {"year": "integer"}}],
    [{"kind": "bullets", "n": 2}, {"kind": "json", **JSON}, {"kind": "sentences", "n": 1}],
    [{"kind": "ends_with", "phrase": "Not here."}, {"kind": "avoid", "words": ["here", "the", "it"]}],
]


@pytest.mark.parametrize("constraints", UNSOLVABLE)
def test_the_oracle_gives_up_on_what_it_cannot_solve(constraints):
    env = Verifiable()
    env.reset(options={"task": instruct(*constraints)})
    assert env.oracle() is None


# ---- the environment ----------------------------------------------------------------------------------------------------


def test_it_is_registered_and_takes_a_level():
    env = make("instruct/Verifiable-v0", level="hard")
    observation, info = env.reset(seed=3)
    assert [m.role for m in observation.messages] == ["user"]
    assert observation.messages[0].content == env.task.prompt
    assert observation.tools == ()
    assert info == {"task": env.task.id}
    assert env.task.difficulty == "hard"


def test_an_unknown_level_says_what_there_is():
    with pytest.raises(UserError, match="no level 'mad': use one of easy, medium, hard"):
        Verifiable(level="mad")


@pytest.mark.parametrize("wrong", [{"kind": "no_such_kind"}, {"kind": "lines", "n": 0}, {"kind": "json", "keys": {"a": "float"}}])
def test_a_task_without_instruction_is_refused_at_reset(wrong):
    with pytest.raises(UserError, match="task 'own' holds no instruction"):
        Verifiable().reset(options={"task": instruct(wrong)})


def test_wrong_answers_end_the_episode_too():
    env = Verifiable()
    env.reset(seed=0)
    _, reward, terminated, truncated, info = env.step("No.")
    assert (reward, terminated, truncated, info["success"]) == (0.0, True, False, False)
    with pytest.raises(UserError, match="reset"):
        env.step("again")


def test_a_tool_call_is_no_answer():
    env = Verifiable()
    env.reset(seed=0)
    _, reward, terminated, truncated, info = env.step('<tool_call>{"name": "write", "arguments": {}}</tool_call>')
    assert (reward, terminated, truncated, info["success"]) == (0.0, False, True, False)
    assert info["errors"] == ("unknown_tool",)


def test_search_may_answer_twice():
    env = Verifiable()
    env.reset(seed=5)
    before = env.snapshot()
    assert env.step("No.")[1] == 0.0
    env.restore(before)
    assert env.step(env.oracle())[1] == 1.0


ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=80)  # lone surrogates included
MARKS = st.sampled_from(
    ['"', "<<", ">>", "\n", "\n\n", "- ", "1. ", "{", "}", ",", "!", ".", "bridge", "a b c d e", "\ud800", "\x00", "İ"]
)


@settings(max_examples=200, deadline=None)
@given(text=st.one_of(ANY_TEXT, st.lists(st.one_of(MARKS, ANY_TEXT), max_size=12).map("".join)), as_message=st.booleans())
def test_no_text_breaks_the_judge(text, as_message):
    constraints = [{"kind": kind, **parameters} for kind, parameters, _, _ in CASES]
    env = Verifiable()
    env.reset(options={"task": instruct(*constraints)})
    action: Message | str = assistant(f"{text} the bridge is very old") if as_message else text
    _, reward, _, _, _ = env.step(action)
    assert reward == 0.0  # so many constraints contradict each other
    for kind in KINDS:
        assert kind.draw(random.Random(0)).holds(text.strip()) in (True, False)


def test_a_huge_answer_is_judged_quickly():
    constraints = [{"kind": kind, **parameters} for kind, parameters, _, _ in CASES]
    for unit in ("the bridge is very old ", ". ", '."""', "\n ", "<<", "a-", "{"):
        judge(instruct(*constraints), f"the bridge is very old {unit * (200_000 // len(unit))}")


def test_instruction_is_what_the_data_holds():
    task = Verifiable().tasks("train")[0]
    assert msgspec.to_builtins(msgspec.convert(task.data, Instruction)) == task.data
