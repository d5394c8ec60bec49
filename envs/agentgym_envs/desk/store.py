"""The desk's relational store: five tables of immutable rows.

Rows are never changed but replaced, so a copy of the store is five shallow dictionary copies, whatever its size.
Money is in cents; what the agent reads is in units with two decimals.
"""

import random
from typing import Literal, TypeVar

import msgspec
from msgspec.structs import replace

from agentgym import ToolError

Status = Literal["pending", "shipped", "delivered", "cancelled"]
Method = Literal["card", "voucher"]
Row = TypeVar("Row")

NAMES = (
    "Ada Brandt", "Bo Carlsen", "Cleo Duarte", "Dina Evers", "Emil Falk", "Freya Grant", "Gil Hansen", "Hedda Ivers",
    "Ines Jansen", "Jon Keller", "Kaja Lund", "Leo Marin", "Mara Novak", "Nils Ortega", "Olga Petri", "Pia Quist",
)  # fmt: skip
STREETS = (
    "Elm Road", "Mill Lane", "Oak Street", "Harbour Way", "Station Road", "Garden Row", "Bridge Street", "Church Hill",
    "Park Avenue", "River Walk", "Market Square", "Forest Drive",
)  # fmt: skip
GOODS = (
    "desk lamp", "floor lamp", "wool rug", "linen sheet", "steel kettle", "glass jug", "oak chair", "pine shelf",
    "tea towel", "wall clock", "bread knife", "salad bowl", "coat rack", "door mat", "bath mat", "photo frame",
    "oven glove", "soap dish", "toy train", "candle set",
)  # fmt: skip


class Customer(msgspec.Struct, frozen=True):
    """Who buys."""

    customer_id: str
    name: str


class Product(msgspec.Struct, frozen=True):
    """What is sold; `stock` in pieces, `price` in cents."""

    product_id: str
    name: str
    price: int
    stock: int


class Order(msgspec.Struct, frozen=True):
    """What was bought; `days` counts from delivery, and is None before."""

    order_id: str
    customer_id: str
    status: Status
    address: str
    days: int | None


class Item(msgspec.Struct, frozen=True):
    """One piece of an order; `price` in cents, as it was paid."""

    order_id: str
    product_id: str
    price: int
    refunded: bool = False


class Payment(msgspec.Struct, frozen=True):
    """How an order was paid; `paid` and `refunded` in cents."""

    order_id: str
    method: Method
    paid: int
    refunded: int = 0


class Store(msgspec.Struct):
    """The tables, by primary key; `items` by order and product."""

    customers: dict[str, Customer]
    products: dict[str, Product]
    orders: dict[str, Order]
    items: dict[str, Item]
    payments: dict[str, Payment]

    def copy(self) -> "Store":
        """A store that shares only immutable rows with this one."""
        return Store(*(dict(getattr(self, name)) for name in self.__struct_fields__))

    def order(self, order_id: str) -> Order:
        """The order, or a `ToolError` that names it."""
        return _row(self.orders, order_id, "order")

    def product(self, product_id: str) -> Product:
        """The product, or a `ToolError` that names it."""
        return _row(self.products, product_id, "product")

    def items_of(self, order_id: str) -> list[Item]:
        """The items of an order."""
        return [i for i in self.items.values() if i.order_id == order_id]

    # The four changes an agent can make. They hold to what is physically possible, not to the shop's rules: those are the
    # agent's to keep.

    def change_address(self, order_id: str, address: str) -> None:
        """Send an order elsewhere."""
        self.orders[order_id] = replace(self.order(order_id), address=address)

    def cancel(self, order_id: str) -> int:
        """Cancel an order, put its items back into stock, and return the cents that are paid back."""
        order = self.order(order_id)
        if order.status == "cancelled":
            raise ToolError(f"order {order_id} is cancelled already")
        self.orders[order_id] = replace(order, status="cancelled")
        for item in self.items_of(order_id):
            self._restock(item.product_id, 1)
        payment = self.payments[order_id]
        back = payment.paid - payment.refunded
        self.payments[order_id] = replace(payment, refunded=payment.paid)
        return back

    def refund(self, order_id: str, product_id: str) -> int:
        """Pay one item back and return its cents."""
        item = self._kept_item(order_id, product_id)
        self.items[_key(order_id, product_id)] = replace(item, refunded=True)
        payment = self.payments[order_id]
        self.payments[order_id] = replace(payment, refunded=payment.refunded + item.price)
        return item.price

    def exchange(self, order_id: str, product_id: str, new_product_id: str) -> int:
        """Replace one item by another product and return the cents that the customer still has to pay (or gets, if negative)."""
        item, new = self._kept_item(order_id, product_id), self.product(new_product_id)
        if new.stock < 1:
            raise ToolError(f"{new_product_id} is out of stock")
        if _key(order_id, new_product_id) in self.items:
            raise ToolError(f"order {order_id} holds {new_product_id} already")
        del self.items[_key(order_id, product_id)]
        self.items[_key(order_id, new_product_id)] = Item(order_id, new_product_id, new.price)
        self._restock(product_id, 1)
        self._restock(new_product_id, -1)
        payment = self.payments[order_id]
        self.payments[order_id] = replace(payment, paid=payment.paid + new.price - item.price)
        return new.price - item.price

    def _kept_item(self, order_id: str, product_id: str) -> Item:
        if self.order(order_id).status == "cancelled":
            raise ToolError(f"order {order_id} is cancelled")
        item = _row(self.items, _key(order_id, product_id), "item")
        if item.refunded:
            raise ToolError(f"{product_id} of order {order_id} is refunded already")
        return item

    def _restock(self, product_id: str, pieces: int) -> None:
        product = self.products[product_id]
        self.products[product_id] = replace(product, stock=product.stock + pieces)


def differing_rows(a: Store, b: Store) -> int:
    """How many rows of all tables are not the same in both stores."""
    count = 0
    for name in a.__struct_fields__:
        ours, theirs = getattr(a, name), getattr(b, name)
        if ours != theirs:
            count += sum(ours.get(key) != theirs.get(key) for key in ours.keys() | theirs.keys())
    return count


def money(cents: int) -> str:
    """Cents as an amount: 2490 -> "24.90"."""
    return f"{cents / 100:.2f}"


def build(seed: int) -> Store:
    """A small shop: three customers with two or three orders each. The same for the same seed, on every machine."""
    rng = random.Random(seed)
    numbers = rng.sample(range(1000, 10000), 3)
    customers = {f"C{n}": Customer(f"C{n}", name) for n, name in zip(numbers, rng.sample(NAMES, 3), strict=True)}
    codes = rng.sample(range(100, 1000), len(GOODS))
    products = {
        f"P{n}": Product(f"P{n}", name, rng.randrange(5, 90) * 100 + 90, rng.choice((0, 0, 2, 5, 9)))
        for n, name in zip(codes, GOODS, strict=True)
    }
    store = Store(customers, products, {}, {}, {})
    order_numbers = iter(rng.sample(range(1000, 10000), 9))
    for customer_id in customers:
        goods = iter(rng.sample(list(products.values()), 6))  # no customer buys the same twice: names identify items
        more: tuple[Status, ...] = ("pending", "shipped", "delivered")
        statuses: list[Status] = ["pending", "delivered", *rng.sample(more, rng.randrange(2))]
        for status in rng.sample(statuses, len(statuses)):
            bought = [next(goods) for _ in range(rng.choice((1, 1, 2)))]
            _add_order(store, rng, status, f"O{next(order_numbers)}", customer_id, bought)
    return store


def _add_order(store: Store, rng: random.Random, status: Status, order_id: str, customer_id: str, goods: list[Product]) -> None:
    days = rng.choice((rng.randrange(10, 29), rng.randrange(10, 29), rng.randrange(33, 90))) if status == "delivered" else None
    store.orders[order_id] = Order(order_id, customer_id, status, address(rng), days)
    for product in goods:
        store.items[_key(order_id, product.product_id)] = Item(order_id, product.product_id, product.price)
    method: Method = rng.choice(("card", "card", "voucher"))
    store.payments[order_id] = Payment(order_id, method, sum(p.price for p in goods))


def address(rng: random.Random) -> str:
    """A street and a number."""
    return f"{rng.randrange(1, 100)} {rng.choice(STREETS)}"


def _key(order_id: str, product_id: str) -> str:
    return f"{order_id}/{product_id}"


def _row(table: dict[str, Row], key: str, what: str) -> Row:
    if key not in table:
        raise ToolError(f"there is no {what} {key}")
    return table[key]
