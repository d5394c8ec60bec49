"""The commands `collect`, `select` and `export`."""

import asyncio
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer
from agentgym.cli.output import EnvArgOption, EnvOption, JsonOption, Output, parse_env_args

from agentgym import Tasks, UserError, make
from agentgym.sampling.named import open_sampler
from agentgym_trajectories import select as selecting
from agentgym_trajectories.export import FORMS
from agentgym_trajectories.export import export as export_trajectories
from agentgym_trajectories.rollout import Progress, Rollout, Sink
from agentgym_trajectories.store import Store

RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="Directory of a run, as given to `agentgym collect --out`.")]
PolicyOption = Annotated[str, typer.Option("--policy", help="`oracle` or a model directory.")]
SplitOption = Annotated[str, typer.Option("--split", help="train, validation or test.")]
SeedOption = Annotated[int, typer.Option("--seed", help="Of environments and sampling.")]
TemperatureOption = Annotated[float, typer.Option("--temperature", min=0.0, help="0 takes the likeliest token.")]
MaxTokensOption = Annotated[int, typer.Option("--max-tokens", min=1, help="Longest turn, in tokens.")]
DialectOption = Annotated[str | None, typer.Option("--dialect", help="How calls are written; by default what the model speaks.")]
SelectionOption = Annotated[str | None, typer.Option("--selection", help="Only what this selection kept; default: everything.")]


def collect(
    env: EnvOption,
    out: Annotated[Path, typer.Option("--out", help="Directory of the run; give it again to resume.")],
    policy: PolicyOption = "oracle",
    split: SplitOption = "train",
    tasks: Annotated[int, typer.Option("--tasks", min=1, help="How many tasks.")] = 100,
    start: Annotated[int, typer.Option("--start", min=0, help="The first task's number.")] = 0,
    samples: Annotated[int, typer.Option("--samples", min=1, help="Episodes of each task.")] = 1,
    seed: SeedOption = 0,
    concurrency: Annotated[int, typer.Option("--concurrency", min=1, help="Episodes in flight.")] = 64,
    attempts: Annotated[int, typer.Option("--attempts", min=1, help="Tries where environment or sampler fail.")] = 3,
    temperature: TemperatureOption = 1.0,
    max_tokens: MaxTokensOption = 256,
    dialect: DialectOption = None,
    env_arg: EnvArgOption = None,
    json: JsonOption = False,
) -> None:
    """Play episodes and store every token of them; run it again to resume.

    Example: agentgym collect --env desk/Orders-v0 --policy oracle --tasks 500 --out runs/gold
    """
    output = Output(json)
    arguments = parse_env_args(env_arg)
    chosen = choose_tasks(env, arguments, split, start, tasks)
    plan = Rollout(env, arguments, samples, seed, concurrency, attempts)
    output.say(f"Collecting {len(chosen)} tasks x {samples} of {env} ({split}) with {policy} into {out}.")
    with Store(out, create=True) as store:
        began = time.perf_counter()
        progress = play_all(plan, chosen, policy, store, output, temperature, max_tokens, dialect)
        (row,) = store.query("SELECT avg(success), avg(reward), sum(tokens) FROM episodes")
    result = {"run": str(out), "episodes": progress.asked, "played": progress.played, "resumed": progress.resumed}
    result |= {"failed": progress.failed, "success": row[0], "reward": row[1], "tokens": row[2]}
    result |= {"seconds": round(time.perf_counter() - began, 2)}
    output.say(f"{progress.played} played, {progress.resumed} were there already, {progress.failed} failed.")
    if row[0] is not None:
        output.say(f"Success {row[0]:.1%}, mean reward {row[1]:.3f}, {row[2]} sampled tokens in {out}.")
    if progress.failed:
        output.say("Failed episodes have no reward; run the same command again to retry them.")
    output.next_steps(f"agentgym select {out} --by reward:min=1")
    output.result(result)


def select(
    run: RunArgument,
    by: Annotated[list[str] | None, typer.Option("--by", metavar="NAME[:OPTION=VALUE,...]", help="In this order.")] = None,
    name: Annotated[str, typer.Option("--name", help="What the selection is called.")] = "default",
    json: JsonOption = False,
) -> None:
    """Choose trajectories, with a recorded reason for each that is dropped.

    Example: agentgym select runs/gold --by reward:min=1 --by errors:max=0 --by duplicates
    """
    output = Output(json)
    specs = by or ["reward"]
    chosen = [selecting.parse(spec, selecting.SELECTORS) for spec in specs]
    output.say(f"Selecting from {run} by {', then '.join(specs)}.")
    reasons: Counter[str] = Counter()
    with Store(run) as store:
        verdicts = list(selecting.apply(store.trajectories(), chosen))
        store.add_selection(name, verdicts)
    for _, reason in verdicts:
        reasons[reason] += 1
    kept = reasons.pop("", 0)
    output.table(("dropped", "why"), [(str(n), reason) for reason, n in reasons.most_common(12)])
    output.say(f"Kept {kept} of {len(verdicts)} trajectories as selection {name!r} in {run}.")
    output.next_steps(f"agentgym train sft {run} --selection {name} --model MODEL --out runs/policy")
    output.result({"run": str(run), "selection": name, "kept": kept, "of": len(verdicts), "dropped": dict(reasons)})


def export(
    run: RunArgument,
    to: Annotated[Path, typer.Option("--to", help="File (.jsonl, .parquet) or directory (Hugging Face dataset).")],
    form: Annotated[str | None, typer.Option("--format", help="jsonl, parquet or hf; by default after the name.")] = None,
    selection: SelectionOption = None,
    json: JsonOption = False,
) -> None:
    """Write trajectories for other tools: JSONL, Parquet, or a Hugging Face dataset with messages + tools.

    Example: agentgym export runs/gold --to gold.parquet --selection default
    """
    output = Output(json)
    form = form or {".jsonl": "jsonl", ".parquet": "parquet"}.get(to.suffix, "hf")
    if form not in FORMS:
        raise UserError(f"there is no format {form!r}: use one of {', '.join(FORMS)}")
    output.say(f"Exporting {run} as {form}.")
    with Store(run) as store:
        count = export_trajectories(store.trajectories(selection), to, form)
    output.say(f"Wrote {count} trajectories to {to}.")
    output.result({"path": str(to), "format": form, "trajectories": count})


def choose_tasks(env: str, arguments: dict[str, object], split: str, start: int, count: int) -> Tasks:
    """Tasks `start` to `start + count` of a split.

    Raises:
        UserError: there are none.
    """
    with closing(make(env, **arguments)) as made:
        tasks = made.tasks(split)[start : start + count]
    if not len(tasks):
        raise UserError(f"split {split!r} of {env} has no tasks from number {start} on: choose another --start or --split")
    return tasks


def play_all(
    plan: Rollout,
    tasks: Tasks,
    policy: str,
    sink: Sink,
    output: Output,
    temperature: float = 1.0,
    max_tokens: int = 256,
    dialect: str | None = None,
) -> Progress:
    """Run a rollout with a named policy and a progress bar."""
    batch = min(plan.concurrency, 64)
    sampler = open_sampler(policy, temperature=temperature, max_tokens=max_tokens, batch=batch, dialect=dialect)

    async def run() -> Progress:
        with output.progress() as bar:
            shown = bar.add_task("episodes", total=len(tasks) * plan.samples)
            try:
                return await plan.run(
                    tasks, sampler, sink, lambda p: bar.update(shown, completed=p.played + p.failed + p.resumed)
                )
            finally:
                await sampler.close()

    return asyncio.run(run())
