"""tools/Bfcl-v0: the benchmark's judgements by hand and beside its own checker, its files, conversations on its state classes."""

import copy
import importlib.util
import json
import os
import random
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agentgym import ErrorCategory, Message, ToolCall, UserError, assistant, call, make
from agentgym.checks import check_env, validate_env
from agentgym_envs.tools.bfcl import languages
from agentgym_envs.tools.bfcl.env import MORE_FUNCTIONS, Bfcl
from agentgym_envs.tools.bfcl.gold import gold_calls
from agentgym_envs.tools.bfcl.rules import judge, language_of
from agentgym_envs.tools.bfcl.states import PACKAGE, World

DATA = f"{os.environ.get('AGENTGYM_DATA')}/bfcl"
needs_data = pytest.mark.skipif("AGENTGYM_DATA" not in os.environ, reason="AGENTGYM_DATA is not set")
needs_classes = pytest.mark.skipif(importlib.util.find_spec("bfcl_eval") is None, reason="bfcl-eval is not installed")
ONE_TURN = ("simple_python", "multiple", "parallel", "irrelevance")

# ---- judgements by hand --------------------------------------------------------------------------------------------------------

BOOK = {
    "name": "room.book",
    "description": "Book.",
    "parameters": {
        "type": "dict",
        "properties": {
            "city": {"type": "string"},
            "nights": {"type": "integer"},
            "price": {"type": "float"},
            "guests": {"type": "array", "items": {"type": "string"}},
            "wishes": {"type": "dict"},
            "quiet": {"type": "boolean"},
        },
        "required": ["city", "nights"],
    },
}
OTHER = {
    "name": "room.cancel",
    "description": "Cancel.",
    "parameters": {"type": "dict", "properties": {"id": {"type": "integer"}}},
}
ANSWER = {
    "room.book": {
        "city": ["Rome, IT", "Roma"],
        "nights": [2],
        "price": [9.5, 80.0, ""],
        "guests": [["Ann", "Bo"], ""],
        "wishes": [{"view": ["sea", ""], "floor": [3]}, ""],
        "quiet": ["", True],
    }
}
GOLD = {
    "city": "Rome, IT",
    "nights": 2,
    "price": 80.0,
    "guests": ["Ann", "Bo"],
    "wishes": {"view": "sea", "floor": 3},
    "quiet": True,
}
KINDS: dict[str, list[tuple[dict[str, Any], bool]]] = {
    "nothing changed": [({}, True)],
    "a missing argument": [
        ({"city": None}, False),  # required
        ({"price": None}, True),  # may be left out
        ({"guests": None, "wishes": None, "quiet": None}, True),
        ({"wishes": {"view": "sea"}}, False),  # a field that may not be left out
        ({"wishes": {"floor": 3}}, True),
    ],
    "an extra argument": [({"stars": 3}, False), ({"wishes": {"view": "sea", "floor": 3, "x": 1}}, False)],
    "a wrong type": [
        ({"nights": "2"}, False),
        ({"nights": 2.0}, False),
        ({"price": 80}, True),  # whole numbers do for floats
        ({"price": "80.0"}, False),
        ({"quiet": "true"}, False),
        ({"quiet": 1}, False),
        ({"guests": "Ann"}, False),
        ({"guests": ["Ann", 2]}, False),
        ({"nights": True}, False),
    ],
    "a wrong value": [({"nights": 3}, False), ({"city": "Paris"}, False), ({"wishes": {"view": "sea", "floor": 4}}, False)],
    "another order of a list": [({"guests": ["Bo", "Ann"]}, False)],
    "another spelling": [
        ({"city": "rome IT"}, True),  # case, blanks and light punctuation do not count
        ({"city": "Ro-me^/*_.,it"}, True),
        ({"city": "Rome (IT)"}, False),
        ({"guests": ["ANN", "b o"]}, True),
        ({"wishes": {"view": "SEA", "floor": 3}}, True),
    ],
    "another allowed value": [({"city": "Roma"}, True), ({"price": 9.5}, True)],
    "an empty text": [({"price": ""}, False), ({"city": ""}, False)],
}


def changed(changes: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in (GOLD | changes).items() if v is not None}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_change_scores_as_the_benchmark_says(kind: str) -> None:
    for changes, right in KINDS[kind]:
        made = [("room.book", changed(changes))]
        for category, docs in (("simple_python", [BOOK]), ("live_multiple", [OTHER, BOOK]), ("parallel", [OTHER, BOOK])):
            assert (not judge(category, docs, made, [ANSWER])) is right, (category, changes)


def test_wrong_functions_and_numbers_of_calls() -> None:
    gold, other = ("room.book", changed({})), ("room.cancel", {"id": 1})
    answers = [ANSWER, {"room.cancel": {"id": [1]}}]
    for calls, right in (
        ([gold, other], True),
        ([other, gold], True),  # in any order
        ([gold], False),
        ([gold, gold], False),
        ([gold, other, other], False),
        ([], False),
        ([gold, ("room_cancel", {"id": 1})], True),  # as APIs allow names
        ([gold, ("roomcancel", {"id": 1})], False),
    ):
        assert (not judge("parallel_multiple", [BOOK, OTHER], calls, answers)) is right, calls
    assert judge("simple_python", [BOOK], [other], [ANSWER])
    assert judge("simple_python", [BOOK], [], [ANSWER])
    assert judge("multiple", [BOOK, OTHER], [gold, gold], [ANSWER])
    for category, none, some in (
        ("irrelevance", True, False),
        ("live_irrelevance", True, False),
        ("live_relevance", False, True),
    ):
        assert (not judge(category, [BOOK], [], [])) is none
        assert (not judge(category, [BOOK], [("room.book", {})], [])) is some


def test_parallel_calls_take_the_first_answer_that_fits() -> None:
    def answer(*values: int) -> dict[str, Any]:
        return {"room.cancel": {"id": list(values)}}

    calls = [("room.cancel", {"id": 1}), ("room.cancel", {"id": 2})]
    assert judge("parallel", [OTHER], calls, [answer(2), answer(1, 2)]) == ""
    assert judge("parallel", [OTHER], calls, [answer(1, 2), answer(1)])  # greedy, as published: the first answer takes the 1


def test_names_of_variables_and_lists_of_objects() -> None:
    properties = {
        "n": {"type": "integer"},
        "rows": {"type": "array", "items": {"type": "dict"}},
        "point": {"type": "tuple", "items": {"type": "float"}},
        "odd": {"type": "no such type"},
    }
    doc = {"name": "f", "description": "", "parameters": {"properties": properties, "required": []}}

    def right(options: dict[str, Any], **arguments: Any) -> bool:
        return not judge("simple_python", [doc], [("f", arguments)], [{"f": options}])

    assert right({"n": ["count"]}, n="count")
    assert not right({"n": ["count"]}, n="Count")  # a variable is no text: case counts
    assert right({"n": ["count", 3]}, n=3)
    rows = {"rows": [[{"a": [1]}, {"b": ["x"]}]]}
    assert right(rows, rows=[{"a": 1}, {"b": "X"}])
    assert not right(rows, rows=[{"b": "x"}, {"a": 1}])
    assert not right(rows, rows=[{"a": 1}])
    assert not right(rows, rows=[1, 2])
    assert right({"point": [[1.0, 2.5]]}, point=[1.0, 2.5])
    assert not right({"point": [[1.0, 2.5]]}, point=[1, 2])  # elements of lists are not converted
    assert not right({"odd": [1]}, odd=1)
    assert not right({"rows": [5]}, rows=[{"a": 1}])  # an answer of a shape that nobody expects


# ---- Java and JavaScript --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("integer", "-12", -12),
        ("integer", "1.5", "1.5"),
        ("long", "12L", 12),
        ("long", "12", "12"),
        ("float", "1.5f", 1.5),
        ("float", "1.5", "1.5"),
        ("double", "2e3", 2000.0),
        ("boolean", "true", True),
        ("boolean", "True", "True"),
        ("char", "'a'", "'a'"),
        ("String", "a", "a"),
        ("any", "5", "5"),
        ("Array", "new int[]{1, 2}", [1, 2]),
        ("Array", "{1}", "{1}"),
        ("ArrayList", 'new ArrayList<>(Arrays.asList("a", 1, 2L, 3.5f, true, x, 2.5))', ["a", 1, 2, 3.5, True, "x", 2.5]),
        ("ArrayList", "new ArrayList<String>() {{ add(1); add(2); }}", [1, 2]),
        ("ArrayList", "new ArrayList<>()", []),
        ("ArrayList", "list", "list"),
        ("HashMap", 'new HashMap<String, Object>() {{ put("a", 1); put("b", "c"); }}', {"a": 1, "b": "c"}),
        ("HashMap", "new HashMap<>()", {}),
        ("HashMap", "map", "map"),
        ("Queue", "q", "q"),
    ],
)
def test_java_values(kind: str, text: str, value: Any) -> None:
    assert languages.read("java", text, kind) == value


@pytest.mark.parametrize(
    ("kind", "text", "value", "inner"),
    [
        ("String", "'a'", "a", None),
        ("String", "a", "a", None),
        ("Bigint", "5n", 5, None),
        ("float", "2.5", 2.5, None),
        ("Boolean", "false", False, None),
        ("any", "x", "x", None),
        ("array", "[1, 'a', true]", [1, "a", True], None),
        ("array", "[]", [], None),
        ("array", "new Array(1, 2)", [1, 2], "integer"),
        ("array", "[[1, 2], ['a']]", [[1, 2], ["a"]], "array"),
        ("array", "['a']", ["a"], "String"),
        ("array", "['a']", "['a']", "no such type"),
        ("array", "x", "x", None),
        ("dict", "{a: 1, 'b': [1, 2], c: 'd'}", {"a": 1, "b": [1, 2], "c": "d"}, None),
        ("dict", "{}", {}, None),
        ("dict", "x", "x", None),
    ],
)
def test_javascript_values(kind: str, text: str, value: Any, inner: str | None) -> None:
    assert languages.read("javascript", text, kind, inner) == value


def test_arguments_of_other_languages_are_texts() -> None:
    doc = {"name": "f", "description": "", "parameters": {"properties": {"n": {"type": "long"}}, "required": ["n"]}}
    answer = [{"f": {"n": [7]}}]
    assert judge("simple_java", [doc], [("f", {"n": "7L"})], answer) == ""
    assert judge("simple_java", [doc], [("f", {"n": 7})], answer)
    (made,) = gold_calls("simple_java", [doc], answer)
    assert made.arguments == {"n": "7L"}
    assert language_of("simple_javascript") == "javascript"


@pytest.mark.parametrize(
    ("category", "kind", "inner", "value"),
    [
        ("simple_java", "ArrayList", "long", [101, 202]),
        ("simple_java", "ArrayList", "String", ["a", "b c"]),
        ("simple_java", "ArrayList", "float", [1.5]),
        ("simple_java", "Array", "String", ["a", "b"]),
        ("simple_java", "ArrayList", "integer", []),
        ("simple_java", "HashMap", None, {"a": [1], "b": ["x", ""]}),
        ("simple_java", "float", None, 2.5),
        ("simple_java", "boolean", None, True),
        ("simple_java", "char", None, "x"),
        ("simple_javascript", "array", "String", ["a", "b"]),
        ("simple_javascript", "array", "array", [[1, 2], [3]]),
        ("simple_javascript", "dict", None, {"a": [1], "b": [[1, 2]]}),
        ("simple_javascript", "Bigint", None, 12),
        ("simple_javascript", "Boolean", None, False),
    ],
)
def test_gold_values_are_written_so_that_they_are_read_back(category: str, kind: str, inner: str | None, value: Any) -> None:
    parameter = {"type": kind} | ({"items": {"type": inner}} if inner else {})
    doc = {"name": "f", "description": "", "parameters": {"properties": {"x": parameter}, "required": ["x"]}}
    answer = [{"f": {"x": [value]}}]
    (made,) = gold_calls(category, [doc], answer)
    assert isinstance(made.arguments and made.arguments["x"], str)
    assert judge(category, [doc], [("f", made.arguments or {})], answer) == ""


def test_a_value_that_nobody_can_write_is_left_out() -> None:
    doc = {"name": "f", "description": "", "parameters": {"properties": {"x": {"type": "integer"}}, "required": ["x"]}}
    assert gold_calls("simple_python", [doc], [{"f": {"x": []}}]) == [ToolCall("f", {})]
    text = {"name": "f", "description": "", "parameters": {"properties": {"x": {"type": "string"}}, "required": ["x"]}}
    assert gold_calls("simple_python", [text], [{"f": {"x": [""]}}]) == [ToolCall("f", {"x": ""})]
    assert gold_calls("live_relevance", [text], []) == [ToolCall("f", {})]


# ---- beside the benchmark's own checker ------------------------------------------------------------------------------------------


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> Callable[..., bool]:
    """The benchmark's checker. Its table of models imports the clients of all services, and is not looked at here."""
    models = types.ModuleType("bfcl_eval.constants.model_config")
    models.MODEL_CONFIG_MAPPING = {"m": types.SimpleNamespace(underscore_to_dot=False)}  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, models.__name__, models)
    from bfcl_eval.constants.enums import Language
    from bfcl_eval.eval_checker.ast_eval.ast_checker import ast_checker

    def check(category: str, docs: Any, calls: Any, answers: Any) -> bool:
        given = [{name: dict(arguments)} for name, arguments in calls]
        found = ast_checker(copy.deepcopy(docs), given, copy.deepcopy(answers), Language(language_of(category)), category, "m")
        return bool(found["valid"])

    return check


def altered(rng: random.Random, calls: list[Any], docs: list[Any]) -> list[Any]:
    """The calls with one thing wrong, or different."""
    calls = [(name, dict(arguments)) for name, arguments in calls]
    name, arguments = calls[rng.randrange(len(calls))]
    key = rng.choice(list(arguments)) if arguments else None
    kind = rng.randrange(12)
    if kind == 0:
        return calls[1:]
    if kind == 1:
        return [*calls, calls[0]]
    if kind == 2:
        rng.shuffle(calls)
    elif kind == 3:
        calls[0] = (rng.choice([rng.choice(docs)["name"], f"{name}x"]), calls[0][1])
    elif kind == 4:
        arguments["no_such_argument"] = 1
    elif key is None:
        return calls
    elif kind == 5:
        del arguments[key]
    elif kind == 6:
        arguments[key] = rng.choice([None, True, 0, 1.5, "", [], {}, "x", [1], ["a"], {"a": 1}, str(arguments[key])])
    else:
        arguments[key] = varied(rng, arguments[key])
    return calls


def varied(rng: random.Random, value: Any) -> Any:
    """A value a little different."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return rng.choice([float(value), value + 1, str(value)])
    if isinstance(value, str):
        return rng.choice([f"{value.upper()} .", f"{value}z", value.replace(" ", "-")])
    if isinstance(value, list):
        return rng.choice([value[::-1], value + value[:1], [str(v) for v in value]])
    return {**value, "zz": 1} if isinstance(value, dict) and rng.random() < 0.5 else value


def rows(category: str) -> Iterator[tuple[list[Any], list[Any]]]:
    read = (map(json.loads, Path(DATA, x, f"BFCL_v4_{category}.json").read_text().splitlines()) for x in ("", "possible_answer"))
    for row, answer in zip(*read, strict=True):
        yield row["function"], answer["ground_truth"]


@needs_data
@needs_classes
@pytest.mark.parametrize("category", ["simple_python", "multiple", "parallel"])
def test_judgements_are_those_of_the_published_checker(category: str, published: Callable[..., bool]) -> None:
    rng, right, count = random.Random(0), 0, 0
    for docs, answers in rows(category):
        names = {d["name"].replace(".", "_"): d["name"] for d in docs}
        gold = [(names[c.name], c.arguments) for c in gold_calls(category, docs, answers)]
        for calls in (gold, *(altered(rng, gold, docs) for _ in range(6))):
            mine = not judge(category, docs, calls, answers)
            assert mine is published(category, docs, calls, answers), (calls, answers)
            right, count = right + mine, count + 1
    assert 0.2 < right / count < 0.6


@needs_classes
def test_the_hand_worked_judgements_are_the_published_ones(published: Callable[..., bool]) -> None:
    for changes, right in (case for kind in KINDS.values() for case in kind):
        assert published("simple_python", [BOOK], [("room.book", changed(changes))], [ANSWER]) is right, changes


# ---- as an environment -------------------------------------------------------------------------------------------------------------


def test_conformance() -> None:
    assert not [check for check in check_env("tools/Bfcl-v0", tasks=4) if not check.ok]


def test_own_tasks_are_of_every_kind_and_doing_nothing_solves_those_without_a_function() -> None:
    env = make("tools/Bfcl-v0")
    assert {t.difficulty for t in env.tasks()[:60]} == {"simple", "multiple", "parallel", "parallel_multiple", "irrelevance"}
    found = validate_env(env, "test", 100)
    assert (found.gold_passed, found.problem) == (100, "")
    assert found.floor_passed > 0


@needs_data
@pytest.mark.parametrize("category", ONE_TURN)
def test_gold_answers_score_1(category: str) -> None:
    env = Bfcl(f"{DATA}/BFCL_v4_{category}.json")
    found = validate_env(env, None, None)
    assert found.tasks == found.gold_passed == {"simple_python": 400, "irrelevance": 240}.get(category, 200)
    assert found.floor_passed == (240 if category == "irrelevance" else 0)
    assert env.floor == float(category == "irrelevance")


def solve(env: Bfcl, task: str, *actions: Any) -> tuple[dict[str, Any], tuple[Message, ...]]:
    env.reset(options={"task": task})
    for action in actions:
        observation, _, terminated, _, info = env.step(action)
    assert terminated
    return info, observation.messages


def folder(path: Path, category: str, row: dict[str, Any], gold: Any) -> str:
    (path / "possible_answer").mkdir(exist_ok=True)
    name = f"BFCL_v4_{category}.json"
    (path / name).write_text(json.dumps(row) + "\n")
    if gold is not None:
        (path / "possible_answer" / name).write_text(json.dumps({"id": row["id"], "ground_truth": gold}) + "\n")
    return str(path / name)


ROW = {"id": "simple_python_0", "question": [[{"role": "user", "content": "Book."}]], "function": [BOOK]}


def test_mistakes_have_their_categories_and_end_a_task_of_one_turn(tmp_path: Path) -> None:
    env = Bfcl(folder(tmp_path, "simple_python", ROW, [ANSWER]))
    for action, error, solved in (
        (assistant("", call("room_book", **GOLD)), None, True),
        (assistant("", call("room.book", **GOLD)), None, True),
        (assistant("", call("room_cancel", id=1)), ErrorCategory.UNKNOWN_TOOL, False),
        (assistant("", call("room_book", city="Roma")), ErrorCategory.MISSING_ARGUMENT, False),
        (assistant("", call("room_book", **GOLD, stars=1)), ErrorCategory.EXTRA_ARGUMENT, False),
        (assistant("", call("room_book", **GOLD | {"nights": "2"})), ErrorCategory.ILL_TYPED_ARGUMENT, False),
        (assistant("", ToolCall("room_book", None, raw="{")), ErrorCategory.MALFORMED_JSON, False),
        (Message("assistant", malformed="unreadable"), ErrorCategory.BAD_FORMAT, False),
        (assistant("", *[call("room_book", **GOLD)] * 65), ErrorCategory.TOO_MANY_CALLS, False),
        (assistant("I do not know."), None, False),
    ):
        info, _ = solve(env, "simple_python_0", action)
        assert info["success"] is solved, action
        assert set(info["errors"]) == ({error} if error else set()), action
    schema = env.reset(options={"task": "simple_python_0"})[0].tools[0]["function"]
    assert schema["name"] == "room_book"
    assert schema["parameters"]["properties"]["price"]["type"] == "number"


def test_a_call_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    env = Bfcl(folder(tmp_path, "irrelevance", ROW | {"id": "irrelevance_0"}, None))
    for action, solved in (
        (Message("assistant", malformed="x"), True),
        (assistant("", ToolCall("room_book", None)), True),
        (assistant("", call("no_such_function")), False),
        (assistant("Nothing fits."), True),
    ):
        assert solve(env, "irrelevance_0", action)[0]["success"] is solved


def test_conversations_that_began_before_are_told(tmp_path: Path) -> None:
    talk = [
        {"role": r, "content": c} for r, c in (("system", "Be kind."), ("user", "Hi."), ("assistant", "Yes?"), ("user", "Book."))
    ]
    env = Bfcl(folder(tmp_path, "live_irrelevance", ROW | {"id": "live_irrelevance_0", "question": [talk], "function": []}, None))
    head, words = env.reset(options={"task": "live_irrelevance_0"})[0].messages
    assert head.content.endswith("\n\nBe kind.")
    assert words == Message("user", "This was said before:\nuser: Hi.\nassistant: Yes?\n\nBook.")


def test_java_functions_take_texts(tmp_path: Path) -> None:
    properties = {"ids": {"type": "ArrayList", "items": {"type": "long"}, "description": "Ids."}}
    doc = {"name": "F.g", "description": "x", "parameters": {"type": "dict", "properties": properties, "required": ["ids"]}}
    env = Bfcl(folder(tmp_path, "simple_java", ROW | {"id": "simple_java_0", "function": [doc]}, [{"F.g": {"ids": [[1, 2]]}}]))
    assert validate_env(env, None, None).gold_passed == 1
    shown = env.reset(options={"task": "simple_java_0"})[0].tools[0]["function"]["parameters"]["properties"]["ids"]
    assert shown == {"type": "string", "description": "Ids. (a text: source of a value of type ArrayList of long)"}
    assert not solve(env, "simple_java_0", assistant("", call("F_g", ids=[1, 2])))[0]["success"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("BFCL_v4_memory.json", "{}", "memory needs conversations"),
        ("BFCL_v4_web_search.json", "{}", "searches the live web"),
        ("BFCL_v4_format_sensitivity.json", "{}", "list of other categories"),
        ("other.json", "{}", "called BFCL_v4_CATEGORY"),
        ("BFCL_v4_simple_python.json", "{}", "possible_answer/BFCL_v4_simple_python.json is missing"),
        ("BFCL_v4_irrelevance.json", "[", "no file of JSON lines"),
        ("BFCL_v4_irrelevance.json", '{"id": "irrelevance_0"}', "row 1: KeyError: 'question'"),
        ("BFCL_v4_irrelevance.json", "\n".join([json.dumps(ROW)] * 2), "a second task"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=message):
        Bfcl(str(tmp_path / name))


def test_missing_files_and_answers_that_do_not_fit_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no file"):
        Bfcl(str(tmp_path / "x"))
    with pytest.raises(UserError, match="has no files such as"):
        Bfcl(str(tmp_path))
    row = ROW | {"id": "multi_turn_base_0", "involved_classes": ["MathAPI"]}
    with pytest.raises(UserError, match="1 turns and 0 answers"):
        Bfcl(folder(tmp_path, "multi_turn_base", row, []))


# ---- conversations -----------------------------------------------------------------------------------------------------------------


@needs_data
@needs_classes
def test_gold_conversations_score_1_and_saying_nothing_0() -> None:
    env = Bfcl(f"{DATA}/BFCL_v4_multi_turn_base.json")
    found = validate_env(env, None, None)
    assert (found.tasks, found.gold_passed, found.floor_passed) == (200, 200, 0)


def conversation(path: Path, category: str = "multi_turn_base", **more: Any) -> Bfcl:
    """Two turns with a file system: go into a folder and look, then write a file."""
    files = {"root": {"w": {"type": "directory", "contents": {"d": {"type": "directory", "contents": {}}}}}}
    turns = [[{"role": "user", "content": "Look into d."}], [{"role": "user", "content": "Write x into f."}]]
    gold = [["cd('d')", "pwd()"], ["touch(file_name='f')", "echo(content='x', file_name='f')"]]
    row = {"id": f"{category}_0", "question": turns, "involved_classes": ["GorillaFileSystem"]}
    row["initial_config"] = {"GorillaFileSystem": files}
    if not (path / "multi_turn_func_doc").exists():
        (path / "multi_turn_func_doc").symlink_to(f"{DATA}/multi_turn_func_doc")
    return Bfcl(folder(path, category, row | more, more.pop("gold", gold)))


CD, PWD = assistant("", call("cd", folder="d")), assistant("", call("pwd"))
TOUCH, ECHO = assistant("", call("touch", file_name="f")), assistant("", call("echo", content="x", file_name="f"))


@needs_data
@needs_classes
def test_conversations_are_judged_by_states_and_results(tmp_path: Path) -> None:
    env = conversation(tmp_path)
    ls = assistant("", call("ls"))
    cases: dict[str, tuple[list[Any], float, float, float]] = {
        "gold": ([CD, PWD, "So.", TOUCH, ECHO, "So."], 1, 1, 1),
        "one message for each turn": (
            [assistant("", *CD.tool_calls, *PWD.tool_calls), "x", assistant("", *TOUCH.tool_calls, *ECHO.tool_calls), "x"],
            1,
            1,
            1,
        ),
        "more than needed": ([ls, CD, PWD, "x", TOUCH, ECHO, ls, "x"], 1, 1, 1),
        "without looking": ([CD, "x", TOUCH, ECHO, "x"], 1, 0, 0),
        "looking too late": ([CD, "x", PWD, TOUCH, ECHO, "x"], 1, 0, 0),
        "done a turn early": ([CD, PWD, TOUCH, "x", ECHO, "x"], 0, 1, 0),
        "another text": ([CD, PWD, "x", TOUCH, assistant("", call("echo", content="y", file_name="f")), "x"], 0, 1, 1),
        "nothing in a turn": ([CD, PWD, "x", "x"], 0, 0, 0),
        "another order": ([PWD, CD, "x", TOUCH, ECHO, "x"], 1, 0, 0),
        "a file more": ([CD, PWD, "x", TOUCH, ECHO, assistant("", call("touch", file_name="g")), "x"], 0, 1, 1),
    }
    for what, (actions, state, responses, sequence) in cases.items():
        info, _ = solve(env, "multi_turn_base_0", *actions)
        parts = {"state": state, "responses": responses, "sequence": sequence}
        assert info["rewards"] == {"solved": min(state, responses)} | parts, what


@needs_data
@needs_classes
def test_mistakes_in_conversations_are_answered(tmp_path: Path) -> None:
    env = conversation(tmp_path)
    env.reset(options={"task": "multi_turn_base_0"})
    for made, error, text in (
        (call("cd", folder="nowhere"), ErrorCategory.TOOL_ERROR, "No such file or directory"),
        (call("cd"), ErrorCategory.MISSING_ARGUMENT, "Error during execution"),
        (call("cd", folder="d", x=1), ErrorCategory.EXTRA_ARGUMENT, "Error during execution"),
        (call("no_such"), ErrorCategory.UNKNOWN_TOOL, "no tool is named"),
        (call("_load_scenario", scenario={}), ErrorCategory.UNKNOWN_TOOL, "no tool is named"),
        (ToolCall("cd", None), ErrorCategory.MALFORMED_JSON, "one JSON object"),
        (call("echo", content="__import__('os').system('exit 3')"), None, "__import__"),
    ):
        observation, *_, info = env.step(assistant("", made))
        assert set(info["errors"]) == ({error} if error else set()), made
        assert text in observation.messages[0].content


@needs_data
@needs_classes
def test_a_turn_has_at_most_twenty_steps(tmp_path: Path) -> None:
    env = conversation(tmp_path)
    info, (message,) = solve(env, "multi_turn_base_0", *[PWD] * 21)
    assert not info["success"]
    assert "more than 20 steps" in message.content


@needs_data
@needs_classes
def test_functions_that_come_later_are_told_when_they_come(tmp_path: Path) -> None:
    turns = [[{"role": "user", "content": "Look into d."}], [], [{"role": "user", "content": "x"}]]
    gold = [["cd('d')"], ["pwd()"], []]
    env = conversation(tmp_path, "multi_turn_miss_func", question=turns, missed_function={"1": ["pwd"]}, gold=gold)
    observation, _ = env.reset(options={"task": "multi_turn_miss_func_0"})
    assert "pwd" not in [t["function"]["name"] for t in observation.tools]
    env.step(CD)
    told = env.step("I lack a function.")[0].messages[0].content
    assert told.endswith(MORE_FUNCTIONS)
    assert json.loads(told.split("\n")[0])["name"] == "pwd"
    env.step(PWD)
    env.step("So.")
    assert env.step("No.")[-1]["success"]  # a turn without gold calls asks for nothing
    assert validate_env(env, None, None).gold_passed == 1


@needs_data
@needs_classes
def test_states_of_conversations_are_returned_to(tmp_path: Path) -> None:
    env = conversation(tmp_path)
    env.reset(options={"task": "multi_turn_base_0"})
    env.step(CD)
    snapshot, other = env.snapshot(), conversation(tmp_path)
    for _ in range(2):
        for instance in (env, other):
            instance.restore(snapshot)
            *_, info = [instance.step(a) for a in (PWD, "x", TOUCH, ECHO, "x")][-1]
            assert info["success"]
    env.restore(snapshot)
    before = env.state_key()
    env.step(PWD)
    assert env.state_key() != before


@needs_classes
def test_the_package_and_the_files_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = ROW | {"id": "multi_turn_base_0", "involved_classes": ["MathAPI"]}
    env = Bfcl(folder(tmp_path, "multi_turn_base", row, [["mean([1, 2])"]]))
    with pytest.raises(UserError, match=r"math_api\.json is missing"):
        env.reset(options={"task": "multi_turn_base_0"})
    with pytest.raises(UserError, match="the class NoSuch is not known here"):
        World.of(["NoSuch"], {}, False)
    monkeypatch.setitem(sys.modules, f"{PACKAGE}.math_api", None)
    with pytest.raises(UserError, match="pip install --no-deps bfcl-eval"):
        World.of(["MathAPI"], {}, False)


@needs_classes
def test_decimals_of_others_keep_their_precision() -> None:
    import decimal

    world = World.of(["MathAPI"], {}, False)
    before = decimal.getcontext().prec
    assert world.call("logarithm", {"value": 20, "base": 10, "precision": 3})[1]
    assert decimal.getcontext().prec == before
