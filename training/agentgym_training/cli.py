"""The commands `model init`, `train`, `eval` and `demo`. torch is imported when one runs, not when help is shown."""

import time
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from agentgym import UserError
from agentgym.cli.output import EnvArgOption, EnvOption, JsonOption, Output, parse_env_args
from agentgym.sampling.named import open_sampler
from agentgym_trajectories.cli import (
    ConcurrencyOption,
    DialectOption,
    MaxTokensOption,
    PolicyOption,
    ProgramOption,
    RunArgument,
    SearchOption,
    SeedOption,
    SelectionOption,
    SimulationsOption,
    SplitOption,
    TemperatureOption,
    choose_tasks,
    play_all,
    playing,
    settings,
)
from agentgym_trajectories.players import LocalPlayers
from agentgym_trajectories.rollout import Memory, Rollout
from agentgym_trajectories.store import Store

from .cli_options import (
    BatchSizeOption,
    EpochsOption,
    LoraRankOption,
    LrOption,
    MaxLengthOption,
    MaxStepsOption,
    ModelOption,
    ObjectiveOption,
    OutOption,
    ResumeOption,
    RoleOption,
    SaveStepsOption,
    TrackOption,
    conclude,
    configure,
    refuse_existing,
)
from .cli_preference import preference
from .cli_reward import reward
from .cli_rl import es, rl, tokens
from .evaluate import Evaluation, evaluate

model = typer.Typer(help="Make models.\n\nExample: agentgym model init runs/gold --out runs/base", no_args_is_help=True)
train = typer.Typer(
    help="Train policies.\n\nExample: agentgym train sft runs/gold --model runs/base --out runs/policy", no_args_is_help=True
)
train.command("preference")(preference)
train.command("reward")(reward)
train.command("rl")(rl)
train.command("es")(es)
train.command("tokens")(tokens)


@model.command("init")
def init(
    run: RunArgument,
    out: OutOption,
    selection: SelectionOption = None,
    warmup_steps: Annotated[int, typer.Option("--warmup-steps", min=1, help="Of the copy warm-up.")] = 700,
    seed: SeedOption = 0,
    json: JsonOption = False,
) -> None:
    """Make a nano policy for a CPU: tokenizer and chat template learnt from a run, fresh weights, copy warm-up.

    Example: agentgym model init runs/gold --out runs/base
    """
    output = Output(json)
    from .nano import init_model

    refuse_existing(out)
    with Store(run) as store:
        dialogues = [(t.messages, t.episode.tools) for t in store.trajectories(selection)]
    if not dialogues:
        raise UserError(f"there are no trajectories in {run} to learn from: collect more, or select less strictly")
    output.say(f"Making a nano policy from {len(dialogues)} trajectories of {run}.")
    made = init_model(dialogues, out, seed=seed, warmup_steps=warmup_steps)
    output.say(f"{made['parameters']:,.0f} parameters, {made['vocabulary']:.0f} tokens, copy loss {made['copy_loss']:.3f}: {out}")
    # The defaults of `train sft` are for pretrained models; they teach a fresh one nothing.
    output.next_steps(f"agentgym train sft {run} --model {out} --out runs/policy --lr 3e-3 --epochs 5")
    output.result({"model": str(out), **made})


@train.command("sft")
def sft(
    given: typer.Context,
    run: RunArgument,
    model: ModelOption,
    out: OutOption,
    selection: SelectionOption = None,
    role: RoleOption = None,
    objectives: ObjectiveOption = None,
    epochs: EpochsOption = 1.0,
    max_steps: MaxStepsOption = None,
    batch_size: BatchSizeOption = 16,
    lr: LrOption = 2e-5,
    lora_rank: LoraRankOption = 0,
    max_length: MaxLengthOption = None,
    save_steps: SaveStepsOption = None,
    resume: ResumeOption = False,
    track: TrackOption = None,
    seed: SeedOption = 0,
    json: JsonOption = False,
) -> None:
    """Fine-tune a model on trajectories: loss on the agent's own tokens only, unless an objective says otherwise.

    Example: agentgym train sft runs/gold --objective tl-training --objective neftune:alpha=10 --model runs/base --out runs/policy
    """
    output = Output(json)
    from agentgym.sampling.transformers import load_tokenizer

    from .objectives import parse
    from .rows import training_rows
    from .sft import Sft, train_sft

    chosen = parse(objectives or ())
    config = configure(Sft, given.params | {"objectives": objectives or ()})
    tokenizer = load_tokenizer(model)
    with Store(run) as store:
        rows = training_rows(store.trajectories(selection), tokenizer, max_length, chosen, role)
    output.say(f"Fine-tuning {model} on {len(rows)} rows of {run} into {out}.")
    done = train_sft(model, rows, out, config, resume=resume)
    conclude(output, out, done, {"rows": len(rows)})


def evaluate_command(
    env: EnvOption,
    policy: PolicyOption,
    split: SplitOption = "test",
    tasks: Annotated[int, typer.Option("--tasks", min=1, help="How many tasks.")] = 200,
    start: Annotated[int, typer.Option("--start", min=0, help="The first task's number.")] = 0,
    samples: Annotated[int, typer.Option("--samples", min=1, help="Episodes of each task.")] = 1,
    out: Annotated[Path | None, typer.Option("--out", help="Keep the episodes in this run.")] = None,
    temperature: TemperatureOption = 0.0,
    max_tokens: MaxTokensOption = 256,
    dialect: DialectOption = None,
    concurrency: ConcurrencyOption = 0,
    search: SearchOption = None,
    simulations: SimulationsOption = None,
    program: ProgramOption = None,
    seed: SeedOption = 0,
    env_arg: EnvArgOption = None,
    json: JsonOption = False,
) -> None:
    """Measure a policy: success with a 95 % interval over tasks, mistakes by category, turns, tokens.

    With a search, of each tree the path that earned most counts: the environment's own reward is the search's guide and judge.

    Example: agentgym eval --env desk/Orders-v0 --policy runs/policy --search agent-q --temperature 1
    """
    output = Output(json)
    arguments = parse_env_args(env_arg)
    chosen = choose_tasks(env, arguments, split, start, tasks)
    sampler = open_sampler(
        policy, temperature=temperature, max_tokens=max_tokens, batch=min(concurrency or 64, 64), dialect=dialect
    )
    output.say(f"Evaluating {policy} on {len(chosen)} tasks x {samples} of {env} ({split}).")
    began = time.perf_counter()
    plan = Rollout(env, arguments, samples, seed, concurrency)
    plays, version = playing(sampler, search, simulations, program)
    players = LocalPlayers(env, arguments, sampler, plan.deadlines, plays, version)
    with Store(out, create=True) if out else nullcontext(Memory()) as sink:
        if isinstance(sink, Store):
            sink.hold_settings(env, arguments, version, settings(sampler, seed, temperature, max_tokens, dialect))
        progress = play_all(plan, chosen, sampler, sink, output, players)
        asked = {(t.id, sample) for t in chosen for sample in range(samples)}
        played = sink.episodes(env, arguments, version) if isinstance(sink, Store) else sink.episodes
        measured = evaluate((e for e in played if (e.task.id, e.sample) in asked), progress.failed)
    show(measured, output)
    spent = sampler.usage.sampled_tokens
    output.result({**measured.to_dict(), "sampled_tokens": spent, "seconds": round(time.perf_counter() - began, 2)})


def demo(
    out: OutOption = Path("runs/demo"),
    seed: SeedOption = 0,
    json: JsonOption = False,
) -> None:
    """Teach a nano policy to use tools, from nothing: collect, select, train, evaluate. Minutes on two cores.

    Example: agentgym demo --out runs/demo
    """
    output = Output(json)
    from .demo import Size
    from .demo import demo as run

    refuse_existing(out)
    outcome = run(out, seed, output, Size())
    rows = [
        (name, f"{e.success:.1%}", f"{e.low:.1%} to {e.high:.1%}", str(e.episodes))
        for name, e in (("before", outcome.before), ("after", outcome.after))
    ]
    output.table(("training", "held-out success", "95 % interval", "tasks"), rows)
    output.say(f"{outcome.seconds:.0f} s in all; picture: {outcome.picture}; policy: {out / 'policy'}")
    output.next_steps(f"agentgym eval --env desk/Orders-v0 --env-arg level=hard --policy {out / 'policy'}")
    output.result(
        {
            "success_before": outcome.before.success,
            "success_after": outcome.after.success,
            "seconds": round(outcome.seconds, 1),
            "episodes": outcome.episodes,
            "before": outcome.before.to_dict(),
            "after": outcome.after.to_dict(),
            "picture": str(outcome.picture),
        }
    )


def show(measured: Evaluation, output: Output) -> None:
    """An evaluation for people."""
    lines: list[tuple[str, Any]] = [
        ("success", f"{measured.success:.1%}  ({measured.low:.1%} to {measured.high:.1%})"),
        ("episodes", f"{measured.episodes}, and {measured.failed} failed"),
        ("reward", f"{measured.reward:.3f}"),
        ("turns", f"{measured.turns:.1f}"),
        ("tokens sampled", f"{measured.tokens:.0f}"),
    ]
    lines += [(f"success, {level}", f"{share:.1%}") for level, share in measured.by_difficulty.items() if level]
    lines += [(f"reward, {part}", f"{mean:.3f}") for part, mean in measured.parts.items()]
    lines += [(f"mistakes, {category}", f"{share:.2f} an episode") for category, share in measured.errors.items()]
    output.table(("", ""), lines)
