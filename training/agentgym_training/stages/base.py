"""What a stage is, and what it is given."""

import json
import string
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from agentgym import UserError
from agentgym.cli.output import Output
from agentgym_training.base import Training
from agentgym_training.files import write_json
from agentgym_trajectories.store import FILE, Store

CONCURRENCY = 64
SAVE_STEPS = 50  # between checkpoints, from which a killed training goes on
NO_POLICY = "there is no policy yet: begin with a stage `warmup`, or give the recipe a `policy`"
RUN = "run"  # in braces: the run's folder
RESERVED = ("first", "policy", "previous", "initial", "logged", RUN, "start", "validation", "round", "oracle", "random")
T = TypeVar("T", bound=BaseModel)


@contextmanager
def located() -> Iterator[None]:
    """Within a validator: what is wrong is told with the key that it is about."""
    try:
        yield
    except UserError as error:
        raise ValueError(str(error)) from error


class Strict(BaseModel):
    """Is read strictly: what it does not know is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Defaults(Strict):
    """What all stages of a recipe share.

    Attributes:
        env: Id of the environment.
        env_args: Its arguments.
        policy: A model directory to begin with; without one, a stage makes it (see `warmup`).
        start: Number of the first training task; each stage that collects goes on after the one before it.
        temperature: Of sampling; evaluations take the likeliest tokens.
        max_tokens: Longest turn.
        seed: Of everything: another seed takes other training tasks, weights and batches; evaluation tasks stay.
    """

    env: str
    env_args: dict[str, Any] = {}
    policy: Path | None = None
    start: int = Field(0, ge=0)
    temperature: float = Field(1.0, ge=0)
    max_tokens: int = Field(96, ge=1)
    seed: int = Field(0, ge=0)


@dataclass
class Context:
    """Where a recipe has got to.

    Attributes:
        defaults: Of all stages.
        out: The run's folder.
        folder: Where the stage's own files go: `out`, or a round's.
        output: Where progress is told.
        task: Number of the next new training task.
        number: Rounds that were begun so far; the number of the one under way.
        policies: Model directories by name: "policy" (the newest), "first", in a round "previous" (the one that it began with),
            and each stage that made one.
        found: What the stages of this round, or of the run, found to learn from: pairs and trajectories, by stage.
        earlier: Folders of those rounds before this one that are learnt from too.
    """

    defaults: Defaults
    out: Path
    folder: Path
    output: Output
    task: int = 0
    number: int = 0
    policies: dict[str, Path] = field(default_factory=dict)
    found: dict[str, int] = field(default_factory=dict)
    earlier: Sequence[Path] = ()

    def do(self, stage: "Stage") -> dict[str, Any]:
        """The result of a stage, from its file if it is done."""
        found = self.once(self.folder / f"{stage.name}.json", f"{self._where}{stage.name}.", lambda: self._work(stage))
        for key in ("model", "policy"):
            if key in found:
                self.policies[stage.name] = self.out / found[key]
        if "policy" in found:
            self.adopt(self.policies[stage.name])
        self.task += found.get("tasks", 0)
        self.number += len(found.get("rounds", ()))
        self.found |= found.get("found", {})
        return found

    def _work(self, stage: "Stage") -> dict[str, Any]:
        """Do a stage: what it found is told, and what goes wrong with its name."""
        try:
            found = stage.run(self)
        except UserError as error:
            raise type(error)(f"{self._where}{stage.name}: {error}") from error
        if told := stage.told(found):
            self.output.say(f"    {told}.")
        return found

    def once(self, file: Path, what: str, work: Any) -> dict[str, Any]:
        """What `work` returns, from the file if it is there."""
        if not file.exists():
            self.output.say(what)
            write_json(file, work())
        return dict(json.loads(file.read_text()))

    def round(self, number: int, earlier: Sequence[Path]) -> "Context":
        """A context for a round."""
        folder = self.out / f"round-{number}"
        policies = self.policies | {"previous": self.policy()}
        return replace(self, folder=folder, number=number, policies=policies, found={}, earlier=earlier)

    # ---- policies ------------------------------------------------------------------------------------------------------

    def adopt(self, policy: Path) -> None:
        """Go on with this policy."""
        self.policies["policy"] = policy
        self.policies.setdefault("first", policy)

    def policy(self, name: str = "policy") -> Path:
        """The model directory of this name.

        Raises:
            UserError: there is none.
        """
        if name in self.policies:
            return self.policies[name]
        if Path(name).is_dir():
            return Path(name)
        if not self.policies:
            raise UserError(NO_POLICY)
        raise UserError(f"there is no policy {name!r}: name one of {', '.join(self.policies)}, or a model directory")

    def fill(self, specs: Iterable[str]) -> list[str]:
        """The same with directories for names in braces, as in ``grape:model={first}`` and ``model:{judge}``.

        Raises:
            UserError: nothing has this name.
        """
        known = {name: str(path) for name, path in self.policies.items()} | {RUN: str(self.out)}
        try:
            return [spec.format_map(known) for spec in specs]
        except (KeyError, ValueError) as error:
            raise UserError(f"there is no directory {error} for {list(specs)}: there are {', '.join(known)}") from error

    def kept(self, path: Path) -> str:
        """How a result names a directory, so that the run's folder can be moved."""
        return str(path.relative_to(self.out) if path.is_relative_to(self.out) else path.resolve())

    # ---- stores --------------------------------------------------------------------------------------------------------

    @contextmanager
    def stores(self, name: str) -> Iterator[list[Store]]:
        """The store of this name; before it those of the same name in earlier rounds that are learnt from too."""
        folders = [f / name for f in (*self.earlier, self.folder)]
        with ExitStack() as stack:
            yield [stack.enter_context(Store(f)) for f in folders if (f / FILE).is_file() or f == folders[-1]]

    def nothing_new(self, rows: Sequence[Any]) -> bool:
        """Whether a training is to be left out: a round that found neither pairs nor trajectories learns nothing from older ones.

        Outside of rounds nothing is left out: a training without rows is an error, and the trainer says so.
        """
        return self.folder != self.out and not (rows and any(self.found.values()))

    @property
    def offset(self) -> int:
        """The first training task: seeds have tasks of their own."""
        return self.defaults.seed * 1_000_000 + self.task

    @property
    def _where(self) -> str:
        return "" if self.folder == self.out else f"Round {self.number}: "


Named = tuple[str, str, str]  # what is named (as in `Stage.makes`), under which key, and its name


def in_braces(key: str, specs: Iterable[str]) -> Iterator[Named]:
    """The directories that these name in braces."""
    for spec in specs:
        yield from (("model", key, name) for _, name, _, _ in string.Formatter().parse(spec) if name not in (None, RUN))


class Stage(Strict, ABC):
    """A piece of work that is done once.

    Attributes:
        stage: What is done.
        name: Of its results, and by which ``--set`` finds it; by default that of the stage.
        store: Folder of the episodes that it makes or learns from, in that of the run or the round; by default that one.
    """

    makes: ClassVar[str] = ""  # that can be named later on: a "policy", a "model", a "selection", "pairs"

    stage: str
    name: str = Field("", pattern=r"^[a-z][a-z0-9-]*$|^$")
    store: str = Field("", pattern=r"^[\w-]*$")

    def names(self) -> Iterator[Named]:
        """Whatever it expects earlier stages to have made, by which a recipe is checked before it is begun."""
        yield from ()

    def told(self, found: dict[str, Any]) -> str:
        """What is worth a line when it is done."""
        return ""

    @abstractmethod
    def run(self, context: Context) -> dict[str, Any]:
        """Do it; what was begun before a kill goes on.

        Returns:
            What it found, in JSON values. Some keys have a meaning to all: ``policy`` (a directory as `Context.kept` has it: the
            policy from now on), ``model`` (another model), ``tasks`` (new training tasks that were played), ``found``.
        """


class Acting(Stage):
    """A stage that plays episodes.

    Attributes:
        env: Instead of the recipe's.
        env_args: Of the environment; by default the recipe's, or none for another environment.
        max_tokens: Longest turn, instead of the recipe's.
    """

    env: str | None = None
    env_args: dict[str, Any] | None = None
    max_tokens: int | None = Field(None, ge=1)

    def where(self, given: Defaults) -> tuple[str, dict[str, Any], int]:
        """Environment, its arguments, and the longest turn."""
        usual = given.env_args if self.env in (None, given.env) else {}
        return self.env or given.env, usual if self.env_args is None else self.env_args, self.max_tokens or given.max_tokens


class Learning(Stage):
    """A stage that trains a model.

    Attributes:
        model: Name or directory of the one to begin with.
    """

    makes: ClassVar[str] = "policy"
    model: str = "policy"

    def names(self) -> Iterator[Named]:
        """The model to begin with."""
        yield "policy", "model", self.model


def seeded(kind: type[T], given: BaseModel, context: Context, **changes: Any) -> T:
    """The configuration of a training out of a stage's, which has more fields.

    The seed is added to the run's, and each round has another one.
    """
    values: dict[str, Any] = {name: getattr(given, name) for name in kind.model_fields}
    values["seed"] += context.defaults.seed + context.number
    if issubclass(kind, Training):
        values["save_steps"] = values["save_steps"] or SAVE_STEPS
    return kind.model_validate(values | changes)
