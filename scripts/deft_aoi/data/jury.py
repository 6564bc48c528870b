"""Labels of a pool judged by rows that nobody wants: how likely the label of an offered row is wrong.

What a model gets most wrong is often what is labelled wrong, so the rows that a policy offers first cannot judge each
other: in a pool of 300,000 rows, 2 % of them defects and 1 % labelled wrong, 99 of the first 100 offered "defects" are
none. So rows drawn by chance from each label judge, in addition to the rows that are trained on.

A mixture is fitted to them: what a row looks like, and the score that the best model gives it, follow one law for true
defects and one for true PASS rows; a share of each label is wrong. The share and the laws come from the judges
(expectation maximisation, the laws as a logistic regression of their ratio), and the doubt of a row is Bayes' rule.
Pure functions; deterministic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deft_aoi.base.threads import one_thread
from deft_aoi.data.label_noise import enough, fitted, logits, splits

CLEAN = 0.1  # doubt up to which a label is taken
PER_LABEL = 3000  # judges of each class, PASS and defect
_AT_LEAST = 50  # judges of each defect type, where there are as many
_FEW = 500  # labelled defects among the judges from which on scores count too
_ROUNDS = 3  # of judging the judges
_STEPS = 100  # of expectation maximisation
_CLEARLY = 10.0  # log likelihood by which the labels must explain the judges better than the trained rows do
_SURELY = 3.0  # log likelihood that a share of wrong labels must gain to be believed
_MOST_WRONG = 0.98

Reals = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Rows:
    """Rows as the jury sees them: features (n, d), `defect` (n,) by their label, boards, and where a model has scored
    them `score` (n,)."""

    features: NDArray[Any]
    defect: Flags
    boards: Sequence[str]
    score: Reals | None = None

    def __len__(self) -> int:
        return len(self.defect)


@dataclass(frozen=True)
class Law:
    """log of (density of true defects / density of true PASS rows) as a linear function of the evidence (n, k)."""

    middle: Reals
    spread: Reals
    weight: Reals
    offset: float

    def __call__(self, evidence: Reals) -> Reals:
        return np.asarray((evidence - self.middle) / self.spread @ self.weight + self.offset)


@dataclass(frozen=True)
class Wrong:
    """Share of the defect labels, and of the PASS labels, that are wrong."""

    defect: float
    good: float

    def doubt(self, ratio: Reals, defect: Flags) -> Reals:
        """Probability that a label is wrong, from the log ratio of the densities and from the label."""
        times = np.exp(np.clip(ratio, -30, 30))
        of_defect = self.defect / ((1 - self.defect) * times + self.defect)
        of_good = self.good * times / (self.good * times + 1 - self.good)
        return np.asarray(np.where(defect, of_defect, of_good))


@dataclass(frozen=True)
class Jury:
    """Judges that agree. `doubt` is that of the pool's judges themselves, by models that have not seen them."""

    models: tuple[tuple[Any, ...], ...]
    law: Law | None
    by_score: Law | None
    wrong: Wrong
    doubt: Reals
    scored: bool

    @one_thread()
    def doubt_of(self, rows: Rows) -> Reals:
        """(n,): how likely each label is wrong."""
        if self.law is None:
            return np.zeros(len(rows))
        seen = np.mean([logits(models, rows.features) for models in self.models], axis=0)
        return self.wrong.doubt(self.law(_evidence(seen, rows.score if self.scored else None)), rows.defect)

    def doubt_by_score(self, score: Reals, defect: Flags) -> Reals:
        """The same from the score alone, without a look at the row."""
        if self.by_score is None:
            return np.zeros(len(score))
        return self.wrong.doubt(self.by_score(score[:, None]), defect)


def draw(labels: NDArray[np.str_], good: str, free: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Rows of `free` that judge, in rising order: as many of each class as :data:`PER_LABEL`, of each defect type at
    least some."""
    order = np.random.default_rng(seed).permutation(free)
    named = labels[order]
    defects = order[named != good]
    some = [defects[labels[defects] == name][:_AT_LEAST] for name in sorted(set(named[named != good].tolist()))]
    return np.unique(np.concatenate([order[named == good][:PER_LABEL], defects[:PER_LABEL], *some]))


@one_thread()
def form(known: Rows, pool: Rows, everywhere: tuple[Reals, Flags] | None = None, *, seed: int = 0) -> Jury:
    """A jury of the rows that are trained on and of `pool` rows drawn by chance. It doubts nothing where there are too
    few of a class to judge.

    `everywhere` are score and label of all rows of the pool: the share of wrong PASS labels can be too small to be seen
    among the judges. Judges whose label the others doubt are dropped, and the rest judge again.
    """
    if not (enough(known.defect) and enough(pool.defect)):
        return Jury((), None, None, Wrong(0.0, 0.0), np.zeros(len(pool)), False)
    table = np.vstack([known.features, pool.features]).astype(np.float32)
    defect = np.concatenate([known.defect, pool.defect])
    parts = splits(defect, [*known.boards, *pool.boards], seed)
    ours = np.arange(len(defect)) >= len(known)
    # Few labelled defects say too little of two kinds of evidence; the trained rows, which have no score, then help.
    score = pool.score if int(pool.defect.sum()) >= _FEW else None
    judged = np.ones(len(defect), bool) if score is None else ours
    first = 1 / (1 + np.exp(-logits(fitted(table[~ours], known.defect, seed), table[ours])))
    starts = [_start(defect, ours, guess) for guess in (np.where(pool.defect, 0.95, 0.002), first)]
    agreed = np.ones(len(defect), bool)
    models: list[tuple[Any, ...]] = [()] * len(parts)
    taught_by: list[Flags] = [np.zeros(0, bool)] * len(parts)
    seen = np.zeros(len(defect))
    for _ in range(_ROUNDS):
        for number, (taught, asked) in enumerate(parts):
            if np.array_equal(agreed[taught], taught_by[number]):
                continue  # the same rows teach the same models
            taught_by[number] = agreed[taught]
            taught = taught[agreed[taught]]
            models[number] = fitted(table[taught], defect[taught], seed)
            seen[asked] = logits(models[number], table[asked])
        evidence = _evidence(seen[judged], score)
        fits = [_mixture(evidence, defect[judged], truth[judged], ours[judged]) for truth in starts]
        law, wrong, likelihood, found = fits[-1]
        if fits[0][2] > likelihood + _CLEARLY:
            law, wrong, likelihood, found = fits[0]
        starts = [_start(defect, ours, found)]
        agreed[ours] = np.where(pool.defect, 1 - found, found) <= 0.5
    by_score = None
    if score is not None and everywhere is not None:
        by_score = _law(score[:, None], found)
        good = _shares(by_score(everywhere[0][:, None]), everywhere[1], wrong).good
        wrong = replace(wrong, good=max(good, _mirrored(wrong.defect, everywhere[1])))
    doubt = wrong.doubt(law(_evidence(seen[ours], score)), pool.defect)
    return Jury(tuple(models), law, by_score, wrong, doubt, score is not None)


def _start(defect: Flags, ours: Flags, guess: Reals) -> Reals:
    """Probability of a true defect: that of the label for the trained rows, a guess for the judges."""
    truth = np.where(defect, 1 - 1e-4, 1e-4)
    truth[ours] = np.clip(guess, 0.002, 0.998)
    return np.asarray(truth)


def _evidence(seen: Reals, score: Reals | None) -> Reals:
    return seen[:, None] if score is None else np.column_stack([seen, score])


def _law(evidence: Reals, truth: Reals) -> Law:
    """Logistic regression of soft classes of equal weight: its logit is the log ratio of their densities."""
    from sklearn.linear_model import LogisticRegression

    middle, spread = evidence.mean(0), evidence.std(0) + 1e-9
    plain, n = (evidence - middle) / spread, len(truth)
    share = np.concatenate([truth / truth.sum(), (1 - truth) / (1 - truth).sum()]) * n / 2
    model = LogisticRegression(C=1e3, max_iter=200)
    model.fit(np.vstack([plain, plain]), np.repeat([1, 0], n), sample_weight=share)
    return Law(middle, spread, model.coef_[0], float(model.intercept_[0]))


def _mixture(
    evidence: Reals, labelled: Flags, truth: Reals, ours: Flags
) -> tuple[Law, Wrong, float, Reals]:  # fmt: skip
    """(law, wrong shares, log likelihood of the labels, probability of a true defect) of the judges, which are `ours`,
    from a first guess at `truth`; what is known of the other rows stays."""
    defect = labelled[ours]
    counts = int(defect.sum()), int((~defect).sum())
    wrong = _bounded(1 - truth[ours][defect].mean(), truth[ours][~defect].mean(), counts)
    truth = truth.copy()
    for _ in range(_STEPS):
        law = _law(evidence, truth)
        ratio = law(evidence[ours])
        doubt = wrong.doubt(ratio, defect)
        truth[ours] = np.where(defect, 1 - doubt, doubt)
        before, wrong = wrong, _bounded(doubt[defect].mean(), doubt[~defect].mean(), counts)
        if abs(wrong.defect - before.defect) + abs(wrong.good - before.good) < 1e-6:
            break
    wrong = _needed(ratio, defect, wrong)
    return law, wrong, _likelihood(ratio, defect, wrong), truth[ours]


def _needed(ratio: Reals, defect: Flags, wrong: Wrong) -> Wrong:
    """The shares of wrong labels that the labels need to be explained; the least possible ones for the others: hard
    rows look like errors."""
    least = _bounded(0.0, 0.0, (int(defect.sum()), int((~defect).sum())))
    for fewer in (replace(wrong, defect=least.defect), replace(wrong, good=least.good)):
        if _likelihood(ratio, defect, fewer) > _likelihood(ratio, defect, wrong) - _SURELY:
            wrong = fewer
    return wrong


def _likelihood(ratio: Reals, defect: Flags, wrong: Wrong) -> float:
    """Log likelihood of the labels of rows that were drawn by label."""
    times = np.exp(np.clip(ratio, -30, 30))
    called = defect.sum() * ((1 - wrong.defect) * times + wrong.defect)
    passed = (~defect).sum() * (wrong.good * times + 1 - wrong.good)
    return float(np.log(np.where(defect, called, passed) / (called + passed)).sum())


def _shares(ratio: Reals, defect: Flags, start: Wrong) -> Wrong:
    """Shares of wrong labels where the law is known."""
    wrong, counts = start, (int(defect.sum()), int((~defect).sum()))
    for _ in range(_STEPS):
        doubt = wrong.doubt(ratio, defect)
        wrong = _bounded(doubt[defect].mean(), doubt[~defect].mean(), counts)
    return _needed(ratio, defect, wrong)


def _mirrored(wrong_defect: float, defect: Flags) -> float:
    """Share of the PASS labels that is wrong if a true defect is called PASS as often as a good part is called defect.

    Too few of them are among the judges to be counted, and those that a model gets most wrong are offered first.
    """
    called, passed = int(defect.sum()), int((~defect).sum())
    taken_for_defects = called * wrong_defect
    return called * (1 - wrong_defect) * taken_for_defects / max(passed, 1) / max(passed, 1)


def _bounded(defect: float, good: float, counts: tuple[int, int]) -> Wrong:
    """Never none: as if half of a row more were wrong."""
    return Wrong(*(float(np.clip(s, 0.5 / n, _MOST_WRONG)) for s, n in zip((defect, good), counts, strict=True)))
