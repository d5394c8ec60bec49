"""An environment in a process of its own: heavy ones run beside each other, and a crash takes no other with it.

Both ends speak over a socket pair: one pickled request, one pickled answer. The child imports nothing of the caller's main
module (cloudpickle carries classes that are defined there), so that a script needs no ``if __name__ == "__main__"``.
"""

import contextlib
import functools
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection, Pipe
from typing import Any, TypeVar

import cloudpickle

from agentgym import AgentGymError, Environment, EnvironmentFailure, Message, Observation, Task, make
from agentgym.env import Snapshot, StepResult
from agentgym.registry import register, specs

CLOSE_SECONDS = 10.0  # for the process to close its environment
PARENT_SECONDS = 1.0  # between two looks whether the parent is there
T = TypeVar("T")


def begin(env: Environment, seed: int, task: Task) -> tuple[Observation, str]:
    """Reset, and the state key, in one call."""
    observation, _ = env.reset(seed=seed, options={"task": task})
    return observation, env.state_key()


def step(env: Environment, action: Message) -> tuple[StepResult, str]:
    """Step, and the state key, in one call."""
    return env.step(action), env.state_key()


def state_key(env: Environment) -> str:
    """The key of its state. Like those below, a function of this module, so that what an environment overrides is called."""
    return env.state_key()


def snapshot(env: Environment) -> Snapshot:
    """Its state, to be returned to."""
    return env.snapshot()


def restore(env: Environment, state: Snapshot) -> None:
    """Return to a state."""
    env.restore(state)


def carried(env: str) -> bytes:
    """An environment's registration, to be installed in another process by `install`."""
    spec = specs().get(env)
    registered = None if spec is None else cloudpickle.dumps((env, spec.entry_point, spec.kwargs))  # needs the path first
    return pickle.dumps((sys.path, registered))


def install(registration: bytes) -> None:
    """Register an environment that another process knows, from where that process finds its modules."""
    path, registered = pickle.loads(registration)
    sys.path += [p for p in path if p not in sys.path]
    if registered is not None:
        env, entry_point, kwargs = pickle.loads(registered)
        register(env, entry_point, **kwargs)


class ProcessEnvironment:
    """The near end, after `start`. Attributes and methods are those of the environment at the far end: a round trip each.

    Raises:
        EnvironmentFailure: the process is gone; so does every call from then on.
        Exception: whatever the environment raised.
    """

    def __init__(self, env: str, env_args: dict[str, Any]) -> None:
        self._near, far = Pipe()
        with far:
            # Its prints must not mix with a command's result on stdout.
            command = [sys.executable, "-c", f"import {__name__} as far; far.serve({far.fileno()})"]
            self._process = subprocess.Popen(command, pass_fds=[far.fileno()], stdin=subprocess.DEVNULL, stdout=2)
        self._busy = False
        self._registration = (env, env_args)

    def start(self) -> None:
        """Make the environment at the far end."""
        env, env_args = self._registration
        self._ask((carried(env), env, env_args))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        is_method, value = self.ask(_look, name)
        return functools.partial(self.ask, _call, name) if is_method else value

    def ask(self, function: Callable[..., T], *args: Any) -> T:
        """``function(env, *args)`` at the far end."""
        return self._ask((function, *args))  # type: ignore[no-any-return]

    def close(self) -> None:
        """End the process: one that is free closes its environment first, one that is not is killed."""
        if self._busy:
            self._process.kill()  # whoever waits for its answer sees the end of the stream
        else:
            self._near.close()
        try:
            self._process.wait(CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _ask(self, request: Any) -> Any:
        self._busy = True
        try:
            self._near.send_bytes(cloudpickle.dumps(request))
            good, value = pickle.loads(self._near.recv_bytes())
        except (EOFError, OSError) as error:
            self._near.close()
            raise EnvironmentFailure("its process is gone: it crashed, or was killed") from error
        finally:
            self._busy = False
        if not good:
            raise value
        return value


def _look(env: Environment, name: str) -> tuple[bool, Any]:
    value = getattr(env, name)
    return (True, None) if callable(value) else (False, value)


def _call(env: Environment, name: str, *args: Any) -> Any:
    return getattr(env, name)(*args)


def serve(descriptor: int) -> None:
    """The far end: do what is asked until the near end is gone."""
    connection = Connection(descriptor)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the near end's business
    threading.Thread(target=_die_with, args=(os.getppid(),), daemon=True).start()
    env: Environment | None = None
    with contextlib.suppress(EOFError, OSError):  # the near end is gone
        while True:
            request = connection.recv_bytes()
            try:
                loaded = pickle.loads(request)
                if env is None:
                    env, value = _set_up(*loaded), None
                else:
                    function, *args = loaded
                    value = function(env, *args)
                answer = pickle.dumps((True, value))
            except (Exception, SystemExit) as error:
                answer = _told(error)
            connection.send_bytes(answer)
    if env is not None:
        env.close()


def _die_with(parent: int) -> None:
    """End this process soon after its parent is gone, also in the middle of a step that never ends."""
    while os.getppid() == parent:
        time.sleep(PARENT_SECONDS)
    os._exit(1)


def _set_up(registered: bytes, env: str, env_args: dict[str, Any]) -> Environment:
    install(registered)
    return make(env, **env_args)


def _told(error: BaseException) -> bytes:
    with contextlib.suppress(Exception):
        if isinstance(error, AgentGymError):
            return pickle.dumps((False, error))
    return pickle.dumps((False, EnvironmentFailure(f"{type(error).__name__}: {error}")))
