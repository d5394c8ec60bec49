"""The pages of the shop. Forms answer with a redirect to a page, so every page has an address."""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from agentgym_envs.web.site import LONGEST, Session, Site, form, position, see, whole_number

from .catalogue import SORTS, Catalogue, Product, Review
from .words import CATEGORIES

PER_PAGE = 10
MOST_UNITS = 9  # of one line of the cart
DELIVERY = {"standard": 0, "express": 499}  # cents
REFUSALS = {  # why a form was not accepted
    "options": "Choose a value for each option first.",
    "quantity": f"The quantity has to be a number up to {MOST_UNITS}.",
    "review": "A review has one to five stars and a text.",
    "empty": "Your cart is empty.",
    "details": "Give a name, an address and a delivery.",
}
SCHEMA = """
CREATE TABLE account (name TEXT, address TEXT);
INSERT INTO account VALUES ('Robin Vance', '12 Harbour Way');
CREATE TABLE cart (line INTEGER PRIMARY KEY, product INT, options TEXT, quantity INT);
CREATE TABLE orders (number INTEGER PRIMARY KEY, name TEXT, address TEXT, delivery TEXT, total INT, status TEXT);
CREATE TABLE items (number INT, product INT, options TEXT, quantity INT, price INT);
CREATE TABLE reviews (product INT, stars INT, text TEXT);
"""


class Line(msgspec.Struct, frozen=True, gc=False):
    """So many units of a product with these options, in the cart or in an order; `price` of one unit in cents."""

    line: int
    product: Product
    options: dict[str, str]
    quantity: int
    price: int

    @property
    def item(self) -> int:
        """The product's number."""
        return self.product.number


class Shop(Site):
    """Search, products, cart, checkout, orders, account and reviews, over a catalogue."""

    def __init__(self, goods: Catalogue) -> None:
        self.goods = goods
        super().__init__(
            "Harbour Goods",
            __package__,
            SCHEMA,
            {
                "GET /": self.home,
                "GET /search": self.search,
                "GET /product/{number}": self.product,
                "POST /product/{number}/reviews": self.review,
                "GET /cart": self.cart,
                "POST /cart": self.add,
                "POST /cart/{line}": self.change,
                "GET /checkout": self.checkout,
                "POST /checkout": self.order,
                "GET /orders": self.orders,
                "GET /orders/{number}": self.placed,
                "POST /orders/{number}/cancel": self.cancel,
                "GET /account": self.account,
                "POST /account": self.save,
            },
            REFUSALS,
        )
        self.templates.globals.update(categories=CATEGORIES, sorts=SORTS, delivery=DELIVERY, most_units=MOST_UNITS)

    # ---- looking ---------------------------------------------------------------------------------------------------------

    async def home(self, request: Request, session: Session) -> Response:
        """The shelves."""
        return self._page("home.html", session)

    async def search(self, request: Request, session: Session) -> Response:
        """Results: ten a page, filtered and sorted as the query says."""
        asked = {name: request.query_params.get(name, "") for name in ("q", "category", "limit", "sort")}
        words, sort = asked["q"][:LONGEST], asked["sort"] or "relevance"
        try:
            category, limit = whole_number(asked["category"]), whole_number(asked["limit"])
            page = max(1, whole_number(request.query_params.get("page", "")) or 1)
        except ValueError as error:
            raise HTTPException(400, f"{error}.") from None
        if sort not in SORTS or (category is not None and category >= len(CATEGORIES)):
            raise HTTPException(400, "There is no such filter.")
        found = self.goods.search(words, category, None if limit is None else limit * 100, sort)
        first = (page - 1) * PER_PAGE
        others = {n: urlencode({k: v for k, v in asked.items() if v} | {"page": n}) for n in (page - 1, page + 1)}
        return self._page(
            "search.html",
            session,
            words=words,
            category=category,
            limit=limit,
            sort=sort,
            total=len(found),
            first=first,
            results=[self.goods.products[n] for n in found[first : first + PER_PAGE]],
            previous=others[page - 1] if page > 1 else "",
            following=others[page + 1] if first + PER_PAGE < len(found) else "",
        )

    async def product(self, request: Request, session: Session) -> Response:
        """All that is said of a product, its options, and its reviews, those of this visitor first."""
        product = self._product(request.path_params["number"])
        rows = session.db.execute("SELECT stars, text FROM reviews WHERE product = ? ORDER BY rowid DESC", (product.number,))
        reviews = [*(Review("You", *row) for row in rows), *product.reviews]
        return self._page("product.html", session, product=product, reviews=reviews)

    async def review(self, request: Request, session: Session) -> Response:
        """Write a review."""
        product, sent = self._product(request.path_params["number"]), await form(request)
        stars, text = sent.get("stars"), sent.get("text")
        if stars not in ("1", "2", "3", "4", "5") or not text:
            return see("/refused/review")
        session.db.execute("INSERT INTO reviews VALUES (?, ?, ?)", (product.number, int(stars), text))
        return see(f"/product/{product.number}")

    # ---- buying ----------------------------------------------------------------------------------------------------------

    async def cart(self, request: Request, session: Session) -> Response:
        """What is in the cart."""
        lines = self.lines(session)
        return self._page("cart.html", session, lines=lines, total=sum(line.price * line.quantity for line in lines))

    async def add(self, request: Request, session: Session) -> Response:
        """Put a product with its options into the cart."""
        sent = await form(request)
        product, quantity = self._product(sent.get("product", "")), _units(sent)
        options = {axis: sent.get(axis, "") for axis in product.options}
        try:
            product.cost(options)
        except ValueError:
            return see("/refused/options")
        if not quantity:
            return see("/refused/quantity")
        row = (product.number, json.dumps(options), quantity)
        session.db.execute("INSERT INTO cart(product, options, quantity) VALUES (?, ?, ?)", row)
        return see("/cart")

    async def change(self, request: Request, session: Session) -> Response:
        """Change the quantity of a line of the cart; 0 removes it."""
        sent, line = await form(request), position(request.path_params["line"])
        quantity = 0 if "remove" in sent else _units(sent)
        if quantity is None:
            return see("/refused/quantity")
        if quantity:
            session.db.execute("UPDATE cart SET quantity = ? WHERE line = ?", (quantity, line))
        else:
            session.db.execute("DELETE FROM cart WHERE line = ?", (line,))
        return see("/cart")

    async def checkout(self, request: Request, session: Session) -> Response:
        """Where to, and how."""
        lines = self.lines(session)
        if not lines:
            return see("/cart")
        name, address = session.db.execute("SELECT name, address FROM account").fetchone()
        total = sum(line.price * line.quantity for line in lines)
        return self._page("checkout.html", session, lines=lines, total=total, name=name, address=address)

    async def order(self, request: Request, session: Session) -> Response:
        """Buy what is in the cart."""
        sent, lines = await form(request), self.lines(session)
        name, address, way = sent.get("name"), sent.get("address"), sent.get("delivery")
        if not lines:
            return see("/refused/empty")
        if not name or not address or way not in DELIVERY:
            return see("/refused/details")
        total = sum(line.price * line.quantity for line in lines) + DELIVERY[way]
        insert = "INSERT INTO orders(name, address, delivery, total, status) VALUES (?, ?, ?, ?, 'placed')"
        placed = session.db.execute(insert, (name, address, way, total)).lastrowid
        session.db.executemany(
            "INSERT INTO items VALUES (?, ?, ?, ?, ?)",
            [(placed, line.product.number, json.dumps(line.options), line.quantity, line.price) for line in lines],
        )
        session.db.execute("DELETE FROM cart")
        return see(f"/orders/{placed}")

    # ---- what was bought, and by whom ------------------------------------------------------------------------------------

    async def orders(self, request: Request, session: Session) -> Response:
        """All orders, the last one first."""
        rows = session.db.execute("SELECT number, total, status FROM orders ORDER BY number DESC").fetchall()
        return self._page("orders.html", session, orders=rows)

    async def placed(self, request: Request, session: Session) -> Response:
        """One order."""
        order = position(request.path_params["number"])
        columns = ("name", "address", "delivery", "total", "status")
        row = session.db.execute(f"SELECT {', '.join(columns)} FROM orders WHERE number = ?", (order,)).fetchone()
        if row is None:
            raise HTTPException(404, "There is no such order.")
        details = dict(zip(columns, row, strict=True))
        return self._page("order.html", session, number=order, lines=self.bought(session, order), order=details)

    async def cancel(self, request: Request, session: Session) -> Response:
        """Cancel an order."""
        order = position(request.path_params["number"])
        session.db.execute("UPDATE orders SET status = 'cancelled' WHERE number = ?", (order,))
        return see(f"/orders/{order}")

    async def account(self, request: Request, session: Session) -> Response:
        """Name and address."""
        name, address = session.db.execute("SELECT name, address FROM account").fetchone()
        return self._page("account.html", session, name=name, address=address)

    async def save(self, request: Request, session: Session) -> Response:
        """Change name and address."""
        sent = await form(request)
        name, address = sent.get("name"), sent.get("address")
        if not name or not address:
            return see("/refused/details")
        session.db.execute("UPDATE account SET name = ?, address = ?", (name, address))
        return see("/account")

    # ---- what others ask as well -----------------------------------------------------------------------------------------

    def lines(self, session: Session) -> list[Line]:
        """What is in the cart."""
        rows = session.db.execute("SELECT line, product, options, quantity FROM cart ORDER BY line")
        found = []
        for line, number, options, quantity in rows:
            product, chosen = self.goods.products[number], json.loads(options)
            found.append(Line(line, product, chosen, quantity, product.cost(chosen)))
        return found

    def bought(self, session: Session, number: int | None = None) -> list[Line]:
        """What an order holds; without a number, what all orders hold that were not cancelled."""
        rows = session.db.execute(
            "SELECT product, options, quantity, price FROM items JOIN orders USING (number) "
            "WHERE number = ?1 OR (?1 IS NULL AND status = 'placed') ORDER BY items.rowid",
            (number,),
        )
        return [Line(i, self.goods.products[n], json.loads(o), q, p) for i, (n, o, q, p) in enumerate(rows)]

    def _product(self, written: str) -> Product:
        return self.goods.products[position(written, len(self.goods.products))]

    def _page(self, template: str, session: Session, **values: Any) -> Response:
        (units,) = session.db.execute("SELECT coalesce(sum(quantity), 0) FROM cart").fetchone()
        return self.page(template, session, units=units, **values)


def _units(sent: Mapping[str, str]) -> int | None:
    """The quantity in a form; None where it is none that the shop sells."""
    try:
        found = whole_number(sent.get("quantity", ""))
    except ValueError:
        return None
    return found if found in range(MOST_UNITS + 1) else None
