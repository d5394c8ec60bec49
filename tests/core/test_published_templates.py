"""The dialects against what model families publish: chat templates as TRL ships them, and Mistral's own tokenizers."""

import json
from pathlib import Path
from typing import Any

import pytest
import trl
from mistral_common.protocol.instruct.messages import AssistantMessage, SystemMessage, ToolMessage, UserMessage
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.protocol.instruct.tool_calls import Function, FunctionCall
from mistral_common.protocol.instruct.tool_calls import Tool as MistralTool
from mistral_common.protocol.instruct.tool_calls import ToolCall as MistralCall
from mistral_common.tokens.tokenizers.base import SpecialTokenPolicy
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

from agentgym import Message, Tool, assistant, call, system, user
from agentgym.dialects import DIALECTS, MISTRAL_V3
from agentgym.dialects.deepseek import BEGIN, CLOSE, END, OPEN, SEP
from agentgym.messages import to_openai
from agentgym.tokens import Chat, Conversation
from tests import templates

PUBLISHED = Path(trl.__file__).parent / "chat_templates"
CONTROL = {
    "qwen2_5": ["<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>"],
    "qwen3": ["<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>", "<think>", "</think>"],
    "llama3_1": ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|python_tag|>"],
    "llama3_2": ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|python_tag|>"],
    "deepseekv3": [
        "<｜begin▁of▁sentence｜>",
        "<｜User｜>",
        "<｜Assistant｜>",
        OPEN,
        CLOSE,
        BEGIN,
        SEP,
        END,
        "<｜end▁of▁sentence｜>",
    ],
}
SPOKEN = {"qwen2_5": "hermes", "qwen3": "hermes", "llama3_1": "llama3", "llama3_2": "llama3", "deepseekv3": "deepseek-v3"}
ENDS = {"q": "<|im_end|>", "l": "<|eot_id|>", "d": "<｜end▁of▁sentence｜>"}


HEADERS = {
    "q": "<|im_start|>assistant\n",
    "l": "<|start_header_id|>assistant<|end_header_id|>\n\n",
    "d": "<｜Assistant｜>",
}


def get_weather(city: str) -> str:
    """Tell the weather.

    Args:
        city: Where.
    """
    return city


def chat(family: str, monkeypatch: pytest.MonkeyPatch) -> Chat:
    template = (PUBLISHED / f"{family}.jinja").read_text()
    monkeypatch.setitem(templates.SHAPES, family, (template, CONTROL[family], ENDS[family[0]]))
    made = templates.tokenizer(family)
    made.bos_token = CONTROL[family][0]
    return Chat(made)


@pytest.mark.parametrize("family", CONTROL)
def test_a_published_template_is_spoken_natively(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spoken = chat(family, monkeypatch)
    assert spoken.dialect.name == SPOKEN[family]
    asked = assistant("", call("get_weather", city="Paris é"))
    opening = [user("Weather?")]
    for given in ({"city": "Paris é"}, '{"city": "Paris é"}'):  # what the template makes of a call is read as that call
        plain = [to_openai(m) for m in (*opening, asked)]
        plain[1]["tool_calls"][0]["function"]["arguments"] = given
        try:
            written = spoken.tokenizer.apply_chat_template(plain, tools=[Tool(get_weather).schema], tokenize=False)
        except Exception:
            continue
        body = written.rpartition(HEADERS[family[0]])[2].partition(ENDS[family[0]])[0].removeprefix("<think>\n\n</think>\n\n")
        (found,) = spoken.dialect.parse(body).tool_calls
        assert (found.name, found.arguments) == ("get_weather", {"city": "Paris é"})
        assert spoken.dialect.render(asked) == body
        return
    pytest.fail("the template takes no calls")


@pytest.mark.parametrize("family", CONTROL)
def test_conversations_of_several_turns_and_parallel_calls_only_ever_append(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spoken = chat(family, monkeypatch)
    conversation = Conversation(spoken, [Tool(get_weather).schema])
    two = assistant("", call("get_weather", city="Rom"), call("get_weather", city="Bonn"))
    turns: list[tuple[list[Message], Message]] = [
        ([system("Rules."), user("Weather?")], two),
        ([Message("tool", "sun", (), c.id, c.name) for c in two.tool_calls], assistant("", call("get_weather", city="Ulm"))),
        ([Message("tool", "rain", (), "call00000", "get_weather")], assistant("Sunny.")),
        ([user("Thanks.")], assistant("Bye.")),
    ]
    seen: list[int] = []
    for messages, answer in turns:
        delta, branched = conversation.observe(messages)
        assert not branched or family in ("qwen3", "deepseekv3")  # which drop thoughts, so that the past is another one
        seen = [*([] if branched else seen), *delta]
        sampled = spoken.encode(spoken.dialect.render(answer) + spoken.turn_end)
        assert spoken.parse(sampled).said == answer.said
        seen += conversation.act(spoken.parse(sampled), sampled)
        assert conversation.ids == seen
    text = spoken.tokenizer.decode(seen, skip_special_tokens=False)
    assert text.count("get_weather") >= 4
    assert "Rules." in text


DATA = Path(__import__("mistral_common").__file__).parent / "data"


def test_mistrals_own_tokenizers_write_what_we_write() -> None:
    two = assistant("", call("get_weather", city="Paris é"), call("get_weather", city="Rom"))
    calls = [MistralCall(id=c.id, function=FunctionCall(name=c.name, arguments=json.dumps(c.arguments))) for c in two.tool_calls]
    schema: dict[str, Any] = Tool(get_weather).schema["function"]
    request = ChatCompletionRequest(
        messages=[
            SystemMessage(content="Rules."),
            UserMessage(content="Weather?"),
            AssistantMessage(content=None, tool_calls=calls),
            ToolMessage(content="sun", name="get_weather", tool_call_id=calls[0].id),
            ToolMessage(content="rain", name="get_weather", tool_call_id=calls[1].id),
            AssistantMessage(content="Done."),
            UserMessage(content="Thanks."),
        ],
        tools=[MistralTool(function=Function(**schema))],
    )
    for file in (
        "tekken_240911.json",
        "mistral_instruct_tokenizer_240323.model.v3",
        "mistral_instruct_tokenizer_241114.model.v7",
    ):
        tokenizer = MistralTokenizer.from_file(str(DATA / file))
        tokens = tokenizer.encode_chat_completion(request).tokens
        text = tokenizer.decode(tokens, special_token_policy=SpecialTokenPolicy.KEEP)
        text = text.replace("\u2581", " ")
        turn = text.partition("[/INST]")[2].partition("</s>")[0]
        assert turn.replace("[TOOL_CALLS] ", "[TOOL_CALLS]") == MISTRAL_V3.render(two)
        for name in ("mistral", "mistral-v3"):
            found = DIALECTS[name].parse(turn)
            assert found.said == two.said
            assert [c.id for c in found.tool_calls] == [c.id for c in two.tool_calls]
