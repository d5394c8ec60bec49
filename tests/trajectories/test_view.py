"""What the page is told: filters against a reference, texts in pieces, tokens, damaged records, and who may ask."""

import json
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentgym import UserError, assistant, call, user
from agentgym.tokens import vocabulary_of
from agentgym_trajectories import pairs as pairing
from agentgym_trajectories import select as selecting
from agentgym_trajectories.cli_view import view
from agentgym_trajectories.store import FILE, Store
from agentgym_trajectories.tree import Episode
from agentgym_trajectories.view import content, listing
from agentgym_trajectories.view.export import write
from agentgym_trajectories.view.run import Run, overview
from agentgym_trajectories.view.tokens import Spelling, numbers, spelt
from tests.trajectories.viewed import MISTAKES, grown, played, served

COUNT = 60


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a selection and pairs; tests must not write here."""
    path = tmp_path_factory.mktemp("run")
    with Store(path, create=True) as store:
        for number in range(COUNT):
            store.add(played(number))
        store.add(grown(40))
        store.add_selection("good", selecting.apply(store.trajectories(), [selecting.Reward(), selecting.Errors()]))
        store.add_pairs("default", pairing.make_pairs(store.groups(), *pairing.parse(["step:theta=0.3", "cap:pairs=4"])))
    return path


@pytest.fixture
def store(folder: Path) -> Iterator[Store]:
    with Store(folder, lenient=True) as opened:
        yield opened


# ---- the list ------------------------------------------------------------------------------------------------------------------

FILTERS: dict[str, Any] = {
    "env": st.sampled_from(["desk/Orders-v0", "code/Maths-v0", "none/Such-v0"]),
    "version": st.sampled_from(["policy@aaaa1111", "policy@bbbb2222+agent-q/4x16"]),
    "difficulty": st.sampled_from(["easy", "hard", ""]),
    "stop": st.just("terminated"),
    "success": st.sampled_from(["0", "1"]),
    "mistake": st.sampled_from(["none", "any", str(MISTAKES[0])]),
    "task": st.sampled_from(["train-1", "TRAIN-2", "_", "%"]),
    "selection": st.just("good"),
    "pairs": st.just("default"),
    "tokens_min": st.sampled_from(["80", "81"]),
    "turns_max": st.sampled_from(["4", "3.5", ""]),
    "reward_min": st.sampled_from(["0.5", "1"]),
}


@pytest.fixture(scope="module")
def facts(folder: Path) -> dict[int, dict[str, Any]]:
    """What the filters are about, of each episode, from the episodes themselves."""
    with Store(folder) as store:
        paired = {t.episode.id for p in store.pairs("default") for t in (p.chosen, p.rejected)}
        kept = {t.episode.id for t in store.trajectories("good")}
        return {e.id: facts_of(e) | {"pairs": e.id in paired, "selection": e.id in kept} for e in store.episodes()}


def facts_of(episode: Episode) -> dict[str, Any]:
    best = max(episode.trajectories(), key=lambda t: t.reward)
    plain = {"env": episode.env, "version": episode.version, "difficulty": episode.task.difficulty, "stop": str(best.leaf.end)}
    mistakes = {str(e) for n in episode.nodes for e in n.errors}
    tokens = sum(len(n.token_ids or ()) for n in episode.nodes if n.kind == "action")
    numbers = {"tokens": tokens, "turns": len(best.actions), "reward": best.reward, "success": best.success}
    return plain | numbers | {"task": episode.task.id.lower(), "mistakes": mistakes}


def holds(known: dict[str, Any], asked: dict[str, str]) -> bool:
    """What each filter means."""
    tests = {
        "success": lambda v: known["success"] == (v == "1"),
        "mistake": lambda v: bool(known["mistakes"]) == (v == "any") if v in ("none", "any") else v in known["mistakes"],
        "task": lambda v: v.lower() in known["task"],
        "selection": lambda v: known["selection"],
        "pairs": lambda v: known["pairs"],
        "tokens_min": lambda v: known["tokens"] >= float(v),
        "turns_max": lambda v: not v or known["turns"] <= float(v),
        "reward_min": lambda v: known["reward"] >= float(v),
    }
    return all(tests[name](value) if name in tests else known[name] == value for name, value in asked.items())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.fixed_dictionaries({}, optional=FILTERS))
def test_filters_leave_what_they_say(store: Store, facts: dict[int, dict[str, Any]], asked: dict[str, str]) -> None:
    found = listing.page(store, asked)
    expected = [row for row, known in facts.items() if holds(known, asked)]
    assert [r["id"] for r in found["rows"]] == expected[::-1]
    assert found["total"] == len(expected)
    rewards = [facts[row]["reward"] for row in expected]
    assert found["reward"] == (pytest.approx(sum(rewards) / len(rewards)) if rewards else None)


def test_pages_and_orders_give_every_episode_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "PAGE", 7)
    for sort in ("", "reward", "tokens", "task", "no such column; DROP TABLE episodes"):
        for up in ("", "1"):
            pages = [listing.page(store, {"sort": sort, "up": up, "from": str(i)})["rows"] for i in range(0, COUNT + 1, 7)]
            rows = [row for page in pages for row in page]
            assert sorted(r["id"] for r in rows) == list(range(1, COUNT + 2))
            key = sort if sort in ("reward", "tokens", "task") else "id"
            assert [r[key] for r in rows] == sorted((r[key] for r in rows), reverse=not up)
    for wanted in (1, 30, COUNT + 1, 999):
        found = listing.page(store, {"at": str(wanted), "sort": "task"})
        ids = [row["id"] for row in found["rows"]]
        assert (ids[found["index"] - found["start"]] if wanted != 999 else found["index"]) == (wanted if wanted != 999 else -1)
    with pytest.raises(listing.WrongFilterError, match="tokens_min is no number: 'many'"):
        listing.page(store, {"tokens_min": "many"})
    with pytest.raises(listing.WrongFilterError):
        listing.page(store, {"reward_max": "nan"})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("customer 17:", [18]),
        ('"status":"sent","turn":2', range(1, COUNT + 1)),
        ("order_id=O17", []),
        ("100%", []),
        ("A room.", [COUNT + 1]),
    ],
)
def test_a_search_finds_what_was_said(store: Store, text: str, expected: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "SECONDS", 0.0)  # stops after every piece that it looked at
    found, at, of = [], 0, 1
    while at < of:
        piece = listing.search(store, {"text": text, "from": str(at)})
        assert at < piece["next"] <= at + 50
        at, of = piece["next"], piece["of"]
        found += [r["id"] for r in piece["rows"]]
    assert sorted(found) == sorted(expected)


def test_lists_read_an_index_and_never_the_trees(store: Store) -> None:
    where, values = listing.conditions({"env": "x", "tokens_min": "3", "task": "t", "success": "1"})
    for query in (
        f"SELECT count(*), avg(reward) FROM episodes WHERE {where}",
        f"SELECT id FROM episodes WHERE {where} ORDER BY tokens",
    ):
        plan = " ".join(str(row) for row in store.query("EXPLAIN QUERY PLAN " + query, *values))
        assert "COVERING INDEX episodes_listed" in plan, plan


def test_an_older_store_gets_what_lists_need(tmp_path: Path, folder: Path) -> None:
    shutil.copy(folder / FILE, tmp_path)
    with sqlite3.connect(tmp_path / FILE) as old:
        (before,) = [old.execute("SELECT * FROM mistakes").fetchall()]
        assert len(before) == COUNT // 5
        old.executescript("DROP INDEX episodes_listed; DROP TABLE mistakes; PRAGMA user_version = 2")
    old.close()
    with Store(tmp_path) as store:
        assert store.query("SELECT * FROM mistakes") == before
        assert store.query("SELECT count(*) FROM sqlite_schema WHERE name = 'episodes_listed'") == [(1,)]
        again = played(0)
        again.nodes[1].errors = (MISTAKES[1],) * 3
        store.add(again)  # is there already: nothing of it counts
        assert store.query("SELECT * FROM mistakes") == before


# ---- the run -------------------------------------------------------------------------------------------------------------------


def test_the_parts_of_a_run_are_found_and_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there are no episodes"):
        Run(tmp_path)
    for name in ("round-2", "round-10", "warmup", "deep/er"):
        Store(tmp_path / name, create=True).close()
    run = Run(tmp_path)
    assert [name for name, _ in run.parts()] == ["deep/er", "round-2", "round-10", "warmup"]
    mark = overview(run, True)["parts"][1]["mark"]
    with Store(tmp_path / "round-2") as other, Store(tmp_path, create=True):
        other.add(played(1))
    parts = overview(run, True)["parts"]
    assert [p["name"] for p in parts] == [tmp_path.name, "deep/er", "round-2", "round-10", "warmup"]
    assert parts[2]["mark"] != mark
    assert parts[2]["newest"] == 1
    with pytest.raises(LookupError):
        run.part(5)
    run.close()
    single = Run(tmp_path / "round-2" / FILE)
    assert [name for name, _ in single.parts()] == [FILE]
    single.close()


def test_tokens_are_spelt_by_the_tokenizer_that_has_their_vocabulary(tmp_path: Path) -> None:
    run, beside = tmp_path / "run", tmp_path / "policy"
    made = [_tokenizer(text) for text in ("one two three", "four five six")]
    for path, tokenizer in zip((run / "policy", beside), made, strict=True):
        path.mkdir(parents=True)
        tokenizer.save(str(path / "tokenizer.json"))
    (run / "tokenizer.json").write_text("no tokenizer at all")
    spelling = Spelling(run)
    for tokenizer in made:
        found = spelling.of(vocabulary_of(tokenizer.get_vocab()))
        assert found is not None
        assert found.to_str() == tokenizer.to_str()
    assert spelling.of("another") is None
    assert Spelling(tmp_path / "elsewhere" / "run", beside).of(vocabulary_of(made[1].get_vocab())) is not None


def _tokenizer(text: str) -> tokenizers.Tokenizer:
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer, made.decoder = (
        tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False),
        tokenizers.decoders.ByteLevel(),
    )
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        [text] * 3, tokenizers.trainers.BpeTrainer(vocab_size=280, initial_alphabet=alphabet, show_progress=False)
    )
    return made


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=12))
def test_spelling_loses_nothing(text: str) -> None:
    tokenizer = _TOKENIZER
    ids = tokenizer.encode(text).ids
    texts = spelt(ids, tokenizer)
    assert len(texts) == len(ids)
    assert "".join(texts) == text
    assert spelt(ids, None) == [""] * len(ids)


_TOKENIZER = _tokenizer("a small text")


def test_a_character_stands_at_its_first_token_and_half_of_one_is_marked() -> None:
    ids = _TOKENIZER.encode("a🙂b").ids
    assert spelt(ids, _TOKENIZER) == ["a", "🙂", "", "", "", "b"]
    assert spelt(ids[:3] + ids[-1:], _TOKENIZER) == ["a", "\ufffd", "\ufffd", "b"]


# ---- one episode -----------------------------------------------------------------------------------------------------------------


def test_an_episode_in_outline(store: Store) -> None:
    outline = content.outline(store, 1)
    episode = store.episode(1)
    assert outline["nodes"]["parent"] == [n.parent for n in episode.nodes]
    assert outline["nodes"]["label"][1] == "get_order(O0, 0)"
    assert outline["selections"] == [("good", episode.nodes[-1].id, "errors: 1 mistake, the first tool_error")]
    assert [other[0] for other in outline["others"]] == []  # the other sample of this task is of another environment
    tree = content.outline(store, COUNT + 1)
    assert {p["name"] for p in tree["pairs"]} == {"default"}
    assert all(p["chosen"] == p["rejected"] == COUNT + 1 for p in tree["pairs"])
    turn = content.turns(store, 1, [1, 99])
    assert list(turn) == [1]
    assert turn[1]["messages"][0]["tool_calls"][0]["name"] == "get_order"
    with pytest.raises(LookupError, match="no episode 999"):
        content.outline(store, 999)


def test_long_texts_come_in_pieces(tmp_path: Path) -> None:
    long = "".join(f"{i} ☃ " for i in range(9000))
    with Store(tmp_path, create=True) as store:
        episode = played(0)
        episode.nodes[0].messages = (user(long),)
        episode.nodes[1].messages = (assistant("", *episode.nodes[1].messages[0].tool_calls, thinking=long),)
        store.add(episode)
        for node, path in ((0, ["messages", 0, "content"]), (1, ["messages", 0, "thinking"])):
            value = content.turns(store, 1, [node])[node]
            for key in path:
                value = value[key]
            assert value["at"] == ["nodes", node, *path]
            assert value["length"] == len(long)
            pieces = [value["begins"]]
            while sum(map(len, pieces)) < len(long):
                pieces.append(content.text(store, 1, value["at"], sum(map(len, pieces)))["text"])
            assert "".join(pieces) == long
        assert content.text(store, 1, ["task", "prompt"], 0)["text"] == episode.task.prompt
        for wrong in (["nodes", 99], ["nodes", 0, "messages"], ["nodes", 0, "messages", 7], ["else"], ["tools", "x"]):
            with pytest.raises(LookupError):
                content.text(store, 1, wrong, 0)


def test_tokens_with_what_an_update_saw(tmp_path: Path) -> None:
    with Store(tmp_path / "rollouts", create=True) as store:
        for number in (0, 3):
            episode = played(number)
            episode.version = "update-7"
            store.add(episode)
        (tmp_path / "tokens").mkdir()
        arrays = {"episode": [1, 2, 2], "node": [1, 1, 3], "tokens": [20, 20, 20]}
        new = np.arange(60, dtype=np.float32) / 8
        new[25] = np.nan
        np.savez_compressed(tmp_path / "tokens/update-7.npz", advantages=-np.arange(60) / 4, new=new, **arrays)
        found = content.tokens(store, Spelling(tmp_path), 2)
        assert found[1]["new"] == [20 / 8 + i / 8 if i != 5 else None for i in range(20)]
        assert found[3]["advantages"] == [-10 - i / 4 for i in range(20)]
        assert found[5]["new"] is None  # that turn was not trained on
        assert found[5]["logprobs"] == store.episode(2).nodes[5].logprobs
        assert found[2]["ids"] == [7] * 15
        assert found[2]["texts"] is None
        assert 0 not in found  # nobody gave the first observation ids
        assert content.outline(store, 2)["dumped"]
        assert list(numbers(tmp_path / "tokens/update-7.npz", store.episode(1))) == [1]


DAMAGE = {
    "no JSON": b'[{"id": 0, "par',
    "no UTF-8": b'[{"id":0,"parent":-1,"kind":"observation","messages":[{"role":"user","content":"a\xff\xfe\xed\xa0\x80z"}]}]',
    "half a character": b'[{"id":0,"parent":-1,"kind":"observation","messages":[{"role":"user","content":"\\ud800"}]}]',
    "another shape": b'[{"id":"zero"}]',
    "too deep": b"[" * 100_000,
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_records_are_shown_as_they_are(tmp_path: Path, kind: str) -> None:
    with Store(tmp_path, create=True) as store:
        for number in range(3):
            store.add(played(number))
    with sqlite3.connect(tmp_path / FILE) as plain:
        plain.execute(
            "UPDATE episodes SET nodes = CAST(? AS TEXT), task = CAST(? AS TEXT) WHERE id = 2", (DAMAGE[kind], b"t\xff")
        )
    plain.close()
    with Store(tmp_path, lenient=True) as store:
        rows = listing.page(store, {})["rows"]
        assert [r["task"] for r in rows] == ["train-1", "t\ufffd", "train-0"]
        assert listing.search(store, {"text": "sent"})["next"] == 3
        outline = content.outline(store, 2)
        if kind == "no UTF-8":
            assert content.turns(store, 2)[0]["messages"][0]["content"] == "a\ufffd\ufffd\ufffd\ufffd\ufffdz"
        else:
            assert outline["broken"]
            assert outline["raw"] == DAMAGE[kind].decode()[: content.LONGEST]


def test_values_of_any_depth_are_shown(tmp_path: Path) -> None:
    deep: Any = "bottom"
    for _ in range(200):
        deep = {"x": [deep]}
    with Store(tmp_path, create=True) as store:
        episode = played(0)
        episode.nodes[1].messages = (assistant("", call("f", deep=deep)),)
        store.add(episode)
    with served(tmp_path) as address:
        status, text, _ = answer(address, "/api/0/nodes/1?ids=1")
        assert status == 200
        assert text.count("bottom") == 1
    with closing(Run(tmp_path)) as run:
        assert write(run, tmp_path / "out", 1) == 1


# ---- the server ------------------------------------------------------------------------------------------------------------------


def answer(address: str, path: str, **headers: str) -> tuple[int, str, dict[str, str]]:
    request = urllib.request.Request(address.rstrip("/") + path, headers=headers)
    try:
        with urllib.request.urlopen(request) as found:
            return found.status, found.read().decode(), dict(found.headers)
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(), dict(error.headers)


def test_only_this_machine_is_answered_and_only_what_there_is(folder: Path) -> None:
    with served(folder) as address:
        assert address.startswith("http://127.0.0.1:")
        for path in ("/", "/page/main.js", "/page/style.css", "/api/run", "/api/0/list", "/api/0/facets", "/api/0/episode/1"):
            status, _, headers = answer(address, path)
            assert status == 200
            assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
            assert headers["cross-origin-resource-policy"] == "same-origin"
            assert headers["x-content-type-options"] == "nosniff"
            assert "access-control-allow-origin" not in headers
            for stranger in ("evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil.example"):
                assert answer(address, path, Host=stranger)[0] == 400
        for path, status in {
            "/page/server.py": 404,
            "/page/..%2fserver.py": 404,
            "/page/%2e%2e/run.py": 404,
            "/api/9/list": 404,
            "/api/0/nothing": 404,
            "/api/0/episode/999": 404,
            "/api/0/nothing/1": 404,
            "/api/0/list?tokens_min=many": 400,
            "/api/0/nodes/1?ids=x": 400,
            "/api/0/text/1?at=[&from=0": 400,
            "/api/0/text/1?at=%5B%22nodes%22%2C99%5D&from=0": 404,
        }.items():
            found, text, _ = answer(address, path)
            assert (found, len(text.splitlines())) == (status, 1), path


def test_a_search_through_texts_answers_with_how_far_it_got(folder: Path) -> None:
    with served(folder) as address:
        status, text, _ = answer(address, "/api/0/search?text=nowhere")
        assert (status, json.loads(text)) == (200, {"rows": [], "next": COUNT + 1, "of": COUNT + 1})
        tokens = json.loads(answer(address, "/api/0/tokens/1?ids=1")[1])
        assert len(tokens["1"]["ids"]) == 20


# ---- the command -------------------------------------------------------------------------------------------------------------------

START = "from agentgym_trajectories.cli_view import view; import typer; typer.run(view)"


def test_the_command_serves_until_it_is_interrupted(folder: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", START, str(folder), "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    address = json.loads(process.stdout.readline())["address"]
    assert json.loads(answer(address, "/api/run")[1])["name"] == folder.name
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Traceback" not in errors


def test_an_export_is_whole_or_not_there(folder: Path, tmp_path: Path) -> None:
    run = Run(folder)
    (tmp_path / ".out.partial").mkdir()
    (tmp_path / ".out.partial/left").touch()
    assert write(run, tmp_path / "out", 10) == 10
    assert not (tmp_path / "out/left").exists()
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["data", "index.html", "page"]
    assert len(list((tmp_path / "out/data/0/episode").iterdir())) == 10
    with pytest.raises(UserError, match="exists already"):
        write(run, tmp_path / "out", 10)
    with Store(folder) as store:
        kept = len({t.episode.id for t in store.trajectories("good")})
    assert write(run, tmp_path / "good", 1000, "good") == kept
    with pytest.raises(UserError, match="no episode is left"):
        write(run, tmp_path / "none", 10, "no such selection")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["good", "out"]
    run.close()


def test_the_command_exports_and_says_what_is_wrong(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    view(folder, tmp_path / "out", episodes=3, json=True)
    assert json.loads(capsys.readouterr().out) == {"page": str(tmp_path / "out/index.html"), "episodes": 3}
    with pytest.raises(UserError, match="there are no episodes"):
        view(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UserError, match="choose another --port"):
            view(folder, port=taken.getsockname()[1])
