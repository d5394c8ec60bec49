"""Scripted writers for IFEval's prompts: one that breaks an instruction, and one that puts together whatever comes."""

import random
from typing import Any

from tests.envs.ifeval_cases import ENGLISH, LANGUAGES

PLAIN = "We went to the market and it was full of people. They had to wait for a long time"


def many(text: str, number: int) -> str:
    return " ".join([text] * number)


def breaks(kind: str, a: dict[str, Any]) -> str:  # noqa: C901
    """A text that does not follow one instruction."""
    few = "at least" in a.values()
    match kind.partition(":")[2]:
        case "existence":
            return PLAIN.replace(a["keywords"][0], "") if a["keywords"][0] not in PLAIN else "No."
        case "frequency":
            return "The end." if few else many(f"the {a['keyword']}", a["frequency"])
        case "forbidden_words":
            return f"{PLAIN} and {a['forbidden_words'][-1]}."
        case "letter_frequency":
            return (
                ("The sky" if a["letter"] not in "the sky" else "Oh no")
                if few
                else many(f"the {a['letter']}", a["let_frequency"])
            )
        case "response_language":
            return PLAIN
        case "number_sentences":
            return "It is one." if few and a["num_sentences"] > 1 else many("It is so.", a["num_sentences"])
        case "number_words":
            return "It is." if few else many("it is", a["num_words"])
        case "number_paragraphs":
            return "\n***\n".join([PLAIN] * (a["num_paragraphs"] + 1))
        case "nth_paragraph_first_word":
            return "\n\n".join([PLAIN] * a["num_paragraphs"])
        case "number_bullet_lists":
            return "\n".join(["* so it is"] * (a["num_bullets"] + 1))
        case "capital_word_frequency":
            return PLAIN if few else many("AND SO", a["capital_frequency"])
        case "english_capital":
            return PLAIN
        case "no_comma":
            return f"{PLAIN}, and so on."
        case "two_responses":
            return f"{PLAIN}\n******\n{PLAIN}"
        case _:
            return PLAIN


def violating_answer(data: dict[str, Any], rng: random.Random) -> str:
    at = rng.randrange(len(data["kwargs"]))
    return breaks(data["instruction_id_list"][at], data["kwargs"][at])


MARKS = (
    "***", "******", "* a point of the list", "- another point", "[name]", "[your address]", "<<A Day>>", "P.S. See you.", "P.P.S. It is so.",
    "*the main thing*", "**a bold claim**", "My answer is no.", "Section 1", "SECTION 2", "Is there anything else I can help with?", "",
    "It was NASA and the BBC, so to speak.", "Any other questions?", "1. The first of them", "\t", "Dr. Lee is a friend of the U.S. team.",
)  # fmt: skip


def random_answer(data: dict[str, Any], rng: random.Random) -> str:
    """Lines of sentences, marks and words of the prompt; sometimes of one case, in quotation marks, as JSON, or in another language."""
    if rng.random() < 0.1:
        return rng.choice([*LANGUAGES.values(), "123, 456", '{"a": ["the", "b"]}', "```json\n[1]\n```"])
    named = [str(v) for a in data["kwargs"] for value in a.values() for v in (value if isinstance(value, list) else [value])]
    lines = []
    for _ in range(rng.randint(1, 12)):
        line = [rng.choice(ENGLISH) for _ in range(rng.randint(0, 3))]
        if rng.random() < 0.5:
            line.insert(rng.randint(0, len(line)), rng.choice(MARKS))
        if named and rng.random() < 0.3:
            line.append(rng.choice(named))
        lines.append(rng.choice((" ", " and ")).join(line))
    text = rng.choice(("\n", "\n\n", " ")).join([rng.choice(ENGLISH), *lines, rng.choice(ENGLISH)])
    text = rng.choice((str, str, str.upper, str.lower))(text)
    if rng.random() < 0.3:
        text = text.replace(",", "")
    return f'"{text}"' if rng.random() < 0.2 else text
