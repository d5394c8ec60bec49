"""Tasks of our own for retail's tools: a small shop in the published layout, made from a seed, and one wish of a customer."""

import functools
import random
from typing import Any

import msgspec

from agentgym import Task
from agentgym.partners import Card, Line

from .domain import Domain
from .retail import Retail

TOOLKIT = Retail
POLICY = """You serve customers of a shop. First find out who writes: ask for email, or name and zip code, and find the user.
Only pending orders can be cancelled or modified, only delivered ones returned or exchanged, each only once.
Items are exchanged for others of the same product. Tell the user what you are about to change and ask for a yes before you do it.
One tool call at a time; when the user's wish is done, say so."""

_FIRST = ("Ada", "Bo", "Cleo", "Dina", "Emil", "Freya", "Gil", "Hedda")
_LAST = ("Brandt", "Carlsen", "Duarte", "Evers", "Falk", "Grant", "Hansen", "Ivers")
_GOODS = {
    "lamp": ("red", "green", "white"),
    "kettle": ("steel", "glass"),
    "rug": ("wool", "jute", "linen"),
    "chair": ("oak", "pine"),
}
_REASONS = ("no longer needed", "ordered by mistake")
_WISHES = {
    "pending": ("cancel", "address", "modify"),
    "delivered": ("return", "exchange"),
}


def make_task(rng: random.Random) -> Task:
    """A customer and what he wants, with the actions that serve him."""
    seed = rng.randrange(2**32)
    base = _shop(seed)
    order = rng.choice([o for o in base["orders"].values() if o["status"] in _WISHES])
    person = base["users"][order["user_id"]]
    wish, action = _wish(rng, base, order, rng.choice(_WISHES[order["status"]]))
    name, zip_code = person["name"], person["address"]["zip"]
    who = f"I am {name['first_name']} {name['last_name']}, zip code {zip_code}."
    card = Card(wish, (Line(who, ("email", "zip", "name")),), goal=f"{wish} {who}")
    found = _action("find_user_id_by_name_zip", **name, zip=zip_code)
    gold = [found, _action("get_order_details", order_id=order["order_id"])]
    if "new_item_ids" in action["arguments"]:
        gold.append(_action("get_product_details", product_id=order["items"][0]["product_id"]))
    criteria = {"actions": [*gold, action], "reward_basis": ["DB"]}
    return Task(wish, {"seed": seed, "user": msgspec.to_builtins(card), "initial": {}, "criteria": criteria})


def domain(task: Task) -> Domain:
    """The shop of a task."""
    return Domain("shop", POLICY, _shop(task.data["seed"]), TOOLKIT)


def _wish(rng: random.Random, base: dict[str, Any], order: dict[str, Any], kind: str) -> tuple[str, dict[str, Any]]:
    number, item = order["order_id"], order["items"][0]
    method = order["payment_history"][0]["payment_method_id"]
    if kind == "cancel":
        reason = rng.choice(_REASONS)
        return f"Please cancel my order {number}: {reason}.", _action("cancel_pending_order", order_id=number, reason=reason)
    if kind == "address":
        to = _address(rng)
        words = f"Please send my order {number} to {', '.join(to.values())}."
        return words, _action("modify_pending_order_address", order_id=number, **to)
    held = {"order_id": number, "item_ids": [item["item_id"]], "payment_method_id": method}
    if kind == "return":
        words = f"I want to return the {item['name']} of order {number}, refunded to {method}."
        return words, _action("return_delivered_order_items", **held)
    variants = base["products"][item["product_id"]]["variants"].values()
    new = rng.choice([v for v in variants if v["item_id"] != item["item_id"]])
    words = f"I would rather have the {item['name']} of order {number} in {new['options']['kind']}; settle it with {method}."
    name = "modify_pending_order_items" if kind == "modify" else "exchange_delivered_order_items"
    return words, _action(name, **held, new_item_ids=[new["item_id"]])


def _action(name: str, /, **arguments: Any) -> dict[str, Any]:
    return {"name": name, "arguments": arguments}


@functools.lru_cache(maxsize=64)  # a base is shared and never changed
def _shop(seed: int) -> dict[str, dict[str, Any]]:
    """Products, users and orders; the same for the same seed, on every machine."""
    rng = random.Random(seed)
    numbers = iter(rng.sample(range(1_000_000, 10_000_000), 32))
    products = {}
    for name, kinds in _GOODS.items():
        variants = {}
        for kind in kinds:
            item = str(next(numbers))
            price = rng.randrange(10, 90) + 0.9
            variants[item] = {"item_id": item, "options": {"kind": kind}, "available": True, "price": price}
        product = str(next(numbers))
        products[product] = {"name": name, "product_id": product, "variants": variants}
    users: dict[str, Any] = {}
    orders: dict[str, Any] = {}
    for first, last in zip(rng.sample(_FIRST, 3), rng.sample(_LAST, 3), strict=True):
        key, card = f"{first}_{last}_{next(numbers)}".lower(), f"credit_card_{next(numbers)}"
        users[key] = {
            "user_id": key,
            "name": {"first_name": first, "last_name": last},
            "address": _address(rng),
            "email": f"{first}.{last}@example.com".lower(),
            "payment_methods": {card: {"source": "credit_card", "id": card, "brand": "visa", "last_four": card[-4:]}},
            "orders": [],
        }
        for status in ("pending", "delivered"):
            order = _order(rng, f"#W{next(numbers)}", users[key], status, rng.choice(list(products.values())))
            orders[order["order_id"]] = order
            users[key]["orders"].append(order["order_id"])
    return {"products": products, "users": users, "orders": orders}


def _order(rng: random.Random, number: str, user: dict[str, Any], status: str, product: dict[str, Any]) -> dict[str, Any]:
    variant = rng.choice(list(product["variants"].values()))
    item = {"name": product["name"], "product_id": product["product_id"]}
    item |= {k: variant[k] for k in ("item_id", "price", "options")}
    method = next(iter(user["payment_methods"]))
    return {
        "order_id": number,
        "user_id": user["user_id"],
        "address": user["address"],
        "items": [item],
        "status": status,
        "fulfillments": [],
        "payment_history": [{"transaction_type": "payment", "amount": item["price"], "payment_method_id": method}],
    }


def _address(rng: random.Random) -> dict[str, str]:
    return {
        "address1": f"{rng.randrange(1, 100)} {rng.choice(('Elm Road', 'Mill Lane', 'Oak Street'))}",
        "address2": "",
        "city": rng.choice(("Denver", "Boston", "Dallas")),
        "state": rng.choice(("CO", "MA", "TX")),
        "country": "USA",
        "zip": str(rng.randrange(10000, 100000)),
    }
