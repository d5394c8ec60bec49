"""The commands `collect`, `verify`, `select`, `pairs` and `export`."""

import asyncio
import functools
import itertools
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import typer

from agentgym import Failure, Tasks, UserError, make
from agentgym.cli.output import EnvArgOption, JsonOption, OptionalEnvOption, Output, parse_env_args
from agentgym.dialects import dialect as dialect_named
from agentgym.sampling import Sampler, Scripted
from agentgym.sampling.named import open_sampler
from agentgym.tokens import Chat
from agentgym_trajectories import pairs as pairing
from agentgym_trajectories import select as selecting
from agentgym_trajectories import verify as verifying
from agentgym_trajectories.episode import play
from agentgym_trajectories.export import export as export_trajectories
from agentgym_trajectories.hindsight import Asked, Hindsight, Rules, explorations
from agentgym_trajectories.players import LocalPlayers, Players, Program
from agentgym_trajectories.programs import PROGRAMS, program_named
from agentgym_trajectories.rollout import Deadlines, Progress, Rollout, Sink
from agentgym_trajectories.search import NAMED, search_named
from agentgym_trajectories.store import Store

_KEPT_PAIRS = """SELECT count(*), max(n), sum(margins) / sum(n), sum(confidences) / sum(n) FROM (
    SELECT count(*) n, sum(margin) margins, sum(confidence) confidences FROM pairs JOIN episodes e ON e.id = chosen
    WHERE name = ? AND dropped = '' GROUP BY env, env_args, task)"""

PAIR_RULES = ["step", "distinct", "cap"]

RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="Directory of a run, as given to `agentgym collect --out`.")]
PolicyOption = Annotated[str, typer.Option("--policy", help="oracle, random, DIRECTORY, vllm:..., openai:MODEL.")]
SplitOption = Annotated[str, typer.Option("--split", help="train, validation or test.")]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Of everything that is drawn.")]
TemperatureOption = Annotated[float, typer.Option("--temperature", min=0.0, help="0 takes the likeliest token.")]
MaxTokensOption = Annotated[int, typer.Option("--max-tokens", min=1, help="Longest turn, in tokens.")]
DialectOption = Annotated[str | None, typer.Option("--dialect", help="How calls are written; by default what the model speaks.")]
ConcurrencyOption = Annotated[int, typer.Option("--concurrency", min=0, help="Episodes in flight; 0 finds the best number.")]
SearchOption = Annotated[str | None, typer.Option("--search", help=f"Grow a tree for each task: {', '.join([*NAMED][:3])} ...")]
HindsightOption = Annotated[
    Literal["rules", "policy"] | None,
    typer.Option("--hindsight", help="Explore, and name what was done: by rules, or the policy itself."),
]
SimulationsOption = Annotated[int | None, typer.Option("--simulations", min=1, help="Of a search, for each tree.")]
McpOption = Annotated[
    str | None, typer.Option("--mcp", metavar="SERVER", help="Instead of --env: an MCP server's command line or http(s) address.")
]
InstructionsOption = Annotated[
    str | None,
    typer.Option(
        "--instructions", metavar="TEXT|FILE", help="With --mcp: what to do; words, or JSON lines with a `prompt` each."
    ),
]
CheckOption = Annotated[
    str | None,
    typer.Option(
        "--check",
        metavar="FILE.py:FUNCTION",
        help="With --mcp: scores (answer, task, calls); without it, no reward.",
    ),
]
ProgramOption = Annotated[str | None, typer.Option("--program", help=f"Play in several roles or tries: {', '.join(PROGRAMS)}.")]
RolePolicyOption = Annotated[
    list[str] | None,
    typer.Option("--role", metavar="ROLE=POLICY", help="A policy for a role of --program; others take --policy."),
]
SelectionOption = Annotated[str | None, typer.Option("--selection", help="Only what this selection kept; default: everything.")]
SelectorOption = Annotated[
    list[str] | None,
    typer.Option(
        "--by",
        metavar="NAME[:KEY=VALUE,...]",
        help=f"Repeatable, in this order; default: reward:min=1. There are {', '.join(selecting.SELECTORS)}.",
    ),
]
PairRuleOption = Annotated[
    list[str] | None,
    typer.Option(
        "--by",
        metavar="NAME[:KEY=VALUE,...]",
        help=f"Repeatable, in this order; default: {', '.join(PAIR_RULES)}. Makers: {', '.join(pairing.MAKERS)}; "
        f"filters: {', '.join(pairing.FILTERS)}.",
    ),
]


def collect(
    out: Annotated[Path, typer.Option("--out", help="Directory of the run; give it again to resume.")],
    env: OptionalEnvOption = None,
    mcp: McpOption = None,
    instructions: InstructionsOption = None,
    check: CheckOption = None,
    policy: PolicyOption = "oracle",
    split: SplitOption = "train",
    tasks: Annotated[int, typer.Option("--tasks", min=1, help="How many tasks.")] = 100,
    start: Annotated[int, typer.Option("--start", min=0, help="The first task's number.")] = 0,
    samples: Annotated[int, typer.Option("--samples", min=1, help="Episodes of each task.")] = 1,
    seed: SeedOption = 0,
    concurrency: ConcurrencyOption = 0,
    attempts: Annotated[int, typer.Option("--attempts", min=1, help="Tries where environment or sampler fail.")] = 3,
    turn_seconds: Annotated[
        float, typer.Option("--turn-seconds", metavar="S", min=0.001, help="For each side of a turn.")
    ] = 600.0,
    episode_seconds: Annotated[
        float | None, typer.Option("--episode-seconds", metavar="S", min=0.001, help="Longer ones are void.")
    ] = None,
    temperature: TemperatureOption = 1.0,
    max_tokens: MaxTokensOption = 256,
    dialect: DialectOption = None,
    guided: Annotated[bool, typer.Option("--guided", help="Hold tool calls to their schemas (vllm: policies).")] = False,
    workers: Annotated[Literal["local", "ray"], typer.Option("--workers", help="local, or all CPUs of a Ray cluster.")] = "local",
    search: SearchOption = None,
    simulations: SimulationsOption = None,
    program: ProgramOption = None,
    role: RolePolicyOption = None,
    hindsight: HindsightOption = None,
    env_arg: EnvArgOption = None,
    json: JsonOption = False,
) -> None:
    """Play episodes and store every token of them; run it again to resume.

    Example: agentgym collect --env desk/Orders-v0 --policy oracle --tasks 500 --out runs/gold

    Example: agentgym collect --mcp SERVER --instructions tasks.jsonl --policy openai:gpt-5 --out runs/mcp
    """
    output = Output(json)
    env, arguments = _environment(env, parse_env_args(env_arg), mcp, instructions, check)
    chosen = choose_tasks(env, arguments, split, start, tasks)
    plan = Rollout(env, arguments, samples, seed, concurrency, attempts, Deadlines(turn_seconds, episode_seconds))
    open_policy = functools.partial(
        open_sampler,
        temperature=temperature,
        max_tokens=max_tokens,
        batch=min(concurrency or 64, 64),
        dialect=dialect,
        guided=guided,
    )
    opener = functools.partial(open_policy, policy)
    sampler = opener()
    others = role_samplers(role, open_policy)
    plays, version = playing(sampler, search, simulations, program, others)
    if hindsight is not None:
        if search or program:
            raise UserError("--hindsight explores by itself: leave --search and --program out")
        naming = Hindsight(Rules() if hindsight == "rules" else Asked())
        plays, version, chosen = naming.play, naming.version(sampler.version), explorations(chosen)
    how = " and ".join(filter(None, (policy, search, program, hindsight and f"hindsight by {hindsight}")))
    output.say(f"Collecting {len(chosen)} tasks x {samples} of {env} ({split}) with {how} into {out}.")
    with Store(out, create=True) as store:
        if others_there := store.others(env, version):
            listed = [f"{n:,} episode{'s' * (n != 1)} of {where} by {who}" for n, where, who in others_there]
            more = f" and those of {len(listed) - 3} others" if len(listed) > 3 else ""
            output.say(f"{out} already holds {', '.join(listed[:3])}{more}; these are added beside them.")
        held = settings(sampler, seed, temperature, max_tokens, dialect) | ({"guided": True} if guided else {})
        store.hold_settings(env, arguments, version, held)
        began = time.perf_counter()
        players: Players = LocalPlayers(env, arguments, sampler, plan.deadlines, plays, version)
        if workers == "ray":
            if others:
                raise UserError("--role is for --workers local: a policy's process cannot be sent to a cluster")
            from agentgym_trajectories.cluster import RayPlayers  # Ray comes with an extra

            players = RayPlayers(env, arguments, opener, version, plan.deadlines, plays)
        progress = play_all(plan, chosen, sampler, store, output, players, others.values())
        totals = store.totals(env, arguments, version)
        partial = len(store.missing(env, arguments, version)) if samples > 1 else 0
        why = store.commonest_failure(env, arguments, version) if progress.failed else ""
    seconds = round(time.perf_counter() - began, 2)
    then = f"agentgym pairs {out}" if search else f"agentgym select {out} --by reward:min=1"
    _tell(output, out, progress, totals, partial, why, then)
    output.result(_summary(out, progress, totals, partial) | {"seconds": seconds, "usage": msgspec.to_builtins(sampler.usage)})
    if progress.interrupted:
        raise typer.Exit(130)
    if progress.failed == progress.asked:
        raise Failure(f"no episode could be played ({why:.300}): mend that, and run the command again")


def _environment(
    env: str | None, env_args: dict[str, Any], mcp: str | None, instructions: str | None, check: str | None
) -> tuple[str, dict[str, Any]]:
    """The environment that the options name, and its arguments.

    Raises:
        UserError: they name none, or two.
    """
    if (env is None) == (mcp is None):
        raise UserError("say where to play: --env ID or --mcp SERVER, and not both")
    if env is not None:
        if instructions or check:
            raise UserError("--instructions and --check belong to --mcp: other environments have tasks and rewards of their own")
        return env, env_args
    if instructions is None:
        raise UserError("--mcp needs --instructions: what is to be done, in words or as a file of JSON lines")
    given = {"server": mcp, "instructions": instructions} | ({"check": check} if check else {})
    return "remote/Mcp-v0", env_args | given


def _tell(output: Output, out: Path, progress: Progress, totals: dict[str, Any], partial: int, why: str, then: str) -> None:
    """What a collection came to, for people."""
    output.say(f"{progress.played} played, {progress.resumed} were there already, {progress.failed} failed.")
    if progress.rates:
        measured = ", ".join(f"{n}: {rate:,.0f}" for n, rate in progress.rates.items())
        found = f"{progress.knee} episodes in flight are worth it" if progress.knee else "Too short to find the best concurrency"
        output.say(f"{found} (turns per second by episodes in flight: {measured}).")
    if totals["success"] is not None:
        shares = f"Success {totals['success']:.1%}, mean reward {totals['reward']:.3f}"
        output.say(f"{shares}, {totals['tokens']} sampled tokens in {out}.")
    elif progress.done > progress.failed:
        output.say("Nobody judged these episodes: no reward is claimed (see --check).")
    if totals["drift"]:
        output.say(f"The chat template rewrote the history {totals['drift']} times; each time a new branch was begun.")
    if partial:
        output.say(f"{partial} groups are partial: some of their episodes failed or came too late.")
    if progress.failed:
        output.say(f"Failed episodes have no reward; run the same command again to retry them. Most failed by {why:.300}")
    if progress.interrupted:
        output.say("Interrupted: what was played is kept, and the same command goes on from there.")
    elif totals["success"] is not None:
        output.next_steps(then)


def _summary(out: Path, progress: Progress, totals: dict[str, Any], partial: int) -> dict[str, Any]:
    counts = {"played": progress.played, "resumed": progress.resumed, "failed": progress.failed, "partial_groups": partial}
    found = {
        "concurrency": progress.concurrency,
        "knee": progress.knee,
        "turns_per_second": progress.rates,
        "interrupted": progress.interrupted,
    }
    return {"run": str(out), "episodes": progress.asked, **counts, **totals, **found}


def select(
    run: RunArgument,
    by: SelectorOption = None,
    name: Annotated[str, typer.Option("--name", help="What the selection is called.")] = "default",
    json: JsonOption = False,
) -> None:
    """Choose trajectories, with a recorded reason for each that is dropped.

    Example: agentgym select runs/gold --by reward:min=1 --by errors:max=0 --by duplicates
    """
    output = Output(json)
    specs = by or ["reward:min=1"]
    chosen = [selecting.parse(spec, selecting.SELECTORS) for spec in specs]
    output.say(f"Selecting from {run} by {', then '.join(specs)}.")
    with Store(run) as store:
        store.add_selection(name, selecting.apply(store.trajectories(), chosen))
        counts = store.query("SELECT reason, count(*) n FROM selections WHERE name = ? GROUP BY reason ORDER BY n DESC", name)
    found = verdicts(output, counts, f"trajectories as selection {name!r} in {run}")
    if found["kept"]:
        output.next_steps(f"agentgym train sft {run} --selection {name} --model MODEL --out runs/policy")
    output.result({"run": str(run), "selection": name, **found})


def pairs(
    run: RunArgument,
    by: PairRuleOption = None,
    name: Annotated[str, typer.Option("--name", help="What the pairs are called.")] = "default",
    json: JsonOption = False,
) -> None:
    """Make preference pairs of search trees and groups of trajectories, with a recorded reason for each that is dropped.

    Example: agentgym pairs runs/trees --by step:theta=0.2,visits=2 --by distinct --by cap:pairs=8
    """
    output = Output(json)
    specs = by or PAIR_RULES
    makers, filters = pairing.parse(specs)
    output.say(f"Making pairs of {run} by {', then '.join(specs)}.")
    with Store(run) as store:
        store.add_pairs(name, pairing.make_pairs(store.groups(), makers, filters))
        counts = store.query("SELECT dropped, count(*) n FROM pairs WHERE name = ? GROUP BY dropped ORDER BY n DESC", name)
        told = store.query(_KEPT_PAIRS, name)[0]
    if not counts:
        raise UserError(
            f"nothing in {run} makes pairs by {', '.join(specs)}: step needs a search (agentgym collect --search mcts), outcome "
            "several episodes of a task (agentgym collect --samples 8), in which some do better than others"
        )
    found = verdicts(output, counts, f"pairs as {name!r} in {run}")
    numbers: dict[str, float | None] = dict(zip(("tasks", "most_of_a_task", "margin", "confidence"), told, strict=True))
    if found["kept"]:
        output.table(("kept pairs", ""), [(what, f"{value:.3g}") for what, value in numbers.items()])
        output.next_steps(f"agentgym train preference {run} --pairs {name} --model MODEL --out runs/policy")
    output.result({"run": str(run), "pairs": name, **found, **numbers})


def verdicts(output: Output, counts: list[tuple[str, int]], what: str) -> dict[str, Any]:
    """Tell how many were kept and why the others were not; the same for programs."""
    reasons = dict(counts)
    kept, total = reasons.pop("", 0), sum(n for _, n in counts)
    if reasons:
        output.table(("dropped", "why"), [(str(n), reason) for reason, n in list(reasons.items())[:12]])
    output.say(f"Kept {kept} of {total} {what}.")
    return {"kept": kept, "of": total, "dropped": reasons}


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


def verify(
    run: RunArgument,
    policy: Annotated[Path, typer.Option("--policy", help="Model directory that the run was collected with.")],
    episodes: Annotated[int, typer.Option("--episodes", min=1, help="Look at so many, from the first on.")] = 200,
    tolerance: Annotated[float, typer.Option("--tolerance", min=0.0, help="Mean difference of logprobs, in nats.")] = 0.02,
    dialect: DialectOption = None,
    json: JsonOption = False,
) -> None:
    """Render and score recorded episodes again: are tokens and logprobs exactly what a trainer would see?

    Example: agentgym verify runs/rollouts --policy runs/policy
    """
    output = Output(json)
    from agentgym.sampling.transformers import load, score, weights_version  # torch comes with an extra

    model, tokenizer = load(policy)
    chat = Chat(tokenizer, dialect_named(dialect) if dialect else None)
    output.say(f"Verifying {run} with {policy}.")
    with Store(run) as store:
        found = verifying.verify(
            itertools.islice(store.trajectories(), episodes), chat, lambda ids: score(model, ids), weights_version(policy)
        )
    if found.without_ids == found.trajectories:
        raise UserError(f"no trajectory of {run} has token ids: verify what a model directory or vLLM has played")
    for text in found.inexact[:5]:
        output.say(f"Not exact: {text}")
    output.say(f"{found.trajectories} trajectories, {len(found.inexact)} not exact, {found.without_ids} without ids.")
    output.say(f"Logprobs of {found.tokens} tokens: {found.mean:.2g} nats apart in the mean, {found.worst:.2g} at most.")
    good = not found.inexact and found.mean <= tolerance
    counts = {"trajectories": found.trajectories, "inexact": len(found.inexact), "without_ids": found.without_ids}
    output.result({"exact": good, **counts, "tokens": found.tokens, "logprob_mean": found.mean, "logprob_worst": found.worst})
    if not good:
        raise typer.Exit(1)


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


def playing(
    sampler: Sampler,
    search: str | None,
    simulations: int | None,
    program: str | None = None,
    roles: Mapping[str, Sampler] | None = None,
) -> tuple[Program, str]:
    """How episodes are played, and the name of who plays them.

    Raises:
        UserError: there is no such search or program, or no such role in it.
    """
    if program is not None:
        if search is not None:
            raise UserError("an episode is played by --search or by --program: give one of them")
        made = program_named(program, roles)
        return made.play, made.version(sampler.version)
    if roles:
        raise UserError("--role belongs to --program: say which one")
    if search is None:
        if simulations is not None:
            raise UserError("--simulations belongs to a search: give --search too")
        return play, sampler.version
    chosen = search_named(search)
    if simulations is not None:
        chosen = chosen.with_simulations(simulations)
    return chosen.play, chosen.version(sampler.version)


def role_samplers(roles: list[str] | None, opener: Callable[..., Sampler]) -> dict[str, Sampler]:
    """The policies of ``ROLE=POLICY`` pairs.

    Raises:
        UserError: a pair is malformed, or there is no such policy.
    """
    samplers: dict[str, Sampler] = {}
    for pair in roles or ():
        role, equals, policy = pair.partition("=")
        if not equals:
            raise UserError(f"--role {pair!r} names no policy: write ROLE=POLICY, as in --role planner=runs/planner")
        samplers[role] = opener(policy)
    return samplers


def settings(sampler: Sampler, seed: int, temperature: float, max_tokens: int, dialect: str | None) -> dict[str, object]:
    """What makes an episode what it is, beside its key; for policies that are programs only the seed."""
    if isinstance(sampler, Scripted):
        return {"seed": seed}
    return {"seed": seed, "temperature": temperature, "max_tokens": max_tokens, "dialect": dialect}


def play_all(
    plan: Rollout,
    tasks: Tasks,
    sampler: Sampler,
    sink: Sink,
    output: Output,
    players: Players | None = None,
    others: Iterable[Sampler] = (),
) -> Progress:
    """Run a rollout with a progress bar, and close the sampler and those of `others`.

    The first Ctrl-C lets the episodes in flight finish, the second ends at once.
    """

    async def run() -> Progress:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        task = asyncio.current_task()
        assert task is not None

        def interrupt() -> None:
            if stop.is_set():
                task.cancel()
            else:
                stop.set()
                output.say("Finishing the episodes in flight; press Ctrl-C again to end at once.")

        loop.add_signal_handler(signal.SIGINT, interrupt)
        with output.progress() as bar:
            shown = bar.add_task("episodes", total=len(tasks) * plan.samples)
            who = players or LocalPlayers(plan.env, plan.env_args, sampler, plan.deadlines)
            try:
                return await plan.play(tasks, who, sink, lambda p: bar.update(shown, completed=p.done), stop)
            finally:
                for one in (sampler, *others):
                    await one.close()
                loop.remove_signal_handler(signal.SIGINT)

    try:
        return asyncio.run(run())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
