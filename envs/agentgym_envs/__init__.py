"""Environments of this distribution; each folder is one family."""

from agentgym import register


def register_environments() -> None:
    """Called through the entry point group ``agentgym.environments``."""
    register("code/Maths-v0", "agentgym_envs.code.maths:Maths")
    register("code/Python-v0", "agentgym_envs.code.python:Python")
    register("code/Repair-v0", "agentgym_envs.code.repair:Repair")
    register("code/Shell-v0", "agentgym_envs.code.shell:Shell")
    register("code/Sql-v0", "agentgym_envs.code.sql:Sql")
    register("desk/Orders-v0", "agentgym_envs.desk.env:Orders")
    register("games/Blackjack-v0", "agentgym_envs.games.blackjack:Blackjack")
    register("games/FrozenLake-v0", "agentgym_envs.games.frozen_lake:FrozenLake")
    register("games/KeyDoor-v0", "agentgym_envs.games.keydoor:KeyDoor")
    register("games/Taxi-v0", "agentgym_envs.games.taxi:Taxi")
    register("instruct/Context-v0", "agentgym_envs.instruct.context.env:Context")
    register("instruct/Gsm8k-v0", "agentgym_envs.instruct.gsm8k:Gsm8k")
    register("instruct/IFEval-v0", "agentgym_envs.instruct.ifeval.env:IFEval")
    register("instruct/Limits-v0", "agentgym_envs.instruct.limits.env:Limits")
    register("instruct/MtBench-v0", "agentgym_envs.instruct.mt_bench.env:MtBench")
    register("instruct/Prompts-v0", "agentgym_envs.instruct.prompts.env:Prompts")
    register("instruct/Verifiable-v0", "agentgym_envs.instruct.env:Verifiable")
    register("remote/Mcp-v0", "agentgym_envs.remote.mcp:Mcp")
    register("remote/OpenApi-v0", "agentgym_envs.remote.openapi:OpenApi")
    register("remote/OpenEnv-v0", "agentgym_envs.remote.openenv:OpenEnv")
    register("tools/Bfcl-v0", "agentgym_envs.tools.bfcl.env:Bfcl")
    register("tools/Decompose-v0", "agentgym_envs.tools.decompose:Decompose")
    register("tools/ScienceWorld-v0", "agentgym_envs.tools.stories.scienceworld:ScienceWorld")
    register("tools/Synth-v0", "agentgym_envs.tools.synth.env:Synth")
    register("tools/Tau-v0", "agentgym_envs.tools.tau.env:Tau")
    register("tools/TextWorld-v0", "agentgym_envs.tools.stories.textworld:TextWorld")
    register("web/Booking-v0", "agentgym_envs.web.booking.env:BookingEnvironment")
    register("web/Browser-v0", "agentgym_envs.web.any_site:AnySite")
    register("web/MiniWoB-v0", "agentgym_envs.web.miniwob:MiniWoB")
    register("web/Shop-v0", "agentgym_envs.web.shop.env:ShopEnvironment")
