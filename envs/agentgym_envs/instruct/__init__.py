"""Single-turn instructions whose fulfilment a program checks."""
