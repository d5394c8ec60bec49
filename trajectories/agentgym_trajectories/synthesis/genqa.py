"""GenQA (Chen et al. 2024, arXiv:2406.10323): one prompt that makes its own diversity, without seeds.

The model lists topics and picks the one with a number that was drawn, lists subtopics and picks again, then writes a question.
The numbers make the choice random, where a model left to itself would always take the first topics that come to its mind.

Departure: the paper takes the answer from the same text; here the question becomes a task, whose answer has tokens of its own.
"""

from dataclasses import dataclass

from agentgym_trajectories.synthesis.base import Writer
from agentgym_trajectories.synthesis.scene import Scene, Unusable

PROMPT = """List {topics} topics that you can answer questions about. Choose topic {topic} of your list, and name it.
Then list {topics} subtopics of it. Choose subtopic {subtopic} of these, and name it.
Then write one question that takes knowledge of that subtopic to answer, without naming it. Begin it with "Question:"."""


@dataclass(frozen=True)
class GenQA(Writer):
    """Have a question written about a topic out of `topics` and a subtopic out of as many."""

    topics: int = 60
    roles = ("user",)

    async def write(self, scene: Scene) -> str:
        """What follows the last "Question:"."""
        topic, subtopic = (1 + scene.rng.randrange(self.topics) for _ in range(2))
        scene.origin |= {"topic": topic, "subtopic": subtopic}
        written = await scene.ask(PROMPT.format(topics=self.topics, topic=topic, subtopic=subtopic), "user")
        _, found, question = written.rpartition("Question:")
        if not found:
            raise Unusable(f"no question in {written[:60]!r}")
        return question
