"""The pages of the booking desk."""

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any
from urllib.parse import urlencode

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from agentgym_envs.web.site import Session, Site, form, position, see, whole_number

from .rooms import BOARDS, HOURS, LONGEST, SEASON, TOWNS, Inventory, Room, day

PER_PAGE = 10
REFUSALS = {
    "dates": f"Give a day of arrival such as {SEASON}, one to {LONGEST} nights, and how many guests come.",
    "taken": "The room is not free then, or too small.",
    "details": "Give a name, and what you would like to eat.",
}
SCHEMA = """
CREATE TABLE bookings (
    number INTEGER PRIMARY KEY, room INT, arrival TEXT, nights INT, guests INT, name TEXT, board TEXT, hour TEXT, wishes TEXT,
    status TEXT
);
"""


class Stay(msgspec.Struct, frozen=True, gc=False):
    """A booking, or with most of it empty a room that is looked at.

    Attributes:
        number: Of the booking.
        price: In cents, board included; of a room that is looked at, for one night.
        status: "reserved", "confirmed" or "cancelled".
    """

    number: int
    room: Room
    price: int
    arrival: str = ""
    nights: int = 0
    guests: int = 0
    name: str = ""
    board: str = ""
    hour: str = ""
    wishes: str = ""
    status: str = ""
    quantity: int = 1

    @property
    def item(self) -> int:
        """The room's number."""
        return self.room.number


class Desk(Site):
    """Search, rooms, booking, confirming and cancelling, over an inventory."""

    def __init__(self, inventory: Inventory) -> None:
        self.inventory = inventory
        pages = {
            "GET /": self.home,
            "GET /search": self.search,
            "GET /room/{number}": self.room,
            "GET /room/{number}/book": self.form,
            "POST /room/{number}/book": self.reserve,
            "GET /bookings": self.bookings,
            "GET /bookings/{number}": self.booking,
            "POST /bookings/{number}/{change}": self.change,
        }
        super().__init__("Fair Winds Booking", __package__, SCHEMA, pages, REFUSALS)
        self.templates.globals.update(regions=TOWNS, boards=BOARDS, hours=HOURS, season=SEASON, longest=LONGEST)

    async def home(self, request: Request, session: Session) -> Response:
        """Where to."""
        return self.page("home.html", session, asked=_asked({}))

    async def search(self, request: Request, session: Session) -> Response:
        """Rooms: ten a page, the cheapest first; with a day of arrival, those that are free."""
        asked = _asked(request.query_params)
        try:
            arrival, nights, guests = _stay(asked)
            limit = whole_number(asked["limit"])
            page = max(1, whole_number(request.query_params.get("page", "")) or 1)
        except ValueError as error:
            raise HTTPException(400, f"{error}.") from None
        found = self.inventory.search(asked["q"], arrival, nights, guests, None if limit is None else limit * 100)
        first = (page - 1) * PER_PAGE
        kept = {name: value for name, value in asked.items() if value}
        return self.page(
            "search.html",
            session,
            asked=asked,
            stay=urlencode({name: value for name, value in kept.items() if name not in ("q", "limit")}),
            total=len(found),
            first=first,
            rooms=[self.inventory.rooms[n] for n in found[first : first + PER_PAGE]],
            previous=urlencode(kept | {"page": page - 1}) if page > 1 else "",
            following=urlencode(kept | {"page": page + 1}) if first + PER_PAGE < len(found) else "",
        )

    async def room(self, request: Request, session: Session) -> Response:
        """All that is said of a room."""
        room = self._room(request)
        return self.page("room.html", session, room=room, asked=_asked(request.query_params))

    async def form(self, request: Request, session: Session) -> Response:
        """Who comes, and what they eat."""
        room, asked = self._room(request), _asked(request.query_params)
        if (why := self._refusal(session, room, asked)) is not None:
            return see(f"/refused/{why}")
        arrival, nights, guests = _stay(asked)
        assert arrival is not None
        leaving = arrival + timedelta(nights)
        stay = Stay(0, room, room.cost(nights, guests), asked["arrival"], nights, guests)
        return self.page("book.html", session, stay=stay, leaving=leaving)

    async def reserve(self, request: Request, session: Session) -> Response:
        """Hold the room until the booking is confirmed."""
        room, sent = self._room(request), await form(request)
        asked = _asked(sent)
        if (why := self._refusal(session, room, asked)) is not None:
            return see(f"/refused/{why}")
        name, board, hour = sent.get("name"), sent.get("board"), sent.get("hour")
        if not name or board not in BOARDS or hour not in HOURS:
            return see("/refused/details")
        arrival, nights, guests = _stay(asked)
        columns = "room, arrival, nights, guests, name, board, hour, wishes, status"
        row = (room.number, str(arrival), nights, guests, name, board, hour, sent.get("wishes", ""))
        insert = f"INSERT INTO bookings({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'reserved')"
        return see(f"/bookings/{session.db.execute(insert, row).lastrowid}")

    async def bookings(self, request: Request, session: Session) -> Response:
        """All bookings, the last one first."""
        return self.page("bookings.html", session, stays=self.stays(session)[::-1])

    async def booking(self, request: Request, session: Session) -> Response:
        """One booking."""
        number = position(request.path_params["number"])
        stay = next((stay for stay in self.stays(session) if stay.number == number), None)
        if stay is None:
            raise HTTPException(404, "There is no such booking.")
        return self.page("booking.html", session, stay=stay)

    async def change(self, request: Request, session: Session) -> Response:
        """Confirm or cancel a booking."""
        number, change = position(request.path_params["number"]), request.path_params["change"]
        states = {"confirm": ("confirmed", "'reserved'"), "cancel": ("cancelled", "'reserved', 'confirmed'")}
        if change not in states:
            raise HTTPException(404)
        after, before = states[change]
        session.db.execute(f"UPDATE bookings SET status = ? WHERE number = ? AND status IN ({before})", (after, number))
        return see(f"/bookings/{number}")

    # ---- what others ask as well -----------------------------------------------------------------------------------------

    def stays(self, session: Session, status: str | None = None) -> list[Stay]:
        """All bookings of this visitor, or those in this state."""
        fields = "number, room, arrival, nights, guests, name, board, hour, wishes, status"
        rows = session.db.execute(f"SELECT {fields} FROM bookings WHERE ?1 IS NULL OR status = ?1 ORDER BY number", (status,))
        found = []
        for number, place, arrival, nights, guests, name, board, *rest in rows:
            room = self.inventory.rooms[place]
            found.append(Stay(number, room, room.cost(nights, guests, board), arrival, nights, guests, name, board, *rest))
        return found

    def _room(self, request: Request) -> Room:
        return self.inventory.rooms[position(request.path_params["number"], len(self.inventory.rooms))]

    def _refusal(self, session: Session, room: Room, asked: Mapping[str, str]) -> str | None:
        """Why the room cannot be had, by a word; this visitor's own bookings count."""
        try:
            arrival, nights, guests = _stay(asked)
        except ValueError:
            return "dates"
        if arrival is None or not asked["nights"] or not asked["guests"]:
            return "dates"
        own = (stay for stay in self.stays(session) if stay.room is room and stay.status != "cancelled")
        taken = any(_overlap(arrival, nights, date.fromisoformat(stay.arrival), stay.nights) for stay in own)
        return "taken" if taken or guests > room.guests or not room.free(arrival, nights) else None


def _asked(given: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(given.get(name, "")).strip()[:100] for name in ("q", "arrival", "nights", "guests", "limit")}


def _stay(asked: Mapping[str, str]) -> tuple[date | None, int, int]:
    """Day of arrival, nights and guests; one of each where the field is empty.

    Raises:
        ValueError: they make no sense.
    """
    nights, guests = (1 if (n := whole_number(asked[name])) is None else n for name in ("nights", "guests"))
    if not 0 < nights <= LONGEST or not guests:
        raise ValueError(f"a stay has one to {LONGEST} nights and a guest")
    return day(asked["arrival"]), nights, guests


def _overlap(one: date, nights: int, other: date, others: int) -> bool:
    return one < other + timedelta(others) and other < one + timedelta(nights)
