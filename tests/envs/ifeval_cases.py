"""Answers made by hand for each of the 25 types: those that follow and those that do not. Counts were counted by eye."""

from collections.abc import Iterable
from typing import Any

Case = tuple[dict[str, Any], str]
FRAMES = ("{}", "So: {}", "Well.\n{}\nThat was it.", "We said it\n\n{}", "{} (or so we think)")
OUTER = ("{}", " {}", "\n{}", "{}\n", "\n {} \n")  # blanks around an answer that do not matter


def cross(parameters: dict[str, Any], cores: Iterable[str], frames: Iterable[str] = FRAMES) -> list[Case]:
    return [(parameters, frame.replace("{}", core)) for core in cores for frame in frames]


def counted(name: str, relation: str, texts: dict[str, int], **others: Any) -> tuple[list[Case], list[Case]]:
    """Both relations to a count, on both sides of it."""
    good: list[Case] = []
    bad: list[Case] = []
    for text, n in texts.items():
        for how, number, side in (
            ("at least", n, good),
            ("less than", n + 1, good),
            ("at least", n + 1, bad),
            ("less than", n, bad),
        ):
            if number:
                side.append(({relation: how, name: number, **others}, text))
    return good, bad


def exactly(name: str, texts: dict[str, int | None], **others: Any) -> tuple[list[Case], list[Case]]:
    """Exact counts; None is no count at all."""
    good = [({name: n, **others}, text) for text, n in texts.items() if n]
    bad = [({name: m, **others}, text) for text, n in texts.items() for m in ({1, 2, 3} if n is None else {n + 1, n - 1}) if m]
    return good, bad


def minimal(name: str, texts: dict[str, int], **others: Any) -> tuple[list[Case], list[Case]]:
    """At least so many."""
    framed = {frame.format(text): n for frame in ("{}", "This is it:\n{}") for text, n in texts.items()}
    good = [({name: m, **others}, text) for text, n in framed.items() for m in {n, max(1, n - 1)} if n]
    return good, [({name: n + 1, **others}, text) for text, n in framed.items()]


KEYS = {"keywords": ["rope", "Tent"]}
ROCK = {"forbidden_words": ["rock", "old man"]}
END = {"end_phrase": "Is that all?"}
REPEAT = {"prompt_to_repeat": "Write a poem, please. About Rome!"}
NTH = {"num_paragraphs": 3, "nth_paragraph": 2, "first_word": "elm"}
TWICE = {"keyword": "rope", "relation": "at least", "frequency": 2}
RARELY = {"keyword": "rope", "relation": "less than", "frequency": 2}
GERMAN = "Der alte Mann ging langsam über die Straße und kaufte ein Brot."
ENGLISH = (
    "The old man walked slowly across the street and bought some bread.",
    "There is nothing in the house that we could eat tonight.",
    "Please write to me when you have found out what happened.",
    "My sister and her husband live in a small town near the sea.",
    "It was the best of times and it was the worst of times.",
)
LANGUAGES = {
    "de": GERMAN,
    "fr": "Le vieil homme traversa lentement la rue et acheta du pain.",
    "es": "El anciano cruzó lentamente la calle y compró un poco de pan.",
    "it": "Il vecchio attraversò lentamente la strada e comprò del pane.",
    "pt": "O velho atravessou lentamente a rua e comprou um pouco de pão.",
    "nl": "De oude man liep langzaam over de straat en kocht een brood.",
    "sv": "Den gamle mannen gick långsamt över gatan och köpte ett bröd.",
    "fi": "Vanha mies käveli hitaasti kadun yli ja osti leipää kaupasta.",
    "pl": "Stary człowiek powoli przeszedł przez ulicę i kupił chleb.",
    "tr": "Yaşlı adam yavaşça caddeyi geçti ve bir ekmek satın aldı.",
    "ru": "Старик медленно перешёл улицу и купил хлеб в магазине.",
    "bg": "Старецът бавно пресече улицата и си купи хляб от магазина.",
    "el": "Ο γέρος διέσχισε αργά τον δρόμο και αγόρασε ψωμί.",
    "he": "האיש הזקן חצה לאט את הרחוב וקנה לחם בחנות.",
    "ar": "عبر الرجل العجوز الشارع ببطء واشترى الخبز من المتجر.",
    "hi": "बूढ़े आदमी ने धीरे-धीरे सड़क पार की और दुकान से रोटी खरीदी।",
    "ta": "முதியவர் மெதுவாக சாலையைக் கடந்து கடையில் ரொட்டி வாங்கினார்.",
    "te": "ముసలివాడు నెమ్మదిగా రోడ్డు దాటి దుకాణంలో రొట్టె కొన్నాడు.",
    "th": "ชายชราเดินข้ามถนนอย่างช้าๆ และซื้อขนมปังที่ร้าน",
    "ko": "노인은 천천히 길을 건너 가게에서 빵을 샀습니다.",
    "vi": "Ông già chậm rãi băng qua đường và mua bánh mì ở cửa hàng.",
    "en": ENGLISH[0],
}
SENTENCES = {
    "One.": 1,
    "One. Two. Three.": 3,
    "What? No! Yes.": 3,
    "No end at all": 1,
    "Mr. Fox ran home. He won.": 2,
    "It cost 3.50 dollars. Fine.": 2,
    "See e.g. this one. And that.": 2,
    'He said "Go." She went.': 2,
    "Dr. J. Smith met Mrs. Lee.": 1,
    "The U.S. team won again.": 1,
    "So do I. We all do.": 2,
    "One line\nand its end. Two": 2,
    "1. Eat.\n2. Sleep.": 2,
    "Really?! Yes!!! Good...": 3,
    "P.S. I love you.": 1,
}
WORDS = {
    "one": 1,
    "one two": 2,
    "one, two; three!": 3,
    "don't": 2,
    "state-of-the-art": 4,
    "3.5 and 4": 4,
    "a_b c": 2,
    "so\nmany\n\nlines": 3,
    "... ! ?": 0,
    "* bullet\n* other": 2,
    "[name] <<title>>": 2,
    "été à Rome": 3,
}
PARAGRAPHS: dict[str, int | None] = {
    "a": 1,
    "a\n***\nb": 2,
    "a *** b": 2,
    "a***b***c": 3,
    "***\na": 1,
    "a\n***\n": 1,
    "*** a *** b ***": 2,
    "a\n***\nb\n***\nc\n***\nd": 4,
    "a\n\nb": 1,
    "a\n***\n\n***\nb": None,
    "a ****** b": None,
    "a\n* * *\nb": 1,
    "a\n***\nb\n\nc": 2,
    "**a**\n***\n*b*": 2,
    "a\n ***\n b\n ***": 2,
    "one\ntwo\n***\nthree": 2,
    "\n***\na\n***\nb\n***\n": 2,
    "a --- b": 1,
    "A. *** B! *** C?": 3,
    "1 *** 2 *** 3 *** 4 *** 5": 5,
    "x\n***\ny *** z": 3,
    "no dividers\n\nat all": 1,
    "*a* *** *b* *** *c*": 3,
    "*** *** a": None,
}
PLACEHOLDERS = {
    "[name]": 1,
    "Dear [name], [greeting]": 2,
    "[a][b][c]": 3,
    "[]": 1,
    "no brackets": 0,
    "[open": 0,
    "close]": 0,
    "[over\nlines]": 0,
    "[[a]]": 1,
    "(a) {b} <c>": 0,
    "x[1] and y[2]": 2,
    "] [a] [": 1,
    "[a [b] c]": 1,
    "[one]\n[two]\n[three]\n[four]": 4,
    "[a b c]": 1,
}
BULLETS: dict[str, int | None] = {
    "* a": 1,
    "* a\n* b": 2,
    "- a\n- b\n- c": 3,
    "* a\n- b": 2,
    "So:\n* a\n* b\nDone": 2,
    "  * a\n\t* b": 2,
    "* a\n\n* b": 2,
    "** a\n* b": 1,
    "**bold**\n* a": 1,
    "*emphasis* begins\n* a": 2,
    "a * b\n* c": 1,
    "+ a\n* b": 1,
    "1. a\n* b": 1,
    "-a\n-b": 2,
    "* a\n  - b\n  - c\n* d": 4,
    "• a\n* b": 1,
    "* a * b": 1,
    "---\n* a": 2,
    "*\n* b": 1,
    "* a\n***\n* b": 2,
    "no list": None,
    "** bold **": None,
}
HIGHLIGHTS = {
    "*a*": 1,
    "*a* b *c*": 2,
    "**a**": 1,
    "**a** and *b*": 2,
    "* a": 0,
    "* a\n* b": 0,
    "*a b c*": 1,
    "**": 0,
    "* *": 0,
    "*a\nb*": 0,
    "plain": 0,
    "*a*\n*b*\n*c*": 3,
    "**a** **b** **c**": 3,
    "_a_ `b`": 0,
    "*one* *two* *three* *four*": 4,
}
SECTIONS = {
    "Section 1\na": 1,
    "Section 1\na\nSection 2\nb": 2,
    "Section1 Section2 Section3": 3,
    "section 1": 0,
    "SECTION 1 SECTION 2": 0,
    "Section one": 0,
    "Section  1": 0,
    "Subsection 1": 0,
    "Section\n1": 1,
    "**Section 1**\n**Section 2**": 2,
    "Section 1: a\n\nSection 1: b": 2,
    "Section A 1": 0,
    "(Section 12) Section 3.": 2,
    "Section #1": 0,
    "My Section 1 Section 2 Section 3 Section 4": 4,
}
CAPITALS = {
    "ONE": 1,
    "ONE two": 1,
    "ONE TWO Three": 2,
    "I am A man": 2,
    "one Two": 0,
    "ABC123 is it": 1,
    "WELL-KNOWN fact": 1,
    "NASA, ESA and JAXA.": 3,
    "iPhone": 0,
    "123 456": 0,
    "DON'T": 1,
    "*BOLD* and [NAME]": 2,
    "ÉTÉ": 1,
    "The U.S. and the U.S.A.": 2,
    "end.A new one": 1,
}
JSONS = (
    "{}", "[]", '{"a": 1}', "[1, 2, 3]", '"text"', "12", "true", "null", '{"a": {"b": []}}', '[{"a": "b"}, {"c": null}]', " { } ", "-1.5e3",
    '{"a": "x\\ny"}', '```json\n{"a": 1}\n```', "```\n[1]\n```", '```JSON\n{"a": 2}\n```', '\n{"a": 1}\n', '{"é": "ü"}', '{"a": 1,\n "b": 2}',
    '```Json\n{}```', '[[[[]]]]', '{"a": [true, false, null]}',
)  # fmt: skip
NO_JSONS = (
    "{a: 1}", "{'a': 1}", '{"a": 1', '{"a": 1,}', "[1, 2", "text", 'Here: {"a": 1}', '{"a": 1} done', "yes", "{", "]", '{"a" 1}', '{"a": }',
    '```json\n{"a": 1\n```', "``json\n{}\n```", '{"a": 1}{"b": 2}', "01", "True", "None", '"open', "[1 2]", '{"a": "x\ny"}', "[" * 5000,
)  # fmt: skip
TITLES = ("<<A>>", "<<A Day>>", "<<a b c>>", "<< x >>", "<<<A>>>", "<<1>>", "<<A>> and <<B>>", "x <<A>> y", "<<it's >> odd>>")
NO_TITLES = ("<A>", "A", "<<A>", "<A>>", "<<>>", "<< >>", ">>A<<", "<<A\nB>>", "< <A> >", "«A»", "<<<>>>")
TWO = (
    "a\n******\nb",
    "a ****** b",
    "a******b",
    "******\na\n******\nb",
    "a\n******\nb\n******",
    "*x*\n******\n*y*",
    "a\n\nb\n******\nc\nd",
    "1 ****** 2",
)
NOT_TWO = (
    "a",
    "a\n***\nb",
    "a ****** a",
    "a\n******\na\n",
    "a ****** b ****** c",
    "a ****** ****** b",
    "******",
    "a ******",
    "****** b",
    "a ***** b",
)
PS = ("P.S. Bye", "p.s. bye", "P. S. Bye", "Bye\nP.S. I am here", "X P.S. Y", "P.S.", "P.P.S. too")
NO_PS = ("PS Bye", "P.S Bye", "P S. Bye", "Postscript: bye", "ps. bye", "P..S.", "P.-S.")
PPS = ("P.P.S. Bye", "P.P.S", "p.p.s bye", "P. P. S. Bye", "Bye\nP.P.S I am here")
NO_PPS = ("P.S. Bye", "PPS Bye", "P.PS Bye", "P.P. Bye", "P.P,S.")
POEM = "Write a poem, please. About Rome!"

CASES: dict[str, tuple[list[Case], list[Case]]] = {
    "keywords:existence": (
        cross(KEYS, ["rope tent", "TENT and ROPE", "tropes in potent words"]) + cross(KEYS, ["Rope, tent!", "rope\ntent"]),
        cross(KEYS, ["rope", "tents", "ro pe tent", "r-ope and t-ent", "rop tent"]),
    ),
    "keywords:frequency": (
        cross(TWICE, ["rope rope", "Rope and ropes", "a ROPE\nand a rope", "roperope"]) + cross(RARELY, ["rope", "none", "rop e", "Ropes"]),
        cross(TWICE, ["rope", "ro-pe rope", "Ropes", "none"]) + cross(RARELY, ["rope rope", "roperope", "ROPE, Rope", "tropes of ropes"]),
    ),
    "keywords:forbidden_words": (
        cross(ROCK, ["rocks", "a bedrock", "an older man", "rocky", "old  man"]),
        cross(ROCK, ["rock", "A Rock!", "(rock)", "the OLD MAN", "rock-hard"]),
    ),
    "keywords:letter_frequency": counted(
        "let_frequency", "let_relation", {"quick": 1, "Q and q": 2, "none": 0, "q q q": 3, "antique": 1, "QQ": 2, "g p": 0, "q\nq\n\nQ": 3, "Qq qQ": 4,
        "qu que qui": 3, "a": 0, "no such letter here": 0}, letter="q",
    ),
    "language:response_language": (
        [({"language": code}, text) for code, text in LANGUAGES.items()],
        [({"language": "fr" if code == "en" else "en"}, text) for code, text in LANGUAGES.items()]
        + [({"language": "ru"}, LANGUAGES["bg"]), ({"language": "en"}, "123, 456!")],
    ),
    "length_constraints:number_sentences": counted("num_sentences", "relation", SENTENCES),
    "length_constraints:number_words": counted("num_words", "relation", WORDS),
    "length_constraints:number_paragraphs": exactly("num_paragraphs", PARAGRAPHS),
    "length_constraints:nth_paragraph_first_word": (
        cross(NTH, ["a\n\nelm b\n\nc", "a\n\nElm, b\n\nc", 'a b\n\n"elm" is\n\nc', "a\n\n\n\nelm\n\nc"], OUTER),
        cross(NTH, ["elm\n\na\n\nb", "a\n\nelms\n\nc", "a\n\nelm", "a\n\nelm\n\nc\n\nd", "a\nelm\nc"], OUTER),
    ),
    "detectable_content:number_placeholders": minimal("num_placeholders", PLACEHOLDERS),
    "detectable_content:postscript": (
        cross({"postscript_marker": "P.S."}, PS) + cross({"postscript_marker": "P.P.S"}, PPS) + cross({"postscript_marker": "Q.E.D"}, ["q.e.d. so"]),
        cross({"postscript_marker": "P.S."}, NO_PS) + cross({"postscript_marker": "P.P.S"}, NO_PPS) + cross({"postscript_marker": "Q.E.D"}, ["qed"]),
    ),
    "detectable_format:number_bullet_lists": exactly("num_bullets", BULLETS),
    "detectable_format:constrained_response": (
        cross({}, ["My answer is yes.", "My answer is no.", "My answer is maybe.", "So My answer is yes. Indeed"]),
        cross({}, ["My answer is yes", "my answer is no.", "My answer is: maybe.", "Yes.", "My answer is perhaps."]),
    ),
    "detectable_format:number_highlighted_sections": minimal("num_highlights", HIGHLIGHTS),
    "detectable_format:multiple_sections": minimal("num_sections", SECTIONS, section_spliter="Section"),
    "detectable_format:json_format": ([({}, text) for text in JSONS], [({}, text) for text in NO_JSONS]),
    "detectable_format:title": (cross({}, TITLES), cross({}, NO_TITLES)),
    "combination:two_responses": (cross({}, TWO, OUTER), cross({}, NOT_TWO, OUTER)),
    "combination:repeat_prompt": (
        cross(REPEAT, [POEM, f"{POEM}\nO Rome", POEM.upper(), f"{POEM} No."], OUTER),
        cross(REPEAT, ["A poem", f"So: {POEM}", POEM.replace(",", ""), POEM[:-1], f'"{POEM}"'], OUTER),
    ),
    "startend:end_checker": (
        cross(END, ["Is that all?", "So. IS THAT ALL?", '"Is that all?"', "a\n\nis that all?"], OUTER),
        cross(END, ["Is that all", "Is that all? Yes.", "Is  that all?", "That is all?", "Is that all?)"], OUTER),
    ),
    "startend:quotation": (
        cross({}, ['"a"', '"a b\nc"', '"a" and "b"', '""'], OUTER),
        cross({}, ["a", '"a', 'a"', "'a'", '"', "“a”", '("a")'], OUTER),
    ),
    "change_case:capital_word_frequency": counted("capital_frequency", "capital_relation", CAPITALS),
    "change_case:english_capital": (
        [({}, frame.format(text.upper())) for text in ENGLISH for frame in ("{}", "{} 1, 2!", "- {}", '"{}"')],
        [({}, text) for text in ENGLISH] + cross({}, [GERMAN.upper(), "AND so IT GOES", "THE MAN WHO SOLD THE WORLd", "12 34"], OUTER),
    ),
    "change_case:english_lowercase": (
        [({}, frame.format(text.lower())) for text in ENGLISH for frame in ("{}", "{} 1, 2!", "- {}", '"{}"')],
        [({}, text) for text in ENGLISH] + cross({}, [GERMAN.lower(), "and So it goes", "the man who sold the worlD", "12 34"], OUTER),
    ),
    "punctuation:no_comma": (
        cross({}, ["a b", "a; b: c.", "a' b` c", "a、b，c", "none"]),
        cross({}, [",", "a, b", "1,000", "a,b", "x\n,\ny"]),
    ),
}  # fmt: skip
