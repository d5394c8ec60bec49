import json
import random

import pytest

from agentgym_training.preference import Preference, train_preference
from agentgym_training.rows import PairRow, Row, rows

QUICK = Preference(max_steps=8, batch_size=4, lr=3e-3, save_steps=4, beta=0.5)


@pytest.fixture(scope="module")
def pairs(nano_chat, demonstrations):
    """Demonstrations against the same conversations with other ids in the agent's turns, of another length."""
    rng = random.Random(0)
    made = []
    for t in demonstrations[:24]:
        (row,) = rows(t, nano_chat)
        start = row.weights.index(1.0)
        ids = [rng.randrange(10, 200) if w and rng.random() < 0.3 else i for i, w in zip(row.input_ids, row.weights, strict=True)]
        extra = rng.randrange(4)
        made.append(
            PairRow(row, Row(ids[:start] + [50] * extra + ids[start:], row.weights[:start] + [1.0] * extra + row.weights[start:]))
        )
    return made


@pytest.fixture(scope="module")
def trained(nano_dir, pairs, tmp_path_factory):
    out = tmp_path_factory.mktemp("dpo")
    return out, train_preference(nano_dir, pairs, out, QUICK)


def logged(directory):
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def test_the_chosen_side_wins(trained):
    out, metrics = trained
    lines = logged(out)
    print(lines)
    assert [line["step"] for line in lines] == list(range(1, 9))
