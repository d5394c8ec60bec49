"""What a method of synthesis works with: one task, an environment, samplers, and the record that comes of it."""

import random
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from agentgym import Message, RefusedFailure, Task, UserError, user
from agentgym.sampling import Sample, Sampler, SampleRequest
from agentgym_trajectories.episode import Edit, Pulse, ask, play
from agentgym_trajectories.hosts import Host
from agentgym_trajectories.players import Program
from agentgym_trajectories.rewrite import transcript, with_system
from agentgym_trajectories.tree import Episode, Node, Trajectory

YES = "Answer YES or NO."


class Unusable(RefusedFailure):
    """What a sampler wrote is nothing that could be used. Another try may bring what can; each is kept among the failures."""


class Scene:
    """One task and all that a method does with it.

    Args:
        host: A live environment that nobody else uses meanwhile.
        sampler: Whoever has no role.
        episode: Where all attempts are kept, each from its own root.
        seed: Of everything that is drawn and sampled.
        pulse: Told of every turn.
        samplers: Those of roles.

    Attributes:
        origin: What the record says of itself at the end, see `Task.origin`; plain JSON values.
    """

    def __init__(
        self, host: Host, sampler: Sampler, episode: Episode, seed: int, pulse: Pulse, samplers: Mapping[str, Sampler]
    ) -> None:
        self.host, self.sampler, self.episode, self.pulse, self.samplers = host, sampler, episode, pulse, samplers
        self.rng, self.origin = random.Random(seed), dict[str, Any]()
        self._world = self.rng.getrandbits(32)
        self._spent = 0

    @property
    def task(self) -> Task:
        """What is to be done now."""
        return self.episode.task

    def who(self, role: str) -> Sampler:
        """Who plays a role."""
        return self.samplers.get(role, self.sampler)

    # ---- words that are no episode's -----------------------------------------------------------------------------------

    async def ask(self, said: str | Sequence[Message], role: str = "") -> str:
        """What a role answers to words, or to a conversation.

        Raises:
            Unusable: nothing, or not to its end.
        """
        messages = [user(said)] if isinstance(said, str) else said
        self.pulse.wait("sampler")
        return self._read(await ask(self.who(role), messages, self.rng.getrandbits(32), self.host.env))

    async def agrees(self, said: str | Sequence[Message], role: str = "") -> bool:
        """Whether the answer to words that end with `YES` is yes."""
        return (await self.ask(said, role)).upper().startswith("YES")

    async def write_on(self, ids: list[int], role: str = "") -> str:
        """What a role's model writes after these ids, whatever they are.

        Raises:
            Unusable: nothing, or not to its end.
        """
        self.pulse.wait("sampler")
        (sample,) = await self.who(role).sample([SampleRequest([], (), ids, self.rng.getrandbits(32), self.host.env)])
        return self._read(sample)

    def _read(self, sample: Sample | None) -> str:
        if sample is None:
            raise Unusable("the question is longer than the model's context")
        self._spent += len(sample.token_ids or ())
        text = sample.message.content.strip()
        if sample.finish == "length" or not text:
            raise Unusable("nothing was written" if not text else f"cut off at the longest turn: {text[:60]!r}")
        return text

    # ---- episodes ------------------------------------------------------------------------------------------------------

    async def attempt(self, edit: Edit | None = None, role: str = "", program: Program = play) -> Trajectory:
        """Do the task once, from its beginning; the environment begins all attempts alike.

        Args:
            edit: What becomes of the opening for the sampler's eyes alone (see `whisper`): the record has the opening without it,
                so that what is learnt is to do the same untold (context distillation, Askell et al. 2021, arXiv:2112.00861). The
                actions keep the ids that were sampled, and lose their log-probabilities, which are those of another prompt.
            role: Who does it.
            program: How, if not turn by turn; then nothing can be edited, and the environment may begin in another way.
        """
        made = Episode(self.episode.env, self.task, self.episode.sample, self.episode.version, self.episode.env_args)
        seed, sampler = self.rng.getrandbits(32), self.who(role)
        if program is not play:
            return self._keep(await program(self.host, sampler, made, seed, self.pulse))
        openings: list[tuple[Message, ...]] = []

        def told(opening: tuple[Message, ...]) -> Sequence[Message]:
            openings[:] = [opening, tuple(edit(opening)) if edit else opening]
            return openings[1]

        made = await play(self.host, sampler, made, seed, self.pulse, edit=told, world=self._world)
        if edit:
            made.nodes = [_untold(n, *openings) for n in made.nodes]
        return self._keep(made)

    def _keep(self, made: Episode) -> Trajectory:
        """Put the nodes of an attempt beside those of earlier ones."""
        kept, first = self.episode, len(self.episode.nodes)
        if first and made.vocabulary != kept.vocabulary:
            raise UserError("attempts that are kept together need one vocabulary: take models with the same tokenizer")
        kept.tools, kept.vocabulary, kept.drift = made.tools, made.vocabulary, kept.drift + made.drift
        for n in made.nodes:
            at = {"id": n.id + first, "parent": n.parent + first * (n.parent >= 0)}
            kept.nodes.append(msgspec.structs.replace(n, **at, continues=n.continues + first * (n.continues >= 0)))
        return kept.trajectory(kept.nodes[-1].id)

    def become(self, prompt: str) -> None:
        """From now on the task is this new one, of which the environment knows nothing but the prompt; what was done is gone.

        Raises:
            Unusable: the prompt is empty.
        """
        if not prompt.strip():
            raise Unusable("the new task is empty")
        self.origin["prompt"] = "written"
        self.episode.task = msgspec.structs.replace(self.task, prompt=prompt.strip(), data={})
        self.episode.nodes = []

    def reword(self, done: Trajectory, prompt: str) -> Trajectory:
        """Let the record say that `done` was done for this request; actions keep their ids, rewards of another request go."""
        before, opening = self.task.prompt, done.branches[0][0].messages
        asked = _reworded(opening, before, prompt)
        for n in (n for branch in done.branches for n in branch):
            n.logprobs, n.rewards = None, {}
            if n.kind == "action":
                n.reward = n.reward and 0.0
            else:
                n.token_ids = None
                n.messages = n.messages if n.parent >= 0 else asked + n.messages[len(opening) :]
        self.origin |= {"prompt": "written", "instead_of": before}
        self.episode.task = msgspec.structs.replace(self.task, prompt=prompt, data={})
        return self.episode.trajectory(done.leaf.id)

    def judge(self, done: Trajectory, success: bool) -> None:
        """Say what an attempt was worth where the environment cannot know."""
        last = done.leaf
        last.success, last.reward, last.rewards = success, float(success), {"judged": float(success)}

    def drop(self, attempt: Trajectory, reason: str) -> None:
        """Keep an attempt in the record, and leave it out of the selection."""
        self.origin.setdefault("dropped", {})[str(attempt.leaf.id)] = reason

    def end(self, method: str) -> Episode:
        """The record, which says where it comes from and what it cost."""
        self.episode.task = msgspec.structs.replace(self.task, origin={"method": method} | self.origin)
        self.episode.nodes[-1].spent += self._spent
        return self.episode


def whisper(text: str) -> Edit:
    """Tell the sampler something more in the system message."""
    return lambda opening: with_system(opening, text)


def did(attempt: Trajectory) -> str:
    """All that was done and said after the opening, as text."""
    opening = attempt.branches[0][0].messages  # a later root repeats the whole history
    return transcript(attempt.messages[len(opening) :])


def _untold(n: Node, opening: tuple[Message, ...], told: tuple[Message, ...]) -> Node:
    """A node as if the opening had been told as it is."""
    if n.kind == "action":
        return msgspec.structs.replace(n, logprobs=None)
    shown = n.messages if n.parent >= 0 else opening + n.messages[len(told) :]
    return msgspec.structs.replace(n, messages=shown, token_ids=None)


def _reworded(opening: tuple[Message, ...], before: str, prompt: str) -> tuple[Message, ...]:
    """An opening with another request; where it does not spell the old one, its last message is the request."""
    spelt = [i for i, m in enumerate(opening) if m.role == "user" and before and before in m.content]
    if not spelt:
        return (*opening[:-1], user(prompt))
    at = spelt[-1]
    return (*opening[:at], user(opening[at].content.replace(before, prompt)), *opening[at + 1 :])
