"""Rewards are named parts with weights; the total and every part are kept."""

from collections.abc import Mapping


class Rubric:
    """Weights of reward parts.

    ``Rubric(solved=1.0, state=0.0)`` counts `solved` and only records `state`. A part without a weight counts nothing
    beside weighted ones; a rubric without any weight is the plain mean of its parts.

    Args:
        weights: Weight by name of part.
    """

    def __init__(self, **weights: float) -> None:
        self.weights = weights

    def total(self, parts: Mapping[str, float]) -> float:
        """The weighted sum of `parts` (their mean without weights; 0 for no parts)."""
        if not parts:
            return 0.0
        if not self.weights:
            return sum(parts.values()) / len(parts)
        return sum(self.weights.get(name, 0.0) * value for name, value in parts.items())
