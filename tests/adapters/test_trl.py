"""TRL's own GRPOTrainer plays and learns from our environments through the adapter."""

import warnings
from pathlib import Path
from typing import Any

import datasets
import pytest

import agentgym
from agentgym import Environment, EnvironmentFailure, Task, Tasks, UserError, make, tool
from agentgym.adapters.trl import TrlEnvironment
from agentgym.messages import from_openai
from agentgym.sampling.transformers import load
from agentgym.tokens import Chat, Conversation
from agentgym_training.nano import init_model
from agentgym_training.rows import training_rows
from agentgym_training.sft import Sft, train_sft
from tests.conftest import oracle_episode

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of the vLLM that is installed, which has no part in this
    from trl import GRPOConfig, GRPOTrainer
    from trl.chat_template_utils import qwen3_template


def told(environment: Any, messages: list[dict[str, Any]]) -> float:
    """Play messages as TRL's loop does: calls to methods, the last words to `hear`."""
    for message in messages:
        for c in message.get("tool_calls") or ():
            getattr(environment, c["function"]["name"])(**c["function"]["arguments"])
    return environment.get_reward()


@pytest.mark.parametrize("env", ["desk/Orders-v0", "games/KeyDoor-v0"])
def test_whole_episodes_earn_what_they_earn_with_us(env: str) -> None:
    made, ours = TrlEnvironment(env), make(env)
    instance = made()
    for i, row in enumerate(made.rows(range(20))):
        task = ours.tasks()[i]
        gold = oracle_episode(ours, task)
        assert row["task"] == task.id
        instance.reset(**row)
        turns = [m for n in gold.nodes if n.kind == "action" for m in n.messages]
        for turn in turns[: None if i % 3 else -1]:  # every third is cut off
            for c in turn.tool_calls:
                assert "Error" not in getattr(instance, c.name)(**c.arguments)
        last = agentgym.messages.to_openai(turns[-1]) if i % 3 else {"role": "tool", "content": "x"}
        assert made.hear([[last]], [instance], prompts=None) == [None]
        assert instance.get_reward() == (gold.nodes[-1].reward if i % 3 else 0.0)


def test_what_trl_finds_are_our_tools_and_nothing_else() -> None:
    import inspect

    made = TrlEnvironment("games/KeyDoor-v0")
    instance = made()
    found = {n for n, _ in inspect.getmembers(type(instance), inspect.isfunction) if not n.startswith("_")}
    assert found - {"reset", "get_reward"} == {"look", "take", "unlock", "go"}
    assert dict(instance.look) == make("games/KeyDoor-v0").reset()[0].tools[0]
    instance.reset(**made.rows([0])[0])
    assert instance.take() == "Error: argument 'key' is missing"
    with pytest.raises(UserError, match="reward_funcs"):
        instance.get_reward()


class Fails(Environment):
    """Break when told to."""

    def tasks(self, split: str = "train") -> Tasks:
        return Tasks.of([Task("Go.", split=split)])

    @tool
    def smash(self) -> str:
        """Break."""
        raise EnvironmentFailure("it broke")

    @tool
    def reset_all(self) -> str:
        """Do nothing."""
        return ""


class Named(Fails):
    """Has a tool whose name means something else to TRL."""

    @tool
    def get_reward(self) -> str:
        """Take it."""
        return ""


def test_a_failure_is_no_reward_and_reserved_names_are_refused() -> None:
    agentgym.register("test/Fails-v0", Fails)
    agentgym.register("test/Named-v0", Named)
    made = TrlEnvironment("test/Fails-v0")
    instance = made()
    instance.reset(task="train-0")
    assert instance.smash() == "Error: the environment broke"
    assert instance.reset_all() == "Error: the episode is over"
    made.hear([[{"role": "assistant", "content": "done"}]], [instance])
    with pytest.raises(EnvironmentFailure, match="it broke"):
        instance.get_reward()
    with pytest.raises(UserError, match="'get_reward'"):
        TrlEnvironment("test/Named-v0")


@pytest.mark.parametrize(("env", "args"), [("desk/Orders-v0", {"level": "easy"}), ("games/KeyDoor-v0", {"level": "easy"})])
def test_grpo_trains_two_steps_on_multi_turn_episodes(env: str, args: dict[str, Any], tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
    source = make(env, **args)
    gold = [t for task in source.tasks()[:40] for t in oracle_episode(source, task).trajectories()]
    init_model([(t.messages, t.episode.tools) for t in gold], tmp_path / "base", warmup_steps=2)
    _, words = load(tmp_path / "base")
    long = max(gold, key=lambda t: len(t.actions))  # learnt by heart: what matters is that it is played to its end
    train_sft(tmp_path / "base", training_rows([long], words) * 200, tmp_path / "sft", Sft(max_steps=80, lr=3e-3, batch_size=2))
    model, words = load(tmp_path / "sft")
    words.response_template = qwen3_template
    made = TrlEnvironment(env, **args)
    config = GRPOConfig(
        output_dir=str(tmp_path / "trl"),
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        per_device_train_batch_size=4,
        num_generations=4,
        max_steps=2,
        max_completion_length=300,
        max_tool_calling_iterations=made.max_turns,
        learning_rate=1e-3,
        report_to="none",
        logging_steps=1,
        save_strategy="no",
    )
    seen: list[dict[str, Any]] = []

    def watch(prompts: list[Any], completions: list[Any], completion_ids: list[Any], environments: Any, **_: Any) -> list[None]:
        made.hear(completions, environments)
        seen.extend(
            {"said": p + c, "prompt": p, "ids": i, "earned": e.get_reward(), "turns": e._env.turn}
            for p, c, i, e in zip(prompts, completions, completion_ids, environments, strict=True)
        )
        return [None] * len(prompts)

    trainer = GRPOTrainer(
        model=model,
        environment_factory=made,
        reward_funcs=[watch],
        train_dataset=datasets.Dataset.from_list(made.rows([int(long.episode.task.id.rpartition("-")[2])] * 2)),
        processing_class=words,
        args=config,
    )
    trainer.train()
    assert (trainer.state.global_step, len(seen)) == (2, 8)
    best = max(seen, key=lambda s: s["earned"])
    assert (best["earned"], best["turns"]) == (1.0, len(long.actions))
    # What TRL's model saw and wrote is, token for token, what ours would have seen and written.
    conversation = Conversation(Chat(words), long.episode.tools)
    conversation.observe([from_openai(m) for m in best["prompt"]])
    start = len(conversation.ids)
    for m in best["said"][len(best["prompt"]) :]:
        conversation.act(from_openai(m)) if m["role"] == "assistant" else conversation.observe([from_openai(m)])
    assert words.decode(conversation.ids[start:]).startswith(words.decode(best["ids"]))
