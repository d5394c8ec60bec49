"""``instruct/Prompts-v0``: any list of prompts, with a rubric put together from checks, lengths, judges and reward models."""
