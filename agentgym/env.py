"""The environment: a `gymnasium.Env` whose observations and actions are messages.

A new environment says four things and inherits the rest::

    class Adder(agentgym.Environment):
        instructions = "Add the two numbers with the tool, then answer with the sum."

        def tasks(self, split="train"):                     # what there is to do
            return procedural(make_task, split)

        @tool
        def add(self, a: int, b: int) -> str:               # what the agent may do
            return str(a + b)

        def score(self, answer):                            # what that was worth
            return {"correct": float(answer == str(self.task.data["sum"]))}

        def oracle(self):                                   # what would have been right (optional)
            ...

The agent's turn is a message. With tool calls, each is run and answered. Without, it is the final answer, unless
`reply` has something to say to it. Mistakes of the agent are answered and counted, never raised; what the environment
itself does wrong raises `EnvironmentFailure`, which is never a reward.
"""

import copy
import hashlib
import random
import secrets
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import gymnasium
import msgspec
import numpy as np
from gymnasium.utils import seeding

from agentgym.dialects.base import Dialect, clean
from agentgym.dialects.hermes import HERMES
from agentgym.errors import EnvironmentFailure, ErrorCategory, UserError
from agentgym.messages import Message, ToolCall, system, user
from agentgym.rewards import Rubric
from agentgym.spaces import ActionSpace, Observation, ObservationSpace
from agentgym.tasks import SPLITS, Task, Tasks
from agentgym.tools import ToolResult, ToolSet

Action = Message | str
StepResult = tuple[Observation, float, bool, bool, dict[str, Any]]
Messages = tuple[Message, ...]
Errors = tuple[ErrorCategory, ...]


class Snapshot(msgspec.Struct, frozen=True):
    """A state that an environment can be returned to, any number of times.

    Attributes:
        key: `state_key()` when the snapshot was taken; checked after each restore.
        state: Whatever `copy_state` made of it.
        rng: The seed, and the generator's state once it has been used.
    """

    key: str
    task: Task
    turn: int
    ended: bool
    state: Any
    rng: tuple[int | None, Any]


class Label(msgspec.Struct, frozen=True):
    """What the agent did, named afterwards (Murty et al. 2024, "NNetNav").

    Attributes:
        prompt: A request that it fulfils.
        data: Of a task with this request.
        ending: The action that ends the episode with the reward that is due.
    """

    prompt: str
    data: dict[str, Any]
    ending: Message


class Environment(gymnasium.Env[Observation, Action], ABC):
    """Base of all environments; see the module's example.

    Attributes:
        instructions: The system message of every episode; empty for none.
        max_turns: Actions after which an episode is truncated, with no score.
        max_calls: Tool calls answered in one turn; the rest get `TOO_MANY_CALLS`.
        rubric: Weights of the parts that `score` and `shape` return.
        enough: The rubric's total from which an episode is a success.
        floor: The share of tasks that an agent solves by doing nothing; `agentgym env validate` measures it.
        judged: False where nobody says what an episode was worth: no reward is claimed then, and none is kept.
        blocking: True when `step` waits for something (a process, a network): the rollout engine then gives each instance a
            thread of its own. Where much waits at once, an `AsyncEnvironment` needs no threads.
        heavy: True when `step` computes for long: the rollout engine then gives each instance a process of its own.
        replays: True when the state cannot be copied (it lives in a process or on a site of others): who wants to return to a
            state resets with the same seed and takes the same actions again, and `state_key` has to agree at each of them.
        dialect: How strings passed to `step` are read.
        task: The current task.
        turn: Actions taken in this episode.
        state: All that changes during an episode; `begin` sets it. `snapshot` copies it, `state_key` hashes it.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012  (Gymnasium declares it so)
    observation_space = ObservationSpace()
    action_space = ActionSpace()

    instructions: str = ""
    max_turns: int = 20
    max_calls: int = 8
    rubric: Rubric = Rubric()
    enough: float = 1.0
    floor: float = 0.0
    judged: bool = True
    blocking: bool = False
    heavy: bool = False
    replays: bool = False
    dialect: Dialect = HERMES

    task: Task
    turn: int = 0
    state: Any = None
    _ended: bool = True
    _answer: str | None = None
    _seed: int | None = None

    # ---- what an environment says of itself -------------------------------------------------------------------------

    @abstractmethod
    def tasks(self, split: str = "train") -> Tasks:
        """The tasks of one split (`SPLITS`), lazy and sliceable; no two splits share one."""

    def begin(self, task: Task) -> str | Sequence[Message]:
        """Set up `self.state` for `task` and return the opening: the user's request, or all messages.

        What it draws from `np_random` belongs into the state; what follows from the task alone may stand beside it.
        """
        return task.prompt

    def reply(self, message: Message) -> str | Sequence[Message] | None:
        """What the world says to a message without tool calls; None (the default) takes it as the final answer."""
        return None

    def score(self, answer: str) -> Mapping[str, float]:
        """Reward parts of a finished episode, each usually in [0, 1], given the final answer's text."""
        return {}

    def shape(self) -> Mapping[str, float]:
        """Reward parts of the step just taken; none by default."""
        return {}

    def oracle(self) -> Message | None:
        """The right next action in the current state; None where no gold policy exists.

        It looks at the state instead of reciting a list, so that it can also go on from a state that search returned to
        or that a mistake led to.
        """
        return None

    def explore(self, rng: random.Random) -> Message | None:
        """Something that can be done in the current state, at random; None (the default) for any call that fits the tools."""
        return None

    def hindsight(self) -> Label | None:
        """A task that what was done in this episode solves, whatever was asked for; None (the default) where it means nothing.

        It is a task of the split that is being played.
        """
        return None

    @cached_property
    def tools(self) -> ToolSet:
        """The tools of this instance: by default all methods marked with `@tool`."""
        return ToolSet.of(self)

    def copy_state(self, state: Any) -> Any:
        """A copy of `state` that shares nothing mutable with it; override when you know a cheaper one.

        What lives outside of this process (files, a database, a sandbox's layer) is copied there, and `state` names it: such a
        copy is a checkpoint. Override `state_key` too, then, and free a checkpoint when nobody holds it (`weakref.finalize`).
        """
        return copy.deepcopy(state)

    # ---- Gymnasium's side ---------------------------------------------------------------------------------------------

    @property  # type: ignore[misc]  # Gymnasium's own has a setter, which nobody needs
    def np_random(self) -> np.random.Generator:
        """This instance's generator, seeded by `reset(seed=...)`; made when first used (20 µs that most tasks never need)."""
        if self._np_random is None:
            self._np_random, self._np_random_seed = seeding.np_random(self._seed)
        return self._np_random

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Observation, dict[str, Any]]:
        """Start an episode.

        Args:
            seed: Seeds this instance's generator.
            options: ``task`` (a `Task` or its id) or ``split`` (a random task of it; default "train").

        Raises:
            UserError: no such task or split.
        """
        self._prepare(seed, options or {})
        return self._opened(self.begin(self.task))

    def step(self, action: Action) -> StepResult:
        """Take one turn.

        Returns:
            observation, reward, terminated (the environment's own end), truncated (`max_turns`), and info with ``task``,
            ``rewards`` (by part), ``errors`` (`ErrorCategory` of each mistake) and, at the end, ``success`` (None where the
            environment is not `judged`).

        Raises:
            EnvironmentFailure: the environment broke; the episode has no reward.
            UserError: `step` without `reset`, or after the end.
        """
        messages, errors = self._react(self._accept(action))
        shaped = self.shape()
        return self._outcome(messages, errors, shaped, None if self._answer is None else self.score(self._answer))

    def end(self, answer: str = "") -> None:
        """For tools: this turn ends the episode, with `answer` as the final answer."""
        self._answer = answer

    def _choose(self, options: dict[str, Any]) -> Task:
        task = options.get("task")
        if isinstance(task, Task):
            return task
        if task is not None:
            return self.find_task(str(task))
        tasks = self.tasks(options.get("split", "train"))
        if not len(tasks):
            raise UserError(f"split {options.get('split', 'train')!r} has no tasks: choose another one")
        return tasks[int(self.np_random.integers(min(len(tasks), 2**31)))]

    def find_task(self, task_id: str) -> Task:
        """The task with this id.

        Raises:
            UserError: there is none.
        """
        split, _, number = task_id.rpartition("-")
        if split in SPLITS and number.isdecimal() and len(number) < 19 and int(number) < len(self.tasks(split)):
            task = self.tasks(split)[int(number)]
            if task.id == task_id:
                return task
        for tasks in map(self.tasks, SPLITS):
            if not tasks.infinite:
                for task in tasks:
                    if task.id == task_id:
                        return task
        known = next((t.id for split in SPLITS for t in self.tasks(split)[:1]), "nothing: there are no tasks")
        raise UserError(f"there is no task {task_id!r}: ids look like {known!r}")

    # ---- one turn -----------------------------------------------------------------------------------------------------

    def _prepare(self, seed: int | None, options: dict[str, Any]) -> None:
        if seed is not None:
            self._seed, self._np_random = seed, None
        if unknown := set(options) - {"task", "split"}:
            raise UserError(f"reset has no option {sorted(unknown)[0]!r}: it has task and split")
        self.task = self._choose(options)
        self.turn, self._ended, self._answer = 0, True, None

    def _opened(self, opening: str | Sequence[Message]) -> tuple[Observation, dict[str, Any]]:
        self._ended = False
        if isinstance(opening, str):
            opening = (user(clean(opening)),)
            if self.instructions:
                opening = (system(self.instructions), *opening)
        return Observation(tuple(opening), self.tools.schemas), {"task": self.task.id}

    def _accept(self, action: Action) -> Message:
        """The action as a message that any environment can read; counts the turn."""
        if self._ended:
            raise UserError("this episode is over: call reset() first")
        if isinstance(action, str):
            action = self.dialect.parse(action)
        self.turn += 1
        if not isinstance(action, Message) or action.role != "assistant":
            what = f"a {action.role}'s message" if isinstance(action, Message) else type(action).__name__
            return Message("assistant", malformed=f"an action is a string or an assistant's message, not {what}")
        return _encodable(action)

    def _outcome(
        self, messages: Messages, errors: Errors, shaped: Mapping[str, float], scored: Mapping[str, float] | None
    ) -> StepResult:
        """What `step` returns; `scored` is None while the episode goes on."""
        parts = {**shaped, **(scored or {})}
        terminated = scored is not None
        truncated = not terminated and self.turn >= self.max_turns
        self._ended = terminated or truncated
        info: dict[str, Any] = {"task": self.task.id, "rewards": parts, "errors": errors}
        if self._ended:
            solved = scored is not None and bool(self.rubric.total(scored) >= self.enough - 1e-9)  # NumPy has another
            info["success"] = solved if self.judged else None
        return Observation(messages, self.tools.schemas), self.rubric.total(parts), terminated, truncated, info

    def call_tool(self, call: ToolCall) -> ToolResult:
        """Run one call of the agent; override to see what was called and what came of it."""
        return self.tools.call(call)

    def _react(self, message: Message) -> tuple[Messages, Errors]:
        if message.malformed:
            return unreadable(message)
        if not message.tool_calls:
            return self._replied(message, self.reply(message))
        return self._answers(message, [self.call_tool(c) for c in message.tool_calls[: self.max_calls]])

    def _replied(self, message: Message, replied: str | Sequence[Message] | None) -> tuple[Messages, Errors]:
        if replied is None:
            self.end(message.content)
            return (), ()
        return ((user(clean(replied)),) if isinstance(replied, str) else tuple(replied)), ()

    def _answers(self, message: Message, results: list[ToolResult]) -> tuple[Messages, Errors]:
        results += [_one_too_many(c.id, c.name, self.max_calls) for c in message.tool_calls[self.max_calls :]]
        return tuple(r.message for r in results), tuple(r.error for r in results if r.error)

    # ---- states that can be returned to -------------------------------------------------------------------------------

    def state_key(self) -> str:
        """A hash of task and hidden state: with equal keys the same actions have the same effects, turns left and chance aside.

        Raises:
            UserError: `state` holds something that cannot be encoded; override this method.
        """
        try:
            encoded = msgspec.json.encode((self.task.id, self.state), order="deterministic")
        except (TypeError, ValueError) as error:
            raise UserError(f"{type(self).__name__}.state cannot be hashed ({error}): override state_key()") from error
        return hashlib.blake2b(encoded, digest_size=16).hexdigest()

    def snapshot(self) -> Snapshot:
        """The current state, to be returned to by `restore`; it does not change when the episode goes on."""
        if self._seed is None and self._np_random is None:
            self._seed = secrets.randbits(64)  # never seeded and not drawn from yet: both continuations have to draw the same
        rng = (self._seed, None if self._np_random is None else self._np_random.bit_generator.state)
        return Snapshot(self.state_key(), self.task, self.turn, self._ended, self.copy_state(self.state), rng)

    def restore(self, snapshot: Snapshot) -> None:
        """Return to `snapshot`, also from another task or another instance of the same environment.

        Raises:
            EnvironmentFailure: the state that came back is not the one that was left.
        """
        stranger = getattr(self, "task", None) is not snapshot.task
        self.task, self.turn, self._ended, self._answer = snapshot.task, snapshot.turn, snapshot.ended, None
        self._seed, generator = snapshot.rng
        self._np_random = None
        if stranger:
            self.begin(snapshot.task)  # what an environment derives from its task (goals, facts) is not part of the state
            self._answer = self._np_random = None
        self.state = self.copy_state(snapshot.state)
        if generator is not None:
            self.np_random.bit_generator.state = generator
        if (key := self.state_key()) != snapshot.key:
            raise EnvironmentFailure(f"{type(self).__name__} came back as state {key}, not {snapshot.key}")


def _encodable(message: Message) -> Message:
    """`message`; where a program put into it what no JSON can hold (lone surrogates, huge integers), its calls are malformed.

    A dialect reads nothing of that kind, so that no environment and no state has to expect it.
    """
    try:
        msgspec.json.encode(message)
    except (TypeError, ValueError, OverflowError, RecursionError):
        calls = tuple(ToolCall(clean(c.name), None, clean(c.id), clean(c.raw)) for c in message.tool_calls)
        content, thinking, malformed = map(clean, (message.content, message.thinking, message.malformed))
        return Message("assistant", content, calls, thinking=thinking, malformed=malformed)
    return message


def unreadable(message: Message) -> tuple[Messages, Errors]:
    """What the world says to a turn that the dialect could not read."""
    return (user(f"Error: {message.malformed}"),), (ErrorCategory.BAD_FORMAT,)


def _one_too_many(call_id: str, name: str, limit: int) -> ToolResult:
    text = f"Error: at most {limit} tool calls are answered in one turn; this one was not run"
    return ToolResult(Message("tool", text, (), call_id, name), ErrorCategory.TOO_MANY_CALLS)
