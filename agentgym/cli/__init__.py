"""The command line: `main` finds the commands, `output` is how they all speak, `env` is the first of them."""
