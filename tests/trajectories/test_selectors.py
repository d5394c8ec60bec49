"""Each selector on planted cases; what a model thinks of words is said by a table, so every score can be worked out by hand."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agentgym import Message, Task, UserError, assistant, call, system, user
from agentgym.sampling.transformers import load, score
from agentgym_trajectories.rewrite import transcript
from agentgym_trajectories.rows import Example, Row
from agentgym_trajectories.scorer import Scorer, open_scorer
from agentgym_trajectories.select import SELECTORS, apply, grape, judge, parse, ranked
from agentgym_trajectories.tree import Episode, Trajectory

TOPICS = {"orders": (1.0, 0.0, 0.0), "refunds": (0.0, 1.0, 0.0), "poems": (0.0, 0.0, 1.0)}


def told(
    *turns: str, task: str = "t", sample: int = 0, reward: float = 1.0, version: str = "v", asked: str = "Serve orders ."
) -> Trajectory:
    """The agent says these turns; "f x" in brackets is a call."""
    episode = Episode("x/Y-v0", Task(asked, {}, task), sample, version, nodes=[], id=hash((task, sample, version)) % 997)
    parent = episode.add(-1, "observation", (system("Rules ."), user(asked))).id
    for number, text in enumerate(turns):
        last = number == len(turns) - 1
        said = (
            assistant("", call(*text.strip("[]").split()[:1], x=text.strip("[]").split()[1]))
            if text[0] == "["
            else assistant(text)
        )
        node = episode.add(parent, "action", (said,), reward=reward if last else 0.0, success=reward >= 1 if last else None)
        parent = node.id
        if not last:
            parent = episode.add(parent, "observation", (Message("tool", "fine .", (), "call00000", "f"),)).id
    return next(episode.trajectories())


class Words:
    """A model that knows words: `surprise` says by how many nats; all others cost 0.1. Topics are the axes of its embeddings."""

    def __init__(self, **surprise: float) -> None:
        self.surprise = surprise

    def cost(self, text: str, context: str) -> list[float]:
        """Words that stand in the context already are half as surprising."""
        return [-self.surprise.get(w.strip("{}':"), 0.1) * (0.5 if w in context.split() else 1.0) for w in text.split()]

    def turns(self, examples: list[Any]) -> list[list[Any]]:
        found = []
        for e in examples:
            given = e if isinstance(e, Example) else Example(e)
            nodes = given.trajectory.nodes
            own = [n for n in nodes if n.kind == "action" and given.nodes.get(n.id, 1.0)]
            found.append([np.array(self.cost(transcript(n.messages), self.before(nodes, n.id))) for n in own])
        return found

    def before(self, nodes: Any, at: int) -> str:
        return transcript([m for n in nodes if n.id < at for m in n.messages])

    def rows(self, t: Trajectory) -> list[Row]:
        words = transcript(t.messages).split()
        self.known = getattr(self, "known", {})
        ids = [self.known.setdefault(w, len(self.known)) for w in words]
        return [Row(ids, [1.0] * sum(len(transcript(n.messages).split()) for n in t.actions))]

    def embeddings(self, ids: list[list[int]]) -> Any:
        names = {i: w for w, i in self.known.items()}
        points = [sum((np.array(TOPICS.get(names[i], (0.0, 0.0, 0.0))) for i in row), np.zeros(3)) for row in ids]
        return np.array([p + 0.01 * (n % 7) for n, p in enumerate(points)])


@pytest.fixture
def words(monkeypatch: pytest.MonkeyPatch) -> Any:
    def give(**surprise: float) -> None:
        for module in (ranked, grape, judge):
            monkeypatch.setattr(module, "open_scorer", lambda _: Words(**surprise))

    return give


def kept(spec: str, items: list[Trajectory]) -> list[int]:
    """Which are kept, by their places; all others have a reason."""
    verdicts = list(apply(items, [parse(spec, SELECTORS)]))
    assert sorted(map(id, (t for t, _ in verdicts))) == sorted(map(id, items))
    passed = {id(t) for t, reason in verdicts if not reason}
    return [i for i, t in enumerate(items) if id(t) in passed]


def test_perplexity_keeps_the_part_asked_for(words: Any) -> None:
    words(odd=1.0, rare=5.0)
    items = [told("a a a a"), told("a rare a a"), told("a odd a a"), told("rare rare a a")]
    assert kept("perplexity:model=m,keep=0.5", items) == [0, 2]
    assert kept("perplexity:model=m,keep=0.5,part=high", items) == [1, 3]
    assert kept("perplexity:model=m,keep=0.5,part=middle", items) == [1, 2]
    reasons = [r for _, r in apply(items, [parse("perplexity:model=m,keep=0.25", SELECTORS)]) if r]
    assert reasons[0] == "perplexity: a score of -1.325, the least kept is -0.1"
    assert kept("perplexity:model=m", []) == []


def test_near_duplicates_are_found_by_their_words() -> None:
    text = "the order was sent to the address that was given and it will arrive there within a few days from now on"
    items = [
        told(text),
        told(text + " indeed"),
        told(text.replace("order", "parcel")),
        told("something else was asked for here today"),
    ]
    assert kept("near:similarity=0.8", items) == [0, 3] or kept("near:similarity=0.8", items) == [0, 2, 3]
    assert 1 not in kept("near:similarity=0.8", items)
    assert kept("near:of=request", items) == [0]  # all were asked the same
    assert kept("near:similarity=1,words=1", [told("a b"), told("b a"), told("a c")]) == [0, 2]


def test_clear_drops_the_unsure_and_takes_the_better_attempt(words: Any) -> None:
    words(odd=1.0, wrong=3.0)
    items = [
        told("[f a]", "fine", task="1"),
        told("[f wrong]", "fine", task="1", sample=1),  # the first is far more likely
        told("[f odd]", "fine", task="2"),
        told("odd", "fine", task="2", sample=1),  # about as likely as the other
        told("wrong wrong wrong", task="3"),
    ]
    assert kept("clear:model=m,keep=1", items) == [0, 2, 3, 4]
    assert kept("clear:model=m,keep=0.75", items) == [0, 2, 3]  # three of four
    assert kept("clear:model=m,keep=1,better=1", items) == [0, 1, 2, 3, 4]


def test_grape_keeps_the_likeliest_answer_of_each_task(words: Any) -> None:
    words(odd=1.0)
    items = [told("odd", task="1"), told("a", task="1", sample=1), told("a odd", task="2"), told("odd odd", task="2", sample=1)]
    assert kept("grape:model=m", items) == [1, 2]
    assert kept("grape:model=m,samples=2", items) == [0, 1, 2, 3]
    assert kept("grape:model=m", []) == []


def test_diversify_draws_less_and_less_from_a_cluster_of_noise(words: Any) -> None:
    words(noise=4.0)
    good = [told(f"orders a{i}", asked="Serve .") for i in range(60)]
    noise = [told(f"poems noise noise a{i}", asked="Serve .") for i in range(60)]
    first, last = (kept(f"diversify:model=m,keep=0.5,clusters=2,rounds={r}", good + noise) for r in (1, 6))
    assert len(first) == len(last) == 60
    drawn = [sum(i >= 60 for i in k) for k in (first, last)]
    assert 20 <= drawn[0] <= 40
    assert drawn[1] < 12
    assert len(kept("diversify:model=m,keep=1,clusters=2", good[:3])) == 3


def test_whisperer_keeps_what_helps_as_a_demonstration(words: Any) -> None:
    words(hint=3.0)
    items = [told("hint a"), told("b c"), told("hint d"), told("b e")]
    assert kept("whisperer:model=m,queries=4,keep=0.5", items) == [0, 2]
    assert kept("whisperer:model=m", items[:1]) == [0]


def test_mining_follows_the_fitted_rule(words: Any) -> None:
    words()
    items = [told("a", reward=1.0), told("a", reward=0.0), told(" ".join(["a"] * 9000), reward=1.0)]
    scores = parse("mining:model=m", SELECTORS).scores(items)  # type: ignore[attr-defined]
    points = ranked.embeddings(Words(), items)  # type: ignore[arg-type]
    for i, (reward, length) in enumerate([(1.0, 1), (0.0, 1), (1.0, 9000)]):
        farthest = max(np.linalg.norm(points[i] - p) for p in points)  # of two neighbours, the second
        assert scores[i] == pytest.approx(-(1.0694 - 0.1498 * reward + 8.257e-5 * length - 0.9350 * farthest))


def test_edge_keeps_what_the_guideline_does_not_cover(words: Any, tmp_path: Path) -> None:
    words(stamp=2.0, seal=2.0)
    (tmp_path / "guide.txt").write_text("Use the stamp .")
    items = [told("stamp it"), told("seal it"), told("stamp stamp"), told("seal seal")]
    assert kept(f"edge:model=m,guideline={tmp_path / 'guide.txt'},keep=0.5", items) == [1, 3]
    with pytest.raises(UserError, match="no guideline"):
        kept(f"edge:model=m,guideline={tmp_path / 'none'}", items)


def test_the_judge_learns_from_few_labels(words: Any, tmp_path: Path) -> None:
    good = [told(f"[look {i}]", "polite answer", task=f"g{i}") for i in range(20)]
    bad = [told(f"[guess {i}]", "rude answer", task=f"b{i}") for i in range(20)]
    labels = [{"task": f"{k}{i}", "sample": 0, "good": k == "g"} for k in "gb" for i in range(3)]
    file = tmp_path / "labels.jsonl"
    file.write_text("\n".join(map(json.dumps, labels)) + "\n\n")
    assert kept(f"judge:labels={file}", good + bad) == list(range(20))
    words(guess=6.0, look=0.1)
    same = [told("[f a]", "guess" if i % 2 else "look", task=f"{'b' if i % 2 else 'g'}{i // 2}") for i in range(40)]
    assert kept(f"judge:labels={file},model=m", same) == list(range(0, 40, 2))
    file.write_text(json.dumps({"task": "g0", "good": True}))
    with pytest.raises(UserError, match="labels 1, all alike"):
        kept(f"judge:labels={file}", good)
    file.write_text('{"task": 1}')
    with pytest.raises(UserError, match="no label"):
        kept(f"judge:labels={file}", good)
    with pytest.raises(UserError, match="there are no labels"):
        kept(f"judge:labels={tmp_path / 'none'}", good)


def test_a_round_trip_finds_the_request_again(words: Any) -> None:
    words(O12=4.0, O77=4.0)
    items = [told("[read O12]", asked="Where is O12 ?"), told("[read O77]", asked="Where is O12 ?")]
    assert kept("roundtrip:model=m,keep=0.5", items) == [0]


def test_s3ft_takes_own_successes_before_the_gold() -> None:
    items = [
        told("gold", task="1", version="oracle"),
        told("mine", task="1", version="nano@1"),
        told("mine too", task="1", sample=1, version="nano@1"),
        told("gold", task="2", version="oracle"),
        told("no", task="2", version="nano@1", reward=0.0),
        told("no", task="3", version="nano@1", reward=0.0),
    ]
    assert kept("s3ft", items) == [1, 3]
    reasons = [r for _, r in apply(items, [parse("s3ft", SELECTORS)]) if r]
    assert sorted(set(reasons)) == ["s3ft: another own success was first", "s3ft: there is an own success", "s3ft: wrong"]


def test_novelty_covers_all_topics(words: Any) -> None:
    words()
    many = [told("orders", asked="Serve .") for _ in range(20)]
    items = [*many, told("poems", asked="Serve ."), told("refunds", asked="Serve .")]
    found = kept("novelty:model=m,keep=0.14", items)
    assert {20, 21} < set(found)
    assert len(found) == 3
    assert len(kept("novelty:model=m,keep=1", items)) == 22


def test_shares_and_models_are_checked(nano_dir: Path) -> None:
    for spec, message in (
        ("perplexity:model=x,keep=0", "over 0 and up to 1"),
        ("near:similarity=0", "similarity over 0"),
        ("perplexity", "option 'model'"),
        ("perplexity:model=x,part=top", "option 'part'"),
    ):
        with pytest.raises(UserError, match=message):
            parse(spec, SELECTORS)
    with pytest.raises(UserError, match=r"needs a-library: pip install 'agentgym\[select\]'"):
        ranked.library("no.such.module", "a-library")
    with pytest.raises(UserError, match="no model directory"):
        kept("perplexity:model=/nowhere", [told("a")])
    assert open_scorer(nano_dir) is open_scorer(nano_dir)


# ---- the scorer ------------------------------------------------------------------------------------------------------


def test_a_scorer_says_what_one_plain_pass_says(nano_dir: Path, demonstrations: list[Trajectory]) -> None:
    model, tokenizer = load(nano_dir, "cpu")
    scorer, before = Scorer(model, tokenizer), Scorer.total
    rows = [scorer.rows(t)[0] for t in demonstrations[:9]]
    ids = [r.input_ids for r in rows] + [[5, 6]]
    for row, found in zip(ids, scorer.logprobs(ids), strict=True):
        assert found == pytest.approx(score(model, row), abs=2e-4)
    assert Scorer.total - before == sum(map(len, ids))
    hidden = model(input_ids=np_ids(ids[0]), output_hidden_states=True).hidden_states[-1][0].mean(0).tolist()
    assert scorer.embeddings(ids)[0] == pytest.approx(hidden, abs=1e-4)
    assert scorer.logprobs([]) == []
    (turns,) = scorer.turns(demonstrations[:1])
    assert [len(t) for t in turns] == [end - start for _, start, end in rows[0].turns]
    flat = [p for p, w in zip(scorer.logprobs(ids[:1])[0], rows[0].weights[1:], strict=True) if w]
    assert np.concatenate(turns) == pytest.approx(flat, abs=1e-6)
    with pytest.raises(UserError, match="without ids"):
        scorer.logprobs([[]])


def np_ids(ids: list[int]) -> Any:
    import torch

    return torch.tensor([ids])


def test_selectors_run_on_a_real_model(nano_dir: Path, demonstrations: list[Trajectory], tmp_path: Path) -> None:
    (tmp_path / "guide.txt").write_text("Be careful.")
    few = demonstrations[:8]
    for name in ("perplexity", "clear", "diversify", "whisperer", "mining", "roundtrip", "novelty"):
        assert len(kept(f"{name}:model={nano_dir},keep=0.5", few)) == 4
    assert len(kept(f"edge:model={nano_dir},guideline={tmp_path / 'guide.txt'}", few)) == 4
    assert len(kept(f"grape:model={nano_dir}", few)) == 8
    assert math.isfinite(ranked.embeddings(open_scorer(nano_dir), few).sum())
