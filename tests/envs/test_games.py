"""Gymnasium games in words: the adapter on games of all kinds of discrete spaces, and the three that are registered."""

import random
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.wrappers import TransformObservation
from hypothesis import given, settings
from hypothesis import strategies as st

from agentgym import SPLITS, EnvironmentFailure, ErrorCategory, UserError, assistant, call, make, register, specs
from agentgym.checks import check_env
from agentgym_envs.games import TextGame, text_env
from agentgym_envs.games.blackjack import Blackjack
from agentgym_envs.games.frozen_lake import FrozenLake
from agentgym_envs.games.tables import best_actions
from agentgym_envs.games.taxi import Taxi

GAMES = ("games/Blackjack-v0", "games/FrozenLake-v0", "games/KeyDoor-v0", "games/Taxi-v0")


class Slots(gymnasium.Env[Any, Any]):
    """Pull one of three arms until one pays; a state of lists, arrays, sets and things made on the way."""

    action_space = spaces.Discrete(3, start=1)
    observation_space = spaces.Dict({"pulled": spaces.MultiDiscrete([9, 9, 9]), "last": spaces.Tuple([spaces.Discrete(4)])})

    def __init__(self, limit: int = 9) -> None:
        self.limit = limit

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.pulled, self.seen, self.table = np.zeros(3, int), set(), {(1, 2): int(self.np_random.integers(3))}
        vars(self).pop("late", None)
        return self._shown(0), {}

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        if action == 2 and self.limit == 0:
            raise ZeroDivisionError("out of coins")
        self.pulled[action - 1] += 1
        self.seen.add(action)
        self.late = [int(self.np_random.integers(1000))]
        paid = self.late[0] % 5 == self.table[1, 2]
        return self._shown(action), float(paid), paid, int(self.pulled.sum()) >= self.limit, {}

    def _shown(self, last: int) -> dict[str, Any]:
        return {"pulled": self.pulled.copy(), "last": (np.int64(last),)}


def move(action: Any) -> Any:
    return assistant("", call("act", action=action))


@pytest.mark.parametrize("env_id", GAMES)
def test_registered_games_keep_every_promise(env_id: str) -> None:
    assert env_id in specs()
    assert not [check for check in check_env(env_id) if not check.ok]


def test_slippery_ice_keeps_every_promise_without_an_oracle() -> None:
    assert not [check for check in check_env("games/FrozenLake-v0", slippery=True, tasks=4) if not check.ok]
    env = FrozenLake(slippery=True)
    env.reset(seed=0)
    assert env.oracle() is None


# ---- the adapter ---------------------------------------------------------------------------------------------------------


def test_a_game_of_your_own_takes_one_call() -> None:
    register("test/Slots-v0", text_env(Slots, actions=("left", "middle", "right")))
    assert not [check for check in check_env("test/Slots-v0", tasks=4) if not check.ok]
    env = make("test/Slots-v0")
    observation, _ = env.reset(seed=0)
    assert observation.messages[-1].content == 'Play Slots.\nObservation: {"pulled":[0,0,0],"last":[0]}'
    (schema,) = observation.tools
    assert schema["function"]["parameters"]["properties"]["action"]["enum"] == ["left", "middle", "right"]
    assert env.step(move("right"))[0].messages[0].content.startswith('Observation: {"pulled":[0,0,1],"last":[3]}')


@pytest.mark.parametrize("game", ["CliffWalking-v1", "Blackjack-v1", "FrozenLake-v1"])
def test_gymnasiums_own_games_take_one_call(game: str) -> None:
    cls = text_env(game)
    assert cls.__doc__ == f"Play {game} in words."
    assert not [check for check in check_env(cls, tasks=2) if not check.ok]


def test_a_games_limit_and_arguments_are_taken_over() -> None:
    assert text_env("FrozenLake-v1").max_turns == 100
    assert text_env("FrozenLake-v1", map_name="8x8").max_turns == 100
    env = text_env("FrozenLake-v1", is_slippery=False, changing=("s",))(map_name="8x8")
    assert env.inner.nrow == 8
    assert len(env.inner.P[0][0]) == 1
    env.reset(seed=0)
    assert env.state == {"s": 0}


def test_words_and_wins_can_be_given() -> None:
    env = text_env(Slots, describe=lambda seen: f"last {seen['last'][0]}", won=lambda reward: reward >= 0)()
    assert env.reset(seed=0)[0].messages[-1].content == "Play Slots.\nlast 0"
    for _ in range(9):
        _, _, terminated, truncated, info = env.step(move(1))
        if terminated or truncated:
            break
    assert info["success"] is terminated


def test_what_the_game_cuts_off_is_truncated() -> None:
    env = text_env(Slots, limit=1, won=lambda reward: True)()
    seen = set()
    for seed in range(40):
        env.reset(seed=seed)
        _, reward, terminated, truncated, info = env.step(move(1))
        assert terminated is not truncated
        assert (reward, info["success"], info["rewards"]["won"]) == (float(terminated), terminated, float(terminated))
        seen.add(terminated)
        with pytest.raises(UserError, match="this episode is over"):
            env.step(move(1))
    assert seen == {True, False}


def test_moves_after_the_end_are_refused_within_a_turn() -> None:
    env = text_env(Slots, limit=1)()
    env.reset(seed=0)
    observation, *_, info = env.step(assistant("", *[call("act", action=1)] * 3))
    assert [m.content.partition(":")[0] for m in observation.messages] == ["Observation", "Error", "Error"]
    assert info["errors"] == (ErrorCategory.TOOL_ERROR,) * 2


def test_a_game_that_breaks_is_no_fault_of_the_agent() -> None:
    env = text_env(Slots, limit=0)()
    env.reset(seed=0)
    with pytest.raises(EnvironmentFailure, match="Slots: ZeroDivisionError: out of coins"):
        env.step(move(2))


def rounded() -> gymnasium.Env[Any, Any]:
    car = gymnasium.make("MountainCar-v0")
    low = car.unwrapped.observation_space.low
    return TransformObservation(car, lambda seen: np.round((seen - low) * 10).astype(int), spaces.MultiDiscrete([30, 30]))


def test_a_wrapper_that_rounds_makes_a_game_discrete() -> None:
    with pytest.raises(
        UserError, match=r"MountainCar-v0 has the observation space Box.*not discrete: give a function that makes"
    ):
        text_env("MountainCar-v0")
    assert not [check for check in check_env(text_env(rounded), tasks=2) if not check.ok]


class Wide(Slots):
    observation_space = spaces.MultiBinary(1000)


class Steering(Slots):
    action_space = spaces.MultiDiscrete([2, 2])


class Typewriter(Slots):
    action_space = spaces.Discrete(1000)


@pytest.mark.parametrize(
    ("game", "arguments", "text"),
    [
        (Wide, {}, "Wide has the observation space .*too large for text: give a function that wraps it into 256 numbers"),
        (Steering, {}, "Steering has the action space .*not one Discrete: give a function that wraps it so"),
        (Typewriter, {}, "Typewriter has 1000 actions, too many for text: give a function that wraps it into 50"),
        ("Nothing-v0", {}, "Gymnasium cannot make Nothing-v0"),
        ("Taxi-v4", {"raining": True}, "Taxi-v4 does not take these arguments"),
        ("Taxi-v4", {"actions": ("go",)}, "Taxi-v4 has 6 actions, 1 names were given: give one name for each"),
    ],
)
def test_what_cannot_be_text_is_one_clear_error(game: Any, arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(UserError, match=text):
        text_env(game, **arguments)


class Recorder(Slots):
    def reset(self, **kwargs: Any) -> Any:
        self.tape = object()
        return super().reset(**kwargs)


def test_a_state_without_content_says_what_to_give() -> None:
    env = text_env(Recorder)()
    env.reset(seed=0)
    with pytest.raises(UserError, match=r"the state of Recorder cannot be hashed .*: give `changing`"):
        env.state_key()


CHANCE = {
    "slots": text_env(Slots),
    "slippery ice": lambda: FrozenLake(slippery=True),
    "blackjack": Blackjack,
    "rainy taxi": text_env("Taxi-v4", is_rainy=True, changing=("s",)),
}


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(sorted(CHANCE)), st.integers(0, 2**31), st.integers(0, 3), st.randoms(use_true_random=False))
def test_chance_too_returns_to_where_it_was(name: str, seed: int, before: int, rng: random.Random) -> None:
    """From a snapshot of a stochastic game the same actions have the same effects, here and in another instance."""
    env, other = CHANCE[name](), CHANCE[name]()
    env.reset(seed=seed)

    def play(game: TextGame, actions: list[Any]) -> list[Any]:
        results = []
        for action in actions:
            results.append((game.step(move(action)), game.state_key()))
            if results[-1][0][2] or results[-1][0][3]:
                break
        return results

    actions = rng.choices(list(env.names), k=12)
    if before and (done := play(env, actions[:before])) and (done[-1][0][2] or done[-1][0][3]):
        return
    snapshot = env.snapshot()
    first = play(env, actions)
    env.reset(seed=seed + 1)
    for instance in (env, other):
        instance.restore(snapshot)
        assert play(instance, actions) == first
    # Chance itself is no part of the key: anchors of the same state are to be found again.
    other.restore(snapshot)
    other.np_random.random()
    assert other.state_key() == snapshot.key


# ---- the registered games ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("env", [FrozenLake(), Taxi()], ids=["lake", "taxi"])
@pytest.mark.parametrize("split", SPLITS)
def test_oracles_win_every_task(env: TextGame, split: str) -> None:
    for task in env.tasks(split)[:100]:
        env.reset(options={"task": task})
        total = 0.0
        while True:
            _, reward, terminated, truncated, info = env.step(env.oracle())
            total += reward
            if terminated or truncated:
                break
        assert info["success"]
        assert total == 1 if isinstance(env, FrozenLake) else total > -10


@pytest.mark.parametrize("env", [FrozenLake(), Taxi(), Blackjack()], ids=["lake", "taxi", "blackjack"])
def test_what_looks_alike_belongs_to_one_split(env: TextGame) -> None:
    owner: dict[str, str] = {}
    for split in SPLITS:
        for task in env.tasks(split)[:300]:
            opening = env.reset(options={"task": task})[0].messages[-1].content
            key = str(sorted(task.data["player"])) + opening if isinstance(env, Blackjack) else opening
            assert owner.setdefault(key, split) == split


def test_the_lake_shows_map_and_player() -> None:
    env = FrozenLake()
    task = next(t for t in env.tasks() if t.data["map"][0].startswith("SF") and t.data["map"][1][1] == "H")
    observation, _ = env.reset(options={"task": task})
    rows = task.data["map"]
    assert observation.messages[-1].content.split("\n")[1:3] == [f"@{rows[0][1:]}", rows[1]]
    seen = env.step(move("right"))[0].messages[0].content
    assert seen.split("\n")[0] == f"S@{rows[0][2:]}"
    assert seen.endswith("Row 1, column 2.")
    observation, reward, terminated, _, info = env.step(move("down"))
    assert observation.messages[0].content.endswith("You fell into a hole.\nThe game is over: you did not win.")
    assert (reward, terminated, info["success"]) == (0.0, True, False)


def test_lakes_differ_in_size_and_say_how_hard_they_are() -> None:
    sizes = {(len(t.data["map"]), t.difficulty) for t in FrozenLake().tasks()[:60]}
    assert sizes == {(4, "easy"), (5, "medium"), (6, "hard")}


def test_the_taxi_keeps_gymnasiums_reward() -> None:
    env = Taxi()
    env.reset(options={"task": "train-0"})
    assert env.step(move("dropoff"))[1] == -10
    assert env.step(assistant("", call("act", action="north"), call("act", action="south")))[1] == -2
    while True:
        observation, reward, terminated, _, info = env.step(env.oracle())
        if terminated:
            break
    assert (reward, info["success"]) == (20, True)
    assert "you won" in observation.messages[0].content


def test_the_taxi_says_who_is_where() -> None:
    env = Taxi()
    env.reset(options={"task": "train-0"})
    env.inner.s = 0
    assert env.describe(env.inner.encode(4, 3, 4, 1)) == (
        "The taxi is in row 5, column 4. The passenger is in the taxi. The destination is green (row 1, column 5)."
    )
    assert "The passenger is at blue (row 5, column 4)." in env.describe(env.inner.encode(0, 0, 3, 1))


def test_blackjack_says_the_sums_and_pays_by_the_rules() -> None:
    env = Blackjack()
    assert env.describe((18, 1, 1)) == "You have 18, with an ace as 11. The dealer shows an ace."
    rewards = set()
    for seed, task in enumerate(env.tasks()[:80]):
        observation, _ = env.reset(seed=seed, options={"task": task})
        assert f"The dealer shows {'an ace' if task.data['dealer'][0] == 1 else task.data['dealer'][0]}." in str(observation)
        _, reward, terminated, _, info = env.step(move("stick"))
        assert terminated
        assert info["success"] is (reward > 0)
        rewards.add(reward)
    assert rewards == {-1.0, 0.0, 1.0}


def test_folding_costs_nothing_and_wins_nothing() -> None:
    env = Blackjack()
    env.reset(seed=0)
    _, reward, terminated, _, info = env.step("I give up.")
    assert (reward, terminated, info["success"], info["rewards"]) == (0.0, True, False, {"reward": 0.0, "won": 0.0})


def test_the_table_leads_the_shortest_way() -> None:
    table = {
        0: {0: [(1.0, 1, 0, False)], 1: [(1.0, 2, 0, False)]},
        1: {0: [(1.0, 3, 0, False)]},
        2: {0: [(1.0, 9, -1, True)], 1: [(1.0, 9, 1, True)]},
        3: {0: [(1.0, 2, 0, False)]},
        4: {0: [(1.0, 9, 0, True)], 1: [(1.0, 4, 0, False)]},
    }
    assert best_actions(table) == {0: 1, 1: 0, 2: 1, 3: 0}
