"""Stages: the pieces that recipes are composed of.

A stage is a small pydantic model, what a recipe says of it, with a ``run(context)``, what it does. The context says where
things are: episodes in stores by folder, policies by name, the next new tasks, the seed, the output. A stage's result is a file,
``NAME.json``, which appears when all of it is done and tells the next stages what they have to know; so

- a run that was killed goes on when its command is given again: done stages are read, and the one that was under way goes on by
  what its own work keeps (episodes in the store, checkpoints of trainings and of reinforcement learning);
- nothing of a stage's result lives in memory alone.

=============  ==================================================  ====================================================
stage          does                                                leaves
=============  ==================================================  ====================================================
`init`         a base from nothing, of episodes                    a policy that knows nothing yet
`warmup`       the same and a first training, of oracle episodes   ``warmup/`` with episodes, ``base``, ``policy``
`collect`      demonstrations, attempts, trees, hindsight          episodes
`select`       choose trajectories                                 a selection in the store, called as the stage
`pairs`        make preference pairs                               pairs in the store, called as the stage
`sft`          fine-tune on a selection, or on own successes       a policy
`preference`   train on pairs                                      a policy
`reward`       train a reward model                                a model
`rl`           reinforcement learning                              a policy
`es`           evolution strategies                                a policy
`eval`         measure policies                                    evaluations
`rounds`       repeat stages, judge, keep the best                 ``round-1/``, ...: a folder for each round; a policy
=============  ==================================================  ====================================================

A stage that makes a policy makes *the* policy: the next ones begin with it. Each is named as its stage, so that later ones can
ask for it (``reference: first``, ``policies: [warmup, sft]``, ``rewards: ["model:{reward}"]``).

Seeds follow from the recipe's, the number of the round and the task; with the same seed a run that was killed gives what one
gives that was not.
"""

from typing import Annotated

from pydantic import Discriminator

from .base import Acting, Context, Defaults, Stage
from .data import Collect, Pairs, Searching, Select
from .rounds import Eval, Once, Rounds, named, names_of
from .train import Easier, Es, Init, Preference, Reward, Rl, Sft, WarmSft, WarmUp

Step = Annotated[Init | WarmUp | Once | Rounds, Discriminator("stage")]
STAGES: dict[str, type[Stage]] = {
    "init": Init,
    "warmup": WarmUp,
    "collect": Collect,
    "select": Select,
    "pairs": Pairs,
    "sft": Sft,
    "preference": Preference,
    "reward": Reward,
    "rl": Rl,
    "es": Es,
    "eval": Eval,
    "rounds": Rounds,
}

__all__ = [
    "STAGES",
    "Acting",
    "Collect",
    "Context",
    "Defaults",
    "Easier",
    "Es",
    "Eval",
    "Init",
    "Once",
    "Pairs",
    "Preference",
    "Reward",
    "Rl",
    "Rounds",
    "Searching",
    "Select",
    "Sft",
    "Stage",
    "Step",
    "WarmSft",
    "WarmUp",
    "named",
    "names_of",
]
