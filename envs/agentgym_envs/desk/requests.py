"""What customers ask for: how it is said, what the rules say to it, what has to be read first, done and answered."""

import random
from collections.abc import Iterator
from typing import Any

import msgspec

from agentgym import Task, ToolCall, call

from .store import Order, Store, address, build, money

RULES = """You serve the customers of a shop with the tools. Rules:
R1: Serve only orders of the customer who writes.
R2: Cancel an order or change its address only while it is pending.
R3: Refund or exchange only items of delivered orders, at most 30 days after delivery.
R4: Do not refund what was paid by voucher.
R5: Exchange only for a product that is in stock.
Read each order, and each product you would send, before you decide.
If a rule forbids a request, change nothing for it and name the rule in your answer.
End with one short answer that states what was asked for: status, address or amount."""

PHRASES = {
    "status": ("what is the status of {what}?", "where is {what} now?"),
    "paid": ("how much did I pay for {what}?", "what was the total of {what}?"),
    "cancel": ("please cancel {what}.", "I do not need {what} any more, cancel it."),
    "address": ("please send {what} to {address}.", "change the address of {what} to {address}."),
    "refund": ("I want my money back for the {item} of {what}.", "please refund the {item} from {what}."),
    "exchange": ("please exchange the {item} of {what} for {new}.", "I would rather have {new} than the {item} of {what}."),
}
ITEM_KINDS = ("refund", "exchange")
FORBIDS = {  # the kinds of request that each rule can forbid
    "R1": tuple(PHRASES),
    "R2": ("cancel", "address"),
    "R3": ITEM_KINDS,
    "R4": ("refund",),
    "R5": ("exchange",),
}


class Request(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing a customer wants, by ids; `named` when the customer names goods instead of ids."""

    kind: str
    order: str
    product: str = ""
    new: str = ""
    address: str = ""
    named: bool = False


def make_task(rng: random.Random, level: str) -> Task:
    """A task of a level: "easy" gives the order's id, "medium" names the goods instead, "hard" asks two things at once."""
    seed = rng.randrange(2**32)
    store = build(seed)
    customer = rng.choice(list(store.customers))
    requests = [draw(rng, store, customer, level)]
    if level == "hard":
        others = [draw(rng, store, customer, level) for _ in range(8)]
        requests += [r for r in others if r.order != requests[0].order][:1]
    text = " Also, ".join(phrase(rng, store, r) for r in requests)
    data = {"seed": seed, "customer": customer, "requests": msgspec.to_builtins(requests)}
    return Task(f"Customer {customer}: {text}", data, difficulty=level)


def draw(rng: random.Random, store: Store, customer: str, level: str) -> Request:
    """A request: half of them allowed, of every kind alike, the others forbidden by one rule alone, by every rule alike.

    R1 occurs on the hard level only. Where a shop has nothing of the wanted sort, another sort is drawn.
    """
    rules = ("R1", "R2", "R3", "R4", "R5") if level == "hard" else ("R2", "R3", "R4", "R5")
    while True:
        wanted = rng.choice(rules) if rng.random() < 0.5 else None
        kind = rng.choice(FORBIDS[wanted] if wanted else list(PHRASES))
        orders = [o for o in store.orders.values() if (o.customer_id != customer) == (wanted == "R1")]
        for order in rng.sample(orders, len(orders)):
            request = _request(rng, store, kind, order, named=level != "easy" and wanted != "R1")
            if broken(store, customer, request) == ([wanted] if wanted else []):
                return request


def _request(rng: random.Random, store: Store, kind: str, order: Order, named: bool) -> Request:
    items = store.items_of(order.order_id)
    product = rng.choice(items).product_id if kind in ITEM_KINDS or named else ""
    held = {i.product_id for i in items}
    new = rng.choice([p for p in store.products if p not in held]) if kind == "exchange" else ""
    return Request(kind, order.order_id, product, new, address(rng) if kind == "address" else "", named)


def phrase(rng: random.Random, store: Store, r: Request) -> str:
    """The request in the customer's words."""
    item = f'"{store.products[r.product].name}"' if r.product else ""
    what = f"order {r.order}"
    if r.named:
        what = "my order" if r.kind in ITEM_KINDS else f"the order with the {item}"
    new = (f'the "{store.products[r.new].name}"' if r.named else f"product {r.new}") if r.new else ""
    return rng.choice(PHRASES[r.kind]).format(what=what, item=item, new=new, address=r.address)


def broken(store: Store, customer: str, r: Request) -> list[str]:
    """All rules that forbid the request, in their order."""
    order = store.orders[r.order]
    swaps = r.kind in ITEM_KINDS
    breaks = {
        "R1": order.customer_id != customer,
        "R2": r.kind in ("cancel", "address") and order.status != "pending",
        "R3": swaps and (order.status != "delivered" or (order.days or 0) > 30),
        "R4": r.kind == "refund" and store.payments[r.order].method == "voucher",
        "R5": r.kind == "exchange" and store.products[r.new].stock < 1,
    }
    return [rule for rule, holds in breaks.items() if holds]


def forbidden(store: Store, customer: str, r: Request) -> str | None:
    """The first rule that forbids the request, or None."""
    return next(iter(broken(store, customer, r)), None)


def plan(store: Store, customer: str, r: Request) -> Iterator[tuple[str, ToolCall]]:
    """The calls that serve the request, reading before acting; `store` is the shop before anything was done.

    Where an id has to be looked up by a name, the call comes with a note that says what was found, as agents that reason
    before they act do (Yao et al. 2023, "ReAct"): a small policy learns to find and then to copy, but not both at once.
    """
    if r.named:
        yield "", call("list_orders", customer_id=customer)
        yield _found(store, r.product, r.order), call("get_order", order_id=r.order)
    else:
        yield "", call("get_order", order_id=r.order)
    rule = forbidden(store, customer, r)
    if r.kind == "exchange" and rule in (None, "R5"):
        yield "", call("find_product", name=store.products[r.new].name) if r.named else call("get_product", product_id=r.new)
    if rule is None and (action := change(r)):
        yield _found(store, r.product, r.product) if r.kind in ITEM_KINDS else "", action


def _found(store: Store, product_id: str, found: str) -> str:
    return f'I found "{store.products[product_id].name}":"{found}".'


def change(r: Request) -> ToolCall | None:
    """The agent's call for `apply`; None for questions."""
    if r.kind == "cancel":
        return call("cancel_order", order_id=r.order)
    if r.kind == "address":
        return call("change_address", order_id=r.order, address=r.address)
    if r.kind == "refund":
        return call("refund_item", order_id=r.order, product_id=r.product)
    if r.kind == "exchange":
        return call("exchange_item", order_id=r.order, product_id=r.product, new_product_id=r.new)
    return None


def apply(store: Store, r: Request) -> None:
    """Change the store as the request asks; nothing for questions."""
    if r.kind == "cancel":
        store.cancel(r.order)
    elif r.kind == "address":
        store.change_address(r.order, r.address)
    elif r.kind == "refund":
        store.refund(r.order, r.product)
    elif r.kind == "exchange":
        store.exchange(r.order, r.product, r.new)


def fact(store: Store, customer: str, r: Request) -> str:
    """What the answer must state: the rule that forbids, or the status, address or amount asked for."""
    rule = forbidden(store, customer, r)
    if rule:
        return rule
    if r.kind == "status":
        return store.orders[r.order].status
    if r.kind == "address":
        return r.address
    if r.kind == "exchange":
        return money(store.products[r.new].price - store.items[f"{r.order}/{r.product}"].price)
    if r.kind == "refund":
        return money(store.items[f"{r.order}/{r.product}"].price)
    return money(store.payments[r.order].paid)


def sentence(kind: str, stated: str) -> str:
    """The oracle's answer to one request."""
    if stated in FORBIDS:
        return f"I am sorry, rule {stated} forbids this."
    return {
        "status": f"The order is {stated}.",
        "paid": f"You paid {stated}.",
        "cancel": f"It is cancelled, {stated} is paid back.",
        "address": f"It goes to {stated}.",
        "refund": f"You get {stated} back.",
        "exchange": f"It is exchanged, the difference is {stated}.",
    }[kind]


def from_task(data: dict[str, Any]) -> list[Request]:
    """The requests of a task."""
    return msgspec.convert(data["requests"], list[Request])
