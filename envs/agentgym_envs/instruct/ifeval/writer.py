"""The oracle: writes plain texts that observe a draft, from short to long, and keeps the first that the judge accepts."""

import itertools
import json
import math
from collections.abc import Iterable, Iterator, Sequence

from agentgym_envs.instruct.ifeval.base import MANY, Draft
from agentgym_envs.instruct.ifeval.judge import AnyInstruction, judge
from agentgym_envs.instruct.ifeval.vocabulary import CLAUSES, RICH
from agentgym_envs.instruct.text import WORD

CLAUSE = (10, 9, 8, 7)  # words in one, with whatever joins it to others, at most
LONGEST = 20_000  # words, about: nobody reads more than that
FEWER = 6  # sentences that other parts of the answer may bring with them


def gold(instructions: Sequence[AnyInstruction]) -> str | None:
    """An answer that follows all instructions, always the same one; None when the writer finds none."""
    draft = Draft()
    for instruction in instructions:
        instruction.guide(draft)
    if draft.language not in CLAUSES or _asked_for(draft) > LONGEST:
        return None
    for sentences, clauses in _sizes(draft):
        answer = write(draft, sentences, clauses)
        if judge(instructions, answer)["prompt_strict"]:
            return answer
    return None


def _asked_for(draft: Draft) -> int:
    """The least number of words, about."""
    single = (draft.words[0], draft.sentences[0], draft.capitals[0], draft.paragraphs, draft.sections[1], draft.bullets)
    several = (draft.highlights, draft.placeholders, draft.first[0] if draft.first else 0)
    return max(*single, *several, *draft.mentions.values(), *draft.rich.values())


def _sizes(draft: Draft) -> Iterator[tuple[int, int]]:
    """Numbers of sentences, and of clauses in each, to be tried."""
    told = draft.language != "en" or draft.case  # most of such an answer has to be in its language
    least = max(draft.sentences[0], 3 + len(draft.repeat) // 20 if told else 1)
    for sentences in [*range(least, max(0, least - FEWER), -1), least + 1, least + 2, least + 5]:
        yield from dict.fromkeys((sentences, max(1, math.ceil(draft.words[0] / words / sentences))) for words in CLAUSE)
        yield sentences, math.ceil(draft.words[0] / CLAUSE[-1] / sentences) + 2


def write(draft: Draft, sentences: int, clauses: int) -> str:
    """A text of about so many sentences, each of so many clauses."""
    blocks = max(draft.paragraphs, draft.sections[1], draft.first[0] if draft.first else 0, 1) + draft.two
    said = itertools.cycle(_clauses(draft))
    joint = _joint(draft)
    drafts = [joint.join(itertools.islice(said, clauses)) for _ in range(max(sentences, blocks))]
    drafts[-1] = " ".join([drafts[-1], *_mentions(draft, joint)])
    if draft.first:
        _, number, word = draft.first
        at = math.ceil((number - 1) * len(drafts) / blocks)
        drafts[at] = f"{word} {drafts[at]}"
    whole = [f"{d[0].upper()}{d[1:]}." for d in drafts]
    cuts = [math.ceil(i * len(whole) / blocks) for i in range(blocks + 1)]
    text = _laid_out(draft, [" ".join(whole[a:b]) for a, b in itertools.pairwise(cuts)])
    return _finished(draft, _framed(draft, text, next(said)))


def _clauses(draft: Draft) -> list[str]:
    """Those that may be said: without what is avoided, with as few as can be of the letters that are to be rare."""
    known = CLAUSES[draft.language]
    allowed = [c for c in known if not any(a in c for a in draft.avoided)] or list(known)
    rarity = [sum(c.count(letter) for letter in draft.poor) for c in allowed]
    return [c for c, found in zip(allowed, rarity, strict=True) if found == min(rarity)]


def _joint(draft: Draft) -> str:
    """What stands between two clauses."""
    fits = draft.language == "en" and "and" not in draft.avoided and draft.poor.isdisjoint("and")
    return " and " if fits else " "


def _mentions(draft: Draft, joint: str) -> Iterable[str]:
    """What has to occur, as the end of a sentence."""
    words = [w for word, times in draft.mentions.items() for w in [word] * times]
    if words:
        yield joint.strip() + " " + joint.join(words)
    for letter, times in draft.rich.items():
        word = RICH.get(letter, letter)
        yield " ".join([word] * math.ceil(times / word.count(letter)))
    yield from (f"[item {i + 1}]" for i in range(draft.placeholders))
    yield from (f"*point {i + 1}*" for i in range(draft.highlights))


def _laid_out(draft: Draft, blocks: list[str]) -> str:
    name, count = draft.sections
    if count:
        blocks[:count] = ["\n".join(f"{name} {i}\n{block}" for i, block in enumerate(blocks[:count], 1))]
    if draft.two:
        blocks[:-1] = [("\n***\n" if draft.paragraphs else "\n\n").join(blocks[:-1])]
        return "\n******\n".join(blocks)
    return ("\n***\n" if draft.paragraphs else "\n\n").join(blocks)


def _framed(draft: Draft, text: str, clause: str) -> str:
    """The text between what comes before and after it."""
    title = ["<<A Title>>"] if draft.titled else []
    before, after = ([], title) if draft.first else (title, [])
    lines = [draft.repeat, *before, draft.choice, text, *after, *(f"* {clause}" for _ in range(draft.bullets))]
    if draft.postscript:
        lines.append(f"{draft.postscript.rstrip('.')}. {clause}.")
    return " ".join(filter(None, ("\n".join(filter(None, lines)), draft.ending)))


def _finished(draft: Draft, text: str) -> str:
    if draft.json:
        text = json.dumps({"answer": text}, ensure_ascii=False)
    text = {"upper": text.upper(), "lower": text.lower()}.get(draft.case, text)
    if draft.quoted:
        text = f'"{text}"'
    if draft.capitals[1] < MANY and not draft.capitals[0]:
        return text
    count = itertools.count()
    return WORD.sub(lambda match: match[0].upper() if next(count) < draft.capitals[0] else match[0], text)
