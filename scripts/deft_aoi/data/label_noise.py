"""How far a label can be trusted: cross-fitted probabilities of a defect and confident learning over them.

Every row is judged by models that have not seen it, nor any other part of its board. Pure functions: features and
labels in, one figure per row out. A suspect row may also be a hard one; only a person who looks can tell.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deft_aoi.base.threads import one_thread

MIN_PER_CLASS = 5  # fewer PASS rows or defects than this say nothing about each other
FIT_ROWS = 6000  # rows that one model learns from, at most
FOLDS = 5
_TREES = 200
_CERTAINTY = 1e-4  # probabilities closer to 0 or 1 count as equal

Reals = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Doubt:
    """Per row, all of shape (n,): `probability` of being a defect as the other rows see it, `doubt` (the probability
    that the label is wrong), `doubtful` (the other rows say the opposite) and `likely` (a label error by confident
    learning: prune by noise rate; a subset of `doubtful` in practice, nearly free of false alarms)."""

    probability: Reals
    doubt: Reals
    doubtful: Flags
    likely: Flags


def enough(defect: NDArray[np.bool_]) -> bool:
    """Whether these rows hold enough of both classes to judge each other."""
    count = int(np.count_nonzero(defect))
    return min(count, len(defect) - count) >= MIN_PER_CLASS


def label_doubt(
    features: NDArray[Any],
    defect: NDArray[np.bool_],
    groups: Sequence[str] | None = None,
    *,
    seed: int = 0,
    done: Callable[[], object] = lambda: None,
) -> Doubt:
    """Doubt of every row from `features` (n, d), `defect` (n,) and the boards of the rows.

    Rows from any set may stand together: the more rows that judge, the better. Raises ValueError unless
    :func:`enough`.
    """
    return doubt_of(cross_probabilities(features, defect, groups, seed=seed, done=done), defect)


def doubt_of(probability: NDArray[Any], defect: NDArray[np.bool_]) -> Doubt:
    """Doubt from probabilities (n,) that the caller has made out of fold, and from the labels."""
    from cleanlab.filter import find_label_issues  # takes two seconds to import

    probability = np.clip(np.asarray(probability, np.float64), _CERTAINTY, 1 - _CERTAINTY)
    defect = np.asarray(defect, bool)
    both = np.column_stack([1 - probability, probability])
    likely = np.zeros(len(defect), bool)
    if defect.any() and not defect.all():
        likely = find_label_issues(defect.astype(int), both, filter_by="prune_by_noise_rate", n_jobs=1)
    doubt = np.where(defect, 1 - probability, probability)
    return Doubt(probability, doubt, doubt > 0.5, np.asarray(likely, bool) & (doubt > 0.5))


def cross_probabilities(
    features: NDArray[Any], defect: NDArray[np.bool_], groups: Sequence[str] | None = None, *,
    folds: int = FOLDS, fit_rows: int = FIT_ROWS, seed: int = 0, done: Callable[[], object] = lambda: None,
) -> Reals:  # fmt: skip
    """(n,) probability of a defect, each from models that have seen neither the row nor its group.

    The mean logit of a regularised logistic regression and of extremely randomised trees, classes balanced: the line
    and the boxes err on different rows. At most `fit_rows` rows teach each model, so that the time stays bounded.
    `done` is called after each fold. Deterministic. Raises ValueError unless :func:`enough`.
    """
    defect = np.asarray(defect, bool)
    if not enough(defect):
        raise ValueError(f"{int(defect.sum())} defects of {len(defect)} rows: {MIN_PER_CLASS} of each class are needed")
    table = np.asarray(features, np.float32)
    rng = np.random.default_rng(seed)
    logit = np.zeros(len(defect))
    with one_thread():
        for taught, asked in splits(defect, groups, seed, min(folds, MIN_PER_CLASS)):
            taught = _sample(taught, defect, fit_rows, rng)
            logit[asked] = logits(fitted(table[taught], defect[taught], seed), table[asked])
            done()
    return np.asarray(1 / (1 + np.exp(-logit)))


def fitted(features: NDArray[Any], defect: Flags, seed: int) -> tuple[Any, ...]:
    """The models that judge together, taught by these rows."""
    return tuple(learn(features, defect, seed) for learn in (_line, _boxes))


def logits(models: Sequence[Any], features: NDArray[Any]) -> Reals:
    """(n,) mean logit of a defect."""
    total = np.zeros(len(features))
    for model in models:
        chance = np.clip(model.predict_proba(features)[:, 1], _CERTAINTY, 1 - _CERTAINTY)
        total += np.log(chance / (1 - chance)) / len(models)
    return total


def _line(table: NDArray[np.float32], defect: Flags, seed: int) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    line = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, class_weight="balanced", max_iter=300))
    return line.fit(table, defect)


def _boxes(table: NDArray[np.float32], defect: Flags, seed: int) -> Any:
    from sklearn.ensemble import ExtraTreesClassifier

    trees = ExtraTreesClassifier(
        _TREES, min_samples_leaf=2, max_features=0.1, class_weight="balanced", random_state=seed, n_jobs=-1
    )
    return trees.fit(table, defect).set_params(n_jobs=1)  # so that what the trees say is added in one order


def splits(
    defect: Flags, groups: Sequence[str] | None, seed: int, folds: int = FOLDS
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """(rows to learn from, rows to judge); whole groups together where there are enough of them."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    plain = StratifiedKFold(folds, shuffle=True, random_state=seed)
    if groups is not None:
        boards = np.asarray(groups)
        if min(len(set(boards[defect])), len(set(boards[~defect]))) >= folds:
            by_board = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
            parts = list(by_board.split(defect, defect, boards))
            if all(len(set(defect[taught])) == 2 for taught, _ in parts):
                return parts
    return list(plain.split(defect, defect))


def _sample(rows: NDArray[np.int64], defect: Flags, limit: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """At most `limit` of `rows`, both classes kept in equal numbers as far as they reach."""
    if len(rows) <= limit:
        return rows
    few, many = sorted((rows[defect[rows]], rows[~defect[rows]]), key=len)
    few = rng.permutation(few)[: max(limit // 2, limit - len(many))]
    many = rng.permutation(many)[: limit - len(few)]
    return np.sort(np.concatenate([few, many]))
