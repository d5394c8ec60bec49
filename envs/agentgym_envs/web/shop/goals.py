"""What to buy, in words, and how well a purchase fits.

Of what `worth` leaves to a site: features, options and types are the catalogue's own; the type counts 1 for the goal's, 0.5 for
another of its category, 0.1 for another category of its department, 0 otherwise.
"""

import random
from collections.abc import Sequence

from agentgym_envs.web import errand
from agentgym_envs.web.worth import match

from .app import Line
from .catalogue import Product, make_product
from .words import CATEGORIES

WISHES = ("I am looking for", "Please buy me", "I need", "Find and order")
ENDS = {"look": "Only open its page.", "hold": "Put it into the cart, but do not order it.", "order": "Place the order."}


class Goal(errand.Goal[Line], frozen=True, kw_only=True):
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

    @classmethod
    def meant(cls, rng: random.Random, thing: Line, until: errand.Stage) -> "Goal":
        """Some of what the product is, and all that was chosen."""
        features = rng.sample(thing.product.features, rng.randint(2, 3))
        return _goal(thing.product, features, thing.options, _over(thing.price), until)

    def wish(self, rng: random.Random) -> str:
        """In words."""
        features = list(self.features)
        rng.shuffle(features)
        options = ", ".join(f"{axis} {value}" for axis, value in self.options.items())
        what = f"{self.type} ({', '.join(features)}){f', with {options}' if options else ''}"
        return f"{rng.choice(WISHES)} one {what}, for less than ${self.limit // 100}. {ENDS[self.until]}"

    def match(self, thing: Line) -> dict[str, float]:
        """How well one unit fits."""
        product = thing.product
        counted = {
            "features": (len(set(self.features) & set(product.features)), len(self.features)),
            "options": (len(self.options.items() & thing.options.items()), len(self.options)),
            "price": (int(thing.price < self.limit), 1),
        }
        return match(self._type(product), counted)

    def _type(self, product: Product) -> float:
        if product.category == self.category:
            return 1.0 if product.type == self.type else 0.5
        return 0.1 if CATEGORIES[product.category].department == CATEGORIES[self.category].department else 0.0


def draw(rng: random.Random, seed: int, size: int, level: str) -> Goal:
    """A goal that one product of the catalogue fits.

    "easy" names two features of its title, one option and a generous limit; "medium" two features of which the title tells one,
    and all options; "hard" three features, none in the title, all options, and a limit just above the price.
    """
    product = make_product(seed, rng.randrange(size))
    told, untold = product.features[:2], product.features[2:]
    features = {"easy": told, "medium": (told[0], untold[0]), "hard": untold[:3]}[level]
    options = {axis: rng.choice(choices).value for axis, choices in product.options.items()}
    wanted = dict([rng.choice(list(options.items()))]) if level == "easy" else options
    slack = {"easy": 1.5, "medium": 1.2, "hard": 1.0}[level]
    limit = _over(int(product.cost(options) * slack))
    if level == "easy":  # the axes that are not asked for are free: the dearest choice has to fit, too
        dearest = {axis: wanted.get(axis, product.options[axis][-1].value) for axis in options}
        limit = max(limit, _over(product.cost(dearest)))
    return _goal(product, features, wanted, limit)


def _goal(product: Product, features: Sequence[str], options: dict[str, str], limit: int, until: errand.Stage = "order") -> Goal:
    return Goal(
        item=product.number,
        until=until,
        type=product.type,
        category=product.category,
        features=tuple(features),
        options=options,
        limit=limit,
    )


def _over(cents: int) -> int:
    """The next price in whole units of money."""
    return (cents // 100 + 1) * 100
