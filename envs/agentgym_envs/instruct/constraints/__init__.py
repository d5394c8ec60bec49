"""Constraints that a program can check; one class for each kind, by families."""

from typing import get_args

from agentgym_envs.instruct.constraints.base import Constraint, Plan
from agentgym_envs.instruct.constraints.keywords import Avoid, EndsWith, Include, Repeat, StartsWith
from agentgym_envs.instruct.constraints.layout import Bullets, Json, Numbered, Quoted, Title
from agentgym_envs.instruct.constraints.length import Lines, Paragraphs, Sentences, WordsAtLeast, WordsAtMost, WordsExactly
from agentgym_envs.instruct.constraints.letters import (
    CapitalWords,
    Commas,
    Exclamations,
    LetterAtLeast,
    LetterAtMost,
    Lower,
    NoCommas,
    NoLetter,
    TitleCase,
    Upper,
)

AnyConstraint = (
    WordsExactly
    | WordsAtLeast
    | WordsAtMost
    | Sentences
    | Lines
    | Paragraphs
    | Bullets
    | Numbered
    | Quoted
    | Title
    | Json
    | Include
    | Repeat
    | Avoid
    | StartsWith
    | EndsWith
    | Upper
    | Lower
    | TitleCase
    | CapitalWords
    | LetterAtLeast
    | LetterAtMost
    | NoLetter
    | Commas
    | NoCommas
    | Exclamations
)
KINDS: tuple[type[AnyConstraint], ...] = get_args(AnyConstraint)

__all__ = ["KINDS", "AnyConstraint", "Constraint", "Plan"]
