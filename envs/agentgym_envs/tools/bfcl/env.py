"""``tools/Bfcl-v0``: call the right functions with the right arguments, judged as the Berkeley Function Calling Leaderboard does.

Patil et al. 2025, "The Berkeley Function Calling Leaderboard", ICML.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from agentgym import (
    Environment,
    ErrorCategory,
    Message,
    Rubric,
    Task,
    Tasks,
    ToolCall,
    ToolResult,
    ToolSet,
    assistant,
    procedural,
)
from agentgym.env import Errors, Messages
from agentgym.messages import from_openai
from agentgym.tasks import check_split
from agentgym.tools import to_json
from agentgym_envs.tools.history import opening

from . import own
from .docs import Documented, told
from .files import function_docs, load
from .gold import gold_calls
from .rules import judge, language_of
from .states import World

MAX_STEPS = 20  # in one turn of a conversation; the benchmark breaks off after them
MORE_FUNCTIONS = "I have updated some more functions you can choose from. What about now?"


class Dialogue(msgspec.Struct):
    """The hidden state.

    Attributes:
        calls: What was called in a task of one turn.
        world: The instances, in a conversation.
        at: Which turn of a conversation it is.
        since: Actions taken when it began.
        made: The calls of each turn of a conversation so far, the current one last: names and results.
        wrong: What was not as it should be at the end of some turn: "state", "responses", "sequence".
    """

    calls: tuple[ToolCall, ...] = ()
    world: World | None = None
    at: int = 0
    since: int = 0
    made: tuple[tuple[tuple[str, str], ...], ...] = ((),)
    wrong: frozenset[str] = frozenset()


class Gold(msgspec.Struct, frozen=True):
    """What a turn of a conversation should come to.

    Attributes:
        calls: The gold calls.
        results: Their results.
        public: All attributes after them.
    """

    calls: tuple[ToolCall, ...]
    results: tuple[str, ...]
    public: dict[str, dict[str, Any]]


class Bfcl(Environment):
    """Call the right functions with the right arguments, or none where none fits.

    Tasks of one turn (simple, multiple, parallel, relevance, irrelevance, of all three languages) are judged by what is called,
    which is not run: the first message ends them. Conversations run their calls on instances of the benchmark's classes (with the
    package `bfcl-eval`); what is said without a call ends a turn. Solved means, as published, that at the end of each turn all
    attributes are those that the gold calls lead to (`state`), and that all results of the gold calls have been seen
    (`responses`). Whether the gold calls came in their order (`sequence`) is recorded beside it.

    Args:
        data: A published file such as ``BFCL_v4_simple_python.json``, or the folder that holds such files beside
            ``possible_answer`` and ``multi_turn_func_doc``. None for tasks of our own in the same format, endless.

    Raises:
        UserError: a file is missing, or of another layout or kind.
    """

    instructions = (
        "Serve the request with the functions: call one or several of them, several at once if need be. "
        "Where no function fits, or a value is missing, say so without a call."
    )
    max_turns = 200
    max_calls = 64
    rubric = Rubric(solved=1.0, state=0.0, responses=0.0, sequence=0.0)

    def __init__(self, data: str | None = None) -> None:
        self.all = None if data is None else load(data)
        self.floor = 1 / len(own.KINDS) if self.all is None else sum(map(_asks_for_nothing, self.all)) / len(self.all)

    def tasks(self, split: str = "train") -> Tasks:
        """Those of the files, split by a hash of what they ask for, or endless ones of our own."""
        if self.all is None:
            return procedural(own.make_task, split)
        check_split(split)
        return Tasks.of(t for t in self.all if t.split == split)

    def begin(self, task: Task) -> list[Message]:
        """The task's functions; in a conversation also its instances, and what the gold calls lead to."""
        data = task.data
        self.gold: list[Gold] = []
        self.later: dict[int, list[dict[str, Any]]] = {}
        docs, self.state = data.get("functions", []), Dialogue()
        if "classes" in data:
            docs = function_docs(Path(data["folder"]), data["classes"])
            self.later = {int(i): [d for d in docs if d["name"] in names] for i, names in data["missed"].items()}
            docs = [d for d in docs if all(d not in later for later in self.later.values())]
            self.state.world = self._world(data)
            self.gold = _play(self._world(data), data["gold"])
        self.tools: ToolSet = Documented(docs, language_of(data["category"]))
        return opening([from_openai(m) for m in data["turns"][0]], self.instructions)

    @staticmethod
    def _world(data: Mapping[str, Any]) -> World:
        return World.of(data["classes"], data["config"], "long_context" in data["category"])

    # ---- what the agent does ---------------------------------------------------------------------------------------------

    def call_tool(self, call: ToolCall) -> ToolResult:
        """In a task of one turn, note the call; in a conversation, run it."""
        known = self._known()
        mistake = known.mistake(call)
        if self.state.world is None:
            self.end()
            if call.arguments is not None:  # what cannot be read is no call
                self.state.calls = (*self.state.calls, call)
            return told(call, mistake[1], mistake[0]) if mistake else told(call, "Noted.")
        if self.turn - self.state.since > MAX_STEPS:
            self.end()
            self.state.wrong |= {"state", "responses"}
            return told(call, f"there were more than {MAX_STEPS} steps in this turn", ErrorCategory.TOO_MANY_CALLS)
        if mistake and (call.arguments is None or self.state.world.method(call.name) is None):
            return told(call, mistake[1], mistake[0])
        return self._run(call, mistake)  # as published, also where it was not told of the function

    def _run(self, call: ToolCall, mistake: tuple[ErrorCategory, str] | None) -> ToolResult:
        """A call on the instances; one that they refuse, or that does not fit its schema, is a mistake whatever it returns."""
        result, well = self.state.world.call(call.name, call.arguments or {})
        self.state.made = (*self.state.made[:-1], (*self.state.made[-1], (call.name, result)))
        category = mistake[0] if mistake else None if well else ErrorCategory.TOOL_ERROR
        return ToolResult(told(call, result).message, category)

    def _react(self, message: Message) -> tuple[Messages, Errors]:
        reacted = super()._react(message)
        if message.malformed and self.state.world is None:
            self.end()  # a task of one turn is over whatever came; what cannot be read is no call
        return reacted

    def reply(self, message: Message) -> Sequence[Message] | None:
        """The next turn of a conversation; None after the last one, and in a task of one turn."""
        state, turns = self.state, self.task.data["turns"]
        if state.world is None:
            return None
        state.wrong |= self._wrong()
        if state.at + 1 == len(turns):
            return None
        state.at, state.since, state.made = state.at + 1, self.turn, (*state.made, ())
        said = [from_openai(m) for m in turns[state.at]]
        if new := self.later.get(state.at):
            schemas = "\n".join(to_json(s["function"]) for s in Documented(new).schemas)
            said = [Message("user", f"{schemas}\n{MORE_FUNCTIONS}"), *said]
        return said

    def _known(self) -> Documented:
        """The functions that may be called in this turn."""
        assert isinstance(self.tools, Documented)
        new = [d for at, docs in self.later.items() if at <= self.state.at for d in docs]
        return Documented([*self.tools.docs.values(), *new]) if new else self.tools

    # ---- how it is judged ------------------------------------------------------------------------------------------------

    def score(self, answer: str) -> Mapping[str, float]:
        """Whether the calls are right, by the benchmark's rules."""
        data = self.task.data
        if self.state.world is None:
            calls = [(c.name, c.arguments or {}) for c in self.state.calls]
            return {"solved": float(not judge(data["category"], data["functions"], calls, data["gold"]))}
        whole = self.state.at + 1 == len(data["turns"])
        parts = {part: float(whole and part not in self.state.wrong) for part in ("state", "responses", "sequence")}
        return {"solved": min(parts["state"], parts["responses"]), **parts}

    def _wrong(self) -> set[str]:
        """What is not as it should be at the end of a turn; a turn without gold calls asks for nothing."""
        gold, made = self.gold[self.state.at], self.state.made
        if not gold.calls:
            return set()
        if not made[-1]:
            return {"state", "responses", "sequence"}  # as published: a turn that needs calls and has none fails
        seen = Counter(result for turn in made for _, result in turn)
        names = iter(name for name, _ in made[-1])
        holds = {
            "state": self.state.world.equals(gold.public),
            "responses": not Counter(gold.results) - seen,
            "sequence": all(c.name in names for c in gold.calls),
        }
        return {part for part, held in holds.items() if not held}

    def oracle(self) -> Message:
        """The gold calls: all at once in a task of one turn, one by one in a conversation unless there are too many."""
        data = self.task.data
        if self.state.world is None:
            calls = gold_calls(data["category"], data["functions"], data["gold"])
            return assistant("", *calls) if calls else assistant("No function that I have fits this request.")
        gold, made = self.gold[self.state.at].calls, len(self.state.made[-1])
        if made < len(gold):
            return assistant("", *gold[made : None if len(gold) >= MAX_STEPS else made + 1])
        return assistant("That is done." if gold else "For this I lack a function or a value.")

    def copy_state(self, state: Dialogue) -> Dialogue:
        """The instances are copied, all else is immutable."""
        return msgspec.structs.replace(state, world=state.world and state.world.copy())

    def state_key(self) -> str:
        """A hash of the task, of what was called, and of all instances."""
        s = self.state
        world = s.world.key() if s.world else ""
        return _digest((self.task.id, s.calls, world, s.at, s.made, sorted(s.wrong), self.turn - s.since if s.world else 0))


def _asks_for_nothing(task: Task) -> bool:
    """Whether doing nothing solves it."""
    return "irrelevance" in task.data["category"] or ("classes" in task.data and not any(task.data["gold"]))


def _play(world: World, turns: Sequence[Sequence[str]]) -> list[Gold]:
    """The gold calls of all turns, with what comes of them."""
    made = []
    for texts in turns:
        calls = tuple(world.gold(t) for t in texts)
        results = tuple(world.call(c.name, c.arguments or {})[0] for c in calls)
        made.append(Gold(calls, results, world.public()))
    return made


def _digest(value: Any) -> str:
    return hashlib.blake2b(msgspec.json.encode(value, order="deterministic"), digest_size=16).hexdigest()
