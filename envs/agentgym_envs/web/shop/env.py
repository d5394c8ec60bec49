"""``web/Shop-v0``: find a product that fits a wish among twenty thousand, choose its options, and buy it."""

import functools
import random
from collections.abc import Mapping

import msgspec

from agentgym import Message, Rubric, Task, Tasks, ToolCall, UserError, assistant, call, procedural
from agentgym_envs.web.env import WebEnvironment

from .app import Line, Shop
from .catalogue import PRODUCTS, catalogue, make_product
from .goals import LEVELS, Goal, make_task, match, reward


@functools.lru_cache(2)
def shop(seed: int, size: int) -> Shop:
    """The shop over this catalogue; all environments of a process share it, each with sessions of its own."""
    return Shop(catalogue(seed, size))


class ShopEnvironment(WebEnvironment):
    """Buy what the customer wants in a web shop: search, compare, choose options, check out.

    The reward is WebShop's (see `goals`): features, options, price and type of what was bought, in [0, 1]; a task is solved
    when everything fits and nothing else was bought. Orders that were cancelled do not count.

    Args:
        level: "easy", "medium" or "hard"; None mixes all three.
        backend: As in `WebEnvironment`.
        products: Size of the catalogue.
        seed: Of the catalogue.

    Raises:
        UserError: an unknown level or back end, or no products.
    """

    rubric = Rubric(reward=1.0)

    def __init__(self, level: str | None = None, backend: str = "text", products: int = PRODUCTS, seed: int = 0) -> None:
        super().__init__(backend)
        if level not in (None, *LEVELS):
            raise UserError(f"web/Shop-v0 has no level {level!r}: use one of {', '.join(LEVELS)}")
        if not 0 < products <= 10**6:
            raise UserError(f"a catalogue of {products} products cannot be made: use 1 to 1,000,000")
        self.levels = LEVELS if level is None else (level,)
        self.products, self.seed = products, seed

    def tasks(self, split: str = "train") -> Tasks:
        """Endless; the levels are drawn alike. No product that a training goal was made from is one of another split."""

        def generate(rng: random.Random) -> Task:
            return make_task(rng, self.seed, self.products, rng.choice(self.levels))

        return procedural(generate, split, same=lambda task: task.data["product"])

    def visit(self, task: Task) -> Shop:
        """The shop."""
        self.goal = msgspec.convert(task.data, Goal)
        self.target = make_product(self.seed, self.goal.product)
        self.site: Shop = shop(self.seed, self.products)
        return self.site

    def score(self, answer: str) -> Mapping[str, float]:
        """WebShop's reward and its parts, for what was ordered."""
        return reward(self.goal, self.site.bought(self._session))

    # ---- the right next action ---------------------------------------------------------------------------------------------

    def oracle(self) -> Message:
        """Cancel what is wrong, empty the cart of what is wrong, find the product, choose, buy, finish."""
        orders, cart = self.site.bought(self._session), self.site.lines(self._session)
        wrong = [line for line in cart if not self._fits(line)]
        if orders and (len(orders) > 1 or not self._fits(orders[0])):
            return assistant("", self._cancel())
        if orders:
            return assistant("The order is placed.", call("finish"))
        if cart and (wrong or len(cart) > 1):
            return assistant("", self._at("/cart") or self._press("Remove", cart.index((wrong or cart)[0])))
        if cart:
            return assistant("", self._at("/checkout") or self._press("Place order"))
        return assistant("", self._take())

    def _fits(self, line: Line) -> bool:
        return line.quantity == 1 and match(self.goal, line)["reward"] == 1.0

    def _take(self) -> ToolCall:
        """Put the product into the cart, from wherever the agent is."""
        view = self.state.view
        if view.address != f"/product/{self.target.number}":
            return self._follow(self.target.title)
        for number, control in enumerate(view.page.controls, 1):
            held = view.fields.get(number, control.value)
            if control.field in self.target.options and held != (wanted := self._wanted(control.field)):
                return call("select", element=number, option=control.options[wanted])
            if control.field == "quantity" and held != "1":
                return call("type", element=number, text="1")
        return self._press("Add to cart")

    def _wanted(self, axis: str) -> str:
        return self.goal.options.get(axis, self.target.options[axis][0].value)

    def _follow(self, title: str) -> ToolCall:
        """Click the link, or search for it, or go on to the next page of what was found."""
        controls = self.state.view.page.controls
        for number, control in enumerate(controls, 1):
            if control.kind == "link" and control.target == f"/product/{self.target.number}":
                return call("click", element=number)
        if any(c.role == "searchbox" for c in controls):
            return call("search", query=title)
        return call("goto", address="/")

    def _cancel(self) -> ToolCall:
        """Cancel all orders, one after the other."""
        (number,) = self._session.db.execute("SELECT min(number) FROM orders WHERE status = 'placed'").fetchone()
        return self._at(f"/orders/{number}") or self._press("Cancel order")

    def _at(self, address: str) -> ToolCall | None:
        return None if self.state.view.address == address else call("goto", address=address)

    def _press(self, name: str, which: int = 0) -> ToolCall:
        """Click one of the buttons with this name."""
        numbers = [i for i, c in enumerate(self.state.view.page.controls, 1) if c.kind == "button" and c.name == name]
        return call("click", element=numbers[which])
