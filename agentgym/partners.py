"""Others beside the agent, as parts of an environment: a simulated user, or a model that answers what the agent asks.

A user is played from a `Card` (who it is, what it wants, what it says when asked): by `Script`, which reads the card out and is
the same every time, or by `Model`, any sampler that is told the persona and the goal, as in tau-bench (Yao et al. 2024,
arXiv:2406.12045) and PPDPP (Deng et al. 2024, arXiv:2311.00262). `UserEnvironment` joins one with an environment::

    class Desk(UserEnvironment):
        def begin(self, task):
            self.state = Talking(...)
            return self.greeted()

What a user says is an observation of the agent: it is in the tree, and no loss is put on it.
"""

import functools
import re
from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from agentgym.async_env import AsyncEnvironment
from agentgym.dialects.base import clean
from agentgym.errors import EnvironmentFailure, SamplerFailure, UserError
from agentgym.messages import Message, assistant, system, user
from agentgym.sampling.base import Sampler, SampleRequest
from agentgym.sampling.named import open_sampler
from agentgym.tokens import Conversation

SCRIPT = "script"
STOP = "###STOP###"
GREETING = "Hello! How can I help you?"  # what a model that plays a user answers to first
_ENDS = re.compile(r"###(?:STOP|TRANSFER|OUT-OF-SCOPE)###")
_WORDS = 1024  # tokens of a model's turn at most

GUIDELINES = f"""You play a person who asks an assistant for help. Speak as that person, one short message at a time.
Say only what stands below; what does not stand there you do not know. Tell what you were not asked for only when it is needed.
When your goal is reached, or you are passed on to somebody else, or you cannot go on, write {STOP} and nothing else."""


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something a user says when asked.

    Attributes:
        text: What is said, once in a conversation.
        on: Words of a question that call for it; any question does when there are none.
    """

    text: str
    on: tuple[str, ...] = ()


class Card(msgspec.Struct, frozen=True, omit_defaults=True):
    """The user's part in a task; plain JSON in `Task.data["user"]`.

    Attributes:
        opening: The first words.
        lines: What is said to questions, in this order of preference.
        default: What is said to a question when no line is left for it.
        persona: Who the user is, for models.
        goal: What the user wants and knows, for models.
    """

    opening: str
    lines: tuple[Line, ...] = ()
    default: str = "Yes, please."
    persona: str = ""
    goal: str = ""

    @property
    def instructions(self) -> str:
        """What a model is told that plays this user."""
        persona = f"\n\nWho you are: {self.persona}" if self.persona else ""
        return f"{GUIDELINES}{persona}\n\nWhat you want and know:\n{self.goal or self.opening}"


class User(Protocol):
    """Whoever plays the user."""

    async def say(self, card: Card, talk: Sequence[Message], seed: int) -> str | None:
        """The user's next words; None to end the conversation.

        Args:
            card: The user's part.
            talk: What agent ("assistant") and user said so far, the agent last; empty at the start.
            seed: Of whatever chance decides.
        """


class Script:
    """Reads the card out: its opening, then to each question the first line that fits and has not been said yet.

    What the agent says without a question mark ends the conversation.
    """

    async def say(self, card: Card, talk: Sequence[Message], seed: int) -> str | None:
        """See `User`."""
        if not talk:
            return card.opening
        asked, said = talk[-1].content.lower(), {m.content for m in talk if m.role == "user"}
        if "?" not in asked:
            return None
        fitting = (x.text for x in card.lines if x.text not in said and (not x.on or any(w.lower() in asked for w in x.on)))
        return next(fitting, card.default)


class Model:
    """A sampler that plays a user, or answers questions.

    Args:
        sampler: Writes the words.
    """

    def __init__(self, sampler: Sampler) -> None:
        self.sampler = sampler

    async def say(self, card: Card, talk: Sequence[Message], seed: int) -> str | None:
        """See `User`; a turn with one of tau-bench's end marks ends the conversation."""
        mirrored = [user(m.content) if m.role == "assistant" else assistant(m.content) for m in talk]
        words = await self.answer(card.instructions, mirrored or [user(GREETING)], seed)
        return None if _ENDS.search(words) else words

    async def answer(self, instructions: str, talk: Sequence[Message], seed: int) -> str:
        """The model's next words, without its thoughts.

        Args:
            instructions: The system message; empty for none.
            talk: The conversation from the model's side: its own words are the assistant's, the last ones are not.
            seed: Of the sampling.

        Raises:
            SamplerFailure: it broke, or said nothing.
        """
        messages = [*([system(instructions)] if instructions else []), *talk]
        request = SampleRequest(messages, (), self._ids(messages), seed)
        (sample,) = await self.sampler.sample([request])
        if not sample.message.content.strip():
            raise SamplerFailure(f"{self.sampler.version} was to play a part of the environment and said nothing")
        return sample.message.content.strip()

    def _ids(self, messages: Sequence[Message]) -> list[int] | None:
        if self.sampler.chat is None:
            return None
        conversation, heard = Conversation(self.sampler.chat), list[Message]()
        for message in messages:
            if message.role == "assistant":
                conversation.observe(heard)
                conversation.act(message)
                heard = []
            else:
                heard.append(message)
        conversation.observe(heard)
        return conversation.ids


def open_user(who: str | Sampler) -> User:
    """The user that `who` names: "script", a policy as for `open_sampler`, or a sampler.

    Raises:
        UserError: there is no such policy.
    """
    return Script() if who == SCRIPT else open_model(who)


def open_model(who: str | Sampler) -> Model:
    """The model that `who` names; one sampler serves all environments of a process."""
    return Model(_shared(who) if isinstance(who, str) else who)


@functools.cache
def _shared(policy: str) -> Sampler:
    if policy in ("oracle", "random"):
        raise UserError(f"{policy!r} plays agents, nobody else: give `script`, or a model such as openai:MODEL")
    return open_sampler(policy, temperature=0.0, max_tokens=_WORDS)


class Talking(msgspec.Struct):
    """The part of a hidden state that a conversation needs; states of environments with a user extend it.

    Attributes:
        talk: What agent and user said, without tool calls and their results.
    """

    talk: tuple[Message, ...] = ()


class UserEnvironment(AsyncEnvironment):
    """An environment in which the agent talks to a user; what it says without a tool call goes to the user.

    `self.state` is a `Talking`, set in `begin`, which then returns `await self.greeted()`. The user's part is
    `task.data["user"]`, a `Card`.

    Args:
        user: "script", or whoever plays the user: a policy as for `agentgym collect --policy`, or a sampler.

    Raises:
        UserError: there is no such policy.
    """

    def __init__(self, user: str | Sampler = SCRIPT) -> None:
        self.user = open_user(user)

    @property
    def card(self) -> Card:
        """The user's part in the current task."""
        return msgspec.convert(self.task.data["user"], Card)

    async def greeted(self) -> list[Message]:
        """The opening: the instructions, and the user's first words."""
        words = await self.user.say(self.card, (), self._draw())
        if words is None:
            raise EnvironmentFailure("the user ended the conversation before it began")
        self.state.talk = (user(clean(words)),)
        return [*([system(self.instructions)] if self.instructions else []), self.state.talk[0]]

    async def reply(self, message: Message) -> str | None:  # type: ignore[override]  # `AsyncEnvironment` allows it
        """What the user says to it; None, and with it the end of the episode, when the user has nothing left to say."""
        self.state.talk = (*self.state.talk, assistant(message.content))
        words = await self.user.say(self.card, self.state.talk, self._draw())
        if words is None:
            return None
        self.state.talk = (*self.state.talk, user(clean(words)))
        return words

    @property
    def said(self) -> list[str]:
        """The agent's words to the user so far."""
        return [m.content for m in self.state.talk if m.role == "assistant"]

    def _draw(self) -> int:
        """The same seed at the same point of the same episode, without drawing from the generator."""
        base: Any = self._seed or 0
        return (int(base) * 1000 + len(self.state.talk)) % 2**31
