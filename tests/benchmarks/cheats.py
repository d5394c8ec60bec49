"""How many tasks of a whole file gold answers and cheats pass, in either sandbox.

``python -m tests.benchmarks.cheats mbpp.jsonl --sandbox docker --json``
"""

import argparse
import contextlib
import json
import os
from collections import Counter
from typing import Any

from agentgym import assistant
from agentgym.sandbox import KINDS
from agentgym.tasks import SPLITS
from agentgym_envs.code.problems import Problem
from agentgym_envs.code.python import Python
from tests.docker_engine import docker_engine, nothing_is_left
from tests.envs.test_code_python import CHEATS


def passed(data: str, sandbox: str) -> dict[str, int]:
    """By kind of answer: how many tasks it solves."""
    count: Counter[str] = Counter(dict.fromkeys(("tasks", "gold", *CHEATS), 0))
    with contextlib.closing(Python(data, sandbox=sandbox)) as env:
        for task in (task for split in SPLITS for task in env.tasks(split)):
            problem = Problem(**task.data)
            answers = {name: cheat.replace("{names!r}", repr(problem.names)) for name, cheat in CHEATS.items()}
            count["tasks"] += 1
            for name, program in (answers | {"gold": problem.gold}).items():
                env.reset(options={"task": task})
                info: dict[str, Any] = env.step(assistant(program))[4]
                count[name] += info["success"]
    return dict(count)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", help="a file in the format of MBPP or HumanEval")
    parser.add_argument("--sandbox", choices=KINDS, default="local")
    parser.add_argument("--json", action="store_true", help="only the line of JSON")
    arguments = parser.parse_args()
    with docker_engine() if arguments.sandbox == "docker" else contextlib.nullcontext("") as host:
        if host:
            os.environ["DOCKER_HOST"] = host
        found = passed(arguments.data, arguments.sandbox)
        if host:
            nothing_is_left(host)
    if not arguments.json:
        print(
            f"Of {found['tasks']} tasks gold answers pass {found['gold']}; cheats: { ({name: found[name] for name in CHEATS}) }."
        )
    print(json.dumps(found))


if __name__ == "__main__":
    main()
