"""``instruct/Context-v0``: passages that say something other than what everybody knows."""
