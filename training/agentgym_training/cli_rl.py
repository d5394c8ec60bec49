"""The command `train rl`."""

import json as jsonlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from agentgym import UserError
from agentgym.cli.output import EnvArgOption, EnvOption, JsonOption, Output, parse_env_args
from agentgym_trajectories.cli import MaxTokensOption, SeedOption, choose_tasks
from agentgym_trajectories.select import parse

from .cli_options import LoraRankOption, LrOption, ModelOption, OutOption, ResumeOption, TrackOption, configure

if TYPE_CHECKING:
    from .rl.loop import Loop

MethodOption = Annotated[str, typer.Option("--method", help="grpo, dapo, gspo, rloo, gigpo, ppo, archer ...")]
UpdatesOption = Annotated[int, typer.Option("--updates", min=1, help="Batches to collect and learn from.")]
TasksOption = Annotated[int, typer.Option("--tasks", min=1, help="New tasks of each update.")]
SamplesOption = Annotated[int, typer.Option("--samples", min=1, help="Episodes of each task.")]
StepsOption = Annotated[int, typer.Option("--steps", min=1, help="Steps of the optimizer in each update.")]
StalenessOption = Annotated[int, typer.Option("--staleness", min=0, help="Updates that episodes may be late.")]
ReplayOption = Annotated[
    int | None, typer.Option("--replay", min=1, help="Updates that learn from a batch; default: the method's.")
]
RefillOption = Annotated[int, typer.Option("--refill", min=0, help="Tries to replace groups that are alike.")]
KlOption = Annotated[float | None, typer.Option("--kl", min=0.0, help="Of the distance from a reference; default: the method's.")]
EntropyOption = Annotated[float | None, typer.Option("--entropy", min=0.0, help="Of the entropy; default: the method's.")]
ReferenceOption = Annotated[
    list[Path] | None, typer.Option("--reference", help="Model directory; of several, the mean. Default: the initial model.")
]
SamplerOption = Annotated[Literal["transformers", "vllm"], typer.Option("--sampler", help="Who writes the episodes.")]
StageOption = Annotated[
    list[str] | None,
    typer.Option("--stage", metavar="KEY=VALUE,...", help="Of a curriculum: since=UPDATE, and difficulty=NAME or turns=N."),
]
RewardOption = Annotated[
    list[str] | None,
    typer.Option(
        "--reward",
        metavar="NAME[:KEY=VALUE,...]",
        help="environment, part, errors, length, judge:..., model:...; added up.",
    ),
]
SaveEveryOption = Annotated[int, typer.Option("--save-every", min=1, help="Updates between checkpoints.")]
EvalTasksOption = Annotated[int, typer.Option("--eval-tasks", min=0, help="Held-out tasks before and after; 0 for none.")]


def rl(
    given: typer.Context,
    env: EnvOption,
    model: ModelOption,
    out: OutOption,
    method: MethodOption = "grpo",
    updates: UpdatesOption = 100,
    tasks: TasksOption = 16,
    samples: SamplesOption = 8,
    steps: StepsOption = 1,
    staleness: StalenessOption = 0,
    replay: ReplayOption = None,
    refill: RefillOption = 0,
    lr: LrOption = 1e-5,
    kl: KlOption = None,
    entropy: EntropyOption = None,
    reference: ReferenceOption = None,
    reward: RewardOption = None,
    stage: StageOption = None,
    sampler: SamplerOption = "transformers",
    lora_rank: LoraRankOption = 0,
    max_tokens: MaxTokensOption = 256,
    save_every: SaveEveryOption = 1,
    eval_tasks: EvalTasksOption = 200,
    resume: ResumeOption = False,
    track: TrackOption = None,
    seed: SeedOption = 0,
    env_arg: EnvArgOption = None,
    json: JsonOption = False,
) -> None:
    """Train a model by what it earns in an environment.

    Example: agentgym train rl --env games/KeyDoor-v0 --model runs/policy --out runs/rl --method gigpo --lr 1e-4
    """
    output = Output(json)
    from .rl.config import RL, Stage
    from .rl.loop import SAMPLERS, Loop
    from .rl.rewards import rewards_named

    stages = tuple(parse(f"stage:{spec}", {"stage": Stage}, "curriculum") for spec in stage or ())
    named = {"stages": stages, "reference": tuple(p.resolve() for p in reference or ())}
    config = configure(RL, given.params | named)
    arguments = parse_env_args(env_arg)
    _exist(env, arguments, model)
    loop = Loop(env, arguments, model, out, config, output, rewards_named(reward or ()), SAMPLERS[sampler])
    before = _success(loop, model, "before", eval_tasks)
    output.say(f"Training {model} by {method} in {env}: {updates} updates of {tasks} tasks x {samples} into {out}.")
    done = loop.run(resume=True)
    after = _success(loop, out, "after", eval_tasks)
    if before is not None:
        output.say(f"Held-out success {before:.1%} before, {after:.1%} after {done['sampled_tokens']:,} sampled tokens: {out}")
    output.next_steps(f"agentgym eval --env {env} --policy {out}")
    output.result({"model": str(out), "success_before": before, "success_after": after, **done})


def _exist(env: str, arguments: dict[str, Any], model: Path) -> None:
    """Raise a `UserError` where there is no such environment or model, before anything is written."""
    from agentgym.sampling.transformers import load_tokenizer

    choose_tasks(env, arguments, "train", 0, 1)
    load_tokenizer(model)


def _success(loop: "Loop", policy: Path, name: str, tasks: int) -> float | None:
    """On held-out tasks; measured once, unless something else is asked for."""
    if not tasks:
        return None
    from .files import write_json
    from .rl.loop import held_out

    file, limit = loop.out / f"{name}.json", loop.config.max_tokens
    asked = {"env": loop.env, "env_args": loop.env_args, "policy": str(policy.resolve()), "tasks": tasks, "max_tokens": limit}
    known = jsonlib.loads(file.read_text()) if file.exists() else {}
    if known.get("asked") != asked:
        loop.output.say(f"Evaluating {policy} on {tasks} held-out tasks.")
        known = {"asked": asked, **held_out(loop.env, loop.env_args, policy, tasks, limit, loop.output).to_dict()}
        write_json(file, known)
    return float(known["success"])


def es(
    given: typer.Context,
    env: EnvOption,
    model: ModelOption,
    out: OutOption,
    updates: UpdatesOption = 100,
    pairs: Annotated[int, typer.Option("--pairs", min=1, help="Pairs of members with opposite noise.")] = 15,
    tasks: TasksOption = 32,
    sigma: Annotated[float, typer.Option("--sigma", min=1e-12, help="Size of the noise.")] = 1e-3,
    lr: LrOption = 5e-4,
    reward: RewardOption = None,
    lora_rank: LoraRankOption = 0,
    max_tokens: MaxTokensOption = 256,
    resume: ResumeOption = False,
    track: TrackOption = None,
    seed: SeedOption = 0,
    env_arg: EnvArgOption = None,
    json: JsonOption = False,
) -> None:
    """Train a model by evolution strategies: noise and rewards, no backward pass.

    Example: agentgym train es --env desk/Orders-v0 --model runs/policy --out runs/es --lora-rank 4
    """
    output = Output(json)
    from .rl.es import ES, Evolution
    from .rl.rewards import rewards_named

    config, arguments = configure(ES, given.params), parse_env_args(env_arg)
    _exist(env, arguments, model)
    output.say(f"Evolving {model} in {env}: {updates} generations of {2 * pairs} members x {tasks} tasks into {out}.")
    done = Evolution(env, arguments, model, out, config, output, rewards_named(reward or ())).run(resume)
    output.next_steps(f"agentgym eval --env {env} --policy {out}")
    output.result({"model": str(out), **done})


def tokens(
    run: Annotated[Path, typer.Argument(metavar="OUT", help="Directory of a training, as given to `train rl --out`.")],
    update: Annotated[int, typer.Option("--update", min=1, help="Number of the update.")],
    task: Annotated[str, typer.Option("--task", help="Id of the task.")],
    sample: Annotated[int, typer.Option("--sample", min=0, help="Which attempt at it.")] = 0,
    page: Annotated[Path | None, typer.Option("--html", help="Write a page instead of text.")] = None,
    json: JsonOption = False,
) -> None:
    """Show what an update saw of an episode, token by token: id, mask, old and new logprob, advantage.

    Example: agentgym train tokens runs/rl --update 3 --task train-17 --html tokens.html
    """
    output = Output(json)
    from dataclasses import asdict

    from agentgym.sampling.transformers import load_tokenizer

    from .rl.tokens import as_html, as_text, tokens_of

    if not (made := list(run.glob("update-*"))):
        raise UserError(f"there are no updates in {run}: give the directory that `agentgym train rl --out` made")
    last = max(made, key=lambda d: int(d.name.rpartition("-")[2]))
    found = tokens_of(run, update, task, sample, load_tokenizer(last))
    if page:
        page.write_text(as_html(found, f"Update {update}, task {task}, sample {sample}"))
        output.say(f"Wrote {len(found)} tokens to {page}.")
    else:
        output.say(as_text(found))
    output.result({"tokens": [asdict(t) for t in found]})
