"""What can be booked: rooms made from a seed, one by one, and the nights on which others have them."""

import functools
import random
from datetime import date, timedelta

import msgspec

SEASON = date(2027, 4, 1)  # its first night
NIGHTS = 180  # nights in it
LONGEST = 14  # nights of a stay
TOWNS = {  # by region
    "the coast": ("Sandhaven", "Port Merrow", "Gullwick", "Tidemouth"),
    "the hills": ("Fellbridge", "Upper Larch", "Stonebeck", "Ravenscar"),
    "the lakes": ("Mereside", "Willowater", "Ninepools", "Ferrydale"),
}
REGION = {town: region for region, towns in TOWNS.items() for town in towns}
HOUSES = (
    "Anchor House",
    "The Grey Heron",
    "Hotel Bellevue",
    "Lindens Inn",
    "The Old Mill",
    "Post House",
    "Rosegarden",
    "White Hart",
)
KINDS = {"single room": 1, "double room": 2, "family room": 4, "apartment": 6}  # guests
FEATURES = (
    "balcony", "sea view", "air conditioning", "quiet courtyard", "step-free access", "free parking", "pets welcome", "bathtub",
    "kitchenette", "desk", "fireplace", "cot on request", "fast wireless", "bicycle store", "garden terrace", "sauna",
)  # fmt: skip
BOARDS = {"room only": 0, "breakfast": 1200, "half board": 3100}  # cents for each guest and night
HOURS = ("15:00", "18:00", "21:00")  # of arrival
OPINIONS = ("Friendly hosts, we will come again.", "Clean and quiet.", "Small, but all is there.", "A bit noisy in the morning.")


class Room(msgspec.Struct, frozen=True, gc=False):
    """A room.

    Attributes:
        number: From 0 on; also its address on the site.
        guests: How many can sleep there.
        features: The first is part of the title.
        price: Of a night in cents, without board.
        taken: For each night of the season, whether others have it.
        opinions: What guests say.
    """

    number: int
    title: str
    house: str
    town: str
    kind: str
    guests: int
    features: tuple[str, ...]
    price: int
    taken: tuple[bool, ...]
    opinions: tuple[str, ...]

    def free(self, arrival: date, nights: int) -> bool:
        """Whether no other guest has it then; days beyond the season are not let."""
        first = (arrival - SEASON).days
        return first >= 0 and first + nights <= NIGHTS and not any(self.taken[first : first + nights])

    def cost(self, nights: int, guests: int, board: str = "room only") -> int:
        """Of a stay, in cents."""
        return nights * (self.price + guests * BOARDS[board])


@functools.lru_cache(20_000)
def make_room(seed: int, number: int) -> Room:
    """Room `number` of the desk with this seed."""
    rng = random.Random(f"booking/{seed}/{number}")
    town, house, kind = rng.choice(list(REGION)), rng.choice(HOUSES), rng.choice(list(KINDS))
    features = tuple(rng.sample(FEATURES, rng.randint(4, 6)))
    price = round(45 * (1 + KINDS[kind] / 3) * 3 ** rng.random()) * 100
    taken = [False] * NIGHTS
    for _ in range(rng.randint(8, 22)):
        first, nights = rng.randrange(NIGHTS), rng.randint(1, 9)
        taken[first : first + nights] = [True] * len(taken[first : first + nights])
    title = f"{kind.capitalize()} {rng.randrange(1, 60)} at {house}, {town}, {features[0]}"
    opinions = tuple(rng.sample(OPINIONS, rng.randrange(3)))
    return Room(number, title, house, town, kind, KINDS[kind], features, price, tuple(taken), opinions)


def day(text: str) -> date | None:
    """A date of the season as 2027-05-31; None for an empty field.

    Raises:
        ValueError: it is none.
    """
    if not text:
        return None
    found = date.fromisoformat(text) if len(text) == 10 else None
    if found is None or not SEASON <= found < SEASON + timedelta(NIGHTS):
        raise ValueError(f"{text[:20]!r} is no day of the season")
    return found


class Inventory:
    """All rooms, and search over them. It never changes.

    Args:
        seed: What it is made from.
        size: How many rooms.
    """

    def __init__(self, seed: int, size: int) -> None:
        self.rooms = [make_room(seed, n) for n in range(size)]
        self._titles = [room.title.casefold() for room in self.rooms]
        self._named = functools.lru_cache(1024)(self._with)
        self.search = functools.lru_cache(1024)(self._search)

    def _search(self, words: str, arrival: date | None, nights: int, guests: int, limit: int | None) -> tuple[int, ...]:
        """Numbers of the rooms whose title has all words, and that are free and large and cheap enough; cheapest first."""
        named = [self._named(word) for word in words.casefold().split()]
        rooms = (self.rooms[n] for n in frozenset.intersection(*named)) if named else self.rooms
        free = (r for r in rooms if r.guests >= guests and (arrival is None or r.free(arrival, nights)))
        fitting = (r for r in free if limit is None or r.cost(nights, guests) <= limit)
        return tuple(r.number for r in sorted(fitting, key=lambda r: (r.price, r.number)))

    def _with(self, word: str) -> frozenset[int]:
        return frozenset(number for number, title in enumerate(self._titles) if word in title)
