"""``tools/ScienceWorld-v0``: thirty kinds of school science tasks in a simulated house (Wang et al. 2022, arXiv:2203.07540)."""

import atexit
import functools
import hashlib
import random
from typing import Any

from agentgym import EnvironmentFailure, Task, Tasks, UserError
from agentgym.tasks import check_split

from .base import Story, StoryGame, needs

UNKNOWN = ("No known action matches that input", "Unknown action")
WON = 100
# The simulator goes through sets of objects in the order of their identity hashes, which Java draws by chance: temperatures
# then differ by a degree from run to run. With one hash for all of them the order is that of insertion.
REPEATABLE = ("-XX:+UnlockExperimentalVMOptions", "-XX:hashCode=2")
LEAN = ("-XX:+UseSerialGC",)  # one of many processes on few cores: a fifth faster


class ScienceWorld(StoryGame):
    """Carry out a science experiment in a house: boil, measure, grow, mix, find; up to hundreds of steps.

    The simulator is the published one, in a Java process that all instances of a process share. Won means its full score. Tasks
    and their splits (train, dev as validation, test) are the published variations.

    Raises:
        UserError: the package or Java is not installed.
    """

    instructions = (
        "You act in a text simulation. Take its commands with the tool until your task is fulfilled. Some are: look around, "
        "inventory, open OBJECT, pick up OBJECT, focus on OBJECT, use OBJECT on OBJECT, go to PLACE, wait."
    )
    max_turns = 400

    def __init__(self) -> None:
        self.machine = _jvm().jvm.scienceworld.runtime.pythonapi.PythonInterface()

    def tasks(self, split: str = "train") -> Tasks:
        """The published variations of all tasks, mixed."""
        check_split(split)
        found = _variations()[split]

        def get(i: int) -> Task:
            name, variation = found[i]
            data = {"task": name, "variation": variation}
            return Task(f"{name}, variation {variation}", data, f"{name}-{variation}", split, name)

        return Tasks(get, range(len(found)))

    def find_task(self, task_id: str) -> Task:
        """The task with this id, such as ``boil-3``."""
        for split, found in _variations().items():
            for i, (name, variation) in enumerate(found):
                if f"{name}-{variation}" == task_id:
                    return self.tasks(split)[i]
        raise UserError(f"there is no task {task_id!r}: ids look like 'boil-0'")

    def open(self, task: Task) -> tuple[str, Story]:
        """The beginning of a variation."""
        self._ask("load", task.data["task"], task.data["variation"], "", False)
        seen = self._ask("reset")
        self.commands: tuple[str, ...] = ()
        return f"{self._ask('getTaskDescription')}\n\n{seen or self._ask('freeActionLook')}", self._story()

    def play(self, command: str) -> tuple[str, Story, bool]:
        """Take a command; those that nobody knows are commands taken too: they may answer, or cancel, a question of the game."""
        told = str(self._ask("step", command))
        self.commands = (*self.commands, command)
        return told, self._story(), not told.startswith(UNKNOWN)

    def gold(self) -> str | None:
        """The next command of the published solution, as far as it has been followed."""
        solution, done = _solution(self.task.data["task"], self.task.data["variation"]), 0
        for command in self.commands:
            done += done < len(solution) and command == solution[done]
        return solution[done] if done < len(solution) else None

    def _story(self) -> Story:
        begun = bool(self.commands)  # until then the simulator tells of the variation that was played before
        score = round(WON * self._ask("getScore")) if begun else 0
        over = begun and (bool(self._ask("getCompleted")) or score < 0)
        # The simulator does not tell all that it knows: what led to its state has to stand for it.
        digest = hashlib.blake2b(repr(self.commands).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        return Story(self.commands, max(0, score) / WON, score >= WON, over, digest)

    def _ask(self, method: str, *arguments: Any) -> Any:
        """A call of the simulator, whose failures are the environment's."""
        try:
            return getattr(self.machine, method)(*arguments)
        except Exception as error:  # py4j raises whatever happened on either side
            raise EnvironmentFailure(f"ScienceWorld: {type(error).__name__}: {error}") from error


@functools.cache
def _jvm() -> Any:
    """The Java process of this process; it ends with it."""
    try:
        from py4j.java_gateway import GatewayParameters, JavaGateway, launch_gateway
        from scienceworld.constants import BASEPATH, JAR_PATH
    except ImportError as error:
        raise needs(str(error.name), "scienceworld") from error
    try:
        port, process = launch_gateway(
            classpath=JAR_PATH, die_on_exit=True, cwd=BASEPATH, return_proc=True, javaopts=[*REPEATABLE, *LEAN]
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"ScienceWorld needs Java ({error}): install a Java runtime, such as openjdk-17-jre-headless") from error
    gateway = JavaGateway(gateway_parameters=GatewayParameters(auto_field=True, port=port), java_process=process)
    atexit.register(gateway.shutdown)
    return gateway


@functools.lru_cache(maxsize=256)
def _solution(name: str, variation: int) -> list[str]:
    """The published solution of a variation; finding it takes a second."""
    machine = _jvm().jvm.scienceworld.runtime.pythonapi.PythonInterface()
    machine.load(name, variation, "", True)
    return [str(command) for command in machine.getGoldActionSequence()]


@functools.cache
def _variations() -> dict[str, list[tuple[str, int]]]:
    """All published variations by split, in an order that mixes the tasks."""
    machine = _jvm().jvm.scienceworld.runtime.pythonapi.PythonInterface()
    found: dict[str, list[tuple[str, int]]] = {"train": [], "validation": [], "test": []}
    for name in machine.getTaskNames():
        machine.load(name, 0, "", False)
        parts = (machine.getVariationsTrain(), machine.getVariationsDev(), machine.getVariationsTest())
        for split, numbers in zip(found, parts, strict=True):
            found[split] += [(str(name), int(n)) for n in numbers]
    for rows in found.values():
        random.Random(0).shuffle(rows)
    return found
