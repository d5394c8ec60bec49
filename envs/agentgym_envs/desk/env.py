"""``desk/Orders-v0``: serve customers of a shop with ten tools, under rules that forbid some requests."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from agentgym import (
    Environment,
    Message,
    Rubric,
    Task,
    Tasks,
    ToolCall,
    ToolError,
    ToolResult,
    assistant,
    levels_of,
    procedural,
    tool,
)

from .requests import RULES, apply, fact, forbidden, from_task, make_task, plan, sentence
from .store import Order, Product, Store, build, differing_rows, money

LEVELS = ("easy", "medium", "hard")
_RULE = re.compile(r"\bR[1-5]\b")
_STATUS = re.compile(r"\b(?:pending|shipped|delivered)\b")
MAX_ANSWER = 400  # characters; a short answer cannot state everything at once in the hope that something fits


class Desk(msgspec.Struct):
    """The hidden state.

    Attributes:
        store: The shop.
        made: The calls that succeeded so far.
        read: Ids of the orders and products that the agent has read, each with the turn in which it first did.
        blind: Whether it changed an order before it had seen what decides the change.
        distance: Rows still to be put right.
    """

    store: Store
    made: set[str]
    read: dict[str, int]
    distance: int
    blind: bool = False


class Orders(Environment):
    """Serve the customers of a shop: look up, change, cancel, refund, exchange, or refuse by the rules.

    Solved means that the store ends up exactly as it should, that the final answer states what was asked for, or the rule that
    forbids it and no other rule, and that all orders and products concerned were read before they were acted on: a lucky guess
    is not a solution. Every id has to be copied from the request or from a tool's result.

    Args:
        level: "easy" (one request with the order's id), "medium" (the goods are named instead), "hard" (two requests, some
            about other customers' orders); None mixes all three.
        step_rewards: Reward each step, as the part `progress`, by the share of the goal's changed rows that it puts right.

    Raises:
        UserError: an unknown level.
    """

    instructions = RULES
    max_turns = 16
    rubric = Rubric(solved=1.0, progress=0.0)

    def __init__(self, level: str | None = None, step_rewards: bool = False) -> None:
        self.levels = levels_of(level, LEVELS)
        self.step_rewards = step_rewards
        if step_rewards:
            self.rubric = Rubric(solved=1.0, progress=0.5)

    def tasks(self, split: str = "train") -> Tasks:
        """Endless; the levels are drawn alike."""
        return procedural(lambda rng: make_task(rng, rng.choice(self.levels)), split)

    def begin(self, task: Task) -> str:
        """Build the shop, and from the requests the state that it should end in and the facts to be stated."""
        self.requests = from_task(task.data)
        self.customer: str = task.data["customer"]
        self.start = build(task.data["seed"])
        self.facts = [fact(self.start, self.customer, r) for r in self.requests]
        self.goal = self.start.copy()
        self.to_read = {r.order for r in self.requests}
        for r in self.requests:
            rule = forbidden(self.start, self.customer, r)
            if rule is None:
                apply(self.goal, r)
            if r.new and rule in (None, "R5"):
                self.to_read.add(r.new)
        self.changes = differing_rows(self.start, self.goal)
        self.state = Desk(self.start.copy(), set(), {}, self.changes)
        return task.prompt

    # ---- what the agent may do -----------------------------------------------------------------------------------------

    @tool
    def list_orders(self, customer_id: str) -> dict[str, str]:
        """List what a customer ordered: each item with the id of its order."""
        if customer_id not in self._store.customers:
            raise ToolError(f"there is no customer {customer_id}")
        ordered: dict[str, str] = {}
        for order in self._store.orders.values():
            if order.customer_id == customer_id:
                for name in map(self._name, self._goods(order)):
                    ordered[name] = f"{ordered[name]}, {order.order_id}" if name in ordered else order.order_id
        return ordered

    @tool
    def get_order(self, order_id: str) -> dict[str, Any]:
        """Read one order, each item with its product id."""
        order, payment = self._store.order(order_id), self._store.payments[order_id]
        self.state.read.setdefault(order_id, self.turn)
        shown: dict[str, Any] = {"customer_id": order.customer_id, "status": order.status}
        if order.days is not None:
            shown["days"] = order.days
        shown |= {"paid": money(payment.paid), "by": payment.method, "address": order.address}
        return shown | {"items": {self._name(i): i for i in self._goods(order)}}

    @tool
    def get_customer(self, customer_id: str) -> dict[str, Any]:
        """Read one customer."""
        if customer_id not in self._store.customers:
            raise ToolError(f"there is no customer {customer_id}")
        return {"name": self._store.customers[customer_id].name}

    @tool
    def get_payment(self, order_id: str) -> dict[str, Any]:
        """Read how an order was paid and what was paid back."""
        self._store.order(order_id)
        payment = self._store.payments[order_id]
        return {"by": payment.method, "paid": money(payment.paid), "refunded": money(payment.refunded)}

    @tool
    def get_product(self, product_id: str) -> dict[str, Any]:
        """Read one product."""
        return self._shown(self._store.product(product_id))

    @tool
    def find_product(self, name: str) -> dict[str, Any]:
        """Find a product by its name."""
        for product in self._store.products.values():
            if product.name == name.strip().lower():
                return self._shown(product)
        raise ToolError(f"there is no product named {name[:40]}")

    @tool
    def change_address(self, order_id: str, address: str) -> str:
        """Send an order to another address."""
        self._decide(order_id)
        self._store.change_address(order_id, address)
        return "done"

    @tool
    def cancel_order(self, order_id: str) -> dict[str, str]:
        """Cancel an order and pay it back."""
        self._decide(order_id)
        return {"refunded": money(self._store.cancel(order_id))}

    @tool
    def refund_item(self, order_id: str, product_id: str) -> dict[str, str]:
        """Pay one item of an order back."""
        self._decide(order_id)
        return {"refunded": money(self._store.refund(order_id, product_id))}

    @tool
    def exchange_item(self, order_id: str, product_id: str, new_product_id: str) -> dict[str, str]:
        """Exchange one item of an order for another product."""
        self._decide(order_id, new_product_id)
        return {"difference": money(self._store.exchange(order_id, product_id, new_product_id))}

    def _decide(self, *ids: str) -> None:
        # Read in the same turn is not read yet: the agent had not seen the answer when it decided.
        self.state.blind |= any(self.state.read.get(i, self.turn) >= self.turn for i in ids)

    # ---- how it is judged ------------------------------------------------------------------------------------------------

    def score(self, answer: str) -> Mapping[str, float]:
        """Parts: the store is as it should be, the answer states the facts, everything concerned was read; solved: all three."""
        parts = {
            "state": float(self._store == self.goal),
            "answer": float(self._states_facts(answer)),
            "read": float(self.to_read <= self.state.read.keys() and not self.state.blind),
        }
        return {"solved": min(parts.values()), **parts}

    def shape(self) -> Mapping[str, float]:
        """With `step_rewards`, the share of the goal's changed rows that this step put right (negative for wrong ones)."""
        if not self.step_rewards:
            return {}
        before, self.state.distance = self.state.distance, differing_rows(self._store, self.goal)
        return {"progress": (before - self.state.distance) / max(1, self.changes)}

    def call_tool(self, call: ToolCall) -> ToolResult:
        """Run one call; those that succeed tell the oracle what is known and done already."""
        result = super().call_tool(call)
        if result.error is None:
            self.state.made.add(_signature(call))
        return result

    def oracle(self) -> Message:
        """Read what is needed, act if the rules allow it, go on to the next request; answer when all are done."""
        for note, wanted in self._script():
            if _signature(wanted) not in self.state.made:
                return assistant(note, wanted)
        return assistant(" ".join(sentence(r.kind, f) for r, f in zip(self.requests, self.facts, strict=True)))

    def _script(self) -> Iterator[tuple[str, ToolCall]]:
        """All calls in order, each once; the first one of a request says what came of the requests before."""
        planned, said = set(), ""
        for r, stated in zip(self.requests, self.facts, strict=True):
            for note, wanted in plan(self.start, self.customer, r):
                if _signature(wanted) not in planned:
                    planned.add(_signature(wanted))
                    yield f"{said} {note}".strip(), wanted
                    said = ""
            said = f"{said} {sentence(r.kind, stated)}".strip()

    def _states_facts(self, answer: str) -> bool:
        if len(answer) > MAX_ANSWER:
            return False
        for word, strict in ((_RULE, True), (_STATUS, False)):  # naming all of them is no answer
            expected = {f for f in self.facts if word.fullmatch(f)}
            if (strict or expected) and set(word.findall(answer)) != expected:
                return False
        return all(re.search(rf"(?<![\w.-]){re.escape(f)}(?![\w]|\.\d)", answer) for f in self.facts)

    # ---- states ------------------------------------------------------------------------------------------------------------

    def copy_state(self, state: Desk) -> Desk:
        """Rows are immutable: copying the tables is enough."""
        return Desk(state.store.copy(), set(state.made), dict(state.read), state.distance, state.blind)

    @property
    def _store(self) -> Store:
        return self.state.store  # type: ignore[no-any-return]

    def _goods(self, order: Order) -> list[str]:
        return [i.product_id for i in self._store.items_of(order.order_id)]

    def _name(self, product_id: str) -> str:
        return self._store.products[product_id].name

    def _shown(self, product: Product) -> dict[str, Any]:
        self.state.read.setdefault(product.product_id, self.turn)
        return {"product_id": product.product_id, "name": product.name, "price": money(product.price), "stock": product.stock}


def _signature(c: ToolCall) -> str:
    return f"{c.name} {sorted((c.arguments or {}).items())}"
