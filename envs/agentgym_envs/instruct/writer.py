"""The oracle: writes short texts that observe a plan, and keeps the one that the judge accepts."""

import random
import string
from collections.abc import Iterable

import msgspec

from agentgym import Task
from agentgym_envs.instruct.constraints import Plan
from agentgym_envs.instruct.judge import Instruction, judge, read
from agentgym_envs.instruct.text import words
from agentgym_envs.instruct.vocabulary import ADVERBIALS, BESIDE, PREDICATES, TITLES

ATTEMPTS = 4
SENTENCE = 8  # words in one, about


def gold(task: Task) -> str | None:
    """An answer that solves the task, always the same one; None when the writer finds none."""
    instruction = read(task)
    rng = random.Random(msgspec.json.encode(task.data, order="deterministic"))
    for _ in range(ATTEMPTS):
        plan = Plan(rng)
        for constraint in instruction.constraints:
            constraint.guide(plan)
        answer = write(plan, instruction)
        if judge(task, answer)["solved"]:
            return answer
    return None


class Sentence(msgspec.Struct):
    """A sentence in the making."""

    core: str
    front: str = ""
    comma: bool = False
    tail: list[str] = []

    def __str__(self) -> str:
        front = f"{self.front}," if self.comma else self.front
        text = " ".join(filter(None, (front, self.core, *self.tail)))
        return f"{text[0].upper()}{text[1:]}."


class Bank:
    """The fragments that a plan allows, in random order, each given out once."""

    def __init__(self, plan: Plan, fragments: Iterable[str]) -> None:
        self._left = _allowed(plan, fragments)
        self._favoured = plan.favoured
        plan.rng.shuffle(self._left)

    def take(self, longest: int = SENTENCE) -> str:
        """One of at most `longest` words, of several the richest in the favoured letter; empty when there is none."""
        fitting = [f for f in self._left if f.count(" ") < longest]
        if not fitting:
            return ""
        taken = max(fitting[:16], key=lambda f: f.count(self._favoured)) if self._favoured else fitting[0]
        self._left.remove(taken)
        return taken


def write(plan: Plan, topic: Instruction) -> str:
    """A text that observes the plan as well as it can be done in one go; the judge has the last word."""
    rng, adverbials, beside = plan.rng, Bank(plan, ADVERBIALS), Bank(plan, BESIDE)
    target = rng.randint(*plan.words)
    drafts = _cores(plan, topic, target)
    _open(plan, drafts, adverbials)
    for noun in plan.nouns:
        _shortest(rng, drafts).tail.append((beside.take() or BESIDE[0]).format(noun))
    title = string.capwords(rng.choice(TITLES).format(topic=f"{topic.adjective} {topic.noun}", noun=topic.noun))
    missing = target - len(words(_assemble(plan, drafts, title)))
    while missing > 0 and (adverbial := adverbials.take(missing)):
        _shortest(rng, drafts).tail.append(adverbial)
        missing -= len(adverbial.split())
    return _assemble(plan, drafts, title)


def _cores(plan: Plan, topic: Instruction, target: int) -> list[Sentence]:
    """Subjects and predicates, as many as the plan demands or as `target` words need."""
    wanted = max(plan.at_least, (len(plan.nouns) + 1) // 2, round(target / SENTENCE))
    count = max(1, (plan.sentences or max(plan.blocks, wanted)) - bool(plan.ending))
    predicates = Bank(plan, PREDICATES)
    full = _allowed(plan, [f"the {topic.adjective} {topic.noun}"]) or [f"the {topic.noun}"]
    others = [*_allowed(plan, [f"the {topic.noun}", f"this {topic.noun}"]), "it"]
    subjects = [full[0], *plan.rng.choices(others, k=count - 1)]
    return [Sentence(f"{subject} {predicates.take() or PREDICATES[0]}") for subject in subjects]


def _open(plan: Plan, drafts: list[Sentence], adverbials: Bank) -> None:
    """Let some sentences begin with an adverbial: those that get a comma, and the first if its words are prescribed."""
    commas = plan.rng.randint(0, 1) if plan.commas is None else plan.commas
    drafts[0].front = plan.opening
    for draft in plan.rng.sample(drafts, min(commas, len(drafts))):
        draft.front = draft.front or adverbials.take()
        draft.comma = bool(draft.front)


def _shortest(rng: random.Random, drafts: list[Sentence]) -> Sentence:
    return min(drafts, key=lambda draft: (len(draft.tail), rng.random()))


def _assemble(plan: Plan, drafts: list[Sentence], title: str) -> str:
    sentences = [str(draft) for draft in drafts] + ([plan.ending] if plan.ending else [])
    blocks: list[list[str]] = [[] for _ in range(plan.blocks)]
    for i, sentence in enumerate(sentences):
        blocks[i * plan.blocks // len(sentences)].append(sentence)
    text = plan.layout(blocks)
    if plan.titled:
        text = f"<<{title}>>\n{text}"
    for change in plan.finish:
        text = change(text)
    return text


def _allowed(plan: Plan, fragments: Iterable[str]) -> list[str]:
    if not (plan.avoided or plan.shunned):
        return list(fragments)
    return [f for f in fragments if plan.avoided.isdisjoint(f.split()) and not (plan.shunned and plan.shunned in f.lower())]
