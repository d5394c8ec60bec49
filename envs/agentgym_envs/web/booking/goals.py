"""What to book, in words, and how well a booking fits.

Of what `worth` leaves to a site: the type counts 1 for the goal's town, 0.1 for another town of its region, 0 otherwise; options
are the days, the guests and what the form asks for.
"""

import random
from datetime import timedelta

from agentgym_envs.web import errand
from agentgym_envs.web.worth import match as fit

from .app import Stay
from .rooms import BOARDS, HOURS, NIGHTS, REGION, SEASON, make_room

WISHES = ("I am looking for", "Please book", "I need", "Find and book")
ENDS = {"look": "Only open its page.", "hold": "Reserve it, but do not confirm.", "order": "Confirm the booking."}
NAMES = ("Alva Brandt", "Bea Lindholm", "Carl Oster", "Dora Vint", "Egon Marsh", "Fay Torrence", "Gus Whitlow", "Hanna Reyes")


class Goal(errand.Goal, frozen=True, kw_only=True):
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


def draw(rng: random.Random, seed: int, size: int, level: str) -> Goal:
    """A goal that one room fits.

    "easy" names the feature that the title tells and one other, and a generous limit; "medium" two others, and what to eat;
    "hard" three others, also the hour of arrival, and a limit just above the price.
    """
    while True:
        room = make_room(seed, rng.randrange(size))
        first, nights = rng.randrange(NIGHTS), rng.randint(1, 6)
        arrival = SEASON + timedelta(first)
        if room.free(arrival, nights):
            break
    features = {"easy": room.features[:2], "medium": room.features[1:3], "hard": room.features[1:4]}[level]
    guests = rng.randint(max(1, room.guests - 1), room.guests)
    options: dict[str, str | int] = {"arrival": str(arrival), "nights": nights, "guests": guests, "name": rng.choice(NAMES)}
    board = rng.choice(list(BOARDS))
    if level != "easy":
        options["board"] = board
    if level == "hard":
        options["hour"] = rng.choice(HOURS)
    dearest = room.cost(nights, guests, "half board" if level == "easy" else board)
    slack = {"easy": 1.5, "medium": 1.2, "hard": 1.0}[level]
    limit = (int(dearest * slack) // 100 + 1) * 100
    return Goal(item=room.number, town=room.town, features=features, options=options, limit=limit)


def meant(rng: random.Random, stay: Stay, until: errand.Stage) -> Goal:
    """A goal that this stay fits: some of what the room is, and all that was asked for."""
    features = tuple(rng.sample(stay.room.features, rng.randint(2, 3)))
    fields = ("arrival", "nights", "guests", "name", "board", "hour")
    options = {} if until == "look" else {field: getattr(stay, field) for field in fields}
    limit = (stay.price // 100 + 1) * 100
    return Goal(item=stay.item, until=until, town=stay.room.town, features=features, options=options, limit=limit)


def wish(rng: random.Random, goal: Goal) -> str:
    """The goal in words."""
    features, o = list(goal.features), goal.options
    rng.shuffle(features)
    said = f"{rng.choice(WISHES)} a room in {goal.town} ({', '.join(features)})"
    if o:
        said += f" for {_many(o['guests'], 'guest')} from {o['arrival']}, {_many(o['nights'], 'night')}"
        said += f", {o['board']}" if "board" in o else ""
        said += f", arrival until {o['hour']}" if "hour" in o else ""
        said += f", in the name of {o['name']}"
    return f"{said}, for less than ${goal.limit // 100} {'in all' if o else 'a night'}. {ENDS[goal.until]}"


def match(goal: Goal, stay: Stay) -> dict[str, float]:
    """How well a booking fits."""
    room = stay.room
    return fit(
        1.0 if room.town == goal.town else 0.1 if REGION[room.town] == REGION[goal.town] else 0.0,
        {
            "features": (len(set(goal.features) & set(room.features)), len(goal.features)),
            "options": (sum(getattr(stay, field) == value for field, value in goal.options.items()), len(goal.options)),
            "price": (stay.price < goal.limit, 1),
        },
    )


def _many(count: int | str, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
