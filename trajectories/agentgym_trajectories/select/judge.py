"""A distilled judge: a small classifier learns from a few judged trajectories, and judges all others.

Labels come from people, a strong model or a verifier, for as many trajectories as one can pay; a logistic regression over word
n-grams learns them, as quality filters of pre-training data do (GPT-3's, Brown et al. 2020, appendix A). With a model it also
sees how sure that is of the agent's turns: mean, least and last, in nats.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agentgym import UserError
from agentgym_trajectories.rewrite import transcript
from agentgym_trajectories.scorer import Floats, open_scorer
from agentgym_trajectories.select.base import Drop, Selector
from agentgym_trajectories.select.ranked import library
from agentgym_trajectories.tree import Trajectory


@dataclass(frozen=True, kw_only=True)
class Judge(Selector[Trajectory]):
    """Keep what a classifier, taught by the file `labels`, calls good with at least probability `min`.

    A line of the file is ``{"task": "train-7", "sample": 0, "good": true}``. `model` adds what a model thinks.
    """

    labels: Path
    model: Path | None = None
    min: float = 0.5

    def __call__(self, items: Iterable[Trajectory], drop: Drop[Trajectory]) -> Iterator[Trajectory]:
        """Reads all first; what was judged keeps its label."""
        given = list(items)
        known = _read(self.labels)
        labels = [known.get((t.episode.task.id, t.episode.sample)) for t in given]
        for t, label, good in zip(given, labels, self._good(given, labels), strict=True):
            if (good if label is None else float(label)) >= self.min:
                yield t
            else:
                drop(t, f"good with probability {good:.2f}" if label is None else "labelled as bad")

    def _good(self, items: list[Trajectory], labels: list[bool | None]) -> Floats:
        """The probability of being good, (n,)."""
        judged = [i for i, label in enumerate(labels) if label is not None]
        if len({labels[i] for i in judged}) < 2:
            raise UserError(
                f"{self.labels} has to label good and bad trajectories of this run: it labels {len(judged)}, all alike"
            )
        features = self._features(items)
        models = library("sklearn.linear_model", "scikit-learn")
        teacher = models.LogisticRegression(max_iter=2000, class_weight="balanced").fit(
            features[judged], [labels[i] for i in judged]
        )
        return np.asarray(teacher.predict_proba(features)[:, 1])

    def _features(self, items: list[Trajectory]) -> Any:
        text = library("sklearn.feature_extraction.text", "scikit-learn")
        words = text.TfidfVectorizer(ngram_range=(1, 2), min_df=2, token_pattern=r"\S+").fit_transform(
            [transcript(t.messages) for t in items]
        )
        if self.model is None:
            return words
        sure = [[(turn.mean(), turn.min(), turn[-1]) for turn in turns] for turns in open_scorer(self.model).turns(items)]
        summary = np.array([[*np.mean(s, 0), *np.min(s, 0)] for s in sure])
        sparse, scaling = library("scipy.sparse", "scipy"), library("sklearn.preprocessing", "scikit-learn")
        return sparse.csr_matrix(sparse.hstack([words, scaling.StandardScaler().fit_transform(summary)]))


def _read(file: Path) -> dict[tuple[str, int], bool]:
    try:
        lines = [json.loads(line) for line in file.read_text("utf-8").splitlines() if line.strip()]
        return {(line["task"], line.get("sample", 0)): bool(line["good"]) for line in lines}
    except OSError as error:
        raise UserError(f"there are no labels {file} ({error.strerror}): give a JSONL file") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f'{file} has a line that is no label: write {{"task": "train-7", "sample": 0, "good": true}}') from error
