"""What to buy, in words, and how well a purchase fits.

Of what `worth` leaves to a site: features, options and types are the catalogue's own; the type counts 1 for the goal's, 0.5 for
another of its category, 0.1 for another category of its department, 0 otherwise.
"""

import random
from collections.abc import Sequence

import msgspec

from agentgym_envs.web import errand
from agentgym_envs.web.worth import match as fit

from .app import Line
from .catalogue import Product, make_product
from .words import CATEGORIES

WISHES = ("I am looking for", "Please buy me", "I need", "Find and order")
ENDS = {"look": "Only open its page.", "hold": "Put it into the cart, but do not order it.", "order": "Place the order."}


class Goal(errand.Goal, frozen=True, kw_only=True):
    """A product.

    Attributes:
        features: A unit has to have all of them.
        options: By axis.
        limit: Highest price of the unit in cents, options included.
    """

    type: str
    category: int
    features: tuple[str, ...]
    options: dict[str, str]
    limit: int


def draw(rng: random.Random, seed: int, size: int, level: str) -> Goal:
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
    limit = _over(int(price * slack))
    if level == "easy":  # the axes that are not asked for are free: the dearest choice has to fit, too
        dearest = {axis: wanted.get(axis, product.options[axis][-1].value) for axis in options}
        limit = max(limit, _over(product.cost(dearest)))
    return _goal(product, features, wanted, limit)


def meant(rng: random.Random, line: Line, until: errand.Stage) -> Goal:
    """A goal that this line fits: some of what the product is, and all that was chosen."""
    features = line.product.features
    chosen = tuple(rng.sample(features, rng.randint(2, min(3, len(features)))))
    return msgspec.structs.replace(_goal(line.product, chosen, line.options, _over(line.price)), until=until)


def _over(cents: int) -> int:
    """The next price in whole units of money."""
    return (cents // 100 + 1) * 100


def _goal(product: Product, features: Sequence[str], options: dict[str, str], limit: int) -> Goal:
    number, kind, category = product.number, product.type, product.category
    return Goal(item=number, type=kind, category=category, features=tuple(features), options=options, limit=limit)


def wish(rng: random.Random, goal: Goal) -> str:
    """The goal in words."""
    features = list(goal.features)
    rng.shuffle(features)
    options = ", ".join(f"{axis} {value}" for axis, value in goal.options.items())
    chosen = f", with {options}" if options else ""
    what = f"{goal.type} ({', '.join(features)})"
    return f"{rng.choice(WISHES)} one {what}{chosen}, for less than ${goal.limit // 100}. {ENDS[goal.until]}"


def match(goal: Goal, line: Line) -> dict[str, float]:
    """How well one unit fits."""
    product = line.product
    return fit(
        _type(goal, product.type, product.category),
        {
            "features": (len(set(goal.features) & set(product.features)), len(goal.features)),
            "options": (len(goal.options.items() & line.options.items()), len(goal.options)),
            "price": (line.price < goal.limit, 1),
        },
    )


def _type(goal: Goal, kind: str, category: int) -> float:
    if kind == goal.type and category == goal.category:
        return 1.0
    if category == goal.category:
        return 0.5
    return 0.1 if CATEGORIES[category].department == CATEGORIES[goal.category].department else 0.0
