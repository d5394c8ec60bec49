"""The words that tasks and the oracle's texts are made of.

Topics, keywords and the oracle's fragments have no noun in common, so that a keyword is used as often as it is put there.
No fragment has a comma. Predicates fit every topic; adverbials stand before or after a sentence.
"""

ADJECTIVES = (
    "old", "new", "small", "quiet", "famous", "wooden", "blue", "red", "white", "forgotten", "strange", "narrow", "bright",
    "rusty", "lonely", "ordinary", "painted", "distant", "sturdy", "neglected",
)  # fmt: skip

TOPICS = (
    "harbour", "kettle", "bridge", "orchard", "library", "bicycle", "clock", "lighthouse", "bakery", "piano", "garden", "mill",
    "tram", "umbrella", "kitchen", "island", "station", "theatre", "meadow", "staircase", "museum", "workshop", "canal",
    "windmill", "teapot", "barn", "chapel", "ferry", "fountain", "hotel", "armchair", "mountain", "school", "tunnel", "violin",
    "wardrobe", "village", "telescope", "balcony", "lake",
)  # fmt: skip

REQUESTS = (
    "Describe the {topic}.",
    "Write about the {topic}.",
    "Tell me about the {topic}.",
    "Say something about the {topic}.",
    "I would like to read about the {topic}.",
)

CLOSINGS = (
    'Reply with the answer alone; it has at least five different words, one of them "{noun}".',
    'Give nothing but the answer, with five or more different words, "{noun}" among them.',
)

KEYWORDS = (
    "lantern", "ribbon", "marble", "compass", "feather", "pepper", "candle", "mirror", "button", "barrel", "basket", "carpet",
    "hammer", "ladder", "needle", "pocket", "rabbit", "saddle", "ticket", "walnut", "blanket", "dragon", "falcon", "guitar",
    "helmet", "jacket", "kite", "lemon", "melon", "notebook", "parrot", "raven", "sailor", "tailor", "velvet", "whistle",
    "rope", "stone", "tent", "violet",
)  # fmt: skip

AVOIDED = (
    "very", "beautiful", "nice", "good", "people", "time", "day", "morning", "night", "light", "old", "small", "many", "place",
    "always", "never", "like", "from", "with", "has", "here", "today", "there", "looks", "feels", "every", "little", "great",
)  # fmt: skip

OPENINGS = (
    "In my view", "To begin with", "On a clear day", "Without any doubt", "Now and then", "Strange as it sounds",
    "In the beginning", "For many people", "After all these years", "Believe it or not", "Sooner or later", "Even so",
)  # fmt: skip

ENDINGS = (
    "That is all.", "Nothing more needs saying.", "See for yourself.", "And so the day ends.", "Who could ask for more?",
    "The rest is silence.", "Come and visit.", "I hope this helps.", "Time will tell.", "That much is certain.",
)  # fmt: skip

TITLES = ("The {topic}", "On the {noun}", "A Note on the {topic}", "About the {noun}", "{noun} Days", "The Story of the {noun}")

PREDICATES = (
    "changes with the light", "has a story of its own", "looks different every morning", "is worth a second look",
    "belongs to nobody in particular", "keeps its secrets", "waits for no one", "makes strangers stop and smile",
    "seems smaller than it is", "was here long before us", "never fails to surprise", "feels like an old friend",
    "stands its ground", "rarely asks for attention", "deserves more praise", "reminds me of home", "teaches patience",
    "stays exactly as it was", "looks best from a distance", "has seen better days", "makes a plain day brighter",
    "is easy to overlook", "brings neighbours together", "comes alive", "grows on you", "hides a small flaw",
    "draws a quiet crowd", "rewards a patient eye", "carries the marks of long use", "is loved by children",
    "is at rest", "needs no introduction", "has its admirers", "is hard to leave", "turns heads", "shines in its own modest way",
)  # fmt: skip

ADVERBIALS = (
    "today", "here", "again", "somehow", "outside", "sometimes", "indeed", "at dawn", "at night", "in winter", "in spring",
    "on Sundays", "after lunch", "these days", "in silence", "to this day", "in the rain", "under grey skies", "as ever",
    "without any hurry", "from every side", "on warm evenings", "for good reason", "to my surprise", "in its season",
    "before the bells ring", "when nobody is watching", "for most of the year", "at the end of summer", "as far as I know",
    "between one storm and another", "after the first heavy frost", "from one year to the next", "in the heat of July",
    "once the market has closed", "in the middle of June", "long after the sun has set", "with the tide", "out of season",
)  # fmt: skip

# Adverbials around a keyword; "near the" has none of the letters that a task may forbid.
BESIDE = ("near the {}", "beside a {}", "with one {}", "behind the {}", "like a {}", "next to the {}", "around a {}")
