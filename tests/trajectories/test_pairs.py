"""Preference pairs: the pitfalls of the field, one test for each, and what is kept in the store."""

import dataclasses
import math
import sqlite3
import zlib
from pathlib import Path
from typing import Any

import pytest

from agentgym import Task, UserError, assistant, call, user
from agentgym.errors import ErrorCategory, StopReason
from agentgym.messages import ToolCall
from agentgym_trajectories.pairs import Cap, Distinct, Diverse, Likely, Margin, Outcome, Pair, Rso, Spin, Step, make_pairs, parse
from agentgym_trajectories.search import UCB1, Budget, Search
from agentgym_trajectories.store import FILE, SCHEMA_VERSION, Store
from agentgym_trajectories.tree import Episode, Node
from tests.commands import run
from tests.pages import enlighten
from tests.trajectories.test_search import Bandit, Levers, grow


def tree(*actions: tuple[str, int, float | None], task: int = 0, sample: int = 0, version: str = "v", **fields: Any) -> Episode:
    """One state with these actions: text, visits, value."""
    episode = Episode("test/X-v0", Task("Say.", {}, f"train-{task}"), sample, version)
    root = episode.add(-1, "observation", (user("Say."),), token_ids=[1, 2, 3])
    for text, visits, value in actions:
        ended = {"reward": value or 0.0, "end": StopReason.TERMINATED, "success": value == 1.0} | fields
        ids = [10 + ord(c) % 50 for c in text]
        logprobs = [-0.1 * len(text)] * len(ids)
        episode.add(root.id, "action", (assistant(text),), token_ids=ids, logprobs=logprobs, visits=visits, value=value, **ended)
    return episode


def chain(*texts: str, reward: float, task: int = 0, sample: int = 0, version: str = "v") -> Episode:
    """A linear episode."""
    episode = Episode("test/X-v0", Task("Say.", {}, f"train-{task}"), sample, version)
    parent = episode.add(-1, "observation", (user("Say."),), token_ids=[1, 2, 3]).id
    for text in texts[:-1]:
        parent = episode.add(parent, "action", (assistant(text),), token_ids=[7, 8]).id
        parent = episode.add(parent, "observation", (user("Go on."),), token_ids=[1]).id
    last: dict[str, Any] = {"reward": reward, "end": StopReason.TERMINATED, "success": reward == 1.0}
    episode.add(parent, "action", (assistant(texts[-1]),), token_ids=[7, 8], **last)
    return episode


def said(pairs: Any) -> list[tuple[str, str]]:
    return [(p.chosen.leaf.messages[0].content, p.rejected.leaf.messages[0].content) for p in pairs]


# ---- the pitfalls ----------------------------------------------------------------------------------------------------------


def test_unvisited_actions_are_never_losers() -> None:
    episode = tree(("good", 4, 0.9), ("bad", 2, 0.1), ("unknown", 0, None))
    assert said(Step()([episode])) == [("good", "bad")]


def test_means_are_compared_not_sums() -> None:
    often, seldom = ("often", 100, 0.2), ("seldom", 1, 0.8)  # sums: 20 and 0.8
    assert said(Step()([tree(often, seldom)])) == [("seldom", "often")]


def test_the_ids_before_both_sides_are_those_that_the_actor_saw() -> None:
    sink, _ = grow(Search(choice=UCB1(1.0), width=2, budget=Budget(40)))
    pairs = list(Step(theta=0.01)(sink.episodes))
    assert len(pairs) > 4
    for pair in pairs:
        chosen, rejected = (t.nodes for t in (pair.chosen, pair.rejected))
        assert chosen[:-1] == rejected[:-1]
        assert chosen[-1].parent == rejected[-1].parent
        assert pair.first == len(pair.chosen.actions) - 1 == len(pair.rejected.actions) - 1
    ids = [1, 2, 3]
    (pair,) = Step()([tree(("good", 1, 1.0), ("bad", 1, 0.0))])
    assert pair.chosen.token_ids == ids + [10 + ord(c) % 50 for c in "good"]
    assert pair.rejected.token_ids == ids + [10 + ord(c) % 50 for c in "bad"]


def test_near_duplicates_are_dropped() -> None:
    text = "I shall look up the order of the customer with the number 1234 now, and then tell"
    episode = tree((f"{text} them.", 1, 1.0), (f"{text} him.", 1, 0.0), ("Something else", 1, 0.5))
    verdicts = list(make_pairs([[episode]], [Step()], [Distinct()]))
    dropped = [reason for _, reason in verdicts if reason]
    assert dropped == ["distinct: both sides are nearly the same"]
    twice = [[tree(("good", 1, 1.0), ("bad", 1, 0.0)), tree(("good", 3, 0.9), ("bad", 1, 0.0), sample=1)]]
    assert [reason for _, reason in make_pairs(twice, [Step()], [Distinct()])] == ["", "distinct: the same as an earlier one"]
    other = [[tree(("good", 1, 1.0), ("bad", 1, 0.0), task=i)] for i in range(2)]
    assert [reason for _, reason in make_pairs(other, [Step()], [Distinct()])] == ["", ""]


def test_a_minimum_of_visits_stands_beside_the_gap() -> None:
    episode = tree(("lucky", 1, 1.0), ("solid", 8, 0.7), ("weak", 6, 0.2), end=None)
    assert said(Step(theta=0.1, visits=2)([episode])) == [("solid", "weak")]
    assert said(Step(theta=0.6, visits=1)([episode])) == [("lucky", "weak")]
    (pair,) = Step(visits=2)([episode])
    assert pair.confidence == 1.0
    (pair,) = Step(visits=2, visited=True)([episode])
    assert pair.confidence == pytest.approx(1 / (1 + 6 / 8))  # MCTS-DPO
    assert pair.reason == "0.700 over 8 visits, 0.200 over 6"
    ended = tree(("sure", 1, 1.0), ("weak", 6, 0.2))  # an end is worth what it earned, however often it was seen
    assert said(Step(visits=2)([ended])) == [("sure", "weak")]


def test_a_state_has_the_key_that_was_recorded() -> None:
    """Also after a replay: the walk to every searched action again, in a fresh environment, meets every recorded key."""
    sink, _ = grow(Search(choice=UCB1(1.0), width=2, budget=Budget(20)), noise=0.4, replays=True)
    (episode,) = sink.episodes
    for node in (n for n in episode.nodes if n.visits):
        env = Bandit(noise=0.4)
        env.reset(seed=zlib.crc32(b"0/train-0/0/0"), options={"task": episode.task})
        for action in episode.trajectory(node.id).actions:
            env.step(action.messages[0])
            assert env.state_key() == action.state_key


def test_no_task_outweighs_others() -> None:
    big = [tree(*((f"action {i} {'x' * i}", 1, i / 10) for i in range(10)), task=0)]
    small = [tree(("good", 1, 1.0), ("bad", 1, 0.0), task=1)]
    kept = [p for p, reason in make_pairs([big, small], [Step(theta=0.05)], [Cap(3)]) if not reason]
    assert [p.task[1] for p in kept] == ["train-0"] * 3 + ["train-1"]
    assert [round(p.margin, 1) for p in kept[:3]] == [0.9, 0.8, 0.8]


def test_equal_values_make_no_pair() -> None:
    assert not list(Step(theta=0.0)([tree(("a", 1, 0.5), ("b", 1, 0.5))]))
    assert not list(Outcome()([chain("a", reward=1.0), chain("b", reward=1.0, sample=1)]))


# ---- makers ----------------------------------------------------------------------------------------------------------------


def test_only_the_ends_and_only_after_a_mistake() -> None:
    episode = tree(("best", 1, 1.0), ("middle", 1, 0.5), ("worst", 1, 0.0))
    assert said(Step(ends=True)([episode])) == [("best", "worst")]
    assert not list(Step(mended=True)([episode]))
    after = Episode("test/X-v0", Task("Say.", {}, "train-0"), 0, "v")
    root = after.add(-1, "observation", (user("Say."),)).id
    wrong = after.add(root, "action", (assistant("", ToolCall("f", None, raw="{")),), errors=(ErrorCategory.MALFORMED_JSON,)).id
    told = after.add(wrong, "observation", (user("That was no JSON."),)).id
    after.add(told, "action", (assistant("", call("f")),), visits=2, value=1.0)
    after.add(told, "action", (assistant("I give up."),), visits=1, value=0.0)
    (pair,) = Step(mended=True)([after])
    assert (pair.chosen.leaf.id, pair.rejected.leaf.id, pair.first) == (3, 4, 1)


def test_a_critics_rank_counts_by_its_share() -> None:
    episode = tree(("liked", 1, 0.4), ("paid", 1, 0.5))
    nodes = [n for n in episode.nodes if n.kind == "action"]
    nodes[0].rank, nodes[1].rank = 1.0, 0.0
    assert said(Step(alpha=1.0, theta=0.05)([episode])) == [("paid", "liked")]
    assert said(Step(alpha=0.5, theta=0.05)([episode])) == [("liked", "paid")]


def test_trajectories_of_a_group_are_paired_by_reward() -> None:
    group = [chain("a", "b", reward=1.0), chain("c", reward=0.5, sample=1), chain("d", reward=0.0, sample=2, version="other")]
    assert said(Outcome()(group)) == [("b", "c"), ("b", "d"), ("c", "d")]
    assert said(Outcome(margin=0.6)(group)) == [("b", "d")]
    assert said(Outcome(expert="v")(group)) == [("b", "c"), ("b", "d"), ("c", "d")]
    assert all(p.first == 0 for p in Outcome()(group))
    other = chain("e", reward=0.0, sample=3)
    other.nodes[0].messages = (user("Another wording."),)
    assert len(list(Outcome()([*group, other]))) == 3


def test_what_two_trajectories_share_carries_no_loss() -> None:
    sink, _ = grow(Search(choice=UCB1(1.0), width=2, budget=Budget(30)), sampler=Levers())
    pairs = list(Outcome()(sink.episodes))
    assert {p.first for p in pairs} >= {0, 1, 2}
    for pair in pairs:
        chosen, rejected = pair.chosen.actions, pair.rejected.actions
        assert [n.id for n in chosen[: pair.first]] == [n.id for n in rejected[: pair.first]]
        assert chosen[pair.first].id != rejected[pair.first].id


def test_spin_sets_demonstrations_against_attempts() -> None:
    group = [chain("shown", reward=1.0, version="oracle"), chain("own", reward=1.0), chain("bad", reward=0.0, sample=1)]
    assert said(Spin()(group)) == [("shown", "own"), ("shown", "bad")]


def test_rso_accepts_by_the_exponential_of_the_reward() -> None:
    group = [chain(f"t{i}", reward=i % 2, sample=i) for i in range(400)]
    draws = [Rso(beta=0.5, accept=8, seed=s) for s in range(30)]
    pairs = [p for rso in draws for p in rso(group)]
    assert all(p.chosen.reward > p.rejected.reward for p in pairs)
    # Each of the eight is a failure with probability e^-2 / (1 + e^-2); pairs are successes times failures.
    share = math.exp(-2) / (1 + math.exp(-2))
    assert len(pairs) / len(draws) == pytest.approx(8 * 7 * share * (1 - share), rel=0.3)
    assert said(Rso(seed=1)(group)) == said(Rso(seed=1)(group))


# ---- filters ---------------------------------------------------------------------------------------------------------------


def test_pairs_that_differ_in_a_call_alone_are_distinct() -> None:
    episode = Episode("test/X-v0", Task("Say.", {}, "train-0"), 0, "v")
    root = episode.add(-1, "observation", (user("Say."),)).id
    calls = (call("f", a=1), call("f", a=2), ToolCall("f", None, raw="{a"), ToolCall("f", None, raw="a}"))
    for i, one in enumerate(calls):
        episode.add(root, "action", (assistant("", one, thinking=f"{i}"),), visits=1, value=i / 10)
    episode.add(root, "action", (assistant("", calls[0], thinking="Again."),), visits=1, value=1.0)
    pairs = list(Step(theta=0.0)([episode]))
    verdicts = [
        (p.chosen.leaf.id, p.rejected.leaf.id, why) for p, why in make_pairs([[episode]], [Step(theta=0.0)], [Distinct(0.99)])
    ]
    same = "distinct: both sides are nearly the same"
    assert len(verdicts) == len(pairs) == 10
    assert [v for v in verdicts if v[2]] == [(5, 1, same)]


def test_specs_are_makers_and_filters() -> None:
    assert parse(["distinct", "step:theta=0.2", "cap:pairs=3", "spin"]) == ([Step(0.2), Spin()], [Distinct(), Cap(3)])
    with pytest.raises(UserError, match="nothing makes pairs: give one of step"):
        parse(["cap"])


def test_calibration_keeps_the_best_by_margin_likelihood_and_diversity() -> None:
    texts = [("yes indeed", 1.0), ("no", 0.0), ("yes perhaps", 0.4)]
    group = [tree(*((t, 1, v) for t, v in texts))]
    for chosen, expected in (
        (Margin(1), [("yes indeed", "no")]),
        (Likely(1), [("yes indeed", "no")]),  # "no" is the shortest, and here the likeliest
        (Diverse(2), [("yes indeed", "no"), ("yes perhaps", "no")]),
    ):
        verdicts = list(make_pairs([group], [Step()], [chosen]))
        assert said(p for p, reason in verdicts if not reason) == expected
        assert len(verdicts) == 3


# ---- the store -------------------------------------------------------------------------------------------------------------


def key(pair: Pair) -> tuple[Any, ...]:
    sides = tuple((t.episode.task.id, t.leaf.id) for t in (pair.chosen, pair.rejected))
    return (*sides, *(getattr(pair, f.name) for f in dataclasses.fields(pair)[2:]))


def test_pairs_come_back_from_the_store(tmp_path: Path) -> None:
    with Store(tmp_path, create=True) as store:
        grow(Search(choice=UCB1(1.0), width=2, budget=Budget(20)), tasks=5, sink=store)
        made = list(make_pairs(store.groups(), [Step()], [Distinct(), Cap(2)]))
        store.add_pairs("steps", made)
        kept = [p for p, reason in made if not reason]
        assert [key(p) for p in store.pairs("steps")] == [key(p) for p in kept]
        assert len(kept) == 10
        again = next(store.pairs("steps"))
        assert again.chosen.nodes == kept[0].chosen.nodes
        store.add_pairs("steps", made[:1])
        assert len(list(store.pairs("steps"))) == 1
        with pytest.raises(UserError, match="has no pairs 'others'"):
            next(store.pairs("others"))


def test_a_store_of_the_first_version_gets_its_table(tmp_path: Path) -> None:
    with Store(tmp_path, create=True) as store:
        store.add(chain("a", reward=1.0))
    with sqlite3.connect(tmp_path / FILE) as old:
        for what in ("TABLE pairs", "TABLE mistakes", "INDEX episodes_listed"):
            old.execute(f"DROP {what}")
        old.execute("PRAGMA user_version = 1")
    old.close()
    with Store(tmp_path) as store:
        store.add_pairs("none", [])
        assert store.query("PRAGMA user_version") == [(SCHEMA_VERSION,)]
        assert len(list(store.episodes())) == 1


def test_a_tree_without_any_end_can_be_stored(tmp_path: Path) -> None:
    episode = Episode("test/X-v0", Task("Say.", {}, "train-0"), 0, "v")
    root = episode.add(-1, "observation", (user("Say."),)).id
    action = episode.add(root, "action", (assistant("", call("f")),), visits=1, value=0.1, reward=0.1).id
    episode.add(action, "observation", (user("Go on."),))
    with Store(tmp_path, create=True) as store:
        store.add(episode)
        assert store.query("SELECT success, reward, stop FROM episodes") == [(0, 0.1, "")]
        assert isinstance(next(store.episodes()).nodes[1], Node)


def test_trees_pairs_and_an_evaluation_on_the_command_line(tmp_path: Path, nano_dir: Path) -> None:
    policy = ("--env", "desk/Orders-v0", "--policy", nano_dir, "--max-tokens", 16, "--search", "mcts", "--simulations", 4)
    grown = run("collect", *policy, "--tasks", 3, "--out", tmp_path)
    assert grown["played"] == 3
    assert run("collect", *policy, "--tasks", 3, "--out", tmp_path)["resumed"] == 3
    enlighten(tmp_path)
    made = run("pairs", tmp_path, "--by", "step:theta=0", "--by", "outcome", "--by", "cap:pairs=2")
    assert made["of"] == made["kept"] + sum(made["dropped"].values())
    with Store(tmp_path) as store:
        assert all(n.visits for e in store.episodes() for n in e.nodes if n.parent == 0 and n.value is not None)
        assert {e.version.rpartition("+")[2] for e in store.episodes()} == {"mcts/4x4"}
    found = run("eval", *policy, "--temperature", 1, "--tasks", 2)
    assert found["sampled_tokens"] > found["tokens"] > 0


def test_wrong_requests_are_told(tmp_path: Path) -> None:
    def told(*args: Any) -> str:
        return str(run(*args, code=2)["error"])

    collect = ("collect", "--env", "desk/Orders-v0", "--out", tmp_path)
    assert "there is no search 'alpha-zero': use one of agent-q" in told(*collect, "--search", "alpha-zero")
    assert "--simulations belongs to a search" in told(*collect, "--simulations", 3)
    with Store(tmp_path, create=True):
        pass
    assert "nothing makes pairs: give one of step" in told("pairs", tmp_path, "--by", "cap")
    assert "has no option 'gap'" in told("pairs", tmp_path, "--by", "step:gap=1")
