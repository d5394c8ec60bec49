"""Builds the dungeons of ``games/KeyDoor-v0``: how deep, what the notes say, and what they keep to themselves."""

import random

from .dungeon import COLOURS, METALS, TREASURE, Door, Room

DEPTHS = {"easy": (2, 3), "medium": (4, 6), "hard": (7, 9)}  # irreversible choices, the least and the most
NAMES = ("hall", "cellar", "attic", "kitchen", "tower", "cave", "crypt", "chapel", "library", "stable", "armoury", "bath")
_SAID, _EXCLUDED, _EARLIER = 0.6, 0.3, 0.25  # shares: the note names the right one, a wrong one; it hangs in a room before


class _Builder:
    """The rooms of the way come first, the ones beside it behind them."""

    def __init__(self, rng: random.Random, stages: list[int]) -> None:
        self.rng = rng
        self.count = sum(2 if s == 3 else 1 for s in stages)
        names = rng.sample(NAMES, len(NAMES))
        self.names, self.others = names[: self.count], names[self.count :]
        self.notes: list[list[str]] = [[] for _ in self.names]
        self.keys: list[tuple[str, ...]] = [() for _ in self.names]
        self.doors: list[tuple[Door, ...]] = []
        self.beside: list[Room] = []
        for stage in stages:
            if stage == 1:
                self._open_room()
            else:
                self._locked_rooms(key_before=stage == 3)

    def rooms(self) -> list[Room]:
        """All of them; the first is the start."""
        parts = zip(self.names, self.doors, self.keys, self.notes, strict=True)
        return [*(Room(name, doors, keys, " ".join(notes)) for name, doors, keys, notes in parts), *self.beside]

    def _open_room(self) -> None:
        """One choice: of a door."""
        colours = self._draw(COLOURS)
        self._hint(len(self.doors), colours)
        self._add_doors(colours, [""] * len(colours))

    def _locked_rooms(self, key_before: bool) -> None:
        """Two choices, of the key and of its lock; or three: the key lies a room before, whose doors are one more."""
        metals = self._draw(METALS)
        self.keys[len(self.doors)] = tuple(self.rng.sample(metals, len(metals)))
        self._hint(len(self.doors), metals, " key")
        if key_before:
            self._open_room()
        self._add_doors(self.rng.sample(COLOURS, len(metals)), metals)

    def _draw(self, words: tuple[str, ...]) -> list[str]:
        """Two or three of `words`; the first is the right one."""
        return self.rng.sample(words, 3 if self.rng.random() < 0.3 else 2)

    def _hint(self, room: int, words: list[str], what: str = "") -> None:
        """Maybe say which of `words` is right in a room, or one that is wrong, on a note in this room or before it."""
        share = self.rng.random()
        if share < _SAID + _EXCLUDED:
            where = self.rng.randrange(room) if room and self.rng.random() < _EARLIER else room
            said = words[0] if share < _SAID else f"not {words[1]}"
            self.notes[where].append(f"{self.names[room]}: {said}{what}.")

    def _add_doors(self, colours: list[str], locks: list[str]) -> None:
        """Doors of the next room on the way, in random order: the first leads on, the others astray."""
        onward = len(self.doors) + 1
        targets = [TREASURE if onward == self.count else onward, *(self._astray() for _ in colours[1:])]
        doors = [Door(*door) for door in zip(colours, targets, locks, strict=True)]
        self.rng.shuffle(doors)
        self.doors.append(tuple(doors))

    def _astray(self) -> int:
        """A cell; or, half of the time, a room like any other that has only cells behind it."""
        doors: tuple[Door, ...] = ()
        if self.rng.random() < 0.5:
            doors = tuple(Door(colour, self._add(Room("cell"))) for colour in self._draw(COLOURS))
        return self._add(Room(self.rng.choice(self.others), doors) if doors else Room("cell"))

    def _add(self, room: Room) -> int:
        self.beside.append(room)
        return self.count + len(self.beside) - 1


def build(rng: random.Random, level: str) -> list[Room]:
    """A dungeon of a level in `DEPTHS`.

    Stages of one, two and three choices make up its depth; where a note says nothing, trying is the only way to know.
    """
    left, stages = rng.randint(*DEPTHS[level]), []
    while left:
        stages.append(rng.choice([s for s in (1, 2, 3) if s <= left]))
        left -= stages[-1]
    return _Builder(rng, stages).rooms()
