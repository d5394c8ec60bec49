"""Golden texts and round trips of the dialects."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentgym import Message, ToolCall, UserError, assistant, call, system, user
from agentgym.dialects import DIALECTS, HERMES, HERMES_TEXT, REACT, dialect
from agentgym.messages import from_openai, to_openai

GOLDEN = [
    (HERMES, assistant("Hi."), "Hi."),
    (
        HERMES,
        assistant("Let me look.", call("find", name="é", n=1), call("list"), thinking="hm"),
        "<think>\nhm\n</think>\n\nLet me look.\n"
        '<tool_call>\n{"name": "find", "arguments": {"name": "é", "n": 1}}\n</tool_call>\n'
        '<tool_call>\n{"name": "list", "arguments": {}}\n</tool_call>',
    ),
    (REACT, assistant("It is 4.", thinking="easy"), "Thought: easy\nFinal Answer: It is 4."),
    (
        REACT,
        assistant("", call("add", a=2, b=2), thinking="two\nlines"),
        'Thought: two\nlines\nAction: add\nAction Input: {"a": 2, "b": 2}',
    ),
    (REACT, assistant("", call("a"), call("b", x="y")), 'Action: a\nAction Input: {}\nAction: b\nAction Input: {"x": "y"}'),
]


def without_raw(message: Message) -> Message:
    calls = tuple(ToolCall(c.name, c.arguments, c.id) for c in message.tool_calls)
    return Message(message.role, message.content, calls, "", "", message.thinking, message.malformed)


@pytest.mark.parametrize(("spoken", "message", "text"), GOLDEN)
def test_golden(spoken: type[HERMES], message: Message, text: str) -> None:  # type: ignore[valid-type]
    assert spoken.render(message) == text  # type: ignore[attr-defined]
    assert without_raw(spoken.parse(text)) == message  # type: ignore[attr-defined]


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


@pytest.mark.parametrize("spoken", [HERMES_TEXT, REACT])
def test_text_dialects_fit_any_template(spoken: type[HERMES_TEXT]) -> None:  # type: ignore[valid-type]
    messages = [
        system("Rules."),
        user("Go."),
        assistant("", call("f"), call("g")),
        Message("tool", "one", (), "call00000", "f"),
        Message("tool", "two", (), "call00001", "g"),
        assistant("Done."),
    ]
    plain, tools = spoken.conversation(messages, [{"type": "function", "function": {"name": "f"}}])  # type: ignore[attr-defined]
    assert tools is None
    assert [m["role"] for m in plain] == ["system", "user", "assistant", "user", "assistant"]
    assert plain[0]["content"].startswith("Rules.\n\n")
    assert '"name":"f"' in plain[0]["content"]
    assert "one" in plain[3]["content"]
    assert "two" in plain[3]["content"]
    assert spoken.conversation([user("x")], [{"f": 1}])[0][0]["role"] == "system"  # type: ignore[attr-defined]


words = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"], exclude_characters="<>:"), max_size=20).map(str.strip)
arguments = st.dictionaries(words, words | st.integers(-(2**53), 2**53) | st.lists(words, max_size=2) | st.none(), max_size=3)


@given(words, words, st.lists(st.tuples(words.filter(bool), arguments), max_size=3))
def test_what_is_rendered_is_parsed_again(content: str, thinking: str, calls: list[tuple[str, dict[str, object]]]) -> None:
    made = [ToolCall(n, a) for n, a in calls]
    message = assistant(content, *made, thinking=thinking)
    assert without_raw(HERMES.parse(HERMES.render(message))) == message
    spoken = assistant("" if made else content, *made, thinking=thinking)
    assert without_raw(REACT.parse(REACT.render(spoken))) == spoken


@given(st.text(st.characters(), max_size=200) | st.text('<>tool_cal/{}\n":Action InputFinal Answer', max_size=200))
def test_no_text_raises(text: str) -> None:
    for spoken in DIALECTS.values():
        message = spoken.parse(text)
        assert message.role == "assistant"
        message.content.encode()


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
