"""Recipes of iterative training: YAML, read strictly. The shipped ones are the files of `recipes/`, named after their methods."""

from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from agentgym import UserError
from agentgym_trajectories.pairs import parse
from agentgym_trajectories.search import Search, search_named

from .preference import Preference
from .sft import Sft

SHIPPED = files("agentgym_training") / "recipes"


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Easier(_Strict):
    """A step of an easy-to-hard warm-up.

    Attributes:
        env_args: Of an easier variant of the environment.
        tasks: Training tasks that the oracle plays in it.
    """

    env_args: dict[str, Any]
    tasks: int = Field(2000, ge=1)


class WarmUp(_Strict):
    """A policy made from nothing before the first round.

    Attributes:
        easier: Variants that it is shown too, so that few tasks of the environment itself are enough to begin with.
        tasks: Training tasks that the oracle plays for it.
        copy_steps: Of the copy warm-up.
        sft: How it is trained; stop it early, so that something is left to learn.
    """

    easier: tuple[Easier, ...] = ()
    tasks: int = Field(2000, ge=1)
    copy_steps: int = Field(600, ge=1)
    sft: Sft = Sft(max_steps=600, lr=3e-3)


class Searching(_Strict):
    """How deficient tasks are searched.

    Attributes:
        name: Of a search.
        simulations: For each tree.
        width: Actions sampled for each state; None for the search's own number.
        critic: Whether the policy ranks its own actions; a nano policy cannot.
    """

    name: str = "agent-q"
    simulations: int = Field(16, ge=1)
    width: int | None = Field(None, ge=1)
    critic: bool = True

    def build(self) -> Search:
        """The search."""
        named = search_named(self.name).with_simulations(self.simulations)
        return replace(named, width=self.width or named.width, ranking=named.ranking if self.critic else None)


class Recipe(_Strict):
    """Rounds of collecting, searching, pairing, training and evaluating.

    Attributes:
        env: Id of the environment.
        env_args: Its arguments.
        policy: A model directory to begin with; None to make one by `warmup`.
        warmup: How it is made.
        rounds: At most.
        tasks: New training tasks of each round.
        demonstrations: Whether the oracle plays them too: experts for ETO and SPIN.
        samples: Attempts at each.
        temperature: Of sampling; evaluations take the likeliest tokens.
        max_tokens: Longest turn.
        deficient: Tasks are searched whose mean success is below this.
        search: How; None for no search.
        pairs: Makers and filters, as for `agentgym pairs --by`.
        sft: How to train on own trajectories that succeeded, those found by a search included; None to leave it out.
        preference: How to train on the pairs, afterwards; its reference is that of `reference`. None to leave it out.
        reference: "logged" (what the policy of the round had sampled with), "previous" (the same, computed again) or "first".
        buffer: Rounds whose pairs, or trajectories, are trained on: this one and those before it.
        validation: Tasks by which rounds are judged.
        test: Tasks of the best round's final evaluation.
        patience: Rounds without a better validation after which to stop.
    """

    env: str
    env_args: dict[str, Any] = {}
    policy: Path | None = None
    warmup: WarmUp = WarmUp()
    rounds: int = Field(3, ge=1)
    tasks: int = Field(100, ge=1)
    demonstrations: bool = False
    samples: int = Field(4, ge=0)
    temperature: float = Field(1.0, ge=0)
    max_tokens: int = Field(96, ge=1)
    deficient: float = Field(1.0, gt=0)
    search: Searching | None = None
    pairs: tuple[str, ...] = ("outcome", "distinct", "cap")
    sft: Sft | None = None
    preference: Preference | None = None
    reference: Literal["logged", "previous", "first"] = "logged"
    buffer: int = Field(1, ge=1)
    validation: int = Field(100, ge=1)
    test: int = Field(200, ge=1)
    patience: int = Field(2, ge=1)

    @field_validator("pairs")
    @classmethod
    def _makes_pairs(cls, pairs: tuple[str, ...]) -> tuple[str, ...]:
        parse(pairs)
        return pairs


def load_recipe(name: str) -> Recipe:
    """A shipped recipe by its name, or one from a YAML file.

    Raises:
        UserError: there is none, it is no YAML, or a key or value is wrong.
    """
    shipped = sorted(f.name.removesuffix(".yaml") for f in SHIPPED.iterdir() if f.name.endswith(".yaml"))
    if name in shipped:
        text = (SHIPPED / f"{name}.yaml").read_text("utf-8")
    elif Path(name).is_file():
        text = Path(name).read_text("utf-8")
    else:
        raise UserError(f"there is no recipe {name!r}: give a YAML file, or one of {', '.join(shipped)}")
    try:
        recipe = Recipe.model_validate(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise UserError(f"recipe {name} is no YAML ({' '.join(str(error).split())}): mend it") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the recipe"
        raise UserError(f"recipe {name}, {where}: {first['msg']}") from error
    if recipe.preference is None and recipe.sft is None:
        raise UserError(f"recipe {name}: give preference or sft, or both, to say what is trained")
    return recipe
