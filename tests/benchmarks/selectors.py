"""What each selector finds: planted low-quality, duplicate, mislabelled, off-topic and failed trajectories, in one table.

``python -m tests.benchmarks.selectors --json`` prints one line of JSON last: for each selector, which share of what it dropped
was planted (precision; keeping everything has none), and which share of each planted sort it dropped (recall).

Among good episodes of ``desk/Orders-v0`` stand, a tenth each:

- ``low``: a good episode in which every message of the agent is preceded by idle talk, and the first call is made twice;
- ``duplicate``: a good episode once more; ``near``: once more with another opening word;
- ``mislabelled``: the actions and answers of another customer's episode under this one's request;
- ``off_topic``: an episode of ``instruct/Verifiable-v0`` with its request;
- ``failed``: a corrupted attempt (see `corrupted`) that the environment called wrong, reward 0.

Rewards are right here, unlike in `corrupted`. Selectors that rank keep as many as are good. The model is the policy that
`corrupted` begins with.
"""

import argparse
import json
import random
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from agentgym import Message, Task, make
from agentgym_trajectories import Episode
from agentgym_trajectories.rewrite import linear
from agentgym_trajectories.select import SELECTORS, apply, parse
from agentgym_trajectories.tree import Trajectory
from tests.benchmarks.corrupted import ENV, GUIDELINE, KINDS, TINY, Size, corrupt, gold, make_base, played

SORTS = ("low", "duplicate", "near", "mislabelled", "off_topic", "failed")
OTHER = "instruct/Verifiable-v0"
Planted = list[tuple[Trajectory, str]]


def planted(count: int, seed: int) -> Planted:
    """`count` good trajectories, each of another task, and a tenth of that of each sort."""
    rng, each = random.Random(seed), max(1, count // 10)
    found: Planted = []
    with closing(make(ENV)) as made:
        env = made.unwrapped
        tasks = list(env.tasks("validation")[: 2 * count])
        good = [only(played(env, t, gold(env, t), 0)[0]) for t in tasks[:count]]
        for t, other in zip(rng.sample(good, each), tasks[count:], strict=False):
            found += [(idle(t), "low"), (once_more(t, 2), "duplicate"), (reworded(once_more(t, 3)), "near")]
            stranger = only(played(env, other, gold(env, other), 0)[0])
            found.append((mislabelled(t, stranger), "mislabelled"))
        failed = [lost(env, t.episode.task, rng) for t in rng.sample(good, each)]
        found += [(t, "failed") for t in failed]
    with closing(make(OTHER)) as made:
        env = made.unwrapped
        others = (played(env, t, gold(env, t), 0)[0] for t in env.tasks("train")[:each])
        found += [(only(msgspec.structs.replace(e, env=OTHER)), "off_topic") for e in others]
    together = [*((t, "") for t in good), *found]
    first = {t.episode.task.id: rng.random() for t, _ in together}
    together.sort(key=lambda item: (first[item[0].episode.task.id], item[0].episode.sample))
    return [(numbered(t, i + 1), sort) for i, (t, sort) in enumerate(together)]


def only(episode: Episode) -> Trajectory:
    """The trajectory of an episode that is a line."""
    return next(episode.trajectories())


def numbered(t: Trajectory, number: int) -> Trajectory:
    """As a store would number it."""
    return only(msgspec.structs.replace(t.episode, id=number))


def once_more(t: Trajectory, sample: int) -> Trajectory:
    """The same as another attempt."""
    return only(msgspec.structs.replace(t.episode, sample=sample))


def said(t: Trajectory, text: str) -> list[Any]:
    """Its nodes with a text before what the agent says."""

    def opened(m: Message) -> Message:
        return msgspec.structs.replace(m, content=f"{text} {m.content}".strip()) if m.role == "assistant" else m

    return [msgspec.structs.replace(n, messages=tuple(map(opened, n.messages))) for n in t.nodes]


def reworded(t: Trajectory) -> Trajectory:
    """The same after another word at the end of the request."""
    first = t.nodes[0]
    *before, asked = first.messages
    told = msgspec.structs.replace(asked, content=f"{asked.content} Thanks!")
    return linear(t.episode, [msgspec.structs.replace(first, messages=(*before, told)), *t.nodes[1:]])


def idle(t: Trajectory) -> Trajectory:
    """The same with idle talk, and its first call twice."""
    nodes = said(t, "Well, well, let me have a good long think about that one, who knows, it may be so or not.")
    return once_more(linear(t.episode, [*nodes[:3], *nodes[1:]]), 1)


def mislabelled(t: Trajectory, other: Trajectory) -> Trajectory:
    """What another customer's agent did, after this one's request."""
    return once_more(linear(t.episode, [t.nodes[0], *other.nodes[1:]]), 4)


def lost(env: Any, task: Task, rng: random.Random) -> Trajectory:
    """A corrupted attempt that fails, and says so."""
    right, changed = gold(env, task), None
    while changed is None or played(env, task, changed, 5)[1]:
        env.reset(options={"task": task})
        changed = corrupt(env, right, rng.choice(KINDS), rng)
    t = only(played(env, task, changed, 5)[0])
    t.leaf.reward, t.leaf.success = 0.0, False
    return t


def specs(out: Path, base: Path, keep: float) -> list[str]:
    """All selectors."""
    ranked = f"model={base},keep={keep:.4f}"
    return [
        *("reward", "errors", "length:turns=5", "duplicates", "near:similarity=0.85"),
        *(f"{name}:{ranked}" for name in ("perplexity", "clear", "diversify", "mining", "roundtrip", "novelty")),
        f"whisperer:{ranked},queries=2",
        f"edge:{ranked},guideline={out / 'guideline.txt'}",
        *(f"grape:model={base}", f"judge:labels={out / 'labels.jsonl'},model={base}"),
        "s3ft:gold=corpus",
    ]


def measure(items: Planted, spec: str) -> dict[str, Any]:
    """Precision and recall of one selector."""
    sort_of = {id(t): sort for t, sort in items}
    dropped = [sort_of[id(t)] for t, reason in apply([t for t, _ in items], [parse(spec, SELECTORS)]) if reason]
    total, found = Counter(s for _, s in items), Counter(dropped)
    precision = 1 - found[""] / len(dropped) if dropped else None
    return {"dropped": len(dropped), "precision": precision, **{s: found[s] / total[s] for s in SORTS}}


def carry_out(out: Path, size: Size, count: int, seed: int) -> dict[str, Any]:
    """The whole table."""
    out.mkdir(parents=True, exist_ok=True)
    base, items = make_base(out, size, seed), planted(count, seed)
    (out / "guideline.txt").write_text(GUIDELINE)
    labelled = [next(i for i in items if not i[1]), next(i for i in items if i[1])]  # of both sorts
    labelled += random.Random(seed).sample(items, len(items) // 5)
    lines = ({"task": t.episode.task.id, "sample": t.episode.sample, "good": not sort} for t, sort in labelled)
    (out / "labels.jsonl").write_text("\n".join(map(json.dumps, lines)))
    good = sum(not sort for _, sort in items) / len(items)
    table = {spec.partition(":")[0]: measure(items, spec) for spec in specs(out, base, good)}
    show(table)
    return {"trajectories": len(items), "good": good, "selectors": table}


def show(table: dict[str, dict[str, Any]]) -> None:
    """For people."""
    columns: Sequence[str] = ("precision", *SORTS)
    print(f"{'':12s} {'dropped':>8s} " + " ".join(f"{c:>11s}" for c in columns))
    for name, row in table.items():
        values = " ".join(f"{'-' if row[c] is None else f'{row[c]:.0%}':>11s}" for c in columns)
        print(f"{name:12s} {row['dropped']:8d} {values}")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, help="Where `corrupted` made its policy, or where it is to be made.")
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tiny", action="store_true", help="Only try whether it runs.")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    size, count = (TINY, 20) if options.tiny else (Size(), options.count)
    found = carry_out(options.out or Path(tempfile.mkdtemp()), size, count, options.seed)
    print(json.dumps(found, indent=None if options.json else 2))


if __name__ == "__main__":
    main()
