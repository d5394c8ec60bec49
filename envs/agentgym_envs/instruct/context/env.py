"""``instruct/Context-v0``: answer by the passage, where it says something other than what everybody knows.

After "Entity-Based Knowledge Conflicts in Question Answering" (Longpre et al. 2021, arXiv:2109.05052): a known answer is replaced
by another of the same kind. Their memorization ratio is ``unfaithful / (faithful + unfaithful)`` over the parts' means.
"""

import random
from collections.abc import Mapping

from agentgym import Environment, Message, Rubric, Task, Tasks, assistant, levels_of, procedural
from agentgym_envs.instruct.text import folded

from .facts import RELATIONS

LEVELS = {"easy": 0, "medium": 2, "hard": 5}  # other facts in the passage
OPENINGS = (
    "",
    "This is a page of an old guide.",
    "So it stands in the schoolbooks of another world.",
    "Everybody in this story knows it.",
)


class Context(Environment):
    """Answer a question by a passage that contradicts common knowledge.

    Solved means that the answer names what the passage says, and nothing else of its kind. `faithful` tells whether it names what
    the passage says, `unfaithful` whether it names what is commonly known; other facts of the same kind, untrue as well, stand in
    the passage, so that copying it names too much.

    Args:
        level: "easy" (no other facts), "medium" (two), "hard" (five); None mixes all three.

    Raises:
        UserError: an unknown level.
    """

    instructions = (
        "Answer the question by the passage alone, also where the passage says something other than what you know. "
        "Give the word or the name that is asked for, and nothing else."
    )
    max_turns = 1
    rubric = Rubric(solved=1.0, faithful=0.0, unfaithful=0.0)

    def __init__(self, level: str | None = None) -> None:
        self.levels = levels_of(level, LEVELS)

    def tasks(self, split: str = "train") -> Tasks:
        """Endless; no thing is said to be the same in two splits, in whatever words."""
        return procedural(
            lambda rng: make_task(rng, rng.choice(self.levels)),
            split,
            same=lambda task: [task.data[k] for k in ("relation", "thing", "told")],
        )

    def score(self, answer: str) -> Mapping[str, float]:
        """Whether the answer names what is told, what is known, and no more."""
        told, known = self.task.data["told"], self.task.data["known"]
        said = set(folded(answer))
        named = {v for v in RELATIONS[self.task.data["relation"]].known.values() if v.casefold() in said}
        return {"solved": float(named == {told}), "faithful": float(told in named), "unfaithful": float(known in named)}

    def oracle(self) -> Message:
        """What is told."""
        return assistant(self.task.data["told"])


def make_task(rng: random.Random, level: str) -> Task:
    """A passage and a question; what is commonly known of the thing that is asked about is not in it."""
    name = rng.choice(sorted(RELATIONS))
    relation = RELATIONS[name]
    things = rng.sample(sorted(relation.known), LEVELS[level] + 1)
    values = rng.sample(sorted(set(relation.known.values()) - {relation.known[t] for t in things}), len(things))
    told = dict(zip(things, values, strict=True))
    asked = things[0]
    facts = [rng.choice(relation.says).format(thing=t, value=v) for t, v in told.items()]
    rng.shuffle(facts)
    passage = " ".join(filter(None, [rng.choice(OPENINGS), *facts]))
    question = rng.choice(relation.asks).format(thing=asked)
    data = {"relation": name, "thing": asked, "told": told[asked], "known": relation.known[asked]}
    return Task(f"Passage: {passage}\n\nQuestion: {question}", data, difficulty=level)
