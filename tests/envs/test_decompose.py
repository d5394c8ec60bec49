"""tools/Decompose-v0: a solver that calculates, or any model, answers the parts of a problem."""

import os

import pytest

from agentgym import EnvironmentFailure, Message, SamplerFailure, UserError, assistant, call
from agentgym.checks import check_env, validate_env
from agentgym.sampling import SampleRequest, Scripted
from agentgym_envs.tools.decompose import SOLVER, Decompose


def ask(question: str) -> Message:
    return assistant("", call("ask", question=question))


def test_conformance() -> None:
    assert not [check for check in check_env("tools/Decompose-v0", tasks=3) if not check.ok]


def test_the_script_calculates_and_knows_nothing_else() -> None:
    env = Decompose()
    env.reset(options={"task": env.tasks()[0]})
    asked = ("What is 12 * (3 + 4)?", "What is 7 // 2 if 3?", "How are you?", "What is 1/0?", "(((", "How much is -5 + 2")
    said = [env.step(ask(q))[0].messages[0].content for q in asked]
    assert said == ["It is 84.", "It is 3.", "I do not know.", "I do not know.", "I do not know.", "It is -3."]
    env.close()


@pytest.mark.parametrize("level", [None, "easy", "medium", "hard"])
def test_the_oracle_solves_every_task(level: str | None) -> None:
    env = Decompose(level=level)
    found = validate_env(env, "test", 30)
    assert (found.gold_passed, found.floor_passed) == (30, 0)
    env.close()


@pytest.mark.skipif("AGENTGYM_DATA" not in os.environ, reason="AGENTGYM_DATA is not set")
def test_gsm8k_loads() -> None:
    env = Decompose(data=f"{os.environ['AGENTGYM_DATA']}/gsm8k")
    assert validate_env(env, "test", 50).gold_passed == 50
    env.close()


def test_any_sampler_is_a_solver_that_remembers_what_it_said() -> None:
    heard: list[SampleRequest] = []

    def solver(request: SampleRequest) -> str:
        heard.append(request)
        return f"Answer {len(heard)}."

    env = Decompose(Scripted(solver))
    env.reset(seed=1, options={"task": env.tasks()[0]})
    env.step(ask("One?"))
    snapshot = env.snapshot()
    assert env.step(ask("Two?"))[0].messages[0].content == "Answer 2."
    said = [(m.role, m.content) for m in heard[1].messages]
    assert said == [("system", SOLVER), ("user", "One?"), ("assistant", "Answer 1."), ("user", "Two?")]
    env.restore(snapshot)
    env.step(ask("Again?"))
    assert heard[2].messages[-1].content == "Again?"
    assert len(heard[2].messages) == 4
    assert heard[2].seed == heard[1].seed
    env.close()


def test_a_solver_that_breaks_is_no_fault_of_the_agent() -> None:
    def refuse(_: SampleRequest) -> str:
        raise UserError("wrong key")

    for solver, failure in ((Scripted(refuse), EnvironmentFailure), (Scripted(lambda _: ""), SamplerFailure)):
        env = Decompose(solver)
        env.reset(options={"task": env.tasks()[0]})
        with pytest.raises(failure):
            env.step(ask("One?"))
        env.close()
    with pytest.raises(UserError, match="there is no level"):
        Decompose(level="x")
    with pytest.raises(UserError, match="there is no policy"):
        Decompose("nobody")
