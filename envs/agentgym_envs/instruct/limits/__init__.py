"""``instruct/Limits-v0``: requests that writing cannot fulfil, and their twins, which it can."""
