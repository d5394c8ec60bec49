"""The booking desk: its rooms, its pages, and what a booking is worth."""

import asyncio
import random
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentgym_envs.web.booking.app import REFUSALS, Desk, Stay, _overlap
from agentgym_envs.web.booking.goals import Goal, draw
from agentgym_envs.web.booking.rooms import BOARDS, FEATURES, NIGHTS, SEASON, Inventory, Room, day, make_room
from agentgym_envs.web.errand import LEVELS
from agentgym_envs.web.worth import worth
from tests.envs.web_walk import Visitor, fit_for_use

SIZE = 400
ROOM = Room(3, "A room", "Post House", "Gullwick", "double room", 2, ("desk", "sauna", "balcony"), 9000, (False,) * NIGHTS, ())
GOAL = Goal(
    item=3,
    town="Gullwick",
    features=("desk", "sauna"),
    options={"arrival": "2027-05-04", "nights": 2, "guests": 2, "name": "Ann"},
    limit=18100,
)


@pytest.fixture(scope="module")
def desk() -> Desk:
    return Desk(Inventory(0, SIZE))


@pytest.fixture
def visitor(desk: Desk) -> Iterator[Visitor]:
    made = Visitor(desk)
    yield made
    desk.close(made.session)


def stay(room: dict[str, Any] | None = None, **changed: Any) -> Stay:
    fields = {name: getattr(ROOM, name) for name in ROOM.__struct_fields__}
    asked = {"price": 18000, "arrival": "2027-05-04", "nights": 2, "guests": 2, "name": "Ann", "board": "room only"}
    return Stay(1, Room(**{**fields, **(room or {})}), **{**asked, **changed})


@pytest.mark.parametrize(
    ("stays", "expected"),
    [
        ([], 0),
        ([stay()], 1),
        ([stay(guests=1)], 6 / 7),
        ([stay(price=18100)], 6 / 7),  # "less than" is less
        ([stay(nights=3, price=27000, name="Bo")], 4 / 7),
        ([stay({"features": ("desk",)})], 6 / 7),
        ([stay({"town": "Tidemouth"})], 1 / 10),  # by the same coast
        ([stay({"town": "Mereside"})], 0),
        ([stay(), stay()], 1 / 2),
        ([stay(guests=1), stay()], 1 / 2),
    ],
)
def test_reward(stays: list[Stay], expected: float) -> None:
    parts = worth([(GOAL.match(one), one.quantity) for one in stays])
    assert parts["reward"] == pytest.approx(expected)
    assert all(0 <= value <= 1 for value in parts.values())


@pytest.mark.parametrize("level", LEVELS)
def test_a_goal_is_fitted_by_its_room(level: str) -> None:
    rng = random.Random(0)
    for _ in range(150):
        goal = draw(rng, 0, SIZE, level)
        room, o = make_room(0, goal.item), goal.options
        board = str(o.get("board", "half board"))
        assert room.free(date.fromisoformat(str(o["arrival"])), int(o["nights"]))
        assert 0 < int(o["guests"]) <= room.guests
        price = room.cost(int(o["nights"]), int(o["guests"]), board)
        booked = {field: o[field] for field in ("arrival", "nights", "guests", "name")}
        found = Stay(1, room, price, **booked, board=board, hour=str(o.get("hour", "15:00")))  # type: ignore[arg-type]
        assert goal.match(found)["reward"] == 1
        prompt = goal.wish(rng)
        assert all(str(word) in prompt for word in (*goal.features, *o.values(), goal.town, f"${goal.limit // 100} in all"))
        assert (room.features[0] in goal.features) == (level == "easy")


# ---- rooms -------------------------------------------------------------------------------------------------------------------


def test_search_finds_what_is_free(desk: Desk) -> None:
    search, rooms = desk.inventory.search, desk.inventory.rooms
    for room in rooms[:40]:
        assert room.number in search(room.title, None, 1, 1, None)
    arrival = SEASON + timedelta(30)
    found = search("gullwick", arrival, 3, 2, 600_00)
    assert found
    assert all("Gullwick" in rooms[n].title and rooms[n].guests >= 2 and rooms[n].price * 3 <= 60000 for n in found)
    assert all(not any(rooms[n].taken[30:33]) for n in found)
    assert [rooms[n].price for n in found] == sorted(rooms[n].price for n in found)
    taken = next(r for r in rooms if r.town == "Gullwick" and r.taken[30] and r.guests >= 2)
    assert taken.number not in found
    assert taken.number in search("gullwick", None, 1, 1, None)


def test_nights_are_free_or_not() -> None:
    room = Room(0, "", "", "", "", 1, (), 1, (False, True, False, False) + (False,) * (NIGHTS - 4), ())
    free = [(0, 1), (2, 2), (3, 1), (NIGHTS - 1, 1)]
    taken = [(0, 2), (1, 1), (-1, 1), (NIGHTS - 1, 2), (NIGHTS, 1)]
    assert all(room.free(SEASON + timedelta(first), nights) for first, nights in free)
    assert not any(room.free(SEASON + timedelta(first), nights) for first, nights in taken)


@given(st.integers(0, 40), st.integers(1, 14), st.integers(0, 40), st.integers(1, 14))
def test_stays_overlap_when_they_share_a_night(a: int, nights: int, b: int, others: int) -> None:
    shared = set(range(a, a + nights)) & set(range(b, b + others))
    assert _overlap(SEASON + timedelta(a), nights, SEASON + timedelta(b), others) == bool(shared)


def test_days_of_the_season() -> None:
    assert day("") is None
    assert day("2027-04-01") == SEASON
    for text in ("2027-03-31", "2028-04-01", "1.5.2027", "2027-02-30", "20270501", "2027-5-1"):
        with pytest.raises(ValueError, match=r"day|month|format|isoformat"):
            day(text)


def test_rooms_differ_and_do_not_change() -> None:
    assert make_room(0, 7) == make_room.__wrapped__(0, 7) != make_room(1, 7)
    assert all(set(make_room(0, n).features) <= set(FEATURES) for n in range(50))
    assert ROOM.cost(3, 2, "breakfast") == 3 * (9000 + 2 * BOARDS["breakfast"])


# ---- pages -------------------------------------------------------------------------------------------------------------------


def free_room(desk: Desk, guests: int = 2) -> Room:
    return next(r for r in desk.inventory.rooms if r.guests >= guests and r.free(date(2027, 5, 4), 5))


def book(visitor: Visitor, room: Room, name: str = "Ann Lee", arrival: str = "2027-05-04", nights: str = "2") -> str:
    visitor.goto(f"/room/{room.number}?arrival={arrival}&nights={nights}&guests=2")
    visitor.click("Book this room")
    visitor.fill("Name of the guest", name)
    return visitor.click("Reserve")


def test_from_search_to_confirmation(visitor: Visitor, desk: Desk) -> None:
    room = free_room(desk)
    for field, text in {"Arrival": "2027-05-04", "Nights": "2", "Guests": "2"}.items():
        visitor.fill(field, text)
    visitor.fill("Town or house", room.title)  # the one of the header
    visitor.view = asyncio.run(visitor.backend.fill(visitor.view, visitor.number("Town or house", 1), room.title))
    assert room.title in visitor.click("Show free rooms")
    page = visitor.click(room.title)
    assert visitor.view.address == f"/room/{room.number}?arrival=2027-05-04&nights=2&guests=2"
    assert all(feature in page for feature in room.features)
    assert f"${room.cost(2, 2) / 100:,.2f} without meals" in visitor.click("Book this room")
    visitor.fill("Name of the guest", "Ann Lee")
    visitor.click("Half board, $31.00 a guest and night")
    visitor.select("Arrival until", "21:00")
    visitor.fill("Other wishes", "a\ncot")
    page = visitor.click("Reserve")
    assert "Status: reserved" in page
    assert "Wishes: a cot" in page
    assert f"Total: ${room.cost(2, 2, 'half board') / 100:,.2f}" in page
    assert "2027-05-04, 2 nights, 2 guests, half board, arrival until 21:00\nFor Ann Lee" in page
    assert "Status: confirmed" in visitor.click("Confirm booking")
    assert [s.status for s in desk.stays(visitor.session)] == ["confirmed"]
    assert "Booking 1" in visitor.goto("/bookings")
    visitor.click("Booking 1")
    assert "Status: cancelled" in visitor.click("Cancel booking")
    visitor.goto("/bookings/1")
    assert [c.name for c in visitor.view.page.controls if c.kind == "button"] == ["Search"]


def test_a_room_is_had_once(visitor: Visitor, desk: Desk) -> None:
    room = free_room(desk)
    assert "Status: reserved" in book(visitor, room)
    for arrival, nights in (("2027-05-05", "1"), ("2027-05-03", "2"), ("2027-05-04", "5")):
        visitor.goto(f"/room/{room.number}/book?arrival={arrival}&nights={nights}&guests=1")
        assert visitor.view.address == "/refused/taken"
    visitor.goto("/bookings/1")
    visitor.click("Cancel booking")
    assert "Booking 2" in book(visitor, room, nights="5")


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("arrival=2027-05-04&nights=2&guests=7", "taken"),
        ("arrival=2027-05-04&nights=0&guests=1", "dates"),
        ("arrival=2027-05-04&nights=15&guests=1", "dates"),
        ("arrival=2027-05-04&nights=2&guests=0", "dates"),
        ("arrival=2027-05-04&nights=2&guests=x", "dates"),
        ("arrival=&nights=2&guests=2", "dates"),
        ("arrival=2027-05-04&nights=&guests=2", "dates"),
        ("arrival=tomorrow&nights=2&guests=2", "dates"),
        ("arrival=2029-05-04&nights=2&guests=2", "dates"),
    ],
)
def test_what_cannot_be_had(visitor: Visitor, desk: Desk, query: str, why: str) -> None:
    visitor.goto(f"/room/{free_room(desk).number}/book?{query}")
    assert visitor.view.address == f"/refused/{why}"
    assert REFUSALS[why] in visitor.text
    assert desk.stays(visitor.session) == []


def test_forms_are_looked_at_again(visitor: Visitor, desk: Desk) -> None:
    """What was free when the form came may be taken when it is sent; and a name is needed."""
    room = free_room(desk)
    assert REFUSALS["details"] in book(visitor, room, name="  ")
    visitor.goto(f"/room/{room.number}/book?arrival=2027-05-04&nights=2&guests=2")
    form = visitor.view
    book(visitor, room)
    visitor.view = form
    visitor.fill("Name of the guest", "Bo")
    assert REFUSALS["taken"] in visitor.click("Reserve")
    key = visitor.session.key()
    for path in ("/bookings/1/eat", "/bookings/9/confirm"):
        visitor.backend._visit("POST", path)
        assert visitor.session.key() == key


@pytest.mark.parametrize(
    "path",
    ["/nothing", f"/room/{SIZE}", "/room/-1", "/room/x/book", "/bookings/1", "/bookings/x", "/refused/nothing", "/search?arrival=x",
     "/search?nights=0", "/search?guests=-1", "/search?limit=1.5", "/search?page=x", "/bookings/1/confirm"],
)  # fmt: skip
def test_pages_that_do_not_exist(visitor: Visitor, path: str) -> None:
    assert "That did not work" in visitor.goto(path)


def test_pages_beyond_the_last_are_empty(visitor: Visitor) -> None:
    assert "Nothing was found." in visitor.goto("/search?q=post&page=99")
    visitor.goto("/search?q=ravenscar")
    pages = 1
    while any(c.name == "Next page" for c in visitor.view.page.controls):
        visitor.click("Next page")
        pages += 1
    assert pages > 1
    visitor.click("Previous page")
    assert f"page={pages - 1}" in visitor.view.address


def test_every_page_is_fit_for_use(visitor: Visitor, desk: Desk) -> None:
    room = free_room(desk)
    book(visitor, room)
    stays = f"/room/{room.number}/book?arrival=2027-06-04&nights=1&guests=1"
    paths = (
        "/",
        "/search?q=post",
        "/search?q=zzz",
        f"/room/{room.number}",
        "/bookings",
        "/bookings/1",
        "/nothing",
        "/refused/dates",
    )
    fit_for_use(visitor, (*paths, stays) if room.free(date(2027, 6, 4), 1) else paths)
