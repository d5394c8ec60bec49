"""What everybody knows: kinds of facts, each a thing and the one word that belongs to it."""

import msgspec


class Relation(msgspec.Struct, frozen=True):
    """One kind of fact.

    Attributes:
        says: How it is told, with ``{thing}`` and ``{value}``.
        asks: How it is asked for, with ``{thing}``.
        known: Of each thing the value; no two have the same one.
    """

    says: tuple[str, ...]
    asks: tuple[str, ...]
    known: dict[str, str]


RELATIONS = {
    "capital": Relation(
        (
            "The capital of {thing} is {value}.",
            "{thing} is governed from its capital, {value}.",
            "{value} has been the capital of {thing} for long.",
        ),
        ("What is the capital of {thing}?", "Which city is the capital of {thing}?"),
        {
            "France": "Paris", "Germany": "Berlin", "Italy": "Rome", "Spain": "Madrid", "Portugal": "Lisbon",
            "Austria": "Vienna", "Greece": "Athens", "Norway": "Oslo", "Sweden": "Stockholm", "Finland": "Helsinki",
            "Denmark": "Copenhagen", "Poland": "Warsaw", "Hungary": "Budapest", "Ireland": "Dublin", "Russia": "Moscow",
            "Turkey": "Ankara", "Egypt": "Cairo", "Kenya": "Nairobi", "Japan": "Tokyo", "China": "Beijing",
            "Thailand": "Bangkok", "Iran": "Tehran", "Iraq": "Baghdad", "Cuba": "Havana", "Peru": "Lima",
            "Canada": "Ottawa", "Australia": "Canberra", "Scotland": "Edinburgh", "Wales": "Cardiff", "England": "London",
        },
    ),
    "author": Relation(
        ("{thing} was written by {value}.", "{value} is the author of {thing}.", "It took {value} two years to write {thing}."),
        ("Who wrote {thing}?", "Who is the author of {thing}?"),
        {
            "Hamlet": "Shakespeare", "Don Quixote": "Cervantes", "War and Peace": "Tolstoy",
            "Crime and Punishment": "Dostoevsky", "Faust": "Goethe", "Moby Dick": "Melville", "Oliver Twist": "Dickens",
            "Pride and Prejudice": "Austen", "Ulysses": "Joyce", "Frankenstein": "Shelley", "Dracula": "Stoker",
            "Animal Farm": "Orwell", "The Hobbit": "Tolkien", "Robinson Crusoe": "Defoe", "Treasure Island": "Stevenson",
            "The Jungle Book": "Kipling", "The Time Machine": "Wells", "Walden": "Thoreau", "The Trial": "Kafka",
            "The Odyssey": "Homer", "The Aeneid": "Virgil", "Tom Sawyer": "Twain",
        },
    ),
    "young": Relation(
        (
            "A young {thing} is called a {value}.",
            "When it is born, a {thing} is known as a {value}.",
            "The word for a {thing} that is not grown up is {value}.",
        ),
        ("What is a young {thing} called?", "What is the word for a {thing} that is not grown up?"),
        {
            "dog": "puppy", "cat": "kitten", "cow": "calf", "horse": "foal", "sheep": "lamb", "goat": "kid", "bear": "cub",
            "duck": "duckling", "goose": "gosling", "frog": "tadpole", "swan": "cygnet", "pig": "piglet",
            "kangaroo": "joey", "deer": "fawn", "hen": "chick", "owl": "owlet", "hare": "leveret", "eagle": "eaglet",
            "butterfly": "caterpillar", "fish": "fry",
        },
    ),
    "inventor": Relation(
        (
            "The {thing} was invented by {value}.",
            "{value} is the inventor of the {thing}.",
            "Nobody but {value} could have invented the {thing}.",
        ),
        ("Who invented the {thing}?", "Who is the inventor of the {thing}?"),
        {
            "telephone": "Bell", "light bulb": "Edison", "dynamite": "Nobel", "printing press": "Gutenberg",
            "steam engine": "Watt", "lightning rod": "Franklin", "battery": "Volta", "telegraph": "Morse",
            "ballpoint pen": "Biro", "saxophone": "Sax", "hot-air balloon": "Montgolfier", "periodic table": "Mendeleev",
            "revolver": "Colt",
        },
    ),
}  # fmt: skip
