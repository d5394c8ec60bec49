"""Shell tasks of our own: a tree of small text files goes through steps, and at the end something may be asked about it.

Each step is said in words, written for bash and done in Python; the check is what Python makes of the tree, so that the bash of
the gold policy is tested against an implementation of its own.
"""

import hashlib
import random
import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace

import msgspec

from agentgym import Task

from .scripts import Chore, is_answer

LEVELS = {"easy": 1, "medium": 2, "hard": 3}  # steps, a question counts as one
QUESTIONS = 0.3  # of all tasks
FOLDERS = ("", "docs/", "data/", "data/old/", "src/", "src/lib/", "backup/")
STEMS = (
    "alpha",
    "beta",
    "gamma",
    "delta",
    "notes",
    "report",
    "table",
    "index",
    "setup",
    "draft",
    "summary",
    "readings",
    "plan",
    "list",
)
ENDINGS = ("txt", "log", "csv", "sh", "tmp", "md")
WORDS = ("apple", "error", "green", "harbor", "north", "open", "pending", "river", "seven", "stone", "warning", "yellow")


@dataclass(frozen=True)
class File:
    """A text file: its lines, and whether its owner may execute it."""

    lines: tuple[str, ...]
    program: bool = False

    def has(self, word: str) -> bool:
        """Whether one of its lines has the word."""
        return any(word in line.split() for line in self.lines)

    def content(self) -> str:
        """The text."""
        return "".join(f"{line}\n" for line in self.lines)


Tree = dict[str, File]
Step = tuple[str, str, Tree]  # in words, for bash, and what comes of it; a tree that is the same is no step
Question = tuple[str, str, str]  # in words, for bash, and the answer


# ---- steps ----------------------------------------------------------------------------------------------------------------


def _deletes(rng: random.Random, tree: Tree) -> Step:
    end = _ending(rng, tree)
    kept = {path: file for path, file in tree.items() if not path.endswith(end)}
    return f"delete all files whose names end in `{end}`", f"find . -type f -name '*{end}' -delete", kept


def _renames(rng: random.Random, tree: Tree) -> Step:
    end, new = _ending(rng, tree), rng.choice((".bak", ".old", ".text"))
    after = {path.removesuffix(end) + new if path.endswith(end) else path: file for path, file in tree.items()}
    script = f'find . -type f -name \'*{end}\' | while read -r f; do mv "$f" "${{f%{end}}}{new}"; done'
    return (
        f"rename all files whose names end in `{end}` so that they end in `{new}` instead, each in its directory",
        script,
        after,
    )


def _moves(rng: random.Random, tree: Tree) -> Step:
    word, folder = rng.choice(WORDS), rng.choice(("archive", "selected", "found"))
    if any(path.startswith(f"{folder}/") for path in tree):
        return "", "", tree
    after = {f"{folder}/{path.rpartition('/')[2]}" if file.has(word) else path: file for path, file in tree.items()}
    script = f'mkdir -p {folder}; grep -rlw {word} . | while read -r f; do mv "$f" {folder}/; done'
    return (
        f"move all files that contain the word `{word}` into a new directory `{folder}`, without their directories",
        script,
        after,
    )


def _replaces(rng: random.Random, tree: Tree) -> Step:
    old, new = rng.sample(WORDS, 2)
    after = {
        path: replace(file, lines=tuple(" ".join(new if w == old else w for w in line.split()) for line in file.lines))
        for path, file in tree.items()
    }
    script = f"grep -rlw {old} . | while read -r f; do sed -i 's/\\b{old}\\b/{new}/g' \"$f\"; done"
    return f"replace the word `{old}` by `{new}` in all files", script, after


def _sorts(rng: random.Random, tree: Tree) -> Step:
    path = rng.choice(sorted(tree))
    after = tree | {path: replace(tree[path], lines=tuple(sorted(set(tree[path].lines))))}
    return (
        f"sort the lines of `{path}` in byte order and keep only one of those that are equal",
        f"sort -u -o {path} {path}",
        after,
    )


def _strikes(rng: random.Random, tree: Tree) -> Step:
    word, path = rng.choice(WORDS), rng.choice(sorted(tree))
    after = tree | {path: replace(tree[path], lines=tuple(line for line in tree[path].lines if word not in line.split()))}
    return f"remove all lines that contain the word `{word}` from `{path}`", f"sed -i '/\\b{word}\\b/d' {path}", after


def _marks(rng: random.Random, tree: Tree) -> Step:
    end = _ending(rng, tree)
    after = {path: replace(file, program=True) if path.endswith(end) else file for path, file in tree.items()}
    said = f"make all files whose names end in `{end}` executable for their owner"
    return said, f"find . -type f -name '*{end}' -exec chmod u+x {{}} +", after


def _joins(rng: random.Random, tree: Tree) -> Step:
    end, new = _ending(rng, tree), _new(rng, tree, ("joined", "all", "together"))
    lines = [line for path in sorted(tree) if path.endswith(end) for line in tree[path].lines]
    said = f"write the contents of all files whose names end in `{end}`, in byte order of their paths, into a new file `{new}`"
    script = f"find . -type f -name '*{end}' | sort | while read -r f; do cat \"$f\"; done > /tmp/{new}; cp /tmp/{new} {new}"
    return said, script, tree | {new: File(tuple(lines))}


def _lists(rng: random.Random, tree: Tree) -> Step:
    count, new = rng.randint(1, 5), _new(rng, tree, ("long", "names", "overview"))
    paths = tuple(sorted(path for path, file in tree.items() if len(file.lines) > count))
    said = (
        f"write the paths (like `data/x.txt`) of the files with more than {count} lines, in byte order, into a new file `{new}`"
    )
    script = (
        f'find . -type f -printf \'%P\\n\' | sort | while read -r f; do [ $(wc -l < "$f") -gt {count} ] && echo "$f"; done'
        f" > /tmp/{new}; cp /tmp/{new} {new}"
    )
    return said, script, tree | {new: File(paths)}


STEPS: tuple[Callable[[random.Random, Tree], Step], ...] = (
    _deletes, _renames, _moves, _replaces, _sorts, _strikes, _marks, _joins, _lists,
)  # fmt: skip


# ---- questions ------------------------------------------------------------------------------------------------------------


def _how_many(rng: random.Random, tree: Tree) -> Question:
    return "how many files are there, those in all directories together", "find . -type f | wc -l", str(len(tree))


def _how_many_with(rng: random.Random, tree: Tree) -> Question:
    word = rng.choice(WORDS)
    return (
        f"how many files contain the word `{word}`",
        f"grep -rlw {word} . | wc -l",
        str(sum(f.has(word) for f in tree.values())),
    )


def _how_many_lines(rng: random.Random, tree: Tree) -> Question:
    end = _ending(rng, tree)
    total = sum(len(file.lines) for path, file in tree.items() if path.endswith(end))
    said = f"how many lines do the files whose names end in `{end}` have together"
    return said, f"find . -type f -name '*{end}' -exec cat {{}} + | wc -l", str(total)


def _sum(rng: random.Random, tree: Tree) -> Question:
    path = rng.choice(sorted(tree))
    total = sum(int(word) for line in tree[path].lines for word in line.split() if word.isdecimal())
    script = f"s=0; for n in $(grep -ow '[0-9]*' {path}); do s=$((s + n)); done; echo $s"
    return f"what is the sum of all numbers in `{path}`", script, str(total)


QUESTIONS_ASKED: tuple[Callable[[random.Random, Tree], Question], ...] = (_how_many, _how_many_with, _how_many_lines, _sum)


# ---- tasks ----------------------------------------------------------------------------------------------------------------


def make_task(rng: random.Random, level: str) -> Task:
    """A task each of whose steps changes something, and all of them together too."""
    asked = rng.random() < QUESTIONS
    while True:
        start = tree = _tree(rng)
        said, scripts = [], []
        for _ in range(LEVELS[level] - asked):
            words, script, after = rng.choice(STEPS)(rng, tree)
            if after == tree or not after:
                break
            tree = after
            said.append(words)
            scripts.append(script)
        if len(said) == LEVELS[level] - asked and (asked or tree != start):
            break
    answer = ""
    if asked:
        question, script, answer = rng.choice(QUESTIONS_ASKED)(rng, tree)
        said.append(f"answer: {question}?" if said else f"{question}?")
        scripts.append(script)
    prompt = ", then ".join(said)
    prompt = f"{prompt[0].upper()}{prompt[1:]}{'' if asked else '.'}"
    chore = Chore(_setup(start), check(tree, answer), "\n".join(scripts), answer)
    return Task(prompt, msgspec.to_builtins(chore), difficulty=level)


def _ending(rng: random.Random, tree: Tree) -> str:
    return "." + rng.choice(sorted({path.rpartition(".")[2] for path in tree if "." in path}) or ENDINGS)


def _new(rng: random.Random, tree: Tree, names: tuple[str, ...]) -> str:
    return rng.choice([name for name in names if name not in tree])


def _tree(rng: random.Random) -> Tree:
    """No two files have the same name, whatever their directories and endings."""
    stems, endings = rng.sample(STEMS, rng.randint(5, 9)), rng.sample(ENDINGS, 3)
    return {f"{rng.choice(FOLDERS)}{stem}.{rng.choice(endings)}": File(_lines(rng), rng.random() < 0.2) for stem in stems}


def _lines(rng: random.Random) -> tuple[str, ...]:
    kinds = [f"{' '.join(rng.choices(WORDS, k=rng.randint(1, 3)))} {rng.randint(1, 99)}" for _ in range(4)]
    return tuple(rng.choice(kinds) for _ in range(rng.randint(1, 7)))


def _setup(tree: Tree) -> str:
    folders = sorted({path.rpartition("/")[0] for path in tree if "/" in path})
    scripts = [f"mkdir -p {' '.join(folders)}"] if folders else []
    for path, file in tree.items():
        scripts.append(f"printf %s {shlex.quote(file.content())} > {path}")
        scripts += [f"chmod 755 {path}"] if file.program else []
    return "\n".join(scripts)


def check(tree: Tree, answer: str = "") -> str:
    """A script that succeeds where just these files are there, and the answer is this one; directories do not count."""
    paths = sorted(tree)
    hashes = [hashlib.sha256(tree[path].content().encode()).hexdigest() for path in paths]
    wanted = {
        "find . ! -type d -printf '%y %P\\n' | sort": [f"f {path}" for path in paths],
        "find . -type f -perm -u+x -printf '%P\\n' | sort": [path for path in paths if tree[path].program],
        f"sha256sum -- {' '.join(paths)}": [f"{value}  {path}" for value, path in zip(hashes, paths, strict=True)],
    }
    tests = [f'[ "$({script})" = {shlex.quote(chr(10).join(lines))} ]' for script, lines in wanted.items()]
    return " &&\n".join(tests + ([is_answer(answer)] if answer else []))
