"""The catalogue: products made from a seed, one by one, and a full-text index over them.

A product follows from the catalogue's seed and its number alone, so that tasks are made without building the catalogue.
"""

import functools
import random
import re
import sqlite3
import threading

import msgspec

from .words import BLAME, BRANDS, CATEGORIES, DOUBTS, FIRST_NAMES, LINES, PRAISE, Category

MOST = 500  # results of a search that can be paged through
SORTS = {"relevance": "best match", "price": "lowest price", "price-desc": "highest price", "rating": "customer rating"}
_WORD = re.compile(r"\w+")


class Choice(msgspec.Struct, frozen=True, gc=False):
    """A value of an option, and what it costs beyond the product's price, in cents."""

    value: str
    extra: int


class Review(msgspec.Struct, frozen=True, gc=False):
    """What a customer says; `stars` from 1 to 5."""

    author: str
    stars: int
    text: str


class Product(msgspec.Struct, frozen=True, gc=False):
    """What is sold.

    Attributes:
        number: From 0 on; also its address in the shop.
        category: Index into `CATEGORIES`.
        features: Most are said on the product's page only; the first two are part of the title.
        price: In cents, before options.
        options: By axis, the first choice of each being free of charge.
    """

    number: int
    title: str
    type: str
    category: int
    features: tuple[str, ...]
    price: int
    options: dict[str, tuple[Choice, ...]]
    reviews: tuple[Review, ...]

    @property
    def shelf(self) -> Category:
        """Its category."""
        return CATEGORIES[self.category]

    @property
    def rating(self) -> float:
        """Mean stars; 0 without reviews."""
        return sum(r.stars for r in self.reviews) / len(self.reviews) if self.reviews else 0.0

    def cost(self, options: dict[str, str]) -> int:
        """Price in cents with these options.

        Raises:
            ValueError: an axis is missing, or there is no such axis or value.
        """
        if options.keys() != self.options.keys():
            raise ValueError(f"choose {' and '.join(self.options)}")
        total = self.price
        for axis, value in options.items():
            extra = next((c.extra for c in self.options[axis] if c.value == value), None)
            if extra is None:
                raise ValueError(f"there is no {axis} {value!r}")
            total += extra
        return total


def make_product(seed: int, number: int) -> Product:
    """Product `number` of the catalogue with this seed."""
    rng = random.Random(f"shop/{seed}/{number}")
    index = rng.randrange(len(CATEGORIES))
    shelf = CATEGORIES[index]
    kind = rng.choice(shelf.types)
    features = tuple(rng.sample(shelf.features, rng.randint(4, 6)))
    low, high = shelf.prices
    price = round(low * (high / low) ** rng.random()) * 100 - rng.choice((0, 1, 5, 50))
    options = {axis: _choices(rng, values, price) for axis, values in shelf.options.items()}
    title = f"{rng.choice(BRANDS)} {rng.choice(LINES)} {rng.randrange(10, 100)} {kind}, {features[0]}, {features[1]}"
    reviews = tuple(_review(rng) for _ in range(rng.choice((0, 1, 1, 2, 3))))
    return Product(number, title, kind, index, features, price, options, reviews)


def _choices(rng: random.Random, values: tuple[str, ...], price: int) -> tuple[Choice, ...]:
    """Some of the values in their order; often the later ones cost more."""
    kept = sorted(rng.sample(range(len(values)), rng.randint(2, min(5, len(values)))))
    step = rng.choice((0, 0, max(100, price // 2000 * 100)))
    return tuple(Choice(values[k], i * step) for i, k in enumerate(kept))


def _review(rng: random.Random) -> Review:
    stars = rng.choice((1, 2, 3, 4, 4, 5, 5, 5))
    return Review(rng.choice(FIRST_NAMES), stars, rng.choice(PRAISE if stars > 3 else DOUBTS if stars == 3 else BLAME))


class Catalogue:
    """All products, and search over them. It never changes: one is shared by all sessions and threads.

    Args:
        seed: What it is made from.
        size: How many products.
    """

    def __init__(self, seed: int, size: int) -> None:
        self.products = [make_product(seed, n) for n in range(size)]
        self._lock = threading.Lock()
        self._db = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
        self._db.execute("CREATE VIRTUAL TABLE found USING fts5(title, body, content = '', tokenize = 'porter unicode61')")
        self._db.execute("CREATE TABLE product (number INTEGER PRIMARY KEY, category INT, price INT, rating REAL)")
        self._db.execute("BEGIN")
        self._db.executemany(
            "INSERT INTO found(rowid, title, body) VALUES (?, ?, ?)",
            ((p.number, p.title, f"{p.shelf.name} {p.shelf.department} {' '.join(p.features[2:])}") for p in self.products),
        )
        self._db.executemany(
            "INSERT INTO product VALUES (?, ?, ?, ?)", ((p.number, p.category, p.price, p.rating) for p in self.products)
        )
        self._db.execute("COMMIT")
        self.search = functools.lru_cache(4096)(self._search)

    def _search(self, words: str, category: int | None, limit: int | None, sort: str) -> tuple[int, ...]:
        """Numbers of the products found, at most `MOST`.

        All words have to occur; where no product has them all, some of them.

        Args:
            words: What to search for; all products where it has no words.
            category: Only of this one.
            limit: Only up to this price in cents.
            sort: One of `SORTS`.
        """
        terms = [f'"{w}"' for w in _WORD.findall(words)[:32]]
        found = self._matches(" ".join(terms), category, limit, sort)
        return found or (self._matches(" OR ".join(terms), category, limit, sort) if len(terms) > 1 else ())

    def _matches(self, match: str, category: int | None, limit: int | None, sort: str) -> tuple[int, ...]:
        order = {"price": "price", "price-desc": "price DESC", "rating": "rating DESC"}.get(sort, "rank" if match else "number")
        tables = "found JOIN product ON number = found.rowid" if match else "product"
        conditions = {"found MATCH ?": match or None, "category = ?": category, "price <= ?": limit}
        given = {condition: value for condition, value in conditions.items() if value is not None}
        where = f"WHERE {' AND '.join(given)}" if given else ""
        query = f"SELECT number FROM {tables} {where} ORDER BY {order}, number LIMIT {MOST}"
        with self._lock:
            return tuple(n for (n,) in self._db.execute(query, tuple(given.values())))


@functools.lru_cache(2)
def catalogue(seed: int, size: int) -> Catalogue:
    """The catalogue with this seed and size, built once in a process (about a second for 20,000 products)."""
    return Catalogue(seed, size)
