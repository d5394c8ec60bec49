"""Golden texts and round trips of the dialects."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentgym import Message, Tool, ToolCall, ToolSet, UserError, assistant, call, system, user
from agentgym.dialects import CODE, DIALECTS, HERMES, HERMES_TEXT, REACT, Dialect, dialect
from agentgym.messages import from_openai, number_calls, to_openai

GOLDEN = {file.stem: json.loads(file.read_text()) for file in Path(__file__).with_name("dialects").glob("*.json")}
RENDERED = [(name, case) for name, golden in GOLDEN.items() for case in golden["render"]]
PARSED = [(name, case) for name, golden in GOLDEN.items() for case in golden["parse"]]


def read(message: dict[str, Any]) -> Message:
    """A message of a golden file."""
    calls = [ToolCall(c["name"], c["arguments"], c.get("id", ""), c.get("raw", "")) for c in message.pop("tool_calls", ())]
    return Message("assistant", tool_calls=number_calls(tuple(calls)), **message)


def without_raw(message: Message) -> Message:
    calls = tuple(ToolCall(c.name, c.arguments, c.id) for c in message.tool_calls)
    return Message(message.role, message.content, calls, "", "", message.thinking, message.malformed)


def test_every_dialect_has_a_golden_file() -> None:
    assert set(GOLDEN) == set(DIALECTS) - {"hermes-text"}  # which reads and writes as hermes does


@pytest.mark.parametrize(("name", "case"), RENDERED)
def test_golden_texts_are_written_and_read(name: str, case: dict[str, Any]) -> None:
    message = read(dict(case["message"]))
    assert DIALECTS[name].render(message) == case["text"]
    assert without_raw(DIALECTS[name].parse(case["text"])) == message


@pytest.mark.parametrize(("name", "case"), PARSED)
def test_golden_texts_are_read(name: str, case: dict[str, Any]) -> None:
    expected, found = read(dict(case["message"])), DIALECTS[name].parse(case["text"])
    assert without_raw(found) == without_raw(expected)
    raws = [(c.raw, d.raw) for c, d in zip(found.tool_calls, expected.tool_calls, strict=True) if d.arguments is None]
    assert [a for a, _ in raws] == [b for _, b in raws]


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ("<tool_call>{broken</tool_call>", [("", None)]),
        ('<tool_call>{"name": "f", "arguments": {"a": 1}}', [("f", {"a": 1})]),  # the end tag is missing
        ('<tool_call>{"name": "f"}</tool_call>', [("f", None)]),
        ('<tool_call>{"name": 3, "arguments": {}}</tool_call>', [("", {})]),
        ('<tool_call>{"name": "f", "arguments": "{}"}</tool_call>', [("f", None)]),
        ("<tool_call>[1]</tool_call>", [("", None)]),
        ('<tool_call>{"name": "f", "arguments": {}}<tool_call>{"name": "g", "arguments": {}}', [("f", {}), ("g", {})]),
        ("<tool_call>" + "[" * 100_000, [("", None)]),
    ],
)
def test_hermes_keeps_what_it_cannot_read_as_a_call(text: str, calls: list[tuple[str, object]]) -> None:
    message = HERMES.parse(text)
    assert [(c.name, c.arguments) for c in message.tool_calls] == calls
    assert all(c.raw and c.raw in text for c in message.tool_calls)
    assert len({c.id for c in message.tool_calls}) == len(calls)
    assert HERMES.render(message).count("<tool_call>") == len(calls)


def test_hermes_takes_thoughts_whose_opening_stands_in_the_prompt() -> None:
    assert HERMES.parse("so it is\n</think>\n\nYes.") == Message("assistant", "Yes.", thinking="so it is")


def test_react_says_what_is_malformed() -> None:
    assert "Final Answer" in REACT.parse("I do not know what to write").malformed
    bad = REACT.parse("Thought: x\nAction: f\nAction Input: {oops")
    assert [(c.name, c.arguments, c.raw) for c in bad.tool_calls] == [("f", None, "{oops")]
    assert REACT.render(REACT.parse("nonsense")) == "nonsense"
    assert REACT.render(bad) == "Thought: x\nAction: f\nAction Input: {oops"
    assert REACT.parse("Action: f\nAction Input: {}\nObservation: made up\nFinal Answer: 3").content == ""


@pytest.mark.parametrize("spoken", [HERMES_TEXT, REACT, CODE])
def test_text_dialects_fit_any_template(spoken: Dialect) -> None:
    def f(word: str, many: list[int] = [1]) -> None:  # noqa: B006
        """Do it.

        Args:
            word: What.
        """

    messages = [
        system("Rules."),
        user("Go."),
        assistant("", call("f"), call("g")),
        Message("tool", "one", (), "call00000", "f"),
        Message("tool", "two", (), "call00001", "g"),
        assistant("Done."),
    ]
    plain, tools = spoken.conversation(messages, [Tool(f).schema])
    assert tools is None
    assert [m["role"] for m in plain] == ["system", "user", "assistant", "user", "assistant"]
    assert plain[0]["content"].startswith("Rules.\n\n")
    assert ('"name":"f"' in plain[0]["content"]) or "def f(*, word: str, many: list[int] = [1]):" in plain[0]["content"]
    assert "one" in plain[3]["content"]
    assert "two" in plain[3]["content"]
    assert spoken.conversation([user("x")], [Tool(f).schema])[0][0]["role"] == "system"


words = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"], exclude_characters="<>:[]{}`｜|"), max_size=20).map(
    str.strip
)
values = st.recursive(
    words | st.integers(-(2**53), 2**53) | st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(words, inner, max_size=2),
    max_leaves=4,
)
arguments = st.dictionaries(words, values, max_size=3)
names = words.filter(lambda w: bool(w) and "\u00a0" not in w)


@pytest.mark.parametrize("name", DIALECTS)
@settings(max_examples=40)
@given(words, words, st.lists(st.tuples(names, arguments), max_size=3))
def test_what_is_rendered_is_parsed_again(
    name: str, content: str, thinking: str, calls: list[tuple[str, dict[str, object]]]
) -> None:
    spoken, made = DIALECTS[name], [ToolCall(n, a) for n, a in calls]
    message = assistant("" if made and name == "react" else content, *made, thinking=thinking)
    assert without_raw(spoken.parse(spoken.render(message))) == message


PIECES = (
    *("<tool_call>", "</tool_call>", "<think>", "</think>", "[TOOL_CALLS]", "[ARGS]", "[CALL_ID]", "[THINK]", "<|python_tag|>"),
    *(
        "<｜tool▁calls▁begin｜>",
        "<｜tool▁call▁begin｜>",
        "<｜tool▁sep｜>",
        "<｜tool▁call▁end｜>",
        "```json",
        "```python\n",
        "```",
        "\n",
    ),
    *(
        '{"name": "f", ',
        '"arguments": {}}',
        '"parameters": ',
        "{",
        "}",
        "[",
        "]",
        "f(a=",
        "'",
        ")",
        "Action:",
        "Action Input:",
        "; ",
    ),
)


@given(st.text(st.characters(), max_size=200) | st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=30).map("".join))
def test_no_text_raises_and_what_was_read_can_be_written(text: str) -> None:
    for spoken in DIALECTS.values():
        message = spoken.parse(text)
        assert message.role == "assistant"
        message.content.encode()
        msgspec.json.encode(message)
        spoken.render(message)


def test_what_cannot_be_read_is_told_clearly_to_the_agent() -> None:
    tools = ToolSet([lambda_tool])
    for name, text in (
        ("llama3", '{"name": "f", "parameters": {'),
        ("mistral", "[TOOL_CALLS]f[ARGS]{"),
        ("mistral-v3", '[TOOL_CALLS][{"name": "f"'),
        ("deepseek", "<｜tool▁call▁begin｜>f<｜tool▁sep｜>{"),
        ("deepseek-v3", "<｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n{\n```<｜tool▁call▁end｜>"),
    ):
        (made,) = DIALECTS[name].parse(text).tool_calls
        answer = tools.call(made)
        assert answer.error == "malformed_json"
        assert answer.message.content == 'Error: a tool call is one JSON object with "name" and "arguments"'
    assert "named, literal arguments" in CODE.parse("```python\nf(1)\n```").malformed


def lambda_tool() -> None:
    """Do nothing."""


def test_an_unknown_dialect_is_one_clear_error() -> None:
    assert dialect("react") is REACT
    with pytest.raises(UserError, match="use one of hermes"):
        dialect("klingon")


def test_openai_round_trip() -> None:
    message = assistant("x", call("f", a=1), thinking="t")
    for as_text in (False, True):
        assert without_raw(from_openai(to_openai(message, json_arguments=as_text))) == message
    result = Message("tool", "ok", (), "call00000", "f")
    assert from_openai(to_openai(result)) == result
    assert from_openai(
        {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}
    ).tool_calls[0] == ToolCall("f", None, "call00000", "{")


def test_a_thought_left_open_is_no_answer() -> None:
    assert "</think>" in HERMES.parse("<think>\nso many thoughts").malformed


def test_react_reads_long_nonsense_quickly() -> None:
    for text in ("Action:" + " " * 20_000, "Action: x\n" * 5_000, "Action: f\nAction Input: {}" + "\n" * 20_000):
        REACT.parse(text)


@pytest.mark.parametrize("name", DIALECTS)
def test_long_nonsense_is_read_quickly(name: str) -> None:
    for piece in PIECES:
        DIALECTS[name].parse(piece * 20_000)
        DIALECTS[name].parse("[" * 20_000 + piece * 2_000)
