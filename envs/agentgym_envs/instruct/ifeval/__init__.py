"""``instruct/IFEval-v0``: prompts with verifiable instructions in the format of Zhou et al. 2023 (arXiv:2311.07911)."""
