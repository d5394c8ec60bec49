"""``instruct/MtBench-v0``: two questions, the second about the first; a judge rates both answers."""
