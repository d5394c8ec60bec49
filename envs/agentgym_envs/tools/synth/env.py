"""``tools/Synth-v0``: serve wishes with the tools of an API nobody has seen, where tools and values may be missing or fail."""

import functools
import inspect
import random
import re
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from agentgym import Message, Rubric, Task, Tasks, Tool, ToolCall, ToolError, ToolSet, assistant, levels_of, procedural
from agentgym.partners import SCRIPT, Talking, UserEnvironment
from agentgym.sampling import Sampler

from .api import Api, api, described, type_of, words
from .wishes import LEVELS, Wish, arguments, goal, make_task, plan, possible, question, sentence
from .world import Record, World, build, perform

MAX_ANSWER = 300  # characters; a short answer cannot state everything at once
_CANNOT = re.compile(r"\bcannot\b|\bcan't\b|\bunable\b", re.IGNORECASE)


class Served(Talking):
    """The hidden state.

    Attributes:
        world: What the API keeps.
        made: The calls that succeeded so far, as operations with arguments.
        tries: How often each operation was called.
    """

    world: World = msgspec.field(default_factory=lambda: World({}, ()))
    made: tuple[str, ...] = ()
    tries: dict[str, int] = msgspec.field(default_factory=dict)


class Synth(UserEnvironment):
    """Serve wishes with the tools of a generated API: look up, read, change, make, delete, or say that it cannot be done.

    An API keeps one kind of thing (parcels, rooms ...) with a number, a state and a mark, and lacks two of nine operations. Train
    and validation tasks share 16 APIs; test tasks use 16 others, whose things no train API knows. What is asked for may lack its
    tool (the right answer is that it cannot be done) or its value (the user has to be asked).

    Solved means that the API's records end up as they should, side effects included, that the final answer states what was asked
    for, and that it says "cannot" if and only if something cannot be done. An agent that always says so solves one task in seven.

    Args:
        level: "easy" (ids are given, every tool is of use), "medium" (records are called by their owners, values are missing,
            distracting tools), "hard" (tools renamed from task to task, noise in results, tools that fail at first, two
            wishes); None mixes all three.
        user: "script", or whoever plays the user: a policy such as ``openai:MODEL``.

    Raises:
        UserError: an unknown level, or no such user.
    """

    instructions = (
        "Serve the user with the tools. If a value was not said, ask for it. If no tool can do what is asked, say that you "
        "cannot. A tool that is busy works when it is tried again. Answer in a short sentence."
    )
    max_turns = 20
    rubric = Rubric(solved=1.0, state=0.0, answer=0.0)

    def __init__(self, level: str | None = None, user: str | Sampler = SCRIPT) -> None:
        super().__init__(user)
        self.levels = levels_of(level, LEVELS)

    def tasks(self, split: str = "train") -> Tasks:
        """Endless; the levels are drawn alike. Those of "test" are of other APIs than those of "train" and "validation"."""
        return procedural(
            lambda rng: make_task(rng, rng.choice(self.levels), split == "test"),
            split,
            same=lambda task: (task.data["api"], task.data["seed"], task.data["wishes"]),
        )

    async def begin(self, task: Task) -> list[Message]:  # type: ignore[override]  # `AsyncEnvironment` allows it
        """The records, and what should become of them."""
        data = task.data
        self.interface, self.words = api(data["api"]), words(data["api"], data.get("renaming", 0))
        self.wishes = msgspec.convert(data["wishes"], list[Wish])
        self.start = build(self.interface, data["seed"])
        self.goal, self.facts = goal(self.interface, self.start, self.wishes)
        self.state = Served(world=self.start.copy())
        operations = [*self.interface.operations, *("other_get", "other_find", "other_delete")[: data.get("distractors", 0)]]
        if data.get("renaming"):
            random.Random(data["seed"]).shuffle(operations)
        self.tools: ToolSet = ToolSet([_tool(self.interface.number, data.get("renaming", 0), o) for o in operations], self)
        return await self.greeted()

    def carry_out(self, operation: str, given: dict[str, Any]) -> Any:
        """One call of the agent, for the tools."""
        if operation.startswith("other_"):
            raise ToolError(f"there is no such {self.interface.other}")
        tries = self.state.tries[operation] = self.state.tries.get(operation, 0) + 1
        if tries <= self.task.data.get("faults", {}).get(operation, 0):
            raise ToolError("busy, try again")
        result = perform(self.interface, self.state.world, operation, given)
        self.state.made = (*self.state.made, _signature(operation, given))
        return self._noisy(result, tries) if self.task.data.get("noise") and isinstance(result, dict) else result

    def _noisy(self, result: Record, tries: int) -> Record:
        """A result among things that nobody asked for."""
        rng = random.Random(f"{self.task.data['seed']}/{tries}")
        return {"trace": rng.randrange(1000, 10000)} | result | {"cached": rng.random() < 0.5}

    # ---- how it is judged ------------------------------------------------------------------------------------------------

    def score(self, answer: str) -> Mapping[str, float]:
        """Parts: the records are as they should be, the answer states the facts; solved: both."""
        parts = {"state": float(self.state.world == self.goal), "answer": float(self._is_right(answer))}
        return {"solved": min(parts.values()), **parts}

    def _is_right(self, answer: str) -> bool:
        impossible = not all(possible(self.interface, w) for w in self.wishes)
        if len(answer) > MAX_ANSWER or bool(_CANNOT.search(answer)) is not impossible:
            return False
        stated = {s for s in self.interface.states if re.search(rf"\b{s}\b", answer)}
        if any(f in self.interface.states for f in self.facts) and stated != {
            f for f in self.facts if f in self.interface.states
        }:
            return False  # naming all of them is no answer
        read = all(_signature("get", arguments(w)) in self.state.made for w in self.wishes if w.kind == "read")
        return read and all(re.search(rf"(?<![\w.-]){f}(?![\w]|\.\d)", answer) for f in self.facts)

    def oracle(self) -> Message:
        """Ask for what was not said, make the calls that are left, again where one failed, then answer."""
        if self._unsaid():
            return assistant(question(self.interface))
        before = ""
        facts = iter(self.facts)
        for w in self.wishes:
            for note, operation, given in plan(self.interface, self.start, w):
                if _signature(operation, given) not in self.state.made:
                    return assistant(f"{before} {note}".strip(), self._call(operation, given))
            fact = next(facts) if possible(self.interface, w) and w.kind in ("read", "create") else ""
            before = f"{before} {sentence(self.interface, w, fact)}".strip()
        return assistant(before)

    def _unsaid(self) -> bool:
        """Whether the user has yet to be asked for a value."""
        told = {m.content for m in self.state.talk if m.role == "user"}
        return any(w.unsaid and f"{w.value}." not in told for w in self.wishes)

    def _call(self, operation: str, given: dict[str, Any]) -> ToolCall:
        shown = self.words.parameters[operation]
        return ToolCall(self.words.tools[operation], {shown[p]: value for p, value in given.items()})

    def copy_state(self, state: Served) -> Served:
        """Rows are immutable: copying the tables is enough."""
        return msgspec.structs.replace(state, world=state.world.copy(), tries=dict(state.tries))


@functools.lru_cache(maxsize=8192)
def _tool(number: int, renaming: int, operation: str) -> Tool:
    """A tool that carries out an operation under the words of an API."""
    spec, named = api(number), words(number, renaming)
    kind = operation.removeprefix("other_")
    shown = named.parameters[kind]

    def run(self: Synth, **given: Any) -> Any:
        return self.carry_out(operation, {meaning: given[name] for meaning, name in shown.items()})

    types = {name: _annotation(spec, kind, meaning) for meaning, name in shown.items()}
    run.__name__ = named.tools[operation]
    run.__doc__ = described(spec if kind == operation else msgspec.structs.replace(spec, noun=spec.other), kind)
    run.__annotations__ = types
    parameters = [inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)]
    parameters += [inspect.Parameter(n, inspect.Parameter.KEYWORD_ONLY, annotation=t) for n, t in types.items()]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return Tool(run)


def _annotation(spec: Api, operation: str, meaning: str) -> Any:
    kind = type_of(spec, operation, meaning)
    return Literal.__getitem__(kind) if isinstance(kind, tuple) else kind


def _signature(operation: str, given: Mapping[str, Any]) -> str:
    return f"{operation} {sorted(given.items())}"
