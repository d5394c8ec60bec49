"""Magpie (Xu et al. 2024, arXiv:2406.08464): an aligned model writes the user's words, given its template alone.

The template is cut where a user's words begin, and the model writes on; that is the new task, which it then does. Nearly equal
tasks are dropped (the paper drops by the distance to the nearest neighbour among embeddings).

Departure: a sampler without a template of its own (a server's, a program) is asked in words to speak as a user.
"""

from dataclasses import dataclass

from agentgym import UserError, system, user
from agentgym_trajectories.synthesis.base import Writer
from agentgym_trajectories.synthesis.scene import Scene

ASK = "Speak as somebody who turns to an assistant. Write that person's first message, and nothing else."
PROBE = "User-probe"


@dataclass(frozen=True)
class Magpie(Writer):
    """Let the model write the user's turn from its template alone, under the `system` message if there is one."""

    system: str = ""
    roles = ("user",)

    async def write(self, scene: Scene) -> str:
        """What stands in the user's turn."""
        chat = scene.who("user").chat
        if chat is None:
            return await scene.ask(ASK, "user")
        opening = [system(self.system)] if self.system else []
        before, found, after = chat.render([*opening, user(PROBE)], (), prompt=False).partition(PROBE)
        if not found:
            raise UserError("magpie: this chat template does not show what a user says")
        written = await scene.write_on(chat.encode(before), "user")
        return written.partition(after.strip())[0] if after.strip() else written
