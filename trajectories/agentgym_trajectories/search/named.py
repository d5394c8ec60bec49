"""Searches by the names of their papers: each a few lines over the same parts."""

from collections.abc import Callable

from agentgym import UserError

from .choices import PUCT, UCB1, Beam, BestFirst, Spread
from .critique import Critique
from .expansion import Pieces
from .search import Budget, Search
from .values import Earned, RollOut


def agent_q() -> Search:
    """Agent Q (Putta et al. 2024, arXiv:2408.07199): UCB1 over returns and the policy's own ranking, roll-outs to the end."""
    return Search("agent-q", UCB1(c=1.0, alpha=0.5), RollOut(), Critique(), width=4)


def mcts() -> Search:
    """Plain UCT (Kocsis & Szepesvari 2006): UCB1 over the returns of roll-outs, no critic."""
    return Search("mcts", UCB1(), RollOut(), width=4)


def mcts_dpo() -> Search:
    """MCTS-DPO (Xie et al. 2024, arXiv:2405.00451): PUCT with the policy's own probabilities as prior.

    The paper evaluates a step by outcome and self-evaluation; here by the return of a roll-out and the self-critique's rank.
    """
    return Search("mcts-dpo", PUCT(w=1.0, alpha=0.5), RollOut(), Critique(), width=4)


def itool() -> Search:
    """ITool's search: UCB1 over the returns of roll-outs, siblings that differ in one piece of an action."""
    return Search("itool", UCB1(), RollOut(), width=4, expansion=Pieces())


def lats() -> Search:
    """LATS (Zhou et al. 2024, arXiv:2310.04406), for inference: as Agent Q, but it ends with the first path that succeeds.

    The paper's reflections on failed paths are not part of it.
    """
    return Search("lats", UCB1(c=1.0, alpha=0.5), RollOut(), Critique(), width=5, budget=Budget(30), until=1.0)


def multi_branch() -> Search:
    """Several branches with a judge, and a step back from bad ones: best-first over the judge's ranks, k = 3."""
    return Search("multi-branch", BestFirst(alpha=0.0), Earned(), Critique(), width=3, budget=Budget(60), until=1.0)


def tree_grpo() -> Search:
    """Tree-GRPO (arXiv:2509.21240): siblings at every level, all played to their ends; for the advantages of RL."""
    return Search("tree-grpo", Spread(), RollOut(), width=2, budget=Budget(8))


def best_of_n() -> Search:
    """Independent attempts, as many as simulations: the baseline of every search."""
    return Search("best-of-n", Beam(1, depth=1), RollOut(), width=None, merge=False, budget=Budget(16))


NAMED: dict[str, Callable[[], Search]] = {
    "agent-q": agent_q,
    "mcts": mcts,
    "mcts-dpo": mcts_dpo,
    "itool": itool,
    "lats": lats,
    "multi-branch": multi_branch,
    "tree-grpo": tree_grpo,
    "best-of-n": best_of_n,
}


def search_named(name: str) -> Search:
    """The search with this name.

    Raises:
        UserError: there is none.
    """
    if name not in NAMED:
        raise UserError(f"there is no search {name!r}: use one of {', '.join(NAMED)}")
    return NAMED[name]()
