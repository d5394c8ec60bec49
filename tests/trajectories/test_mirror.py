"""The user's side of conversations: never trained on unless turned round, and then exactly the user's words."""

from pathlib import Path

from agentgym import make
from agentgym.partners import GREETING
from agentgym.sampling import Scripted
from agentgym_trajectories.mirror import users_side
from agentgym_trajectories.tree import Trajectory
from tests.conftest import oracle_episode


def conversations(count: int) -> list[Trajectory]:
    env = make("tools/Tau-v0")
    made = [t for task in env.tasks()[:count] for t in oracle_episode(env, task).trajectories()]
    env.close()
    return made


def test_a_users_words_are_observations_and_turned_round_actions() -> None:
    (t,) = conversations(1)
    assert {m.role for n in t.actions for m in n.messages} == {"assistant"}
    (turned,) = users_side([t])
    said = [m.content for n in turned.actions for m in n.messages]
    assert said == [m.content for m in t.messages if m.role == "user"]
    assert said[0] == t.episode.task.prompt
    card, greeting = turned.nodes[0].messages
    assert t.episode.task.data["user"]["goal"] in card.content
    assert greeting.content == GREETING
    assert [n.kind for n in turned.nodes] == ["observation", "action"] * len(said)
    assert not any(m.tool_calls or m.role == "tool" for m in turned.messages)
    assert (turned.success, turned.reward) == (t.success, t.reward)


def test_what_has_no_user_is_left_out() -> None:
    env = make("desk/Orders-v0")
    assert not list(users_side(oracle_episode(env, env.tasks()[0]).trajectories()))


def test_a_turn_that_nobody_answered_is_left_out() -> None:
    (t,) = conversations(1)
    (turned,) = users_side([t])
    assert turned.leaf.kind == "action"
    assert t.messages[-1].content not in [m.content for m in turned.messages]


def test_loss_stands_on_the_users_words_only_when_asked_for(nano_dir: Path) -> None:
    from agentgym.sampling.transformers import load_tokenizer
    from agentgym_training.rows import training_rows

    tokenizer, (t,) = load_tokenizer(nano_dir), conversations(1)
    users = [m.content for m in t.messages if m.role == "user"]

    def learnt(trajectories: list[Trajectory]) -> str:
        (row,) = training_rows(trajectories, tokenizer)
        return str(tokenizer.decode([i for i, w in zip(row.input_ids, row.weights, strict=True) if w]))

    assert not any(words in learnt([t]) for words in users)
    assert all(words in learnt(list(users_side([t]))) for words in users)


def test_models_that_play_users_are_recorded_like_scripts() -> None:
    env = make("tools/Tau-v0", user=Scripted(lambda r: "Please help." if len(r.messages) == 2 else "Bye.###STOP###"))
    task = env.tasks()[0]
    (t,) = oracle_episode(env, task).trajectories()
    (turned,) = users_side([t])
    assert [m.content for n in turned.actions for m in n.messages] == ["Please help."]
    env.close()
