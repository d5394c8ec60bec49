"""An environment as TRL's `environment_factory` (as of TRL 1.16; nothing of TRL is imported).

::

    orders = TrlEnvironment("desk/Orders-v0", level="easy")
    GRPOTrainer(
        model=model,
        environment_factory=orders,
        reward_funcs=[orders.hear],
        train_dataset=Dataset.from_list(orders.rows(range(256))),
        args=GRPOConfig(max_tool_calling_iterations=orders.max_turns, ...),
    )

The trainer makes instances, resets each with a row of the data set, lets the model call its public methods (our tools) and asks
for `get_reward()`. What it does not tell an instance is the model's last words, which many environments judge: `hear` does, and
claims no reward of its own. Prompts have our very schemas in them, where TRL would derive others from signatures and docstrings.

Other than in our own loop: each of several parallel calls is a turn of its own; a model is asked once more after a tool has ended
the episode, and what it says then is trained on too; a text that the dialect cannot read ends the episode; `reply` is not heard.
TRL cannot leave an episode out, so that an environment that breaks ends the training with its `Failure` rather than with a zero.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from agentgym.env import Environment
from agentgym.errors import Failure, UserError
from agentgym.messages import Message, ToolCall, assistant, to_openai
from agentgym.registry import make

RESERVED = ("reset", "get_reward")


class TrlEnvironment:
    """Makes TRL's environments out of one of ours.

    Args:
        env: Id of the environment. All its tasks have to offer the same tools: TRL looks at them once.
        env_args: Its arguments.

    Raises:
        UserError: there is no such environment, or one of its tools has a name that means something else to TRL.
    """

    def __init__(self, env: str, **env_args: Any) -> None:
        self._make: Callable[[], Environment] = lambda: make(env, **env_args)
        self._probe = self._make()
        self.max_turns = self._probe.max_turns
        tools = self._probe.reset(options={"task": self._probe.tasks()[0]})[0].tools
        names = [t["function"]["name"] for t in tools]
        if taken := [n for n in names if n in RESERVED or n.startswith("_") or not n.isidentifier()]:
            raise UserError(f"{env} has a tool {taken[0]!r}, a name that TRL cannot give to a tool: rename it")
        name = "".join(c for c in env.partition("/")[2] if c.isalnum()) or "Episode"
        self._schemas = dict(zip(names, tools, strict=True))
        self._class = type(name, (_Episode,), {n: _method(n) for n in names})

    def __call__(self) -> "_Episode":
        """A new instance."""
        return self._class(self._make(), self._schemas)  # type: ignore[no-any-return]

    def rows(self, numbers: Iterable[int], split: str = "train", seed: int = 0) -> list[dict[str, Any]]:
        """Rows for a data set: the opening as ``prompt``, and the ``task`` and ``seed`` that belong to it.

        Args:
            numbers: Which tasks of the split.
            split: Of the tasks.
            seed: Of every reset.
        """
        tasks, made = self._probe.tasks(split), []
        for number in numbers:
            opening, _ = self._probe.reset(seed=seed, options={"task": tasks[number]})
            prompt = [to_openai(m) for m in opening.messages]
            made.append({"prompt": prompt, "task": tasks[number].id, "seed": seed})
        return made

    def hear(self, completions: Sequence[Any], environments: Sequence["_Episode"], **_: Any) -> list[None]:
        """One of TRL's reward functions that rewards nothing: it takes each model's last words to its environment."""
        for completion, environment in zip(completions, environments, strict=True):
            environment._hear(completion[-1] if completion else {})
        return [None] * len(completions)


class _Episode:
    """What TRL sees; its tools are methods of a subclass."""

    def __init__(self, env: Environment, schemas: dict[str, dict[str, Any]]) -> None:
        self._env, self._earned, self._over, self._heard = env, 0.0, True, False
        self._failure: Failure | None = None
        for name, schema in schemas.items():
            setattr(self, name, _Method(schema, getattr(self, name)))

    def reset(self, *, task: str, seed: int = 0, **_: Any) -> None:
        """Begin the row's task; its opening stands in the row's prompt already."""
        self._env.reset(seed=seed, options={"task": task})
        self._earned, self._over, self._heard, self._failure = 0.0, False, False, None

    def get_reward(self) -> float:
        """What the episode has earned; nothing is added where it was cut off.

        Raises:
            Failure: the environment broke.
            UserError: the model's last words were never told.
        """
        if self._failure is not None:
            raise self._failure
        if not self._over and not self._heard:
            raise UserError("the final answer was not told: give the trainer reward_funcs=[environment.hear]")
        return self._earned

    def _use(self, name: str, arguments: dict[str, Any]) -> str:
        if self._over:
            return "Error: the episode is over"
        return self._step(assistant("", ToolCall(name, arguments)))

    def _hear(self, last: dict[str, Any]) -> None:
        self._heard = True
        if not self._over and last.get("role") == "assistant" and not last.get("tool_calls"):
            self._step(assistant(last.get("content") or "", thinking=last.get("reasoning_content") or ""))

    def _step(self, action: Message) -> str:
        try:
            observation, reward, terminated, truncated, _ = self._env.step(action)
        except Failure as failure:  # TRL would show it to the model and go on
            self._failure, self._over = failure, True
            return "Error: the environment broke"
        self._earned += reward
        self._over = terminated or truncated
        return "\n".join(m.content for m in observation.messages)


class _Method(dict[str, Any]):
    """A tool that is its own schema, which templates take as it is, and can be called, which TRL does."""

    def __init__(self, schema: dict[str, Any], function: Callable[..., str]) -> None:
        super().__init__(schema)
        self.__name__ = schema["function"]["name"]
        self._function = function

    def __call__(self, /, **arguments: Any) -> str:
        return self._function(**arguments)


def _method(name: str) -> Callable[..., str]:
    def use(self: _Episode, /, **arguments: Any) -> str:
        return self._use(name, arguments)

    use.__name__ = name
    return use
