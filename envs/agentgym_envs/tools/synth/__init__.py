"""Endless worlds of tools: APIs nobody has seen, with types, side effects, gaps and faults."""
