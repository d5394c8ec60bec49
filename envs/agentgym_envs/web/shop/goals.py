"""What to buy, in words; and what a purchase is worth: WebShop's reward.

Yao et al. 2022, "WebShop: Towards Scalable Real-World Web Interaction with Grounded Language Agents", section 3.3 and appendix.
With a goal's features U_f, options U_o and price limit u, and a bought product's features Y_f, chosen options Y_o and price y::

    r = r_type * (|U_f & Y_f| + |U_o & Y_o| + [y < u]) / (|U_f| + |U_o| + 1)

Where it departs from the paper: features, options and types are the catalogue's own, so they are compared as such, and not by
fuzzy matching of texts: `r_type` is 1 for the goal's type, 0.5 for another type of its category, 0.1 for another category of its
department, 0 otherwise. There is a cart here, so more can be bought than was asked for: the best unit counts, divided by the
number of units.
"""

import random
from collections.abc import Sequence

import msgspec

from agentgym import Task

from .app import Line
from .catalogue import make_product
from .words import CATEGORIES

LEVELS = ("easy", "medium", "hard")
WISHES = ("I am looking for", "Please buy me", "I need", "Find and order")


class Goal(msgspec.Struct, frozen=True):
    """What is wanted.

    Attributes:
        product: The number of one that fits; others may, too.
        features: A unit has to have all of them.
        options: By axis.
        limit: Highest price of the unit in cents, options included.
    """

    product: int
    type: str
    category: int
    features: tuple[str, ...]
    options: dict[str, str]
    limit: int


def make_task(rng: random.Random, seed: int, size: int, level: str) -> Task:
    """A goal that one product of the catalogue fits.

    "easy" names two features of its title, one option and a generous limit; "medium" two features of which the title tells one,
    and all options; "hard" three features, none in the title, all options, and a limit just above the price.
    """
    number = rng.randrange(size)
    product = make_product(seed, number)
    told, untold = product.features[:2], product.features[2:]
    features = {"easy": told, "medium": (told[0], untold[0]), "hard": untold[:3]}[level]
    options = {axis: rng.choice(choices).value for axis, choices in product.options.items()}
    price = product.cost(options)
    wanted = dict([rng.choice(list(options.items()))]) if level == "easy" else options
    slack = {"easy": 1.5, "medium": 1.2, "hard": 1.0}[level]
    limit = (int(price * slack) // 100 + 1) * 100
    goal = Goal(number, product.type, product.category, features, wanted, limit)
    if level == "easy":  # the axes that are not asked for are free: the dearest choice has to fit, too
        dearest = {axis: wanted.get(axis, product.options[axis][-1].value) for axis in options}
        goal = msgspec.structs.replace(goal, limit=max(limit, (product.cost(dearest) // 100 + 1) * 100))
    return Task(wish(rng, goal), msgspec.to_builtins(goal), difficulty=level)


def wish(rng: random.Random, goal: Goal) -> str:
    """The goal in words."""
    features = list(goal.features)
    rng.shuffle(features)
    options = ", ".join(f"{axis} {value}" for axis, value in goal.options.items())
    return (
        f"{rng.choice(WISHES)} one {goal.type} ({', '.join(features)}), with {options}, for less than ${goal.limit // 100}. "
        "Place the order."
    )


def reward(goal: Goal, bought: Sequence[Line]) -> dict[str, float]:
    """The reward of a purchase and its parts, each in [0, 1]; all 0 when nothing was bought."""
    units = sum(line.quantity for line in bought)
    if not units:
        return dict.fromkeys(("reward", "type", "features", "options", "price", "alone"), 0.0)
    best = max((match(goal, line) for line in bought), key=lambda parts: parts["reward"])
    return best | {"reward": best["reward"] / units, "alone": 1 / units}


def match(goal: Goal, line: Line) -> dict[str, float]:
    """How well one unit fits."""
    product = line.product
    kind = _type(goal, product.type, product.category)
    features = len(set(goal.features) & set(product.features))
    options = len(goal.options.items() & line.options.items())
    price = line.price < goal.limit
    asked = len(goal.features) + len(goal.options) + 1
    return {
        "reward": kind * (features + options + price) / asked,
        "type": kind,
        "features": features / len(goal.features),
        "options": options / len(goal.options),
        "price": float(price),
    }


def _type(goal: Goal, kind: str, category: int) -> float:
    if kind == goal.type and category == goal.category:
        return 1.0
    if category == goal.category:
        return 0.5
    return 0.1 if CATEGORIES[category].department == CATEGORIES[goal.category].department else 0.0
