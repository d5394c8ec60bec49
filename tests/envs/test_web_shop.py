"""The shop: its catalogue, its pages, and what a purchase is worth."""

import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentgym import EnvironmentFailure
from agentgym_envs.web.errand import LEVELS
from agentgym_envs.web.shop.app import REFUSALS, Line, Shop
from agentgym_envs.web.shop.catalogue import SORTS, Choice, Product, catalogue, make_product
from agentgym_envs.web.shop.goals import Goal, draw
from agentgym_envs.web.shop.words import CATEGORIES
from agentgym_envs.web.worth import worth
from tests.envs.web_walk import Visitor, fit_for_use

SIZE = 800
LAMP = Product(
    3,
    "A lamp",
    "desk lamp",
    1,
    ("dimmable", "cordless", "USB port"),
    2000,
    {"colour": (Choice("red", 0), Choice("navy", 300))},
    (),
)
GOAL = Goal(item=3, type="desk lamp", category=1, features=("dimmable", "cordless"), options={"colour": "navy"}, limit=2400)


@pytest.fixture(scope="module")
def shop() -> Shop:
    return Shop(catalogue(0, SIZE))


def add(visitor: Visitor, number: int) -> str:
    visitor.goto(f"/product/{number}")
    for axis, choices in make_product(0, number).options.items():
        visitor.select(axis.capitalize(), choices[-1].value)
    return visitor.click("Add to cart")


@pytest.fixture
def visitor(shop: Shop) -> Iterator[Visitor]:
    made = Visitor(shop)
    yield made
    shop.close(made.session)


# ---- what a purchase is worth ---------------------------------------------------------------------------------------------


def line(options: dict[str, str], quantity: int = 1, price: int = 2300, **changed: Any) -> Line:
    fields = {name: getattr(LAMP, name) for name in LAMP.__struct_fields__}
    return Line(1, Product(**{**fields, **changed}), options, quantity, price)


RIGHT = line({"colour": "navy"})


@pytest.mark.parametrize(
    ("bought", "expected"),
    [
        ([], 0),
        ([RIGHT], 1),
        ([line({"colour": "red"})], 3 / 4),
        ([line({"colour": "red"}, price=2400)], 2 / 4),  # "less than" is less
        ([line({"colour": "navy"}, features=("dimmable",))], 3 / 4),
        ([line({"colour": "navy"}, features=())], 2 / 4),
        ([line({"colour": "navy"}, type="floor lamp")], 1 / 2),
        ([line({"colour": "navy"}, type="armchair", category=0)], 1 / 10),  # another shelf for the home
        ([line({"colour": "navy"}, type="mug", category=5)], 0),
        ([line({"colour": "navy"}, quantity=2)], 1 / 2),
        ([RIGHT, RIGHT], 1 / 2),
        ([RIGHT, line({"colour": "red"}), line({"colour": "red"})], 1 / 3),
        ([line({"colour": "red"}, quantity=3), RIGHT], 1 / 4),
    ],
)
def test_reward(bought: list[Line], expected: float) -> None:
    parts = worth([(GOAL.match(line), line.quantity) for line in bought])
    assert parts["reward"] == pytest.approx(expected)
    assert all(0 <= value <= 1 for value in parts.values())


@pytest.mark.parametrize("level", LEVELS)
def test_a_goal_is_fitted_by_its_product(level: str) -> None:
    rng = random.Random(0)
    for _ in range(200):
        goal = draw(rng, 0, SIZE, level)
        prompt, product = goal.wish(rng), make_product(0, goal.item)
        free = {
            axis: choices[-1].value for axis, choices in product.options.items()
        } | goal.options  # the dearest of what is free
        assert goal.match(Line(0, product, free, 1, product.cost(free)))["reward"] == 1
        assert len(goal.options) == (1 if level == "easy" else len(product.options))
        in_title = sum(feature in product.title for feature in goal.features)
        assert (in_title, len(goal.features)) in {"easy": [(2, 2)], "medium": [(1, 2)], "hard": [(0, 2), (0, 3)]}[level]
        assert all(word in prompt for word in (*goal.features, *goal.options.values(), goal.type, f"${goal.limit // 100}."))
        assert str(goal.item) not in prompt.replace(f"${goal.limit // 100}", "") or goal.item < 100


# ---- the catalogue -----------------------------------------------------------------------------------------------------------


def test_search_finds_filters_and_sorts(shop: Shop) -> None:
    goods = shop.goods
    for product in goods.products[:50]:
        assert product.number in goods.search(product.title, None, None, "relevance")
    lamps = goods.search("desk lamp", None, None, "relevance")
    assert lamps
    assert all("desk lamp" in goods.products[n].title for n in lamps)
    assert set(goods.search("lamps desks", None, None, "price")) == set(lamps)  # stemmed, in any order
    for sort, key in (("price", lambda p: p.price), ("price-desc", lambda p: -p.price), ("rating", lambda p: -p.rating)):
        found = [goods.products[n] for n in goods.search("lamp", 1, 5000, sort)]
        assert found
        assert [p.number for p in found] == [p.number for p in sorted(found, key=lambda p: (key(p), p.number))]
        assert all(p.category == 1 and p.price <= 5000 for p in found)
    assert goods.search("", 2, None, "relevance") == tuple(p.number for p in goods.products if p.category == 2)
    assert goods.search("desk zzzz", None, None, "relevance")  # not all words: some
    assert goods.search("zzzz", None, None, "relevance") == ()


@given(st.text(max_size=60), st.none() | st.integers(0, 15), st.none() | st.integers(0, 10**6), st.sampled_from(sorted(SORTS)))
@settings(max_examples=200, deadline=None)
def test_nothing_that_is_searched_for_breaks_it(words: str, category: int | None, limit: int | None, sort: str) -> None:
    goods = catalogue(0, SIZE)
    for extra in ("", ' " AND NOT (', " * ^ NEAR(", " col: lamp"):
        assert all(n < SIZE for n in goods._search(words + extra, category, limit, sort))


def test_products_differ_and_do_not_change(shop: Shop) -> None:
    assert shop.goods.products[7] == make_product(0, 7) != make_product(1, 7)
    assert len({p.title for p in shop.goods.products}) == SIZE
    with pytest.raises(ValueError, match="choose"):
        LAMP.cost({})
    with pytest.raises(ValueError, match="no colour 'blue'"):
        LAMP.cost({"colour": "blue"})


# ---- the pages -----------------------------------------------------------------------------------------------------------------


def test_from_search_to_order(visitor: Visitor, shop: Shop) -> None:
    product = next(p for p in shop.goods.products if p.type == "mug")
    visitor.fill("Search products", product.title)
    assert product.title in visitor.press("Enter")
    page = visitor.click(product.title)
    assert all(feature in page for feature in product.features)
    assert visitor.click("Add to cart") == f'[1] link "Harbour Goods"\n# That did not work\n{REFUSALS["options"]}'
    assert "[7] link" in add(visitor, product.number)
    dearest = product.cost({axis: choices[-1].value for axis, choices in product.options.items()})
    assert f"Total: ${dearest / 100:,.2f}" in visitor.text
    visitor.fill("Quantity", "2")
    assert f"Total: ${2 * dearest / 100:,.2f}" in visitor.click("Update")
    visitor.click("Go to checkout")
    visitor.fill("Address", "1 Elm Road")
    visitor.click("Express, $4.99")
    page = visitor.click("Place order")
    assert visitor.view.address == "/orders/1"
    assert f"${(2 * dearest + 499) / 100:,.2f}" in page
    assert "To Robin Vance, 1 Elm Road" in page
    assert [(b.product.number, b.quantity, b.price) for b in shop.bought(visitor.session)] == [(product.number, 2, dearest)]
    assert "Your cart is empty." in visitor.goto("/cart")
    assert "Order 1" in visitor.goto("/orders")
    visitor.click("Order 1")
    assert "Status: cancelled" in visitor.click("Cancel order")
    assert shop.bought(visitor.session) == []
    assert len(shop.bought(visitor.session, 1)) == 1


def test_the_cart_lets_go(visitor: Visitor) -> None:
    for number in (1, 2, 3):
        add(visitor, number)
    assert '"Cart (3)"' in visitor.text
    visitor.click("Remove", 1)
    assert [
        n for n, _ in [(int(c.target.rpartition("/")[2]), c) for c in visitor.view.page.controls if "/product/" in c.target]
    ] == [1, 3]
    visitor.fill("Quantity", "0")
    visitor.click("Update")
    visitor.click("Remove")
    assert "Your cart is empty." in visitor.text
    assert visitor.goto("/checkout") == visitor.goto("/cart")


def test_what_a_visitor_writes_is_text(visitor: Visitor, shop: Shop) -> None:
    visitor.goto("/product/5")
    visitor.select("Stars", "2")
    visitor.fill("Your review", 'two\n<script>alert(1)</script> "lines" &amp; more')
    page = visitor.click("Send review")
    assert 'You: 2 of 5 stars. two <script>alert(1)</script> "lines" &amp; more' in page
    assert shop.open() is not visitor.session
    visitor.goto("/account")
    visitor.fill("Name", "</textarea><a href=/x>")
    assert '"Name" = "</textarea><a href=/x>"' in visitor.click("Save")
    visitor.fill("Search products", '<b>"a"')
    assert '# Results for <b>"a"' in visitor.press("Enter")


@pytest.mark.parametrize(
    ("path", "fields", "button", "why"),
    [
        ("/product/5", {"Quantity": "0"}, "Add to cart", "quantity"),
        ("/product/5", {"Quantity": "ten"}, "Add to cart", "quantity"),
        ("/product/5", {"Quantity": "10"}, "Add to cart", "quantity"),
        ("/product/5", {}, "Send review", "review"),
        ("/account", {"Name": "  "}, "Save", "details"),
        ("/cart", {"Quantity": "-1"}, "Update", "quantity"),
        ("/checkout", {"Address": ""}, "Place order", "details"),
    ],
)
def test_forms_that_are_refused_change_nothing(
    visitor: Visitor, path: str, fields: dict[str, str], button: str, why: str
) -> None:
    add(visitor, 4)
    visitor.goto(path)
    for axis, choices in make_product(0, 5).options.items() if path == "/product/5" else ():
        visitor.select(axis.capitalize(), choices[0].value)
    for name, text in fields.items():
        visitor.fill(name, text)
    key, changes = visitor.session.key(), visitor.session.changes
    assert REFUSALS[why] in visitor.click(button)
    assert (visitor.session.key(), visitor.session.changes) == (key, changes)
    assert visitor.view.address == f"/refused/{why}"


def test_an_order_of_nothing_is_refused(visitor: Visitor) -> None:
    add(visitor, 4)
    visitor.goto("/checkout")
    visitor.session.db.execute("DELETE FROM cart")
    assert REFUSALS["empty"] in visitor.click("Place order")


@pytest.mark.parametrize(
    "path",
    ["/nothing", "/product/800", "/product/-1", "/product/x", f"/product/{'9' * 5000}", "/orders/1", "/orders/99999999999999999999",
     "/refused/nothing", "/search?category=16", "/search?limit=x", "/search?sort=x", "/search?page=1.5", "/cart/", "/cart/1", "/%00"],
)  # fmt: skip
def test_pages_that_do_not_exist(visitor: Visitor, path: str) -> None:
    assert "That did not work" in visitor.goto(path)


def test_pages_beyond_the_last_are_empty(visitor: Visitor) -> None:
    assert "Nothing was found." in visitor.goto("/search?q=lamp&page=99")
    assert "Nothing was found." in visitor.goto("/search?q=lamp&page=999999999")
    pages = 1
    visitor.goto("/search?category=3")
    while any(c.name == "Next page" for c in visitor.view.page.controls):
        visitor.click("Next page")
        pages += 1
    assert pages == -(-len([p for p in catalogue(0, SIZE).products if p.category == 3]) // 10)
    visitor.click("Previous page")
    assert f"page={pages - 1}" in visitor.view.address


def test_strangers_have_no_session(shop: Shop, visitor: Visitor) -> None:
    visitor.backend._headers = [(b"host", b"site"), (b"cookie", b"session=guess")]
    assert "This page needs a session." in visitor.goto("/cart")


def test_a_site_that_breaks_is_no_fault_of_the_visitor(shop: Shop, visitor: Visitor) -> None:
    visitor.session.db.execute("DROP TABLE cart")
    with pytest.raises(EnvironmentFailure, match="no such table"):
        visitor.goto("/")


def test_sessions_are_values(visitor: Visitor, shop: Shop) -> None:
    add(visitor, 1)
    image, key = visitor.session.image(), visitor.session.key()
    add(visitor, 2)
    assert visitor.session.key() != key
    other = Visitor(shop)
    other.session.load(image)
    visitor.session.load(image)
    assert visitor.session.key() == other.session.key() == key
    assert visitor.goto("/cart") == other.goto("/cart")
    add(visitor, 2)
    assert visitor.session.key() != key == other.session.key()


def test_every_page_is_fit_for_use(visitor: Visitor) -> None:
    add(visitor, 1)
    fit_for_use(visitor, ("/", "/search?q=lamp", "/search?category=2", "/product/1", "/cart", "/checkout", "/account"))
    visitor.goto("/checkout")
    visitor.click("Place order")
    fit_for_use(visitor, ("/orders", "/orders/1", "/refused/empty", "/nothing"))


def test_categories_are_sound() -> None:
    for shelf in CATEGORIES:
        assert len(set(shelf.features)) == len(shelf.features) >= 6
        assert all(len(set(values)) == len(values) >= 2 for values in shelf.options.values())
        assert not {"product", "quantity"} & shelf.options.keys()
