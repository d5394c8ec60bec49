"""Gymnasium spaces of messages, so that `gymnasium.make`, its wrappers and its checker see well-typed environments."""

from typing import Any

import msgspec
from gymnasium.spaces import Space

from agentgym.messages import Message, assistant


class Observation(msgspec.Struct, frozen=True):
    """What an environment says after a reset or a step.

    Attributes:
        messages: What is new since the agent's last action (after a reset: the whole opening). Appending them to the
            conversation, after the action, gives what the agent sees.
        tools: JSON schemas of the tools that may be called now, in the OpenAI shape.
    """

    messages: tuple[Message, ...]
    tools: tuple[dict[str, Any], ...] = ()


class _Alike:
    """All spaces of one kind are the same space; `gymnasium.vector` asks."""

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self)

    def __hash__(self) -> int:
        return hash(type(self))


class ActionSpace(_Alike, Space[Message | str]):
    """An assistant `Message`, or a string in the environment's dialect."""

    def __init__(self) -> None:
        super().__init__(None, None)

    @property
    def is_np_flattenable(self) -> bool:
        """Text has no fixed size."""
        return False

    def sample(self, mask: Any = None, probability: Any = None) -> Message:
        """A random short answer."""
        return assistant("".join(chr(97 + int(i)) for i in self.np_random.integers(0, 26, 8)))

    def contains(self, x: Any) -> bool:
        """Whether `x` can be passed to `step`."""
        return isinstance(x, str) or (isinstance(x, Message) and x.role == "assistant")


class ObservationSpace(_Alike, Space[Observation]):
    """An `Observation`."""

    def __init__(self) -> None:
        super().__init__(None, None)

    @property
    def is_np_flattenable(self) -> bool:
        """Text has no fixed size."""
        return False

    def sample(self, mask: Any = None, probability: Any = None) -> Observation:
        """An observation without messages."""
        return Observation(())

    def contains(self, x: Any) -> bool:
        """Whether `x` is an observation whose messages come from the environment."""
        return isinstance(x, Observation) and all(m.role != "assistant" for m in x.messages)
