"""Other projects on the same episode: one module for each, run with the Python of that project's own environment.

`python -m tests.benchmarks.peers.gem EPISODES`, in the root of the repository with the Python of `.venv-peers/gem`, prints its
episodes per second last: of the processor for the add chain (`CHAIN`), of the clock where a browser does the work (`WEB`). Every module says what its project keeps of an episode, and checks that every answer is right.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[3]
VENVS = ROOT / ".venv-peers"
CHAIN = {"gem": 120_000, "skyrl_gym": 80_000, "verifiers": 1_500, "openenv": 3_000}  # episodes of a round of two to five seconds
WEB = {"browsergym_miniwob": 3, "miniwob_selenium": 50}
EPISODES = CHAIN | WEB
LIMIT = 120.0  # seconds for a round with its imports; a peer that takes longer hangs


class PeerFailed(Exception):
    """The peer crashed, hung, or printed no speed."""


def installed(names: Iterable[str]) -> dict[str, float]:
    """Those of the peers whose environments are there, with no speed yet; says on stderr how to install the others."""
    missing = [name for name in names if not (VENVS / name / "bin" / "python").exists()]
    if missing:
        print(f"Not installed, so not measured: {', '.join(missing)}. `make peers` installs them.", file=sys.stderr)
    return {name: 0.0 for name in names if name not in missing}


def measure(name: str) -> float:
    """Play one round.

    Args:
        name: Of the peer's module and environment.

    Returns:
        Episodes per second.

    Raises:
        PeerFailed: The last line that it wrote to stderr says why.
    """
    command = [str(VENVS / name / "bin" / "python"), "-m", f"{__name__}.{name}", str(EPISODES[name])]
    environ = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}  # ours would hide the peer's packages
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, env=environ, stdout=pipe, stderr=pipe, text=True, start_new_session=True) as process:
        try:
            out, err = process.communicate(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            raise PeerFailed(f"no end after {LIMIT:.0f} seconds") from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # with a server that it may have left behind
    try:
        if process.returncode == 0:
            return float(json.loads(out.splitlines()[-1]))
    except (IndexError, TypeError, ValueError):
        pass
    raise PeerFailed(f"exit status {process.returncode}: {(err.strip() or 'no speed, no error').splitlines()[-1]}")


def play(best: dict[str, float]) -> dict[str, float]:
    """One round of every peer.

    Args:
        best: The best speed of each so far.

    Returns:
        The same after this round. A peer that fails is named on stderr and left out, also of the rounds to come.
    """
    better = {}
    for name, speed in best.items():
        try:
            better[name] = max(speed, measure(name))
        except PeerFailed as failed:
            print(f"{name} failed and is left out: {failed}", file=sys.stderr)
    return better
