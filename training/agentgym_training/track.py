"""Trackers: where else the numbers of a training go, through the callbacks of Hugging Face's transformers.

Each is an extra of the same name. TensorBoard writes below the training's directory; the others are configured by their own
environment variables (``WANDB_PROJECT``, ``MLFLOW_TRACKING_URI``, ``TRACKIO_PROJECT`` ...).
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import transformers
from transformers.integrations.integration_utils import get_reporting_integration_callbacks

from agentgym.errors import NotInstalled, UserError

TRACKERS = ("tensorboard", "wandb", "mlflow", "trackio")


def checked(name: str | None) -> str | None:
    """The name of a tracker that can be used.

    Raises:
        UserError: there is no such tracker.
        NotInstalled: its package is not here.
    """
    if name is not None and name not in TRACKERS:
        raise UserError(f"there is no tracker {name!r}: use one of {', '.join(TRACKERS)}")
    if name is not None and find_spec(name) is None:
        raise NotInstalled(f"--track {name} needs the package {name}: pip install 'agentgym[{name}]'")
    return name


class Tracker:
    """A tracker of a loop that is no trainer of transformers; without a name it does nothing.

    It is made before anything of accelerate: arguments of transformers reset what accelerate has set up.

    Args:
        name: As in `checked`.
        out: The training's directory.
        step: The step that the training goes on from.
    """

    def __init__(self, name: str | None, out: Path, step: int = 0) -> None:
        self._callbacks = [kind() for kind in get_reporting_integration_callbacks(checked(name))]
        self._state, self._control = transformers.TrainerState(global_step=step), transformers.TrainerControl()
        # The arguments are those that callbacks ask for; how the loop trains stands in its own files.
        self._args = transformers.TrainingArguments(str(out), run_name=out.name, report_to="none") if name else None
        self._tell("on_train_begin")

    def log(self, step: int, measured: dict[str, Any]) -> None:
        """Numbers of a step; what is no number is left out."""
        self._state.global_step = step
        self._tell("on_log", logs={name: value for name, value in measured.items() if isinstance(value, int | float)})

    def close(self) -> None:
        """Write what is left."""
        self._tell("on_train_end")

    def _tell(self, event: str, **more: Any) -> None:
        for callback in self._callbacks:
            getattr(callback, event)(self._args, self._state, self._control, **more)
