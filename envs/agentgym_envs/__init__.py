"""Environments of this distribution; each folder is one family."""

from agentgym import register


def register_environments() -> None:
    """Called through the entry point group ``agentgym.environments``."""
    register("desk/Orders-v0", "agentgym_envs.desk.env:Orders")
    register("instruct/Verifiable-v0", "agentgym_envs.instruct.env:Verifiable")
