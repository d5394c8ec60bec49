"""The dungeon: dead ends are real, notes tell most of the way, and the oracle goes on from wherever it can."""

import random
import re
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentgym import SPLITS, Message, ToolError, UserError, assistant, call
from agentgym_envs.games.builder import DEPTHS, build
from agentgym_envs.games.dungeon import TREASURE, Door, Move, Place, Room, after, choices, moves, way_out
from agentgym_envs.games.keydoor import LEVELS, KeyDoor

HALL = [
    Room("hall", (Door("red", 1, "iron"), Door("blue", 2, "gold")), ("iron", "gold"), "hall: red."),
    Room("cave", (Door("green", TREASURE), Door("white", 2))),
    Room("cell"),
]


def finish(env: KeyDoor) -> tuple[bool, list[Message]]:
    """What the oracle does from here, and whether it ends well."""
    turns = []
    while True:
        turns.append(env.oracle())
        *_, terminated, truncated, info = env.step(turns[-1])
        if terminated or truncated:
            return info["success"], turns


@pytest.mark.parametrize("level", [None, *LEVELS])
@pytest.mark.parametrize("split", SPLITS)
def test_the_oracle_solves_every_task(level: str | None, split: str) -> None:
    env = KeyDoor(level)
    seen = set()
    for task in env.tasks(split)[:100]:
        env.reset(options={"task": task})
        solved, turns = finish(env)
        assert solved
        assert len(turns) <= env.max_turns - 8  # some room for what a learner tries
        seen.add(task.difficulty)
    assert seen == (set(LEVELS) if level is None else {level})


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(LEVELS), st.integers(0, 2**32))
def test_a_level_says_how_many_choices_are_for_good(level: str, seed: int) -> None:
    least, most = DEPTHS[level]
    assert least <= choices(build(random.Random(seed), level)) <= most


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(LEVELS), st.integers(0, 2**32), st.randoms(use_true_random=False))
def test_dead_ends_stay_dead_and_the_way_goes_on(level: str, seed: int, rng: random.Random) -> None:
    """After any moves: where there is a way, its first move keeps one; where there is none, no move opens one."""
    rooms = build(random.Random(seed), level)
    place = Place()
    while place.room != TREASURE:
        way = way_out(rooms, place)
        possible = list(moves(rooms, place))
        if way is None:
            assert all(way_out(rooms, there) is None for _, there in possible)
        else:
            assert len(way_out(rooms, after(rooms, place, way[0]))) == len(way) - 1
        if not possible:
            break
        place = rng.choice(possible)[1]


def test_every_dungeon_has_dead_ends_that_do_not_show_at_once() -> None:
    """A wrong key, a wrong lock and a wrong door each end the hope; often the next room still looks like any other."""
    fatal, late = Counter(), 0
    for seed in range(60):
        rooms = build(random.Random(seed), "medium")
        place = Place()
        for move in way_out(rooms, place):
            for other, there in moves(rooms, place):
                if way_out(rooms, there) is None:
                    fatal[other.kind] += 1
                    late += bool(list(moves(rooms, there)))
            place = after(rooms, place, move)
    assert set(fatal) == {"take", "unlock", "go"}
    assert late > fatal.total() / 4


def test_the_oracle_goes_on_after_a_detour_and_says_when_it_is_stuck() -> None:
    env = KeyDoor()
    outcomes = Counter()
    for i, task in enumerate(env.tasks()[:150]):
        env.reset(options={"task": task})
        env.step(assistant("", call("go", door="purple")))
        if not wander(env, random.Random(i), 2):
            outcomes["trapped"] += 1
            continue
        solvable = way_out(env.rooms, env.state) is not None
        solved, turns = finish(env)
        assert solved is solvable
        assert solvable or [t.content for t in turns] == ["I am stuck."]
        outcomes[solvable] += 1
    assert min(outcomes[True], outcomes[False], outcomes["trapped"]) > 5


def wander(env: KeyDoor, rng: random.Random, steps: int) -> bool:
    """Some random moves, none of them to the treasure; False when they end the episode."""
    for _ in range(steps):
        wanted = rng.choice([m for m, there in moves(env.rooms, env.state) if there.room != TREASURE])
        what = {"key" if wanted.kind == "take" else "door": wanted.what}
        observation, _, terminated, _, info = env.step(assistant("", call(wanted.kind, **what)))
        if terminated:
            assert observation.messages[0].content.endswith("You are trapped.")
            assert not info["success"]
            assert not list(moves(env.rooms, env.state))
            return False
    return True


def test_the_world_answers_as_it_should() -> None:
    env = KeyDoor("easy")
    task = env.tasks()[0]
    env.reset(options={"task": task})
    env.rooms = HALL
    snapshot = env.snapshot()

    def say(*calls: Any) -> list[str]:
        env.restore(snapshot)
        env.rooms = HALL
        return [m.content for c in calls for m in env.step(assistant("", c))[0].messages]

    assert say(call("look")) == ["hall: red."]
    assert say(call("take", key="iron"), call("unlock", door="red"), call("go", door="red"), call("look")) == [
        "You have the iron key. The box is shut.",
        "The red door is open.",
        "You are in the cave. Doors: green, white.",
        "There is no note.",
    ]
    assert say(call("take", key="gold"), call("unlock", door="red")) == [
        "You have the gold key. The box is shut.",
        "The key breaks. You are trapped.",
    ]
    assert say(call("take", key="iron"), call("unlock", door="red"), call("go", door="red"), call("go", door="white"))[-1] == (
        "You are in the cell. Doors: none. You are trapped."
    )
    assert say(call("take", key="iron"), call("unlock", door="red"), call("go", door="red"), call("go", door="green"))[-1] == (
        "You found the treasure."
    )


@pytest.mark.parametrize(
    ("place", "move", "text"),
    [
        (Place(), Move("take", "copper"), "there is no copper key here"),
        (Place(shut=True), Move("take", "iron"), "the box is shut"),
        (Place(key="silver"), Move("take", "iron"), "you have the silver key already"),
        (Place(), Move("unlock", "red"), "you have no key"),
        (Place(), Move("unlock", "green"), "there is no green door here"),
        (Place(key="iron", open="red"), Move("unlock", "red"), "the red door is not locked"),
        (Place(room=1, key="iron"), Move("unlock", "green"), "the green door is not locked"),
        (Place(key="iron"), Move("go", "red"), "the red door is locked"),
        (Place(open="red"), Move("go", "blue"), "the blue door is locked"),
    ],
)
def test_what_cannot_be_done_is_refused(place: Place, move: Move, text: str) -> None:
    with pytest.raises(ToolError, match=text):
        after(HALL, place, move)


def test_a_dead_end_scores_nothing_and_only_the_treasure_scores() -> None:
    env = KeyDoor("easy")
    for task in env.tasks()[:30]:
        env.reset(options={"task": task})
        *_, info = env.step("I found the treasure.")
        assert (info["success"], info["rewards"]) == (False, {"treasure": 0.0})
        env.reset(options={"task": task})
        rewards = []
        while True:
            _, reward, terminated, _, info = env.step(env.oracle())
            rewards.append(reward)
            if terminated:
                break
        assert rewards == [0.0] * (len(rewards) - 1) + [1.0]
        assert info["success"]


NOTE = re.compile(r"(\w+): (not )?(\w+)( key)?")


class Reader:
    """Plays by what it has seen alone: follows the notes and guesses where they are silent."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.right: dict[str, set[str]] = {}
        self.wrong: dict[str, set[str]] = {}

    def choose(self, words: list[str], where: str) -> str:
        if told := self.right.get(where):
            return min(told)
        return self.rng.choice([w for w in words if w not in self.wrong.get(where, ())])

    def play(self, env: KeyDoor, task: Any) -> bool:
        env.reset(options={"task": task})
        ended = False
        while not ended:
            room, place = env.rooms[env.state.room], env.state
            if room.note and not place.read:
                for name, negated, word, key in NOTE.findall(room.note):
                    (self.wrong if negated else self.right).setdefault(name + key, set()).add(word)
            action = call("look") if room.note and not place.read else self.act(room, place)
            *_, terminated, truncated, info = env.step(assistant("", action) if action else assistant("I am stuck."))
            ended = terminated or truncated
        return bool(info["success"])

    def act(self, room: Room, place: Place) -> Any:
        locks = {d.lock: d.colour for d in room.doors if d.lock}
        if place.open:
            return call("go", door=place.open)
        if place.key and place.key in locks:
            return call("unlock", door=locks[place.key])
        if room.keys and not place.shut and not place.key:
            return call("take", key=self.choose(list(room.keys), f"{room.name} key"))
        if locks or not room.doors:
            return None
        return call("go", door=self.choose([d.colour for d in room.doors], room.name))


def test_reading_helps_and_is_not_enough() -> None:
    """Who follows the notes solves a good half; who only guesses, few. The rest is what search is for."""
    env = KeyDoor()
    read = guessed = 0
    for i, task in enumerate(env.tasks("test")[:300]):
        read += Reader(random.Random(i)).play(env, task)
        blind = Reader(random.Random(i))
        blind.right = blind.wrong = Deaf()
        guessed += blind.play(env, task)
    assert 0.4 < read / 300 < 0.75
    assert guessed / 300 < 0.25


class Deaf(dict[str, set[str]]):
    def setdefault(self, key: str, default: set[str] | None = None) -> set[str]:
        return set()


def test_texts_are_short_and_from_few_words() -> None:
    env = KeyDoor()
    words, longest = set(), 0
    for task in env.tasks()[:200]:
        observation, _ = env.reset(options={"task": task})
        said = [m.content for m in observation.messages]
        while True:
            observation, _, terminated, _, _ = env.step(env.oracle())
            said += [m.content for m in observation.messages]
            if terminated:
                break
        longest = max(longest, sum(map(len, said)))
        words.update(w for text in said for w in re.findall(r"\w+", text))
    assert len(words) < 90
    assert longest < 1800


def test_the_state_is_shared_safely() -> None:
    env = KeyDoor("hard")
    env.reset(options={"task": "train-3"})
    snapshot = env.snapshot()
    assert snapshot.state is env.state
    finish(env)
    assert snapshot.state == Place()
    env.restore(snapshot)
    assert finish(env)[0]


def test_an_unknown_level_is_one_clear_error() -> None:
    with pytest.raises(UserError, match="no level 'brutal': use one of easy, medium, hard"):
        KeyDoor("brutal")
