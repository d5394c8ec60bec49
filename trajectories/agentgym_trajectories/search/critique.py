"""Self-critique: the policy itself ranks its possible actions (Agent Q, arXiv:2408.07199, section 4.1).

It is shown the conversation and the actions and names the best one; that is taken away, and it is asked again, until one is
left. The first named has rank 1, the last 0, evenly in between. An answer that names none of them ends the questions: those left
have no rank, since a guess would steer the search. What the critic writes is no action and is not kept.
"""

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from agentgym import Message, user
from agentgym.sampling import Sampler
from agentgym_trajectories.episode import Walk, ask
from agentgym_trajectories.tree import Node

QUESTION = "Which of these next actions is the best one? Answer with its number alone.\n{}"


@dataclass(frozen=True)
class Critique:
    """See the module.

    Attributes:
        judge: Who ranks; None for the policy itself.
    """

    judge: Sampler | None = field(default=None, repr=False)

    async def __call__(self, walk: Walk, actions: list[Node]) -> list[float | None]:
        """Ranks in [0, 1], best first being 1."""
        ranks: list[float | None] = [None] * len(actions)
        left = list(range(len(actions)))
        while len(left) > 1:
            best, tokens = await self._best(walk, [actions[i].messages[0] for i in left])
            actions[0].spent += tokens
            if best is None:
                return ranks
            taken = left.pop(best)
            ranks[taken] = len(left) / (len(actions) - 1)
        ranks[left[0]] = 0.0 if len(actions) > 1 else None
        return ranks

    async def _best(self, walk: Walk, actions: Sequence[Message]) -> tuple[int | None, int]:
        """The best one's place, if the critic names one, and the tokens that it took."""
        sampler = self.judge or walk.sampler
        listed = "\n".join(f"{i}. {shown(a)}" for i, a in enumerate(actions, 1))
        messages = [*walk.messages, user(QUESTION.format(listed))]
        seed = zlib.crc32(b"%d/%d/critique/%d" % (walk.seed, walk.parent, len(actions)))
        sample = await ask(sampler, messages, seed, walk.host.env)
        if sample is None:
            return None, 0
        found = re.search(r"\d+", sample.message.content)
        number = int(found[0]) if found else 0
        return (number - 1 if 1 <= number <= len(actions) else None), len(sample.token_ids or ())


def shown(action: Message) -> str:
    """An action on one line."""
    calls = [f"{c.name}({', '.join(f'{k}={v!r}' for k, v in dict(c.arguments or {}).items())})" for c in action.tool_calls]
    return " ".join([*action.content.split(), *calls]) or "(nothing)"
