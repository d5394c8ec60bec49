"""The commands `collect`, `select` and `export`."""

import asyncio
import time
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from agentgym import Tasks, UserError, make
from agentgym.cli.output import EnvArgOption, EnvOption, JsonOption, Output, parse_env_args
from agentgym.sampling import Sampler
from agentgym.sampling.named import open_sampler
from agentgym_trajectories import select as selecting
from agentgym_trajectories.export import export as export_trajectories
from agentgym_trajectories.rollout import Progress, Rollout, Sink
from agentgym_trajectories.store import Store

RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="Directory of a run, as given to `agentgym collect --out`.")]
PolicyOption = Annotated[str, typer.Option("--policy", help="`oracle`, a model directory, `vllm:DIRECTORY`, or `openai:MODEL`.")]
SplitOption = Annotated[str, typer.Option("--split", help="train, validation or test.")]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Of everything that is drawn.")]
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
    sampler = open_sampler(policy, temperature=temperature, max_tokens=max_tokens, batch=min(concurrency, 64), dialect=dialect)
    output.say(f"Collecting {len(chosen)} tasks x {samples} of {env} ({split}) with {policy} into {out}.")
    with Store(out, create=True) as store:
        store.hold_settings(env, arguments, sampler.version, settings(sampler, seed, temperature, max_tokens, dialect))
        began = time.perf_counter()
        progress = play_all(plan, chosen, sampler, store, output)
        success, reward, tokens = store.totals(env, arguments, sampler.version)
    result = {"run": str(out), "episodes": progress.asked, "played": progress.played, "resumed": progress.resumed}
    result |= {"failed": progress.failed, "success": success, "reward": reward, "tokens": tokens}
    result |= {"seconds": round(time.perf_counter() - began, 2)}
    output.say(f"{progress.played} played, {progress.resumed} were there already, {progress.failed} failed.")
    if success is not None:
        output.say(f"Success {success:.1%}, mean reward {reward:.3f}, {tokens} sampled tokens in {out}.")
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
    with Store(run) as store:
        store.add_selection(name, selecting.apply(store.trajectories(), chosen))
        counts = store.query("SELECT reason, count(*) n FROM selections WHERE name = ? GROUP BY reason ORDER BY n DESC", name)
    reasons = dict(counts)
    kept, total = reasons.pop("", 0), sum(n for _, n in counts)
    output.table(("dropped", "why"), [(str(n), reason) for reason, n in list(reasons.items())[:12]])
    output.say(f"Kept {kept} of {total} trajectories as selection {name!r} in {run}.")
    if kept:
        output.next_steps(f"agentgym train sft {run} --selection {name} --model MODEL --out runs/policy")
    output.result({"run": str(run), "selection": name, "kept": kept, "of": total, "dropped": reasons})


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
    form = form or {".jsonl": "jsonl", ".parquet": "parquet", "": "hf"}.get(to.suffix, to.suffix[1:])
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


def settings(sampler: Sampler, seed: int, temperature: float, max_tokens: int, dialect: str | None) -> dict[str, object]:
    """What makes an episode what it is, beside its key; for policies without tokens only the seed."""
    if sampler.chat is None:
        return {"seed": seed}
    return {"seed": seed, "temperature": temperature, "max_tokens": max_tokens, "dialect": dialect}


def play_all(plan: Rollout, tasks: Tasks, sampler: Sampler, sink: Sink, output: Output) -> Progress:
    """Run a rollout with a progress bar, and close the sampler."""

    async def run() -> Progress:
        with output.progress() as bar:
            shown = bar.add_task("episodes", total=len(tasks) * plan.samples)
            try:
                return await plan.run(tasks, sampler, sink, lambda p: bar.update(shown, completed=p.done))
            finally:
                await sampler.close()

    return asyncio.run(run())
