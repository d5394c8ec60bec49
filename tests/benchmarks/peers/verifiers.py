"""verifiers, its v0 API: a `ToolEnv` and `generate_sync`, with an OpenAI client that answers from the script.

Keeps, in memory, the messages, the metrics and the reward; saving them as JSONL (`save_results`) is off, and so is the progress
bar. 32 rollouts at once.
"""

import json
from types import SimpleNamespace
from typing import Any

import verifiers as vf
from datasets import Dataset
from openai.types.chat import ChatCompletion

from tests.benchmarks.chain import CALLS, INSTRUCTIONS, PROMPT, SUM, arguments, report


def add(a: int, b: int) -> str:
    """Add two numbers."""
    return str(a + b)


def correct(completion: vf.Messages, answer: str) -> float:
    return float(completion[-1].content == answer)


async def create(**request: Any) -> ChatCompletion:
    """In place of `AsyncOpenAI().chat.completions.create`."""
    messages = request["messages"]
    turn = len(messages) // 2 - 1  # a system message, the question, then two messages a turn
    message: dict[str, Any] = {"role": "assistant", "content": messages[-1]["content"]}
    if turn < CALLS:
        call = {"name": "add", "arguments": json.dumps(arguments(turn, messages[-1]["content"]))}
        message = {"role": "assistant", "tool_calls": [{"id": f"call-{turn}", "type": "function", "function": call}]}
    choice = {"index": 0, "finish_reason": "stop" if turn == CALLS else "tool_calls", "message": message}
    return ChatCompletion(id="0", created=0, model="scripted", object="chat.completion", choices=[choice])


def run(episodes: int) -> None:
    rows = Dataset.from_list([{"question": PROMPT, "answer": SUM}] * episodes)
    env = vf.ToolEnv(tools=[add], dataset=rows, system_prompt=INSTRUCTIONS, rubric=vf.Rubric(funcs=[correct]))
    client = vf.OpenAIChatCompletionsClient(SimpleNamespace(chat=SimpleNamespace(completions=SimpleNamespace(create=create))))
    results = env.generate_sync(
        env.get_dataset(), client, model="scripted", max_concurrent=32, on_start=lambda *_: None, on_progress=lambda *_: None
    )
    assert len(results["outputs"]) == episodes
    assert all(output["reward"] == 1.0 and output["metrics"]["add_calls"] == CALLS for output in results["outputs"])


if __name__ == "__main__":
    report(run)
