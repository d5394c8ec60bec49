"""How answers are judged: strict and loose, by prompt and by instruction (Zhou et al. 2023, arXiv:2311.07911, section 2.3).

Strict: the instruction holds of the answer as it is. Loose: it holds of at least one of eight texts, the answer with or without
its first line, its last line, and all asterisks. An empty text follows nothing.

The 25 checks are our own, after the published descriptions and code. What departs from it: languages are told by another library,
and a text without letters is in none (`language`); sentences and words in capitals are counted by the rules of `instruct.text`;
keywords and section marks are taken literally, not as regular expressions; blank paragraphs have no number (`length.FirstWord`);
letters that are none ("#", "!") are counted as well, where the published code draws another letter by lot.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from agentgym import Task, UserError
from agentgym_envs.instruct.ifeval import form, length, words

AnyInstruction = (
    words.Existence
    | words.Frequency
    | words.Forbidden
    | words.LetterFrequency
    | words.Language
    | words.CapitalWords
    | words.EnglishCapital
    | words.EnglishLowercase
    | words.NoComma
    | length.NumberSentences
    | length.NumberWords
    | length.NumberParagraphs
    | length.FirstWord
    | form.Placeholders
    | form.Postscript
    | form.Bullets
    | form.Constrained
    | form.Highlights
    | form.Sections
    | form.Json
    | form.Title
    | form.TwoResponses
    | form.RepeatPrompt
    | form.End
    | form.Quotation
)


def instructions_of(row: Mapping[str, Any]) -> list[AnyInstruction]:
    """The instructions of a published row: ``instruction_id_list``, and ``kwargs`` with the arguments of each.

    Arguments that are null do not count: some copies of the file name every argument in every row.

    Raises:
        KeyError, TypeError, ValueError: they are none.
    """
    ids, arguments = row["instruction_id_list"], row["kwargs"]
    if not ids or len(ids) != len(arguments):
        raise ValueError(f"{len(ids)} instructions have {len(arguments)} arguments")
    given = [{k: v for k, v in (a or {}).items() if v is not None} for a in arguments]
    return msgspec.convert([{**g, "kind": i} for i, g in zip(ids, given, strict=True)], list[AnyInstruction])


def read(task: Task) -> list[AnyInstruction]:
    """The task's instructions.

    Raises:
        UserError: it has none.
    """
    try:
        return instructions_of(task.data)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"task {task.id!r} holds no verifiable instructions ({error}): take its data from tasks()") from error


def judge(instructions: Iterable[AnyInstruction], answer: str) -> dict[str, float]:
    """Reward parts of an answer.

    Returns:
        ``prompt_strict`` and ``prompt_loose`` (1 where all are followed), ``instruction_strict`` and ``instruction_loose`` (the
        share that is), ``instructions`` (how many there are), and for each published id the share of its instructions that are
        followed, strict.
    """
    texts = loosened(answer)
    strict: dict[str, list[bool]] = {}
    loose: list[bool] = []
    for instruction in instructions:
        follows = bool(answer.strip()) and instruction.holds(answer)
        strict.setdefault(instruction.kind, []).append(follows)
        loose.append(follows or any(map(instruction.holds, texts)))
    every = [follows for group in strict.values() for follows in group]
    count = len(every)
    return {
        "prompt_strict": float(all(every)),
        "prompt_loose": float(all(loose)),
        "instruction_strict": sum(every) / count,
        "instruction_loose": sum(loose) / count,
        "instructions": float(count),
        **{kind: sum(group) / len(group) for kind, group in strict.items()},
    }


def loosened(answer: str) -> list[str]:
    """The texts that the loose criterion looks at besides the answer itself, without empty ones."""
    lines = answer.split("\n")
    cut = [answer, *("\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1]))]
    texts = dict.fromkeys([*cut[1:], *(text.replace("*", "") for text in cut)])
    return [text for text in texts if text.strip() and text != answer]


def accuracy(rewards: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """The four numbers of the paper over the rewards of many episodes; those by instruction weigh each instruction alike.

    Args:
        rewards: What `judge` gave for each prompt.
    """
    known = list(rewards)
    total = sum(r["instructions"] for r in known)
    return {
        "prompt_strict": sum(r["prompt_strict"] for r in known) / len(known),
        "prompt_loose": sum(r["prompt_loose"] for r in known) / len(known),
        "instruction_strict": sum(r["instruction_strict"] * r["instructions"] for r in known) / total,
        "instruction_loose": sum(r["instruction_loose"] * r["instructions"] for r in known) / total,
    }
