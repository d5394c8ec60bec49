"""What was chosen on a site is worth: WebShop's reward, for goods, rooms, or whatever a site has.

Yao et al. 2022, "WebShop: Towards Scalable Real-World Web Interaction with Grounded Language Agents", section 3.3 and appendix.
With a goal's features U_f, options U_o and price limit u, and a bought product's features Y_f, chosen options Y_o and price y::

    r = r_type * (|U_f & Y_f| + |U_o & Y_o| + [y < u]) / (|U_f| + |U_o| + 1)

Where it departs from the paper: features, options and types are the site's own, so they are compared as such, and not by fuzzy
matching of texts. More can be chosen than was asked for: the best unit counts, divided by the number of units.
"""

from collections.abc import Mapping, Sequence


def match(kind: float, counted: Mapping[str, tuple[int, int]]) -> dict[str, float]:
    """How well one unit fits: the reward and its parts, each in [0, 1].

    Args:
        kind: Whether it is of the right type, in [0, 1].
        counted: For each sort of wish, how many of them it fulfils, of how many.
    """
    fulfilled, asked = (sum(numbers) for numbers in zip(*counted.values(), strict=True))
    parts = {name: got / of for name, (got, of) in counted.items() if of}
    return {"reward": kind * fulfilled / asked, "type": kind, **parts}


def worth(units: Sequence[tuple[dict[str, float], int]]) -> dict[str, float]:
    """The reward of all that was chosen and its parts; a reward of 0 alone where nothing was.

    Args:
        units: Parts of one unit as `match` has them, and how many there are of it.
    """
    count = sum(number for _, number in units)
    if not count:
        return {"reward": 0.0}
    best = max((parts for parts, _ in units), key=lambda parts: parts["reward"])
    return best | {"reward": best["reward"] / count, "alone": 1 / count}
