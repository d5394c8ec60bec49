"""The README and docs/ are played page by page in a fresh folder: each block runs, and a reader needs nothing else."""

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import gymnasium
import pytest

from agentgym.registry import _specs, specs
from agentgym_training.objectives import OBJECTIVES
from agentgym_training.rl.methods import METHODS
from agentgym_trajectories.search import NAMED
from agentgym_trajectories.select import SELECTORS
from agentgym_trajectories.store import Store
from tests import pages
from tests.pages import ROOT, Block, Reader, blocks, chat_server, furnish

pytestmark = pytest.mark.xdist_group("pages")  # one folder for all
README = "README.md"
TEXT = (ROOT / README).read_text("utf-8")
SECTIONS = list(dict.fromkeys(block.section for block in blocks(README)))
DOCS = sorted(f"docs/{file.name}" for file in (ROOT / "docs").glob("*.md"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("reader")


@pytest.fixture(scope="module")
def reader(folder: Path) -> Iterator[Reader]:
    """One reader for all pages, the README first."""
    path, modules, environments = list(sys.path), set(sys.modules), set(specs())
    known = [(registry, dict(registry)) for registry in (SELECTORS, OBJECTIVES, METHODS, NAMED)]
    made = Reader(folder)
    with pytest.MonkeyPatch.context() as patch, chat_server() as variables:
        patch.chdir(folder)
        patch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)  # as `source .venv/bin/activate` does
        for name, value in variables.items():
            patch.setenv(name, value)
        furnish(folder)
        yield made
        made.close()
    sys.path[:] = path
    for name in ("lights", "my_methods"):
        if name not in modules:
            sys.modules.pop(name, None)
    for env_id in set(specs()) - environments:
        del _specs[env_id]
        gymnasium.registry.pop(env_id)
    for registry, before in known:
        registry.clear()
        registry.update(before)


# ---- the README ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("section", SECTIONS)
def test_a_section_of_the_readme(reader: Reader, section: str) -> None:
    """From the top: register an environment, collect, select, train, evaluate, view, and all that comes after it."""
    for block in blocks(README):
        if block.section == section:
            reader.play(block)


def test_what_the_readme_left_behind(folder: Path, reader: Reader) -> None:
    with Store(folder / "runs/adder") as store:  # its first example
        assert store.query("SELECT count(*), avg(success), avg(turns) FROM episodes") == [(100, 1.0, 2.0)]
    with Store(folder / "runs/gold") as store:
        assert len(list(store.trajectories("default"))) == 24
    for model in ("base", "policy", "better", "rl", "archer", "es", "judge", "clean"):
        assert (folder / "runs" / model / "config.json").exists() or (folder / "runs" / model / "adapter_config.json").exists()
    assert (folder / "gold.parquet").stat().st_size > 1000
    assert (folder / "report.html").stat().st_size > 1000
    assert (folder / "shared/index.html").exists()
    assert reader.served == 3  # two pages to look at, and an environment to play in


# ---- the other pages -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", DOCS)
def test_a_page_of_the_documentation(reader: Reader, page: str) -> None:
    """Each goes on from what the README made."""
    for block in blocks(page):
        reader.play(block)


def test_what_the_pages_left_behind(folder: Path, reader: Reader) -> None:
    with Store(folder / "runs/lights") as store:
        assert store.query("SELECT count(*), avg(success) FROM episodes") == [(24, 1.0)]
    with Store(folder / "runs/gold") as store:
        reasons = [reason for (reason,) in store.query("SELECT DISTINCT reason FROM selections WHERE name = 'brief'")]
        assert "" in reasons
    with Store(folder / "runs/hopeful") as store:
        assert all(version.endswith("+hopeful/3x2") for (version,) in store.query("SELECT version FROM episodes"))
    assert (folder / "runs/closing/config.json").exists()
    assert (folder / "runs/sooner/config.json").exists()


def test_what_is_left_out_says_what_it_needs(reader: Reader) -> None:
    """A command that nobody plays is one of few, and each reason is still true of one."""
    played = [c for page in (README, *DOCS) for block in blocks(page) if not block.language for c in block.commands]
    assert len(reader.left_out) < len(played) / 3
    for pattern in pages.NEEDS:
        assert any(re.search(pattern, command) for command in reader.left_out), pattern
    for pattern in (*pages.STAND_INS, *pages.ALSO):
        assert any(re.search(pattern, command) for command in played), pattern


# ---- how they are written --------------------------------------------------------------------------------------------------


def test_the_readme_is_short_and_begins_with_what_it_is() -> None:
    lines = TEXT.splitlines()
    assert len(lines) <= 400
    screen = "\n".join(lines[:40])
    assert "make demo" in screen
    assert "make test" in screen
    assert "![" in screen
    makefile = (ROOT / "Makefile").read_text()
    assert "\ndemo: " in makefile
    assert "\ntest: " in makefile


@pytest.mark.parametrize("page", [README, *DOCS])
def test_links_lead_somewhere_and_nothing_is_left_to_fill_in(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert link.startswith("https://") or ((ROOT / page).parent / link).exists(), link
    assert not re.findall(r"@[A-Z]+@|TODO|FIXME", text)


def test_blocks_are_read_with_their_sections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "ROOT", tmp_path)
    (tmp_path / "page.md").write_text("# T\n```\na b   # c\n\nd#2 'e f'\n```\n## S\ntext\n```python x.py\nx = 1\n```\n")
    first, second = blocks("page.md")
    assert first == Block("", "", "", "a b   # c\n\nd#2 'e f'\n")
    assert first.commands == ["a b", "d#2 'e f'"]
    assert second == Block("S", "python", "x.py", "x = 1\n")
    with pytest.raises(AssertionError, match="nobody knows how to play"):
        Reader(tmp_path).play(Block("", "cobol", "", ""))


def test_sizes_are_appended() -> None:
    assert pages.sized("agentgym collect --policy vllm:x --samples 8") == (
        "agentgym collect --policy runs/policy --samples 8 --tasks 2 --max-tokens 8 --samples 2"
    )
    assert pages.sized("python my.py train sft runs/gold") == "python my.py train sft runs/gold --max-steps 2"
    assert pages.sized("agentgym env list") == "agentgym env list"
