"""``tools/TextWorld-v0``: quests in houses made by TextWorld (Côté et al. 2018, arXiv:1806.11532)."""

import functools
import hashlib
import random
from typing import Any

from agentgym import Task, Tasks, levels_of, procedural

from .base import Story, StoryGame, needs
from .prose import Scene

LEVELS = {"easy": (2, 3, 2), "medium": (5, 8, 4), "hard": (10, 14, 8)}  # rooms, objects, steps of the quest


class TextWorld(StoryGame):
    """Fulfil a quest in a house: walk, open, unlock, take, put, cook or eat.

    Worlds, quests, logic and the gold policy are TextWorld's own. Texts come from its grammar without its compiler, so that a
    game begins in a fraction of a second and needs no interpreter; the commands are those that TextWorld calls admissible.

    Args:
        level: How large house and quest are: "easy" (2 rooms, 2 steps), "medium" (5, 4), "hard" (10, 8); None mixes all three.

    Raises:
        UserError: an unknown level, or TextWorld is not installed.
    """

    instructions = "You play a text game. Take its commands with the tool until the quest is done; `look` and `inventory` help."
    max_turns = 60

    def __init__(self, level: str | None = None) -> None:
        self.levels = levels_of(level, LEVELS)
        _module()

    def tasks(self, split: str = "train") -> Tasks:
        """Endless: seeds of TextWorld's generator."""

        def generate(rng: random.Random) -> Task:
            level = rng.choice(self.levels)
            return Task("Play the game.", {"seed": rng.randrange(2**30), "level": level}, difficulty=level)

        return procedural(generate, split)

    def open(self, task: Task) -> tuple[str, Story]:
        """A new game, with its quest and the first room."""
        self.game, self.names = _game(task.data["seed"], task.data["level"])
        self.progress = _module().generator.game.GameProgression(self.game)
        self.commands: tuple[str, ...] = ()
        return f"{self.game.objective}\n\n{self._room()}", self._story()

    def play(self, command: str) -> tuple[str, Story, bool]:
        """Take one of TextWorld's admissible commands."""
        possible = self._possible()
        action = possible.get(command.lower())
        if action is None:
            return f"{command[:80]!r} cannot be done here; what can: {', '.join(sorted(possible))}", self._story(), False
        before = Scene(self.progress.state.facts, self.names)
        self.progress.update(action)
        self.commands = (*self.commands, command.lower())
        told = self._told(command.lower(), before)
        if self.progress.completed:
            told += " The quest is done!"
        elif self.progress.failed:
            told += " You have lost."
        return told, self._story(), True

    def gold(self) -> str | None:
        """The first command of TextWorld's winning policy."""
        policy = self.progress.winning_policy
        return _commands(policy[:1], self.names)[0] if policy else None

    def _possible(self) -> dict[str, Any]:
        actions = self.progress.valid_actions
        return {c.lower(): a for c, a in zip(_commands(actions, self.names), actions, strict=True)}

    def _story(self) -> Story:
        facts = sorted(map(str, self.progress.state.facts))
        done = [q.completed for q in self.progress.quest_progressions]
        digest = hashlib.blake2b(repr((facts, done)).encode(), digest_size=16).hexdigest()
        won, lost = bool(self.progress.completed), bool(self.progress.failed)
        return Story(self.commands, self.progress.score / max(1, self.game.max_score), won, won or lost, digest)

    def _room(self) -> str:
        scene = Scene(self.progress.state.facts, self.names)
        room = scene.room()
        lying = scene.loose(room)
        floor = f" On the floor: {', '.join(lying)}." if lying else ""
        return f"-= {self.names[room]} =- {scene.told(self.game.infos[room].desc)}{floor}"

    def _told(self, command: str, before: Scene) -> str:
        verb, _, thing = command.partition(" ")
        scene = Scene(self.progress.state.facts, self.names)
        if verb in ("look", "go"):
            return self._room()
        if verb == "inventory":
            return f"You carry: {', '.join(scene.held('I')) or 'nothing'}."
        if verb == "examine":
            found = next((i for i, name in self.names.items() if name.lower() == thing), "")
            described = scene.told(self.game.infos[found].desc) if found else ""
            return described or f"There is nothing special about the {thing}."
        seen = f" In it: {', '.join(inside)}." if verb == "open" and (inside := self._inside(scene, thing)) else ""
        return f"You {command}.{seen}"

    def _inside(self, scene: Scene, thing: str) -> list[str]:
        return scene.held(next((i for i, name in self.names.items() if name.lower() == thing), ""))


def _module() -> Any:
    try:
        import textworld  # comes with an extra
        import textworld.generator
    except ImportError as error:
        raise needs(str(error.name), "textworld") from error
    return textworld


@functools.lru_cache(maxsize=64)
def _game(seed: int, level: str) -> tuple[Any, dict[str, str]]:
    """A game and the names of its entities; the same for the same seed."""
    textworld = _module()
    options = textworld.GameOptions()
    options.seeds = seed
    options.nb_rooms, options.nb_objects, options.quest_length = LEVELS[level]
    game = textworld.generator.make_game(options)
    return game, {i: info.name for i, info in game.infos.items() if info.name}


def _commands(actions: Any, names: dict[str, str]) -> list[str]:
    return [a.format_command({v.name: names.get(v.name, v.name) for v in a.variables}) for a in actions]
