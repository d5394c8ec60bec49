"""The shortest way to win, read from the table of transitions that Gymnasium's toy games keep."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

Table = Mapping[int, Mapping[int, Sequence[tuple[float, int, float, bool]]]]


def best_actions(table: Table) -> dict[int, int]:
    """For each state from which the game can be won, the action that starts a shortest way; chance is left out.

    Args:
        table: state -> action -> (probability, next state, reward, ended), of which only the first is looked at.
    """
    into: dict[int, list[tuple[int, int]]] = defaultdict(list)
    best: dict[int, int] = {}
    for state, actions in table.items():
        for action, ((_, after, reward, ended), *_) in actions.items():
            if not ended:
                into[after].append((state, action))
            elif reward > 0:
                best.setdefault(state, action)
    frontier = list(best)
    for state in frontier:  # grows while it is walked: breadth first, backwards from the wins
        for before, action in into[state]:
            if before not in best:
                best[before] = action
                frontier.append(before)
    return best
