"""The command `synthesize`."""

import functools
import json as jsonlib
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from agentgym import Tasks, UserError
from agentgym.cli.output import EnvArgOption, JsonOption, Output, parse_env_args
from agentgym.sampling.named import open_sampler
from agentgym_trajectories import select as selecting
from agentgym_trajectories.cli import (
    ConcurrencyOption,
    DialectOption,
    MaxTokensOption,
    PolicyOption,
    SeedOption,
    SplitOption,
    TemperatureOption,
    choose_tasks,
    play_all,
    role_samplers,
    settings,
    verdicts,
)
from agentgym_trajectories.players import LocalPlayers
from agentgym_trajectories.rollout import Rollout
from agentgym_trajectories.store import Store
from agentgym_trajectories.synthesis import METHODS, Dropped, Method, Synthesis
from agentgym_trajectories.tree import Episode, Trajectory

PROMPTS = "prompts.jsonl"
RoleOption = Annotated[
    list[str] | None, typer.Option("--role", metavar="ROLE=POLICY", help="A policy for one of the method's roles.")
]


def synthesize(
    method: Annotated[str, typer.Argument(metavar="METHOD[:KEY=VALUE,...]", help=", ".join(METHODS))],
    out: Annotated[Path, typer.Option("--out", help="Directory of the run; again to resume.")],
    env: Annotated[str, typer.Option("--env", metavar="ID", help="Where tasks are done; its own are seeds.")],
    policy: PolicyOption,
    role: RoleOption = None,
    split: SplitOption = "train",
    tasks: Annotated[int, typer.Option("--tasks", min=1, help="How many are written, or done.")] = 100,
    start: Annotated[int, typer.Option("--start", min=0, help="The first seed's number.")] = 0,
    seed: SeedOption = 0,
    concurrency: ConcurrencyOption = 0,
    attempts: Annotated[int, typer.Option("--attempts", min=1, help="Tries where something fails.")] = 3,
    temperature: TemperatureOption = 1.0,
    max_tokens: MaxTokensOption = 256,
    dialect: DialectOption = None,
    name: Annotated[str, typer.Option("--name", help="Of the selection of what is kept.")] = "default",
    env_arg: EnvArgOption = None,
    json: JsonOption = False,
) -> None:
    """Make new tasks, or better trajectories, with samplers; run it again to resume.

    What is kept is a selection of the run, each other with its reason; tasks that were written also stand in its prompts.jsonl.

    Example: agentgym synthesize ilf --policy runs/policy --role critic=openai:gpt-5 --env desk/Orders-v0 --out runs/refined
    """
    output, arguments = Output(json), parse_env_args(env_arg)
    chosen: Method = selecting.parse(method, METHODS, "method")
    seeds = chosen.tasks(choose_tasks(env, arguments, split, start, 10**9) if chosen.seeded else Tasks.of(()), tasks, seed)
    opener = functools.partial(open_sampler, temperature=temperature, max_tokens=max_tokens, dialect=dialect)
    sampler, others = opener(policy), role_samplers(role, opener)
    if chosen.roles is not None and (unknown := sorted(set(others) - set(chosen.roles))):
        raise UserError(f"{method} has no role {unknown[0]!r}: it has {', '.join(chosen.roles) or 'none'}")
    plays = Synthesis(method, chosen, others)
    version = plays.version(sampler.version)
    plan = Rollout(env, arguments, chosen.samples, seed, concurrency, attempts)
    output.say(f"Synthesising by {method} from {len(seeds)} tasks x {chosen.samples} of {env} with {policy} into {out}.")
    with Store(out, create=True) as store:
        store.hold_settings(env, arguments, version, settings(sampler, seed, temperature, max_tokens, dialect))
        players = LocalPlayers(env, arguments, sampler, plan.deadlines, plays.play, version)
        progress = play_all(plan, seeds, sampler, store, output, players, others.values())
        judged = _judged(store.episodes(env, arguments, version), chosen)
        store.add_selection(name, judged)
    written = _write_prompts(out / PROMPTS, [t for t, reason in judged if not reason])
    output.say(f"{progress.played} played, {progress.resumed} were there already, {progress.failed} failed.")
    counts = Counter(reason for _, reason in judged).most_common()
    found = verdicts(output, counts, f"trajectories as selection {name!r} in {out}")
    if written:
        output.say(f"{written} new tasks in {out / PROMPTS}.")
    if found["kept"]:
        output.next_steps(f"agentgym train sft {out} --selection {name} --model MODEL --out runs/policy")
    counted = {"played": progress.played, "resumed": progress.resumed, "failed": progress.failed}
    output.result({"run": str(out), **counted, "tries_failed": progress.attempts_failed, **found, "prompts": written})
    if progress.interrupted:
        raise typer.Exit(130)


def _judged(episodes: Iterable[Episode], method: Method) -> list[tuple[Trajectory, str]]:
    """All trajectories in the order of their tasks, whoever was done first, with the reasons why they are dropped."""
    made = [t for e in episodes for t in e.trajectories()]
    made.sort(key=lambda t: (len(t.episode.task.id), t.episode.task.id, t.episode.sample))
    return list(selecting.apply(made, [Dropped(), *method.selectors()]))


def _write_prompts(path: Path, kept: Sequence[Trajectory]) -> int:
    """Tasks that were written, one line each. Returns how many; without any, no file is left or made."""
    tasks = {t.episode.task.id: t.episode.task for t in kept if t.episode.task.origin.get("prompt") == "written"}
    path.unlink(missing_ok=True)
    if tasks:
        partial = path.with_suffix(".partial")
        rows = ({"id": t.id, "prompt": t.prompt, "split": t.split, "origin": t.origin} for t in tasks.values())
        partial.write_text("".join(f"{jsonlib.dumps(row, ensure_ascii=False)}\n" for row in rows), "utf-8")
        partial.replace(path)
    return len(tasks)
