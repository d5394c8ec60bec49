"""``python -m agentgym`` is the command ``agentgym``."""

from agentgym.cli.main import main

main()
