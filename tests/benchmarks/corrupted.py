"""Which selectors and objectives hold against wrong data: ``desk/Orders-v0`` with 30 % of the training trajectories corrupted.

``python -m tests.benchmarks.corrupted --json`` prints one line of JSON last: for each variant its held-out success at temperature
1, its lead over plain SFT on everything in points, how many of what it kept is corrupted, and its cost.

A small policy is made from trusted demonstrations first, and every variant goes on from it with the same number of steps. The
corpus has two attempts at each task. An attempt is corrupted by itself: the gold calls are played with one of them changed
(another tool that takes the arguments; or the id, address or name of another order or product, half of the ids of none at all),
and the environment answers what was really called; or the final answer states something else. Only what makes the episode fail
counts as corrupted.

Known to a selector or objective: messages, tools' answers, and the mistakes that the environment reported (a call that no tool
accepts). All episodes claim a reward of 1 and success, as an unchecked corpus would, so what is wrong is hidden. Two variants
know more, and say so: ``judge`` has true labels of `LABELS` trajectories, and ``truth`` is the upper bound that keeps what is not
corrupted.

Options: ``--out DIR`` (give it again to go on), ``--only NAME,...``, ``--seed N``, ``--tiny``.
"""

import argparse
import itertools
import json
import random
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from agentgym import Message, Task, ToolCall, make
from agentgym.cli.output import Output
from agentgym.sampling.transformers import load_tokenizer
from agentgym_training.compare import Comparison, Variant
from agentgym_training.nano import init_model
from agentgym_training.rows import training_rows
from agentgym_training.sft import Sft, train_sft
from agentgym_trajectories import Episode, Store
from agentgym_trajectories.cli import choose_tasks

ENV = "desk/Orders-v0"
SHARE = 0.3
KINDS = ("tool", "argument", "answer")
LABELS = 300
GUIDELINE = "Copy ids as they stand in the request or in a tool's answer. Read before you act. State only what a tool has said."


@dataclass(frozen=True)
class Size:
    """How much is done."""

    trusted: int = 1500
    corpus: int = 1500  # tasks, with two attempts each
    count: int = 1500
    warmup: int = 600
    base: int = 700  # steps
    steps: int = 400  # of each variant
    tasks: int = 200


TINY = Size(40, 20, 10, 2, 2, 2, 3)


# ---- the corpus ------------------------------------------------------------------------------------------------------


def gold(env: Any, task: Task) -> list[Message]:
    """All actions of the oracle."""
    env.reset(options={"task": task})
    said, ended = [], False
    while not ended:
        said.append(env.oracle())
        _, _, terminated, truncated, _ = env.step(said[-1])
        ended = terminated or truncated
    return said


def played(env: Any, task: Task, actions: Sequence[Message], sample: int) -> tuple[Episode, bool]:
    """What the environment answers to these actions, claiming success; and whether that is true."""
    observation, _ = env.reset(options={"task": task})
    episode = Episode(ENV, task, sample, "corpus", tools=observation.tools)
    parent = -1
    for action in actions:
        parent = episode.add(parent, "observation", observation.messages).id
        observation, _, terminated, truncated, info = env.step(action)
        node = episode.add(parent, "action", (action,), reward=0.0, errors=info["errors"])
        parent = node.id
        if terminated or truncated:
            node.reward, node.success = 1.0, True
            return episode, bool(info["success"])
    raise AssertionError("the gold actions end with an answer")


def corrupt(env: Any, actions: Sequence[Message], kind: str, rng: random.Random) -> list[Message] | None:
    """The actions with one of them changed; None where this kind of change does not fit."""
    changed = list(actions)
    if kind == "answer":
        changed[-1] = msgspec.structs.replace(actions[-1], content=other_text(actions[-1].content, rng))
        return changed
    at = rng.randrange(len(actions) - 1)
    (asked,) = actions[at].tool_calls
    call = other_tool(env, asked, rng) if kind == "tool" else other_argument(env, asked, rng)
    changed[at] = msgspec.structs.replace(actions[at], tool_calls=(call,)) if call else actions[at]
    return changed if call else None


def other_tool(env: Any, call: ToolCall, rng: random.Random) -> ToolCall | None:
    """Another tool that takes these arguments, or some of them."""
    given = call.arguments or {}
    able = [
        name
        for name, needs in ((t["function"]["name"], t["function"]["parameters"]["properties"]) for t in env.tools.schemas)
        if name != call.name and set(needs) <= set(given)
    ]
    if not able:
        return None
    name = rng.choice(able)
    needs = next(t["function"]["parameters"]["properties"] for t in env.tools.schemas if t["function"]["name"] == name)
    return msgspec.structs.replace(call, name=name, arguments={k: v for k, v in given.items() if k in needs}, raw="")


def other_argument(env: Any, call: ToolCall, rng: random.Random) -> ToolCall | None:
    """Another id, name or address in place of one: of the same shop, or (half of the ids) of none."""
    shop, given = env.state.store, dict(call.arguments or {})
    of = {
        "order_id": list(shop.orders),
        "customer_id": list(shop.customers),
        "product_id": list(shop.products),
        "new_product_id": list(shop.products),
        "name": [p.name for p in shop.products.values()],
        "address": [o.address for o in shop.orders.values()],
    }
    name = rng.choice(sorted(given))
    others = [v for v in of[name] if v != given[name]]
    if rng.random() < 0.5 and name.endswith("_id"):  # one that there is not: the tool will say so
        others = ["".join(rng.choice("0123456789") if c.isdigit() else c for c in given[name])]
    return msgspec.structs.replace(call, arguments=given | {name: rng.choice(others)}, raw="") if others else None


def other_text(text: str, rng: random.Random) -> str:
    """Another status, rule or number."""
    for options in (("pending", "shipped", "delivered"), ("R1", "R2", "R3", "R4", "R5")):
        if said := [o for o in options if o in text]:
            wrong = rng.choice([o for o in options if o not in said])
            return text.replace(rng.choice(said), wrong)
    places = [i for i, c in enumerate(text) if c.isdigit()]
    for i in rng.sample(places, min(2, len(places))):
        text = text[:i] + rng.choice([d for d in "0123456789" if d != text[i]]) + text[i + 1 :]
    return text


def corpus(out: Path, size: Size, seed: int) -> dict[tuple[str, int], str]:
    """Store the corpus. Returns the truth: of each task and sample what is wrong with it, empty where nothing is."""
    truth_file, rng = out / "truth.json", random.Random(seed)
    if not truth_file.exists():
        truth = []
        with closing(make(ENV)) as made, Store(out / "corpus", create=True) as store:
            env = made.unwrapped
            for task in choose_tasks(ENV, {}, "train", size.trusted, size.corpus):
                right = gold(env, task)
                for sample in range(2):
                    episode, kind = attempt(env, task, right, sample, rng)
                    store.add(episode)
                    truth.append([task.id, sample, kind])
        truth_file.write_text(json.dumps(truth))
    return {(task, sample): kind for task, sample, kind in json.loads(truth_file.read_text())}


def attempt(env: Any, task: Task, right: Sequence[Message], sample: int, rng: random.Random) -> tuple[Episode, str]:
    """An attempt, corrupted with probability `SHARE`, and what is wrong with it."""
    kind = rng.choice(KINDS) if rng.random() < SHARE else ""
    episode, true = played(env, task, right, sample)
    for tried in itertools.count():
        if not kind or not true:
            return episode, kind
        kind = kind if tried % 20 < 19 else rng.choice(KINDS)  # some episodes cannot be spoilt in each way
        env.reset(options={"task": task})
        if changed := corrupt(env, right, kind, rng):
            episode, true = played(env, task, changed, sample)
    raise AssertionError("some change makes every episode fail")


# ---- the comparison --------------------------------------------------------------------------------------------------


def make_base(out: Path, size: Size, seed: int) -> Path:
    """A policy from trusted demonstrations."""
    if not (out / "base" / "done").exists():
        with closing(make(ENV)) as made:
            env = made.unwrapped
            tasks = choose_tasks(ENV, {}, "train", 0, size.trusted)
            shown = [t for task in tasks for t in played(env, task, gold(env, task), 0)[0].trajectories()]
        init_model([(t.messages, t.episode.tools) for t in shown], out / "fresh", seed=seed, warmup_steps=size.warmup)
        rows = training_rows(shown, load_tokenizer(out / "fresh"))
        train_sft(out / "fresh", rows, out / "base", Sft(max_steps=size.base, lr=3e-3, seed=seed))
        (out / "base" / "done").touch()
    return out / "base"


def variants(out: Path, base: Path) -> dict[str, Variant]:
    """All that are compared, by short names, those that matter most first."""
    model = f"model={base}"
    return {
        "everything": Variant(sized=False),
        "clear": Variant((f"clear:{model},keep=0.7",)),
        "grape": Variant((f"grape:{model}",)),
        "tl-training": Variant(objectives=("tl-training",), sized=False),
        "truth": Variant((f"judge:labels={out / 'truth.jsonl'}",)),
        "judge": Variant((f"judge:labels={out / 'labels.jsonl'},{model}",)),
        "perplexity": Variant((f"perplexity:{model}",)),
        "poft": Variant(objectives=(f"poft:reference={base},beta=5",), sized=False),
        "random": Variant(),
        "errors": Variant(("errors",)),
        "agentrefine": Variant(objectives=("agentrefine",), sized=False),
        "novelty": Variant((f"novelty:{model}",)),
        "diversify": Variant((f"diversify:{model}",)),
        "edge": Variant((f"edge:{model},guideline={out / 'guideline.txt'}",)),
        "roundtrip": Variant((f"roundtrip:{model}",)),
        "near": Variant(("near",)),
        "mining": Variant((f"mining:{model}",)),
        "whisperer": Variant((f"whisperer:{model},queries=2",)),
        "neftune": Variant(objectives=("neftune",), sized=False),
        "masked-thought": Variant(objectives=("masked-thought",), sized=False),
        "ift": Variant(objectives=("ift",), sized=False),
        "hft": Variant(objectives=("hft",), sized=False),
        "gmt": Variant(objectives=("gmt",), sized=False),
        "easy-to-hard": Variant(objectives=("easy-to-hard",), sized=False),
        "duplicates": Variant(("duplicates",)),
    }


def write_labels(out: Path, truth: dict[tuple[str, int], str], seed: int) -> None:
    """What the judge was told, all that is true, and a guideline."""
    lines = [json.dumps({"task": t, "sample": s, "good": not kind}) for (t, s), kind in truth.items()]
    (out / "truth.jsonl").write_text("\n".join(lines))
    (out / "labels.jsonl").write_text("\n".join(random.Random(seed).sample(lines, min(LABELS, len(lines)))))
    (out / "guideline.txt").write_text(GUIDELINE)


def left(comparison: Comparison, variant: Variant, truth: dict[tuple[str, int], str]) -> dict[str, Any]:
    """Of what a selection kept, how much is corrupted; of what it dropped, how much was, and how much of each kind it found."""
    kept = {tuple(k) for k in json.loads((comparison.folder(variant) / "selected.json").read_text())["kept"]}
    with Store(comparison.run) as store:
        of = {(t.episode.id, t.leaf.id): truth[t.episode.task.id, t.episode.sample] for t in store.trajectories()}
    wrong, dropped = Counter(k for k in of.values() if k), [k for key, k in of.items() if key not in kept]
    found = Counter(k for k in dropped if k)
    return {
        "corrupted_left": sum(bool(of[k]) for k in kept) / len(kept),
        "precision": sum(found.values()) / len(dropped) if dropped else None,
        "recall": sum(found.values()) / sum(wrong.values()),
        "recall_by_kind": {k: found[k] / wrong[k] for k in KINDS if wrong[k]},
    }


def carry_out(out: Path, size: Size, seed: int, only: Sequence[str] = ()) -> dict[str, Any]:
    """All of it."""
    out.mkdir(parents=True, exist_ok=True)
    output = Output(True)
    truth, base = corpus(out, size, seed), make_base(out, size, seed)
    write_labels(out, truth, seed)
    sft = Sft(max_steps=size.steps, lr=2e-3, seed=seed)
    comparison = Comparison(out / "corpus", base, ENV, {}, sft, out / "variants", size.count, size.tasks, temperature=1.0)
    greedy = replace(comparison, temperature=0.0)
    asked = {name: v for name, v in variants(out, base).items() if not only or name in only or name == "everything"}
    table: dict[str, Any] = {}
    for name, variant in asked.items():
        (result,) = comparison.carry_out([variant], output)
        policy = comparison.folder(variant) / "policy"
        file = policy / "greedy.json"
        if not file.exists():
            file.write_text(json.dumps(greedy.judge(policy, output)[0]))
        lead = 100 * (result.success - table["everything"]["success"]) if table else 0.0
        table[name] = {**asdict(result), "greedy": json.loads(file.read_text()), "lead": lead, **left(comparison, variant, truth)}
        print(f"{name:15s} {result.success:6.1%} greedy {table[name]['greedy']:6.1%} lead {lead:+6.1f}", flush=True)
    before = base / "judged.json"
    if not before.exists():
        before.write_text(json.dumps([comparison.judge(base, output)[0], greedy.judge(base, output)[0]]))
    leads = [n for n, r in table.items() if r["lead"] >= 10 and n != "truth"]
    return {"base": json.loads(before.read_text()), "share": SHARE, "variants": table, "ten_points_better": leads}


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", default="")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tiny", action="store_true", help="Only try whether it runs.")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    out = options.out or Path(tempfile.mkdtemp())
    found = carry_out(out, TINY if options.tiny else Size(), options.seed, [n for n in options.only.split(",") if n])
    print(json.dumps(found, indent=None if options.json else 2))


if __name__ == "__main__":
    main()
