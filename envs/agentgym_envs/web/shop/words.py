"""What the shop sells: departments, categories, and what the goods of a category have in common."""

import msgspec


class Category(msgspec.Struct, frozen=True):
    """A shelf of similar goods.

    Attributes:
        department: Where it stands.
        name: Its name.
        types: Kinds of goods.
        features: What is said of them; a product has some of these, and a goal asks for some of those.
        options: Axes of choice, each with its values; a product has some values of each.
        prices: Lowest and highest price, in units of money.
    """

    department: str
    name: str
    types: tuple[str, ...]
    features: tuple[str, ...]
    options: dict[str, tuple[str, ...]]
    prices: tuple[int, int]


COLOURS = (
    "black", "white", "grey", "navy", "sky blue", "forest green", "olive", "red", "burgundy", "mustard", "orange", "beige",
    "brown", "pink",
)  # fmt: skip
CLOTHING = ("XS", "S", "M", "L", "XL", "XXL")
SHOES = ("37", "38", "39", "40", "41", "42", "43", "44", "45")
BRANDS = (
    "Norvik", "Halden", "Brightwell", "Cascara", "Delmont", "Everly", "Fjordson", "Greyson", "Hollis", "Indra", "Juniper",
    "Kestrel",
    "Larkin", "Maren", "Nordahl", "Oakley & Finch", "Pemberton", "Quill", "Rowan", "Solberg", "Tamsin", "Umber", "Verano",
    "Wexford",
    "Yarrow", "Zephyr",
)  # fmt: skip
LINES = (
    "Aster", "Birch", "Cedar", "Dune", "Ember", "Fern", "Glade", "Heath", "Iris", "Jade", "Kite", "Lumen", "Mica", "Nova",
    "Onyx", "Pine",
    "Quartz", "Reed", "Slate", "Terra", "Urban", "Vale", "Willow", "Yonder",
)  # fmt: skip

CATEGORIES = (
    Category(
        "Home", "Seating", ("armchair", "office chair", "bar stool", "rocking chair"),
        ("solid oak legs", "washable cover", "adjustable height", "lumbar support", "swivel base", "foldable", "memory foam",
         "stackable",
         "breathable mesh", "anti-slip feet", "easy assembly", "stain resistant"),
        {"colour": COLOURS, "upholstery": ("linen", "velvet", "leather", "wool", "cotton")}, (45, 480),
    ),
    Category(
        "Home", "Lighting", ("desk lamp", "floor lamp", "pendant lamp", "night light"),
        ("dimmable", "energy saving", "touch control", "warm light", "USB port", "remote control", "adjustable arm",
         "motion sensor",
         "glare free", "cordless", "hand-blown glass"),
        {"colour": COLOURS, "bulb": ("none", "warm LED", "daylight LED")}, (12, 190),
    ),
    Category(
        "Home", "Bedding", ("duvet cover", "pillow case", "bed sheet", "blanket"),
        ("machine washable", "organic cotton", "wrinkle resistant", "hypoallergenic", "zip closure", "extra soft",
         "all season", "flame retardant",
         "moisture wicking", "hand stitched"),
        {"colour": COLOURS, "size": ("single", "double", "queen", "king")}, (9, 140),
    ),
    Category(
        "Home", "Rugs", ("wool rug", "runner rug", "outdoor rug", "bath mat"),
        ("non-slip backing", "hand woven", "low pile", "fade resistant", "reversible", "quick drying", "recycled fibres",
         "stain resistant",
         "underfloor heating safe"),
        {"colour": COLOURS, "size": ("60 x 90 cm", "80 x 150 cm", "120 x 180 cm", "160 x 230 cm")}, (15, 260),
    ),
    Category(
        "Kitchen", "Cookware", ("frying pan", "saucepan", "stock pot", "wok"),
        ("non-stick coating", "induction ready", "oven safe", "dishwasher safe", "stay-cool handle", "glass lid",
         "cast iron", "PFOA free",
         "pouring rim", "measuring marks"),
        {"size": ("16 cm", "20 cm", "24 cm", "28 cm", "32 cm"), "finish": ("polished", "matt", "hammered")}, (14, 180),
    ),
    Category(
        "Kitchen", "Tableware", ("dinner plate set", "mug", "cereal bowl", "water glass"),
        ("dishwasher safe", "microwave safe", "lead free", "hand painted", "chip resistant", "stackable", "double walled",
         "made of stoneware",
         "gift boxed"),
        {"colour": COLOURS, "pack": ("set of 2", "set of 4", "set of 6", "set of 12")}, (8, 95),
    ),
    Category(
        "Kitchen", "Coffee and tea", ("coffee grinder", "teapot", "espresso maker", "French press"),
        ("easy to clean", "stainless steel", "heat resistant handle", "adjustable grind", "drip free spout",
         "removable filter", "cordless",
         "quiet motor", "keeps warm", "safety lock"),
        {"colour": COLOURS, "capacity": ("0.3 l", "0.6 l", "1.0 l", "1.5 l")}, (16, 230),
    ),
    Category(
        "Clothing", "Tops", ("T-shirt", "shirt", "jumper", "hooded jacket"),
        ("organic cotton", "machine washable", "long sleeves", "slim fit", "loose fit", "moisture wicking", "button front",
         "crew neck", "V-neck",
         "wrinkle free", "thumb holes"),
        {"colour": COLOURS, "size": CLOTHING}, (9, 120),
    ),
    Category(
        "Clothing", "Trousers", ("jeans", "chinos", "jogging trousers", "shorts"),
        ("elastic waist", "zip pockets", "stretch fabric", "high waist", "straight leg", "machine washable", "quick drying",
         "drawstring",
         "reinforced knees", "recycled fibres"),
        {"colour": COLOURS, "size": CLOTHING, "length": ("short", "regular", "long")}, (15, 140),
    ),
    Category(
        "Clothing", "Shoes", ("running shoes", "ankle boots", "sandals", "trainers"),
        ("rubber sole", "waterproof", "arch support", "memory foam insole", "lightweight", "slip resistant", "vegan leather",
         "reflective details",
         "wide fit", "hand sewn"),
        {"colour": COLOURS, "size": SHOES}, (25, 220),
    ),
    Category(
        "Electronics", "Audio", ("headphones", "bluetooth speaker", "earbuds", "soundbar"),
        ("noise cancelling", "fast charging", "water resistant", "long battery life", "built-in microphone", "wireless",
         "carrying case",
         "deep bass", "voice assistant", "foldable"),
        {"colour": COLOURS, "guarantee": ("1 year", "2 years", "3 years")}, (19, 340),
    ),
    Category(
        "Electronics", "Computer accessories", ("keyboard", "mouse", "laptop stand", "docking station"),
        ("wireless", "ergonomic", "backlit", "silent keys", "rechargeable", "adjustable angle", "plug and play",
         "aluminium body", "USB-C",
         "spill resistant"),
        {"colour": COLOURS, "layout": ("US", "UK", "German", "Nordic")}, (14, 210),
    ),
    Category(
        "Electronics", "Power", ("power bank", "wall charger", "charging cable", "extension lead"),
        ("fast charging", "overheat protection", "braided", "compact", "digital display", "USB-C", "surge protection",
         "travel friendly",
         "fire resistant"),
        {"colour": ("black", "white", "grey", "red", "navy"), "length": ("0.5 m", "1 m", "2 m", "3 m")}, (7, 90),
    ),
    Category(
        "Outdoor", "Camping", ("tent", "sleeping bag", "camping stove", "head torch"),
        ("waterproof", "ultralight", "wind resistant", "packs small", "easy set-up", "insulated", "rechargeable",
         "UV protection",
         "double stitched", "fire resistant"),
        {"colour": COLOURS, "size": ("1 person", "2 persons", "4 persons")}, (18, 390),
    ),
    Category(
        "Outdoor", "Bags", ("backpack", "duffel bag", "hip bag", "bicycle pannier"),
        ("waterproof", "laptop sleeve", "padded straps", "hidden pocket", "recycled fibres", "reflective details",
         "ventilated back", "lockable zips",
         "chest strap", "cabin size"),
        {"colour": COLOURS, "capacity": ("5 l", "15 l", "25 l", "40 l", "60 l")}, (14, 210),
    ),
    Category(
        "Outdoor", "Garden", ("garden hose", "plant pot", "pruning shears", "watering can"),
        ("frost resistant", "rust free", "kink free", "soft grip", "UV protection", "drainage holes", "self-watering",
         "lightweight",
         "recycled plastic", "hand made"),
        {"colour": COLOURS, "size": ("small", "medium", "large", "extra large")}, (6, 80),
    ),
)  # fmt: skip

PRAISE = (
    "Exactly what I was looking for.",
    "Better than I had hoped.",
    "Good value, quick delivery.",
    "My whole family likes it.",
    "I would buy it again.",
)
DOUBTS = ("It does its job.", "All right for the price.", "Good, but the colour is a little darker than shown.")
BLAME = ("Not as described.", "It broke after two weeks.", "I sent it back.")
FIRST_NAMES = (
    "Ada",
    "Bo",
    "Cleo",
    "Dina",
    "Emil",
    "Freya",
    "Gil",
    "Hedda",
    "Ines",
    "Jon",
    "Kaja",
    "Leo",
    "Mara",
    "Nils",
    "Olga",
    "Pia",
)
