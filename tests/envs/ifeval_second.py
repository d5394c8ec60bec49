"""A second check of IFEval's 25 types, written from the paper's descriptions by walking over characters: no regular expressions, and
nothing of the first one's code. Languages are told by script and by frequent words."""

import unicodedata
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

Arguments = dict[str, Any]
SCRIPTS = {
    "GURMUKHI": "pa", "KANNADA": "kn", "HANGUL": "ko", "TAMIL": "ta", "TELUGU": "te", "THAI": "th", "BENGALI": "bn", "GUJARATI": "gu",
    "GREEK": "el", "HEBREW": "he",
}  # fmt: skip
FREQUENT = {
    "en": "the a an and of to in is it he she they we you was by had this that not have our",
    "de": "der die das und wir ist im den ging ein über",
    "fr": "le la et du les lentement",
    "es": "el la y un de los lentamente cruzó",
    "it": "il la di e lo nel dietro ogni del",
    "pt": "o a as e do um sobre todas uma comprou",
    "nl": "de het een en over",
    "sv": "den och ett över gick",
    "fi": "joka ja on talon puhumme mies osti",
    "pl": "przez i ulicę stary",
    "tr": "ve bir adam yaşlı",
    "sw": "kila ya na wa katika ni",
    "vi": "và chúng mỗi trong đang hôm ông ở qua",
}
TELLING = {
    "DEVANAGARI": {"mr": ("आहे", "आम्ही"), "ne": ("छ ", "छन्", "छौँ"), "hi": ("है", "में", "ने ")},
    "ARABIC": {"ur": ("ہ", "ے"), "fa": ("می", "گ", "پ"), "ar": ("ال",)},
    "CYRILLIC": {"bg": ("ъ", "се ", "и да", "градината"), "ru": ("ы", "ё", "э", "в саду")},
}


def script(char: str) -> str:
    return unicodedata.name(char, "").partition(" ")[0]


def in_language(text: str, code: str) -> bool:
    letters = [script(c) for c in text if c.isalpha()]
    if not letters:
        return False
    main = max(sorted(set(letters)), key=letters.count)
    if main in SCRIPTS:
        return SCRIPTS[main] == code
    if main in TELLING:
        return next((c for c, signs in TELLING[main].items() if any(s in text for s in signs)), "") == code
    said = list(runs(text.lower()))
    votes = {c: sum(said.count(w) for w in frequent.split()) for c, frequent in FREQUENT.items()}
    return votes[code] == max(votes.values()) > 0 if code in votes else False


def runs(text: str, more: str = "_") -> Iterator[str]:
    """Runs of letters and digits."""
    run = ""
    for char in [*text, " "]:
        if char.isalnum() or char in more or unicodedata.combining(char):
            run += char
        elif run:
            yield run
            run = ""


def has_letters(text: str) -> bool:
    return any(c.isalpha() for c in text)


TITLES = {"Mr.", "Mrs.", "Ms.", "Dr.", "Prof.", "St.", "vs.", "cf.", "e.g.", "i.e."}


def shortened(word: str) -> bool:
    bare = word.lstrip("(\"'")
    pairs = list(zip(bare[::2], bare[1::2], strict=False))
    initials = len(bare) % 2 == 0 and bool(pairs) and all("A" <= a <= "Z" and b == "." for a, b in pairs)
    return bare in TITLES or (initials and bare != "I.")


def count_sentences(text: str) -> int:
    count, said = 0, False
    for word in text.split():
        said = said or has_letters(word)
        bare = word.rstrip("\"'”’)")
        if bare[-1:] in (".", "!", "?") and said and not shortened(bare):
            count, said = count + 1, False
    return count + said


def dividers(text: str, stars: int) -> list[str]:
    pieces, rest = [], text
    while (at := rest.find("*" * stars)) >= 0:
        pieces.append(rest[:at])
        rest = rest[at + stars :]
    return [*pieces, rest]


def count_paragraphs(text: str) -> int | None:
    blank = [not p.split() for p in dividers(text, 3)]
    return None if any(blank[1:-1]) else blank.count(False)


def nth_word(text: str, number: int, total: int) -> str | None:
    paragraphs = [p.split() for p in text.split("\n\n") if p.split()]
    if len(paragraphs) != total or number > total:
        return None
    word, out = paragraphs[number - 1][0], ""
    while word[:1] == "'":
        word = word[1:]
    while word[:1] == '"':
        word = word[1:]
    for char in word:
        if char in ".,?!'\"":
            break
        out += char
    return out.lower()


def count_placeholders(text: str) -> int:
    count, opened = 0, False
    for char in text:
        if char == "[":
            opened = True
        elif char == "\n":
            opened = False
        elif char == "]" and opened:
            count, opened = count + 1, False
    return count


def is_bullet(line: str) -> bool:
    bare = line.lstrip()
    if bare.startswith("-"):
        return True
    return bare.startswith("*") and not bare.startswith("**") and bare != "*"


def count_highlights(text: str) -> int:
    """Between two asterisks that follow each other; between two pairs of asterisks once more."""
    count = 0
    for line in text.split("\n"):
        at = 0
        while (start := line.find("*", at)) >= 0 and (end := line.find("*", start + 1)) >= 0:
            count += bool(line[start + 1 : end].strip())
            at = end + 1
        at = 0
        while (start := line.find("**", at)) >= 0 and (end := line.find("*", start + 2)) >= 0:
            closed = line[end : end + 2] == "**"
            count += closed and bool(line[start + 2 : end].strip())
            at = end + 2 if closed else start + 1
    return count


def count_sections(text: str, name: str) -> int:
    count, at = 0, 0
    while (found := text.find(name, at)) >= 0:
        after = text[found + len(name) : found + len(name) + 2]
        numbered = after[:1].isdecimal() or (after[:1].isspace() and after[1:].isdecimal())
        count += numbered
        at = found + (len(name) if numbered else 1)
    return count


def has_title(text: str) -> bool:
    for line in text.split("\n"):
        starts = [i for i in range(len(line)) if line[i : i + 2] == "<<"]
        ends = [i for i in range(len(line)) if line[i : i + 2] == ">>"]
        if starts and ends and starts[0] < ends[-1] and any(c not in "<> \t" for c in line[starts[0] : ends[-1]]):
            return True
    return False


def is_json(text: str) -> bool:
    import msgspec

    bare = text.strip()
    if bare.startswith("```"):
        bare = bare[3:]
        bare = bare[4:] if bare[:4].lower() == "json" else bare
    try:
        msgspec.json.decode(bare.removesuffix("```"))
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def two_answers(text: str) -> bool:
    pieces = [p.strip() for p in dividers(text, 6)]
    said = [p for p in pieces if p]
    return len(said) == 2 and said[0] != said[1] and "" not in pieces[1:-1]


def has_postscript(text: str, marker: str) -> bool:
    low = text.lower()
    signs = {"P.S.": ("p.", "s."), "P.P.S": ("p.", "p.", "s")}.get(marker, (marker.lower(),))
    blanks = ("", " ", "\n", "\t", "\u2009")
    return any(
        "".join(a + b for a, b in zip(signs, [*gaps, ""], strict=True)) in low for gaps in product(blanks, repeat=len(signs) - 1)
    )


def count_capitals(text: str) -> int:
    """Words with letters; what begins with digits is looked at from the first letter on, "don't" and "long-lost" are one."""
    framed = f" {text} "
    lone = [c.isalpha() and not any(n.isalnum() or n == "_" for n in (framed[i], framed[i + 2])) for i, c in enumerate(text)]
    inner = [c == "." and any(lone[i - 1 : i]) and any(lone[i + 1 : i + 2]) for i, c in enumerate(text)]  # of "U.S."
    text = "".join(c for c, within in zip(text, inner, strict=True) if not within)
    count = 0
    for chunk in "".join(c if c.isalnum() or c in "'-\u2019" else " " for c in text).split():
        pieces, word = chunk.replace("'", "-").replace("\u2019", "-").split("-"), ""
        for piece in [*pieces, ""]:
            if piece and word:
                word += piece
                continue
            if word:
                count += word.upper() == word
                word = ""
            at = next((i for i, c in enumerate(piece) if c.isalpha()), None)
            word = "" if at is None else piece[at:]
    return count


def has_word(text: str, word: str) -> bool:
    low, sought = text.lower(), word.lower()
    inside = [i for i in range(len(low)) if low.startswith(sought, i)]
    edge = lambda char: not (char.isalnum() or char == "_")  # noqa: E731
    return any(edge(low[i - 1 : i] or " ") and edge(low[i + len(sought) : i + len(sought) + 1] or " ") for i in inside)


def compared(count: int, relation: str, number: int) -> bool:
    return {"at least": count > number - 1, "less than": count < number}[relation]


SECOND: dict[str, Callable[[str, Arguments], bool]] = {
    "keywords:existence": lambda t, a: not [k for k in a["keywords"] if t.lower().find(k.lower()) < 0],
    "keywords:frequency": lambda t, a: compared(len(t.lower().split(a["keyword"].lower())) - 1, a["relation"], a["frequency"]),
    "keywords:forbidden_words": lambda t, a: not [w for w in a["forbidden_words"] if has_word(t, w)],
    "keywords:letter_frequency": lambda t, a: compared(
        sum(c in (a["letter"].lower(), a["letter"].upper()) for c in t), a["let_relation"], a["let_frequency"]
    ),
    "language:response_language": lambda t, a: in_language(t, a["language"]),
    "length_constraints:number_sentences": lambda t, a: compared(count_sentences(t), a["relation"], a["num_sentences"]),
    "length_constraints:number_words": lambda t, a: compared(len(list(runs(t))), a["relation"], a["num_words"]),
    "length_constraints:number_paragraphs": lambda t, a: count_paragraphs(t) == a["num_paragraphs"],
    "length_constraints:nth_paragraph_first_word": lambda t, a: (
        nth_word(t, a["nth_paragraph"], a["num_paragraphs"]) == a["first_word"].lower()
    ),
    "detectable_content:number_placeholders": lambda t, a: count_placeholders(t) >= a["num_placeholders"],
    "detectable_content:postscript": lambda t, a: has_postscript(t, a["postscript_marker"]),
    "detectable_format:number_bullet_lists": lambda t, a: len([x for x in t.split("\n") if is_bullet(x)]) == a["num_bullets"],
    "detectable_format:constrained_response": lambda t, a: any(f"My answer is {x}." in t for x in ("yes", "no", "maybe")),
    "detectable_format:number_highlighted_sections": lambda t, a: count_highlights(t) >= a["num_highlights"],
    "detectable_format:multiple_sections": lambda t, a: count_sections(t, a["section_spliter"]) >= a["num_sections"],
    "detectable_format:json_format": lambda t, a: is_json(t),
    "detectable_format:title": lambda t, a: has_title(t),
    "combination:two_responses": lambda t, a: two_answers(t),
    "combination:repeat_prompt": lambda t, a: t.lower().split()[: len(a["prompt_to_repeat"].split())] == a["prompt_to_repeat"].lower().split()
    or t.strip().lower().find(a["prompt_to_repeat"].strip().lower()) == 0,
    "startend:end_checker": lambda t, a: t.strip().strip('"').lower()[-len(a["end_phrase"].strip()) :] == a["end_phrase"].strip().lower(),
    "startend:quotation": lambda t, a: len(t.strip()) >= 2 and {t.strip()[0], t.strip()[-1]} == {'"'},
    "change_case:capital_word_frequency": lambda t, a: compared(count_capitals(t), a["capital_relation"], a["capital_frequency"]),
    "change_case:english_capital": lambda t, a: has_letters(t) and t.upper() == t and in_language(t, "en"),
    "change_case:english_lowercase": lambda t, a: has_letters(t) and t.lower() == t and in_language(t, "en"),
    "punctuation:no_comma": lambda t, a: len(t.split(",")) == 1,
}  # fmt: skip


def follows(kind: str, arguments: Arguments, answer: str) -> bool:
    return answer.strip() != "" and SECOND[kind](answer, {k: v for k, v in arguments.items() if v is not None})


def follows_loosely(kind: str, arguments: Arguments, answer: str) -> bool:
    lines = answer.split("\n")
    cuts = [lines, lines[1:], lines[: len(lines) - 1], lines[1 : len(lines) - 1]]
    texts = ["\n".join(cut).strip() if i else answer for i, cut in enumerate(cuts)]
    return any(follows(kind, arguments, t) for text in texts for t in (text, "".join(c for c in text if c != "*")))
