"""Programs of our own that do what they should and can be misused by whoever chooses their arguments: security fixes.

The classes are those of the Common Weakness Enumeration (CWE). Each has attacks, tests that the weak program fails; other tests
it passes, so that only who knows the weakness sees it.
"""

import random
from dataclasses import dataclass

import msgspec

from agentgym import Task

from .problems import Problem

NAMES = ("look_up", "work_out", "prepare", "respond", "resolve", "handle", "process", "convert")
WORDS = ("orders", "users", "reports", "photos", "letters", "records")


@dataclass(frozen=True)
class Weakness:
    """A class of them; in its texts NAME is the function's name and WORD a word.

    Attributes:
        cwe: Its number and name.
        level: How hard it is to mend.
        asked: What the function does.
        faulty: The weak program.
        gold: The mended one.
        tests: What both pass; the first is visible.
        attacks: What only the mended one passes.
    """

    cwe: str
    level: str
    asked: str
    faulty: str
    gold: str
    tests: tuple[str, ...]
    attacks: tuple[str, ...]


WEAKNESSES = (
    Weakness(
        "CWE-22, path traversal", "hard",
        "NAME(folder, name) that returns the path of the file `name`, which may lie in a subfolder, below the absolute path "
        "`folder`, and None for a name that leads out of it",
        "import os\ndef NAME(folder, name):\n    return os.path.join(folder, name)\n",
        "import os\ndef NAME(folder, name):\n    path = os.path.normpath(os.path.join(folder, name))\n"
        "    return path if path.startswith(folder + '/') else None\n",
        ("assert NAME('/srv/WORD', 'a.txt') == '/srv/WORD/a.txt'", "assert NAME('/srv/WORD', 'sub/b') == '/srv/WORD/sub/b'"),
        tuple(f"assert NAME('/srv/WORD', '{name}') is None" for name in ("../x", "/etc/passwd", "a/../../x", "../WORD-old/x")),
    ),
    Weakness(
        "CWE-89, SQL injection", "medium",
        "NAME(rows, key) that puts rows of a key and a value into a database and returns the values with this key, in order",
        "import sqlite3\ndef NAME(rows, key):\n    db = sqlite3.connect(':memory:')\n"
        "    db.execute('CREATE TABLE WORD (key TEXT, value TEXT)')\n    db.executemany('INSERT INTO WORD VALUES (?, ?)', rows)\n"
        "    found = db.execute(f\"SELECT value FROM WORD WHERE key = '{key}' ORDER BY value\")\n"
        "    return [row[0] for row in found]\n",
        "import sqlite3\ndef NAME(rows, key):\n    db = sqlite3.connect(':memory:')\n"
        "    db.execute('CREATE TABLE WORD (key TEXT, value TEXT)')\n    db.executemany('INSERT INTO WORD VALUES (?, ?)', rows)\n"
        "    found = db.execute('SELECT value FROM WORD WHERE key = ? ORDER BY value', (key,))\n"
        "    return [row[0] for row in found]\n",
        ("assert NAME([('a', 'y'), ('a', 'x'), ('b', 'z')], 'a') == ['x', 'y']", "assert NAME([('a', 'x')], 'c') == []"),
        ("assert NAME([('a', 'x')], \"c' OR '1'='1\") == []",
         "assert NAME([('a', 'x')], \"c' UNION SELECT key FROM WORD --\") == []",
         "assert NAME([(\"O'Neil\", 'x')], \"O'Neil\") == ['x']"),
    ),
    Weakness(
        "CWE-95, evaluation of foreign code", "easy",
        "NAME(text) that returns the value of a Python literal (numbers, strings, lists, tuples, dictionaries), and None for "
        "other text",
        "def NAME(text):\n    return eval(text)\n",
        "import ast\ndef NAME(text):\n    try:\n        return ast.literal_eval(text)\n"
        "    except Exception:\n        return None\n",
        ("assert NAME(\"[1, 'WORD']\") == [1, 'WORD']", "assert NAME(\"{'a': (1, -2.5)}\") == {'a': (1, -2.5)}"),
        ("assert NAME(\"__import__('os').getcwd()\") is None", "assert NAME(\"'WORD'.upper()\") is None",
         "assert NAME('[len]') is None"),
    ),
    Weakness(
        "CWE-79, cross-site scripting", "easy",
        "NAME(text) that returns an HTML paragraph of the class `WORD` that shows the text",
        "def NAME(text):\n    return f'<p class=\"WORD\">{text}</p>'\n",
        "import html\ndef NAME(text):\n    return f'<p class=\"WORD\">{html.escape(text)}</p>'\n",
        ("assert NAME('hello') == '<p class=\"WORD\">hello</p>'", "assert NAME('') == '<p class=\"WORD\"></p>'"),
        ("assert '<script' not in NAME('<script>alert(1)</script>')",
         "assert NAME('a < b & c') == '<p class=\"WORD\">a &lt; b &amp; c</p>'"),
    ),
    Weakness(
        "CWE-78, injection of shell commands", "easy",
        "NAME(path) that returns the command line, for a POSIX shell, that counts the lines of a file with `wc -l`",
        "def NAME(path):\n    return 'wc -l ' + path\n",
        "import shlex\ndef NAME(path):\n    return 'wc -l ' + shlex.quote(path)\n",
        ("assert NAME('WORD.txt') == 'wc -l WORD.txt'", "assert NAME('/a/b') == 'wc -l /a/b'"),
        ("import shlex\nassert shlex.split(NAME('a; rm WORD')) == ['wc', '-l', 'a; rm WORD']",
         "assert NAME('$HOME') in (\"wc -l '$HOME'\", 'wc -l \\\\$HOME')",
         "import shlex\nassert shlex.split(NAME(\"it's `id`\"))[2:] == [\"it's `id`\"]"),
    ),
    Weakness(
        "CWE-601, open redirect", "hard",
        "NAME(url) that tells whether a link is https and leads to the host `WORD.example` or one below it",
        "def NAME(url):\n    return url.startswith('https://') and 'WORD.example' in url\n",
        "from urllib.parse import urlsplit\ndef NAME(url):\n    parts = urlsplit(url)\n"
        "    return parts.scheme == 'https' and ('.' + (parts.hostname or '')).endswith('.WORD.example')\n",
        ("assert NAME('https://WORD.example/a')", "assert NAME('https://www.WORD.example')", "assert not NAME('http://WORD.example/')"),
        tuple(f"assert not NAME('https://{rest}')" for rest in
              ("evil.test/?WORD.example", "WORD.example.evil.test/", "WORD.example@evil.test/", "evilWORD.example/")),
    ),
    Weakness(
        "CWE-134, foreign format strings", "medium",
        "NAME(template, values) that replaces each `{key}` in a template by the value of this key and leaves all else as it is",
        "def NAME(template, values):\n    return template.format(**values)\n",
        "import re\ndef NAME(template, values):\n"
        "    return re.sub(r'\\{(\\w+)\\}', lambda m: str(values.get(m[1], m[0])), template)\n",
        ("assert NAME('{n} WORD', {'n': 3}) == '3 WORD'", "assert NAME('{a}{b}', {'a': 1, 'b': 'x'}) == '1x'"),
        ("assert NAME('{a.__class__}', {'a': 1}) == '{a.__class__}'", "assert NAME('{a!r:>999}', {'a': 1}) == '{a!r:>999}'",
         "assert NAME('{a[0]} {b}', {'a': 'secret'}) == '{a[0]} {b}'"),
    ),
)  # fmt: skip


def make_task(rng: random.Random, level: str) -> Task:
    """A weak program to be mended; the attacks are the last of the hidden tests."""
    found = rng.choice([w for w in WEAKNESSES if w.level == level])
    name, word = rng.choice(NAMES), rng.choice(WORDS)

    def filled(text: str) -> str:
        return text.replace("NAME", name).replace("WORD", word)

    tests, attacks = tuple(map(filled, found.tests)), tuple(map(filled, found.attacks))
    problem = Problem(filled(found.gold), (name,), tests[:1], tests[1:] + attacks)
    faulty = filled(found.faulty)
    prompt = (
        f"Somebody was asked for a function {filled(found.asked)}.\nIt passes its tests, but who chooses its arguments can "
        f"misuse it ({found.cwe}):\n\n{faulty}\n\nTests that it should still pass:\n{tests[0]}"
    )
    data = msgspec.to_builtins(problem) | {"faulty": faulty, "attacks": len(attacks)}
    return Task(prompt, data, difficulty=level)
