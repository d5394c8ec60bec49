"""``tools/Tau-v0``: serve a user under a policy with tools over a database, judged by the database's final state.

tau-bench (Yao et al. 2024, arXiv:2406.12045) and tau2-bench (Barres et al. 2025, arXiv:2506.07982).
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import msgspec

from agentgym import Message, Rubric, Task, Tasks, ToolCall, ToolResult, ToolSet, UserError, assistant, procedural
from agentgym.messages import from_openai
from agentgym.partners import SCRIPT, Talking, UserEnvironment
from agentgym.sampling import Sampler
from agentgym.tasks import check_split
from agentgym_envs.tools.history import opening

from . import own
from .domain import Changes, Domain, World, agents_actions, goal, judge, newly_taken
from .files import load_domain
from .tables import Tables

CHANGING = ("book_", "cancel_", "create_", "exchange_", "modify_", "return_", "send_", "update_")
IDENTIFYING = ("find_user", "get_user")


class Service(Talking):
    """The hidden state.

    Attributes:
        rows: Rows of the database that are not as in the published one, by table and key.
        user_rows: Those of the user's own database.
        taken: Numbers of the gold actions that the agent has taken.
    """

    rows: Changes = msgspec.field(default_factory=dict)
    user_rows: Changes = msgspec.field(default_factory=dict)
    taken: tuple[int, ...] = ()


class Tau(UserEnvironment):
    """Serve a user under a policy, with tools over a database; the final state of the database decides.

    The agent talks to a user, who says what he wants little by little, and ends the conversation when he is served. Solved means
    that the database ends up as the gold actions leave it, and whatever else the task's published basis asks for that a program
    can check: words that the agent has to have said (`communicate`), calls that it has to have made (`actions`), assertions.
    Assertions in natural language need a model as their judge and are not part of the reward.

    Args:
        data: The folder of a domain in tau2-bench's layout, such as ``tau2_bench/retail``: retail, airline, mock, and every other
            one whose tools are given. None for tasks of our own: a small shop with retail's tools, endless.
        user: "script", which reads the task's text out, or whoever plays the user: a policy such as ``openai:MODEL``.
        tools: ``module:Class`` of a `Toolkit`, for a domain whose tools are not known here.

    Raises:
        UserError: a file of `data` is missing or of another layout, its tools are unknown, or there is no such user.
    """

    max_turns = 100
    max_calls = 16
    rubric = Rubric(solved=1.0, database=0.0, communicate=0.0, actions=0.0, assertions=0.0)

    def __init__(self, data: str | None = None, user: str | Sampler = SCRIPT, tools: str | None = None) -> None:
        super().__init__(user)
        if tools and data is None:
            raise UserError("tools=MODULE:CLASS belongs to a domain: give its folder with data=PATH")
        self.loaded = None if data is None else load_domain(data, tools)
        self.instructions = own.POLICY if self.loaded is None else self.loaded.domain.policy
        self.floor = 0.0 if self.loaded is None else self.loaded.floor

    def tasks(self, split: str = "train") -> Tasks:
        """Those of the domain, or endless ones of our own."""
        if self.loaded is None:
            return procedural(own.make_task, split, same=lambda task: task.data["criteria"])
        check_split(split)
        return Tasks.of(t for t in self.loaded.tasks if t.split == split)

    @cached_property
    def tools(self) -> ToolSet:
        """The agent's tools."""
        kind = own.TOOLKIT if self.loaded is None else self.loaded.domain.toolkit
        return ToolSet.of(kind(lambda: Tables(self.domain.base, self.state.rows)))

    async def begin(self, task: Task) -> list[Message]:  # type: ignore[override]  # `AsyncEnvironment` allows it
        """The databases as the task wants them; the goal follows from the gold actions."""
        self.domain: Domain = own.domain(task) if self.loaded is None else self.loaded.domain
        self.goal = goal(self.domain, task)
        world = World(self.domain, task)
        self.state = Service(rows=world.tables.changed, user_rows=world.user_tables.changed)
        *before, words = await self.greeted()
        return opening([*before, *map(_published, task.data["initial"].get("message_history") or ()), words])

    async def acall_tool(self, call: ToolCall) -> ToolResult:
        """Run one call of the agent, and remember which gold action it was."""
        if call.arguments is not None:
            self.state.taken += newly_taken(self.task, self.state.taken, call)
        return await super().acall_tool(call)

    # ---- how it is judged ------------------------------------------------------------------------------------------------

    def score(self, answer: str) -> Mapping[str, float]:
        """The parts of the published basis, and `solved`: the least of those that count for this task."""
        world = World(self.domain, self.task, self.state.rows, self.state.user_rows)
        return judge(self.task, self.goal, world, self.said, self.state.taken)

    def oracle(self) -> Message:
        """Ask who it is and before each change whether it is right, take the gold actions, say what has to be said."""
        gold = agents_actions(self.task)
        left = [a for i, a in enumerate(gold) if i not in self.state.taken]
        if not self.said and any(a["name"].startswith(IDENTIFYING) for a in gold):
            return assistant("May I have your email, or your name and zip code?")
        if not left:
            return assistant(" ".join(["That is all.", *(self.task.data["criteria"].get("communicate_info") or ())]))
        name, arguments = left[0]["name"], left[0]["arguments"]
        asked = f"I will do this: {name.replace('_', ' ')}, {', '.join(map(str, arguments.values()))}. Is that right (yes/no)?"
        if name.startswith(CHANGING) and self.said[-1:] != [asked]:
            return assistant(asked)
        return assistant("", ToolCall(name, arguments))


def _published(message: dict[str, Any]) -> Message:
    """A message of a published history in the shape of the OpenAI API."""
    return from_openai(message | {"tool_call_id": message.get("id")})
