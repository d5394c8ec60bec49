"""TextWorld's descriptions in words: what its own compiler would make of them, for the phrases that its grammar writes."""

import re
from collections.abc import Mapping
from typing import Any

_TAG = re.compile(r"\[([^\[\]]*)\]")
_LIST = re.compile(r"a list of things (?:in|on) the (\w+)")
_HOLDS = re.compile(r"there is (something|nothing) (?:in|on) the (\w+)|the (\w+) contains nothing")


class Scene:
    """The facts of a game's state.

    Args:
        facts: All propositions: objects with `name` and `arguments`, which have names.
        names: What entities are called, by their ids.
    """

    def __init__(self, facts: Any, names: Mapping[str, str]) -> None:
        self.facts = {(f.name, *(a.name for a in f.arguments)) for f in facts}
        self.names = names

    def room(self) -> str:
        """The id of the room where the player is."""
        return str(next(f[2] for f in self.facts if f[:2] == ("at", "P")))

    def held(self, place: str) -> list[str]:
        """What is in or on something, by name; "I" is the inventory, a room's id its floor."""
        return sorted(self.names[f[1]] for f in self.facts if f[0] in ("in", "on", "at") and f[2:] == (place,) and f[1] != "P")

    def loose(self, room: str) -> list[str]:
        """Things on a room's floor that can be carried."""
        fixed = {f[1] for f in self.facts if f[0] in ("open", "closed", "locked")} | {f[2] for f in self.facts if f[0] == "on"}
        lying = (f[1] for f in self.facts if f[0] == "at" and f[2:] == (room,))
        return sorted(self.names[x] for x in lying if x != "P" and x not in fixed and not x.startswith(("s_", "c_", "d_")))

    def told(self, text: str) -> str:
        """A description with its conditions decided: ``[if c_0 is open]an opened[otherwise]a closed[end if] chest``."""
        pieces, shown, taken = _TAG.split(text or ""), [True], [True]
        words: list[str] = []
        for number, piece in enumerate(pieces):
            if number % 2 == 0:
                words += [piece] if all(shown) else []
            elif piece.startswith("if "):
                shown.append(self._holds(piece[3:]))
                taken.append(shown[-1])
            elif piece.startswith("else if "):
                shown[-1] = not taken[-1] and self._holds(piece[8:])
                taken[-1] = taken[-1] or shown[-1]
            elif piece == "otherwise":
                shown[-1] = not taken[-1]
            elif piece == "end if":
                shown.pop()
                taken.pop()
            elif all(shown):
                found = _LIST.fullmatch(piece)
                words.append(", ".join(f"a {x}" for x in self.held(found[1])) if found else piece)
        return " ".join("".join(words).split())

    def _holds(self, condition: str) -> bool:
        return all(self._one(part.strip()) for part in condition.split(" and "))

    def _one(self, condition: str) -> bool:
        if found := _HOLDS.fullmatch(condition):
            place = found[2] or found[3]
            return bool(self.held(place)) is (found[1] == "something")
        thing, _, property_ = condition.partition(" is ")
        return (property_, thing.removeprefix("the ")) in self.facts
