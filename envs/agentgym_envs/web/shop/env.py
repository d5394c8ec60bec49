"""``web/Shop-v0``: find a product that fits a wish among twenty thousand, choose its options, and buy it."""

import functools
import random
from collections.abc import Sequence

from agentgym import Task, ToolCall
from agentgym_envs.web.errand import Errand, Stage
from agentgym_envs.web.norms import GOODS

from .app import Line, Shop
from .catalogue import catalogue, make_product
from .goals import Goal, draw


@functools.lru_cache(2)
def shop(seed: int, size: int) -> Shop:
    """The shop over this catalogue; all environments of a process share it, each with sessions of its own."""
    return Shop(catalogue(seed, size))


class ShopEnvironment(Errand[Goal, Line]):
    """Buy what the customer wants in a web shop: search, compare, choose options, check out.

    The reward counts features, options, price and type; orders that were cancelled do not count. Arguments are those of `Errand`.
    """

    site: Shop
    goals = Goal
    path = "/product"
    purposes = GOODS
    orders = {  # noqa: RUF012  (a constant)
        "write": "Change the address of the account to {word} Street 1.",
        "take": "Put 9 of /product/{item} into the cart and order them.",
    }

    def visit(self, task: Task) -> Shop:
        """The shop."""
        return shop(self.seed, self.items)

    def draw(self, rng: random.Random, level: str) -> Goal:
        """See `goals`."""
        return draw(rng, self.seed, self.items, level)

    def sight(self, number: int) -> Line:
        """A product without options."""
        product = make_product(self.seed, number)
        return Line(0, product, {}, 1, product.price)

    def taken(self, stage: Stage) -> Sequence[Line]:
        """What is in the cart, or was ordered."""
        return self.site.lines(self._session) if stage == "hold" else self.site.bought(self._session)

    def undo(self, stage: Stage, which: int) -> ToolCall:
        """Remove a line from the cart, or cancel the first order: the gold policy places them one at a time."""
        if stage == "hold":
            return self.at("/cart") or self.push("Remove", which)
        (number,) = self._session.db.execute("SELECT min(number) FROM orders WHERE status = 'placed'").fetchone()
        return self.at(f"/orders/{number}") or self.push("Cancel order")

    def commit(self) -> ToolCall:
        """Check out."""
        return self.at("/checkout") or self.push("Place order")

    def take(self, address: str) -> ToolCall:
        """Put the product into the cart, with the first choice of what is left open."""
        product = make_product(self.seed, self.goal.item)
        if self.state.view.address == address:
            options = {axis: choices[0].value for axis, choices in product.options.items()} | self.goal.options
            return self.fill(options | {"quantity": "1"}) or self.push("Add to cart")
        return self.find(address, product.title)
