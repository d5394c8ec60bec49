"""What to book, in words, and how well a booking fits.

Of what `worth` leaves to a site: the type counts 1 for the goal's town, 0.1 for another town of its region, 0 otherwise; options
are the days, the guests and what the form asks for.
"""

import random
from datetime import timedelta

from agentgym_envs.web import errand
from agentgym_envs.web.worth import match

from .app import Stay
from .rooms import BOARDS, HOURS, NIGHTS, REGION, SEASON, make_room

WISHES = ("I am looking for", "Please book", "I need", "Find and book")
ENDS = {"look": "Only open its page.", "hold": "Reserve it, but do not confirm.", "order": "Confirm the booking."}
FIELDS = ("arrival", "nights", "guests", "name", "board", "hour")
NAMES = ("Alva Brandt", "Bea Lindholm", "Carl Oster", "Dora Vint", "Egon Marsh", "Fay Torrence", "Gus Whitlow", "Hanna Reyes")


class Goal(errand.Goal[Stay], frozen=True, kw_only=True):
    """A stay.

    Attributes:
        features: The room has to have all of them.
        options: What the booking has to hold, by field of `Stay`.
        limit: Highest price in cents: of the stay with board, or of a night where the room is only looked at.
    """

    town: str
    features: tuple[str, ...]
    options: dict[str, str | int]
    limit: int

    @classmethod
    def meant(cls, rng: random.Random, thing: Stay, until: errand.Stage) -> "Goal":
        """Some of what the room is, and all that was asked for."""
        features = tuple(rng.sample(thing.room.features, rng.randint(2, 3)))
        options = {} if until == "look" else {field: getattr(thing, field) for field in FIELDS}
        limit = (thing.price // 100 + 1) * 100
        return cls(item=thing.item, until=until, town=thing.room.town, features=features, options=options, limit=limit)

    def wish(self, rng: random.Random) -> str:
        """In words."""
        features, o = list(self.features), self.options
        rng.shuffle(features)
        said = f"{rng.choice(WISHES)} a room in {self.town} ({', '.join(features)})"
        if o:
            said += f" for {_many(o['guests'], 'guest')} from {o['arrival']}, {_many(o['nights'], 'night')}"
            said += f", {o['board']}" if "board" in o else ""
            said += f", arrival until {o['hour']}" if "hour" in o else ""
            said += f", in the name of {o['name']}"
        return f"{said}, for less than ${self.limit // 100} {'in all' if o else 'a night'}. {ENDS[self.until]}"

    def match(self, thing: Stay) -> dict[str, float]:
        """How well a booking fits."""
        town = 1.0 if thing.room.town == self.town else 0.1 if REGION[thing.room.town] == REGION[self.town] else 0.0
        counted = {
            "features": (len(set(self.features) & set(thing.room.features)), len(self.features)),
            "options": (sum(getattr(thing, field) == value for field, value in self.options.items()), len(self.options)),
            "price": (int(thing.price < self.limit), 1),
        }
        return match(town, counted)


def draw(rng: random.Random, seed: int, size: int, level: str) -> Goal:
    """A goal that one room fits.

    "easy" names the feature that the title tells and one other, and a generous limit; "medium" two others, and what to eat;
    "hard" three others, also the hour of arrival, and a limit just above the price.
    """
    while True:
        room = make_room(seed, rng.randrange(size))
        arrival, nights = SEASON + timedelta(rng.randrange(NIGHTS)), rng.randint(1, 6)
        if room.free(arrival, nights):
            break
    features = {"easy": room.features[:2], "medium": room.features[1:3], "hard": room.features[1:4]}[level]
    guests = rng.randint(max(1, room.guests - 1), room.guests)
    options: dict[str, str | int] = {"arrival": str(arrival), "nights": nights, "guests": guests, "name": rng.choice(NAMES)}
    board = "half board" if level == "easy" else rng.choice(list(BOARDS))  # the dearest where it is left open
    if level != "easy":
        options["board"] = board
    if level == "hard":
        options["hour"] = rng.choice(HOURS)
    slack = {"easy": 1.5, "medium": 1.2, "hard": 1.0}[level]
    limit = (int(room.cost(nights, guests, board) * slack) // 100 + 1) * 100
    return Goal(item=room.number, town=room.town, features=features, options=options, limit=limit)


def _many(count: int | str, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
