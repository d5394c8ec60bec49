"""Ways to play an episode in several roles or several tries, in any environment.

=============  ==============================================================================================================
``alpha-umi``  a planner says what is next, a caller writes the call or a summariser the answer (Shen et al. 2024,
               arXiv:2401.07324)
``reflexion``  a failed try is reflected on, and the lessons open the next try's conversation (Shinn et al. 2023,
               arXiv:2303.11366; Retroformer, arXiv:2308.02151, trains the role that reflects)
``rise``       a failed try is told so, and the next goes on in the same conversation (Qu et al. 2024, arXiv:2407.18219)
=============  ==============================================================================================================

All are `Program`s over a `Walk`, as searches are, and stand on one piece: what is said without the environment hearing it
(`Walk.write`, `tell`, `begin_anew`). Each action says in its node who acted, so that roles can be trained apart, and each role
may be another policy over the same vocabulary. Several branches with a judge are the search ``multi-branch``.
"""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from agentgym import Message, StopReason, UserError
from agentgym.sampling import Sampler
from agentgym_trajectories.episode import Pulse, Walk
from agentgym_trajectories.hosts import Host
from agentgym_trajectories.rewrite import with_system
from agentgym_trajectories.tree import Episode, Node

PLANNER, CALLER, SUMMARISER, ACTOR, REFLECTOR = "planner", "caller", "summariser", "actor", "reflector"
PLAN = (
    "Before each step you plan: say in one or two sentences what is to be done next, and end with 'Next: call' if a tool is to "
    "be called, or 'Next: answer' if nothing is left to do. You are then asked for just that."
)
ASK = {CALLER: "Now write the tool call, and nothing else.", SUMMARISER: "Now write the final answer, and nothing else."}
REFLECT = (
    "This attempt did not solve the task. Do not call tools now. Say in a few sentences what went wrong, and what you will do "
    "differently next time."
)
LESSONS = "You have tried this task before, without success. What you learnt:"
AGAIN = "That did not solve the task, and everything is as it was at the beginning. Try again."
_NEXT = re.compile(r"\bnext\W+(call|answer)", re.IGNORECASE)


@dataclass(frozen=True)
class Planned:
    """Alpha-UMi: plan, then call or answer.

    In the paper each role has a prompt of its own; here they share one conversation, so that every token is seen and sampled
    once. A planner that calls a tool at once is taken at its word.

    Attributes:
        samplers: The policies of roles that are not the main one's.
    """

    samplers: Mapping[str, Sampler] = field(default_factory=dict)
    roles = (PLANNER, CALLER, SUMMARISER)

    def version(self, policy: str) -> str:
        """The policies' versions by role."""
        return versions("alpha-umi", policy, self.samplers)

    async def play(self, host: Host, sampler: Sampler, episode: Episode, seed: int, pulse: Pulse) -> Episode:
        """Play an episode."""
        began, walk = time.perf_counter(), _walk(self.samplers, host, sampler, episode, seed, pulse)
        await walk.start(_with_plan)
        while await self._turn(walk):
            pass
        episode.seconds = time.perf_counter() - began
        return episode

    async def _turn(self, walk: Walk) -> bool:
        if walk.full():
            return walk.out_of_context()
        (plan,) = await walk.propose(sampler=self.samplers.get(PLANNER))
        if plan.message.tool_calls or plan.message.malformed:
            return await walk.take(plan, PLANNER)
        walk.write(plan, PLANNER)
        said = _NEXT.findall(plan.message.content)
        role = SUMMARISER if said and said[-1].lower() == "answer" else CALLER
        walk.tell(ASK[role])
        if walk.full():
            return walk.out_of_context()
        (action,) = await walk.propose(sampler=self.samplers.get(role))
        return await walk.take(action, role)


@dataclass(frozen=True)
class Attempts:
    """Several tries at one task, until one of them succeeds.

    The environment says whether a try succeeded, and each begins from the same state. The record of a reflection says by how much
    the next try was better (the part ``improvement``, Retroformer's reward); it is no reward of the trajectory, which is that of
    the last try.

    Attributes:
        name: In the records.
        tries: At most so many.
        reflects: Whether a lesson is written after a failed try and opens the next one, in a new conversation.
        samplers: The policies of roles that are not the main one's.
    """

    name: str
    tries: int = 3
    reflects: bool = False
    samplers: Mapping[str, Sampler] = field(default_factory=dict)

    @property
    def roles(self) -> tuple[str, ...]:
        """Who acts in it."""
        return (ACTOR, REFLECTOR) if self.reflects else (ACTOR,)

    def version(self, policy: str) -> str:
        """The policies' versions by role, and how many tries."""
        return versions(f"{self.name}/{self.tries}", policy, self.samplers)

    async def play(self, host: Host, sampler: Sampler, episode: Episode, seed: int, pulse: Pulse) -> Episode:
        """Play an episode.

        Raises:
            UserError: the environment judges nothing.
        """
        began, walk = time.perf_counter(), _walk(self.samplers, host, sampler, episode, seed, pulse)
        walk.sampler = self.samplers.get(ACTOR, sampler)
        lessons: list[Node] = []
        await walk.start()
        for tries in range(1, self.tries + 1):
            first = len(episode.nodes)
            while await walk.turn(ACTOR):
                pass
            last = episode.nodes[-1]
            if last.success is None:
                raise UserError(f"{episode.env} does not say whether a try succeeded: {self.name} needs to know")
            earned = sum(n.reward or 0.0 for n in episode.nodes[first:])
            if lessons:
                lessons[-1].rewards["improvement"] += earned
            if (
                last.success
                or tries == self.tries
                or last.end is StopReason.CONTEXT_LENGTH
                or not await self._learn(walk, lessons)
            ):
                break
            if lessons:
                lessons[-1].rewards = {"improvement": -earned}
        episode.seconds = time.perf_counter() - began
        return episode

    async def _learn(self, walk: Walk, lessons: list[Node]) -> bool:
        """Prepare the next try. Returns whether there is room for it."""
        if not self.reflects:
            await walk.retry(AGAIN)
            return not walk.full() or walk.out_of_context()
        walk.tell(REFLECT)
        if walk.full():
            return walk.out_of_context()
        (lesson,) = await walk.propose(sampler=self.samplers.get(REFLECTOR))
        lessons.append(walk.write(lesson, REFLECTOR))
        learnt = "\n".join(f"- {n.messages[0].content}" for n in lessons)
        await walk.begin_anew(lambda opening: with_system(opening, f"{LESSONS}\n{learnt}"))
        return True


PROGRAMS: dict[str, Callable[[], Planned | Attempts]] = {
    "alpha-umi": Planned,
    "reflexion": lambda: Attempts("reflexion", reflects=True),
    "rise": lambda: Attempts("rise"),
}


def program_named(name: str, samplers: Mapping[str, Sampler] | None = None) -> Planned | Attempts:
    """The program with this name.

    Args:
        name: One of `PROGRAMS`.
        samplers: Policies of roles that are not the main one's.

    Raises:
        UserError: there is no such program, or no such role in it.
    """
    if name not in PROGRAMS:
        raise UserError(f"there is no program {name!r}: use one of {', '.join(PROGRAMS)}")
    made, samplers = PROGRAMS[name](), samplers or {}
    if unknown := sorted(set(samplers) - set(made.roles)):
        raise UserError(f"{name} has no role {unknown[0]!r}: it has {', '.join(made.roles)}")
    return replace(made, samplers=samplers)


def _walk(samplers: Mapping[str, Sampler], host: Host, sampler: Sampler, episode: Episode, seed: int, pulse: Pulse) -> Walk:
    """A walk whose policies all have one vocabulary.

    Raises:
        UserError: they have not.
    """
    spoken = {s.chat and s.chat.vocabulary for s in (sampler, *samplers.values())}
    if len(spoken) > 1:
        raise UserError("the policies of an episode's roles need one vocabulary: take models with the same tokenizer")
    return Walk(host, sampler, episode, seed, pulse)


def versions(name: str, policy: str, samplers: Mapping[str, Sampler]) -> str:
    """Names who plays, all roles included."""
    others = "".join(f",{role}={samplers[role].version}" for role in sorted(samplers))
    return f"{policy}+{name}{others}"


def _with_plan(opening: tuple[Message, ...]) -> Sequence[Message]:
    return with_system(opening, PLAN)
