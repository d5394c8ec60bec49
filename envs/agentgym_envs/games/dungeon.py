"""The dungeon of ``games/KeyDoor-v0``: rooms that are left for good, what can be done in them, and the way out.

A door leads to one room and falls shut behind whoever goes through. Of the doors of a room one is right; the others end,
sooner or later, in a cell without doors. A locked door needs the key of its metal. Each box gives one key and falls shut, a
second key does not fit into the hand, and a key turned in the wrong lock breaks: every choice is for good.
"""

from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec

from agentgym import ToolError

TREASURE = -1  # instead of a room's number
COLOURS = ("red", "blue", "green", "white", "black")
METALS = ("iron", "gold", "silver", "copper")
Kind = Literal["take", "unlock", "go"]


class Door(msgspec.Struct, frozen=True, omit_defaults=True):
    """One door: its colour, the number of the room behind it, and the metal of its lock (empty when it is open)."""

    colour: str
    to: int
    lock: str = ""


class Room(msgspec.Struct, frozen=True, omit_defaults=True):
    """One room: doors, the keys in its box, and what its note says."""

    name: str
    doors: tuple[Door, ...] = ()
    keys: tuple[str, ...] = ()
    note: str = ""


class Place(msgspec.Struct, frozen=True):
    """Where the agent is and what it changed there; all behind it is out of reach.

    Attributes:
        room: Number of the room, or `TREASURE`.
        key: Metal of the key in hand; empty for none.
        open: Colour of the door that was unlocked here.
        shut: Whether the box of this room is shut.
        read: Whether the note of this room was read.
    """

    room: int = 0
    key: str = ""
    open: str = ""
    shut: bool = False
    read: bool = False


class Move(msgspec.Struct, frozen=True):
    """One thing to do with a key (`take`) or a door (`unlock`, `go`)."""

    kind: Kind
    what: str


def after(rooms: Sequence[Room], place: Place, move: Move) -> Place:
    """Where `move` leads.

    Raises:
        ToolError: it cannot be done here; nothing changes.
    """
    room = rooms[place.room]
    if move.kind == "take":
        return _take(room, place, move.what)
    door = next((d for d in room.doors if d.colour == move.what), None)
    if door is None:
        raise ToolError(f"there is no {move.what} door here")
    locked = bool(door.lock) and place.open != door.colour
    if move.kind == "go":
        if locked:
            raise ToolError(f"the {door.colour} door is locked")
        return Place(door.to, place.key)
    if not locked:
        raise ToolError(f"the {door.colour} door is not locked")
    if not place.key:
        raise ToolError("you have no key")
    fits = place.key == door.lock
    return msgspec.structs.replace(place, key="", open=door.colour if fits else place.open)


def _take(room: Room, place: Place, metal: str) -> Place:
    if metal not in room.keys:
        raise ToolError(f"there is no {metal} key here")
    if place.shut:
        raise ToolError("the box is shut")
    if place.key:
        raise ToolError(f"you have the {place.key} key already")
    return msgspec.structs.replace(place, key=metal, shut=True)


def moves(rooms: Sequence[Room], place: Place) -> Iterator[tuple[Move, Place]]:
    """All that can be done at `place`, with where it leads."""
    room = rooms[place.room]
    named: tuple[tuple[Kind, str], ...] = (
        *(("go", d.colour) for d in room.doors),
        *(("take", k) for k in room.keys),
        *(("unlock", d.colour) for d in room.doors),
    )
    for kind, what in named:
        move = Move(kind, what)
        try:
            yield move, after(rooms, place, move)
        except ToolError:
            continue


def way_out(rooms: Sequence[Room], place: Place) -> list[Move] | None:
    """The shortest way to the treasure; None when there is none any more."""
    ways: dict[Place, list[Move]] = {place: []}
    frontier = [place]
    for here in frontier:  # grows while it is walked: breadth first
        if here.room == TREASURE:
            return ways[here]
        for move, there in moves(rooms, here):
            if there not in ways:
                ways[there] = [*ways[here], move]
                frontier.append(there)
    return None


def choices(rooms: Sequence[Room]) -> int:
    """How many moves of the shortest way have an alternative after which the treasure is out of reach."""
    place, count = Place(), 0
    for move in way_out(rooms, place) or ():
        count += any(way_out(rooms, there) is None for _, there in moves(rooms, place))
        place = after(rooms, place, move)
    return count
