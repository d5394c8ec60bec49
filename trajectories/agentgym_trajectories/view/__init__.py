"""A page to read trajectories with: `run` finds them, `listing` filters, `content` shows, `server` serves, `export` writes.

What agents and environments wrote is hostile: the page never makes markup of it, its policy allows no script but its own, and the
server listens on loopback, to browsers that ask for it by name alone. Other users of the same machine can reach it.
"""
