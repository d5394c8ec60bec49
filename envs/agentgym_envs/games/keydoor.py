"""``games/KeyDoor-v0``: find the treasure of a dungeon in which every wrong choice is for good."""

import random
from collections.abc import Mapping

import msgspec

from agentgym import Environment, Message, Rubric, Task, Tasks, assistant, call, levels_of, procedural, tool

from .builder import DEPTHS, build
from .dungeon import TREASURE, Move, Place, Room, after, moves, way_out

LEVELS = tuple(DEPTHS)


class KeyDoor(Environment):
    """Find the treasure behind rooms of doors and keys; a wrong choice cannot be taken back, and shows late or never.

    Notes tell which door or key is right, or one that is wrong, in their own room or in a later one. About every tenth choice
    no note speaks: only trying tells, so that returning to a state and searching on from it pays. An agent that follows all
    notes and guesses where they are silent solves 68 % (81, 69, 54 % by level), one that only guesses 12 %.

    Solved means that the treasure was found; there is no other reward. Where nothing can be done any more the episode ends; an
    answer in text gives up.

    Args:
        level: How many choices cannot be taken back: "easy" (2 or 3), "medium" (4 to 6), "hard" (7 to 9); None mixes all.

    Raises:
        UserError: an unknown level.
    """

    instructions = (
        "Find the treasure. Notes say which door or key is right. A box gives one key, a key breaks in a wrong lock, "
        "doors fall shut behind you. If you are stuck, say so."
    )
    max_turns = 32
    rubric = Rubric(treasure=1.0)

    def __init__(self, level: str | None = None) -> None:
        self.levels = levels_of(level, LEVELS)

    def tasks(self, split: str = "train") -> Tasks:
        """Endless; the levels are drawn alike. A task holds its whole dungeon, so that no two splits share one."""

        def generate(rng: random.Random) -> Task:
            level = rng.choice(self.levels)
            rooms = build(rng, level)
            return Task(_look(rooms[0]), {"rooms": msgspec.to_builtins(rooms)}, difficulty=level)

        return procedural(generate, split)

    def begin(self, task: Task) -> str:
        """In the first room."""
        self.rooms = msgspec.convert(task.data["rooms"], list[Room])
        self.state: Place = Place()
        return task.prompt

    # ---- what the agent may do -----------------------------------------------------------------------------------------

    @tool
    def look(self) -> str:
        """Read the note in this room."""
        self.state = msgspec.structs.replace(self.state, read=True)
        return self._room.note or "There is no note."

    @tool
    def take(self, key: str) -> str:
        """Take a key out of the box."""
        self._move(Move("take", key))
        return self._then(f"You have the {key} key. The box is shut.")

    @tool
    def unlock(self, door: str) -> str:
        """Unlock a door with your key."""
        self._move(Move("unlock", door))
        return self._then(f"The {door} door is open." if self.state.open == door else "The key breaks.")

    @tool
    def go(self, door: str) -> str:
        """Go through a door."""
        self._move(Move("go", door))
        if self.state.room == TREASURE:
            self.end()
            return "You found the treasure."
        return self._then(_look(self._room))

    # ---- how it is judged ------------------------------------------------------------------------------------------------

    def score(self, answer: str) -> Mapping[str, float]:
        """Whether the treasure was found; what is said does not count."""
        return {"treasure": float(self.state.room == TREASURE)}

    def oracle(self) -> Message:
        """Read the note, then take the shortest way; where none is left, say so."""
        way = way_out(self.rooms, self.state)
        if not way:
            return assistant("I am stuck.")
        if self._room.note and not self.state.read:
            return assistant("", call("look"))
        return assistant("", call(way[0].kind, **{"key" if way[0].kind == "take" else "door": way[0].what}))

    def copy_state(self, state: Place) -> Place:
        """A place is immutable."""
        return state

    @property
    def _room(self) -> Room:
        return self.rooms[self.state.room]

    def _move(self, move: Move) -> None:
        self.state = after(self.rooms, self.state, move)

    def _then(self, seen: str) -> str:
        """Ends the episode where nothing at all can be done any more: no turns are spent on rattling at doors."""
        if any(True for _ in moves(self.rooms, self.state)):
            return seen
        self.end()
        return f"{seen} You are trapped."


def _look(room: Room) -> str:
    """What one sees on entering."""
    doors = ", ".join(f"{d.colour} ({d.lock})" if d.lock else d.colour for d in room.doors)
    seen = f"You are in the {room.name}. Doors: {doors or 'none'}."
    if room.keys:
        seen += f" Keys: {', '.join(room.keys)}."
    return f"{seen} There is a note." if room.note else seen
