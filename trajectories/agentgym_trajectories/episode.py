"""One episode: environment x sampler x tokens -> nodes."""

import copy
import math
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import msgspec

from agentgym import (
    EnvironmentFailure,
    Failure,
    Message,
    Observation,
    RefusedFailure,
    SamplerFailure,
    StopReason,
    UserError,
    user,
)
from agentgym.sampling import Sample, Sampler, SampleRequest
from agentgym.tokens import Conversation
from agentgym_trajectories.hosts import Host
from agentgym_trajectories.tree import Episode, Node


@dataclass(eq=False, slots=True)
class Pulse:
    """What an episode waits for and since when, for whoever watches over it.

    Attributes:
        began: When the episode began, as `time.monotonic` says it.
        waits_for: Whose turn it is.
        since: When that turn began.
        turns: Actions taken.
    """

    began: float = field(default_factory=time.monotonic)
    waits_for: Literal["environment", "sampler"] = "environment"
    since: float = field(default_factory=time.monotonic)
    turns: int = 0

    def wait(self, what: Literal["environment", "sampler"]) -> None:
        """It is this one's turn now."""
        self.waits_for, self.since = what, time.monotonic()

    def blamed(self, text: str) -> Failure:
        """The failure of whoever's turn it is, who stands in `text` as ``{}``."""
        kind = EnvironmentFailure if self.waits_for == "environment" else SamplerFailure
        return kind(text.format(self.waits_for))


Edit = Callable[[tuple[Message, ...]], Sequence[Message]]  # of an opening


def _as_it_is(opening: tuple[Message, ...]) -> Sequence[Message]:
    return opening


class Walk:
    """An agent walking through an environment, writing down every turn as a node of an episode.

    Args:
        host: A live environment that nobody else uses meanwhile.
        sampler: Writes the agent's turns.
        episode: Where the nodes go.
        seed: Of the environment and, with the number of the turn, of each sampled turn.
        pulse: Told of every turn.
        world: Seed of the environment, where that is another one: several walks through the same world.
    """

    def __init__(
        self,
        host: Host,
        sampler: Sampler,
        episode: Episode,
        seed: int = 0,
        pulse: Pulse | None = None,
        world: int | None = None,
    ) -> None:
        self.host, self.sampler, self.episode, self.seed = host, sampler, episode, seed
        self.world = seed if world is None else world
        self.pulse = pulse or Pulse()
        self.messages: list[Message] = []
        self.parent = -1
        self._unheard: tuple[Message, ...] = ()  # what the environment said at its end
        self._tokens: Conversation | None = None

    async def start(self, edit: Edit = _as_it_is) -> None:
        """Reset the environment and write the root.

        Args:
            edit: What becomes of the opening before anybody sees it.
        """
        observation, state_key = await self._reset()
        self.episode.tools = observation.tools
        if self.sampler.chat is not None:
            self.episode.vocabulary = self.sampler.chat.vocabulary
            self._tokens = Conversation(self.sampler.chat, observation.tools)
        self._observe(edit(observation.messages), state_key)

    async def turn(self, role: str = "") -> bool:
        """Sample one action, take it, write both sides down. Returns whether the episode goes on."""
        if self.full():
            return self.out_of_context()
        return await self.take((await self.propose())[0], role)

    # ---- what the environment does not hear ---------------------------------------------------------------------------

    def write(self, sample: Sample, role: str) -> Node:
        """Write down what was said, without taking it to the environment; somebody has to be told something next."""
        return self._act(sample, role)

    def tell(self, text: str) -> None:
        """Say something to the agent, after what the environment said at its end if it has ended."""
        self._observe((*self._unheard, user(text)))

    async def retry(self, text: str) -> None:
        """Begin the task again in the same conversation, with these words."""
        _, state_key = await self._reset()
        self._observe((*self._unheard, user(text)), state_key)

    async def begin_anew(self, edit: Edit) -> None:
        """Begin the task again in a conversation that knows nothing of this one but what `edit` puts into the opening."""
        observation, state_key = await self._reset()
        self.messages, self._unheard, continues, self.parent = [], (), self.parent, -1
        self._tokens = self._tokens and Conversation(self._tokens.chat, self.episode.tools)
        self._observe(edit(observation.messages), state_key, continues)

    async def _reset(self) -> tuple[Observation, str]:
        self.pulse.wait("environment")
        return await self.host.reset(self.world, self.episode.task)

    # ---- states and possible actions ----------------------------------------------------------------------------------

    def fork(self, host: Host, episode: Episode | None = None) -> "Walk":
        """A walk that goes on from here in another way: on its own host, and with `episode` in its own records."""
        other = copy.copy(self)
        other.host, other.episode, other.messages = host, episode or self.episode, list(self.messages)
        other._tokens = self._tokens and self._tokens.fork()
        return other

    def full(self) -> bool:
        """Whether no room is left for an answer."""
        context = self.sampler.context
        return self._tokens is not None and context is not None and len(self._tokens.ids) >= context

    async def propose(self, count: int = 1, first: int = 0, sampler: Sampler | None = None) -> list[Sample]:
        """Sample `count` possible actions; those of one seed and one place differ in their numbers, from `first` on.

        Args:
            count: How many.
            first: Number of the first one.
            sampler: Who is asked; another one than the walk's has to have the same vocabulary.
        """
        prompt = self._tokens.ids if self._tokens else None
        if prompt is None:
            await self.host.visit()
        return await self._sample([prompt] * count, first, sampler)

    async def rewrite(self, action: Sample, starts: Sequence[int]) -> list[Sample]:
        """Sample possible actions that begin as this one: for each of `starts`, what comes from that token on is new."""
        assert self._tokens is not None
        assert self.sampler.chat is not None
        ids, logprobs = action.token_ids or [], action.logprobs or []
        rests = await self._sample([self._tokens.ids + ids[:start] for start in starts], 1)
        written: list[Sample] = []
        for start, rest in zip(starts, rests, strict=True):
            whole = ids[:start] + (rest.token_ids or [])
            known = None if rest.logprobs is None else logprobs[:start] + rest.logprobs
            message = self.sampler.chat.parse(whole)
            written.append(msgspec.structs.replace(rest, message=message, token_ids=whole, logprobs=known))
        return written

    async def _sample(self, prompts: Sequence[list[int] | None], first: int, sampler: Sampler | None = None) -> list[Sample]:
        place = b"%d/%d" % (self.seed, self.parent + 1)
        seeds = [zlib.crc32(place + b"/%d" % i * bool(i)) for i in range(first, first + len(prompts))]
        sample = partial(SampleRequest, self.messages, self.episode.tools, env=self.host.env)
        self.pulse.wait("sampler")
        return await (sampler or self.sampler).sample([sample(prompt_ids=p, seed=s) for p, s in zip(prompts, seeds, strict=True)])

    async def take(self, sample: Sample, role: str = "") -> bool:
        """Take one action and write both sides down. Returns whether the episode goes on."""
        node = self._act(sample, role)
        self.pulse.wait("environment")
        (observation, reward, terminated, truncated, info), node.state_key = await self.host.step(sample.message)
        self.pulse.turns += 1
        if not math.isfinite(reward):
            raise EnvironmentFailure(f"a reward of {reward}")
        node.errors = info["errors"]
        node.rewards = {part: float(value) for part, value in info["rewards"].items()}  # NumPy's floats cannot be stored
        if terminated or truncated:
            node.end = StopReason.TERMINATED if terminated else StopReason.MAX_TURNS
            node.success = info["success"]  # None where nobody can say, and then there is no reward either
            node.reward = None if node.success is None else float(reward)
            self._unheard = observation.messages
            return False
        node.reward = float(reward)
        self._observe(observation.messages)
        return True

    def _observe(self, messages: Sequence[Message], state_key: str = "", continues: int = -1) -> None:
        """Write down what the agent sees next; `continues` is the action that a new try goes on from."""
        self.messages.extend(messages)
        self._unheard = ()
        ids, branches = self._tokens.observe(messages) if self._tokens else (None, False)
        shown, parent, anew = tuple(messages), self.parent, continues >= 0
        if branches:
            self.episode.drift += 1
            shown, parent, continues = tuple(self.messages), -1, self.parent
        node = self.episode.add(parent, "observation", shown, token_ids=ids, state_key=state_key, continues=continues, anew=anew)
        self.parent = node.id

    def _act(self, sample: Sample, role: str = "") -> Node:
        self.messages.append(sample.message)
        if self._tokens is not None:
            if sample.token_ids is None:
                raise UserError("this sampler has a tokenizer but gave no token ids")
            self._tokens.act(sample.message, sample.token_ids)
        node = self.episode.add(
            self.parent,
            "action",
            (sample.message,),
            token_ids=sample.token_ids,
            logprobs=sample.logprobs,
            version=sample.version,
            role=role,
            cut=sample.finish == "length",
        )
        self.parent = node.id
        return node

    def cut(self, reason: StopReason) -> None:
        """End the episode here, unsolved, before the last observation is answered."""
        last = [n for n in self.episode.nodes if n.kind == "action"][-1]
        last.end, last.success = reason, False
        self.episode.nodes.pop()  # the observation that nobody answers

    def out_of_context(self) -> bool:
        """End the episode here because no room is left for an answer. Returns that it does not go on."""
        if len(self.episode.nodes) == 1:
            raise RefusedFailure(f"task {self.episode.task.id} alone fills the context of {self.sampler.context} tokens")
        self.cut(StopReason.CONTEXT_LENGTH)
        return False


async def ask(sampler: Sampler, messages: Sequence[Message], seed: int, env: Any) -> Sample | None:
    """What a sampler says to a conversation that is no episode: a judge's, a labeller's. None where it is too long for it."""
    ids = None
    if sampler.chat is not None:
        ids = Conversation(sampler.chat).observe(messages)[0]
        if sampler.context is not None and len(ids) >= sampler.context:
            return None
    (sample,) = await sampler.sample([SampleRequest(messages, (), ids, seed, env)])
    return sample


async def play(
    host: Host,
    sampler: Sampler,
    episode: Episode,
    seed: int = 0,
    pulse: Pulse | None = None,
    turns: int | None = None,
    edit: Edit = _as_it_is,
    world: int | None = None,
) -> Episode:
    """Play one episode to its end, or to a number of turns that is less than the environment's own.

    Args:
        host: See `Walk`, as for all that is not named here.
        sampler: The same.
        episode: The same.
        seed: The same.
        pulse: The same.
        turns: How many.
        edit: See `Walk.start`.
        world: See `Walk`.

    Raises:
        EnvironmentFailure: the environment broke.
        SamplerFailure: inference broke.
    """
    began = time.perf_counter()
    walk = Walk(host, sampler, episode, seed, pulse, world)
    await walk.start(edit)
    while await walk.turn():
        if turns is not None and walk.pulse.turns >= turns:
            walk.cut(StopReason.MAX_TURNS)
            break
    episode.seconds = time.perf_counter() - began
    return episode
