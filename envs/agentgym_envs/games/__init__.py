"""Text games: any discrete Gymnasium environment, and a dungeon with irreversible choices."""

from agentgym_envs.games.text import TextGame, text_env

__all__ = ["TextGame", "text_env"]
