"""docs/papers.md against the registries: every shipped method has a row, and what it cites the code cites too."""

import re
from collections.abc import Collection
from pathlib import Path

import pytest

from agentgym_training.losses import LOSSES
from agentgym_training.objectives import OBJECTIVES
from agentgym_training.rl.methods import METHODS
from agentgym_training.rl.rewards import REWARDS
from agentgym_trajectories.pairs import FILTERS, MAKERS
from agentgym_trajectories.programs import PROGRAMS
from agentgym_trajectories.search import NAMED
from agentgym_trajectories.select import SELECTORS
from agentgym_trajectories.synthesis import METHODS as SYNTHESIS

ROOT = Path(__file__).parents[1]
SECTIONS = dict(section.partition("\n")[::2] for section in (ROOT / "docs/papers.md").read_text("utf-8").split("\n## ")[1:])
REGISTRIES: dict[str, Collection[str]] = {
    "Selectors": SELECTORS,
    "Objectives of fine-tuning": OBJECTIVES,
    "Synthesis": SYNTHESIS,
    "Preference pairs": {**MAKERS, **FILTERS},
    "Preference losses": LOSSES,
    "Searches": NAMED,
    "Reinforcement learning": {*METHODS, "es"},
    "Rewards": REWARDS,
    "Programs": PROGRAMS,
}


@pytest.mark.parametrize("section", REGISTRIES)
def test_every_method_has_a_row(section: str) -> None:
    rows = [line.strip("|").split(" | ") for line in SECTIONS[section].splitlines() if line.startswith("| `")]
    assert sorted(row[0].strip(" `") for row in rows) == sorted(REGISTRIES[section])
    assert all(len(row) == 3 and all(cell.strip() for cell in row) for row in rows)


def test_the_code_names_the_same_papers() -> None:
    code = "".join(
        file.read_text("utf-8") for part in ("envs", "trajectories", "training") for file in (ROOT / part).rglob("*.py")
    )
    named = {paper for text in SECTIONS.values() for paper in re.findall(r"arXiv:(\d{4}\.\d{5})", text)}
    assert len(named) > 50
    assert {paper for paper in named if paper not in code} == set()


def test_no_paper_of_a_method_is_left_out() -> None:
    """What a file of one method says that it is from stands in its row."""
    for section, folder in (
        ("Selectors", "trajectories/agentgym_trajectories/select"),
        ("Objectives of fine-tuning", "training/agentgym_training/objectives"),
    ):
        for file in (ROOT / folder).glob("*.py"):
            first = file.read_text("utf-8").partition("\n")[0]
            assert set(re.findall(r"\d{4}\.\d{5}", first)) <= set(re.findall(r"\d{4}\.\d{5}", SECTIONS[section])), file.name
