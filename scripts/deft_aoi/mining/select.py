"""Which pool rows to take: one pure function a policy. All are deterministic and never take a row that is not free.

Every policy offers rows in the order in which it wants them; :func:`deal` takes what the limits admit and goes on to
the next offer wherever they do not, so that a filter never leaves a place empty while a row would qualify.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from deft_aoi.base.rows import PASS

NO_TARGET = -1
UNLABELLED = ""
BY_NEIGHBOUR = ("knn", "knn+label")
BY_SCORE = ("weakness", "weakness+diverse", "uncertain")  # of the best model so far, over the pool
_CANDIDATES = 4  # weakest rows for each place that weakness_diverse chooses the least alike from

Matrix = NDArray[np.float32]


def compares_pictures(policy: str) -> bool:
    """Whether a policy needs the embeddings of the pool."""
    return policy in (*BY_NEIGHBOUR, "weakness+diverse")


@dataclass(frozen=True)
class Pick:
    """One pool row taken: its index, the target that asked for it, its rank in the order in which rows were wanted.

    `similarity`: plain cosine to the target, None where no target asked.
    """

    row: int
    target: int
    rank: int
    similarity: float | None
    reason: str


@dataclass(frozen=True)
class Limits:
    """Bounds of one selection.

    `rows` in all, `per_target` for each target, `min_similarity` to the target; `per_board` rows of one board (0: no
    bound; it gives way where rows would be missing otherwise); `min_distance` 1 - cosine between two picks (0: any).
    """

    rows: int
    per_target: int = 5
    min_similarity: float = -1.0
    per_board: int = 0
    min_distance: float = 0.0


@dataclass(frozen=True)
class Stock:
    """The pool as a policy sees it; place i of every field is pool row i.

    `labels` PASS, a defect's name or empty; `boards` may be empty; `free`: neither used nor unreadable; `looks` unit
    vectors of how a row looks; `content` gives the hash of a row's images, `taken` are hashes taken before.
    """

    labels: NDArray[np.str_]
    free: NDArray[np.bool_]
    boards: NDArray[np.str_] | None = None
    looks: Matrix | None = None
    content: Callable[[int], str] | None = None
    taken: frozenset[str] = field(default_factory=frozenset)

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Neighbours:
    """Nearest pool rows of each target, best first: `index` (-1: none) and `similarity`, both (targets, k)."""

    index: NDArray[np.int64]
    similarity: NDArray[np.float32]


class Gate:
    """What was taken so far, and whether one more row may be."""

    def __init__(self, stock: Stock, limits: Limits) -> None:
        self.stock, self.limits = stock, limits
        self.boards_bound = limits.per_board > 0 and stock.boards is not None
        self.picks: list[Pick] = []
        self._rows: set[int] = set()
        self._contents = set(stock.taken)
        self._boards: Counter[str] = Counter()
        self._targets: Counter[int] = Counter()
        width = 0 if stock.looks is None or limits.min_distance <= 0 else stock.looks.shape[1]
        self._looks = np.zeros((min(limits.rows, len(stock)), width), np.float32)

    def admits(self, pick: Pick) -> bool:
        row, stock, limits = pick.row, self.stock, self.limits
        if row in self._rows or not stock.free[row]:
            return False
        if pick.target != NO_TARGET and self._targets[pick.target] >= limits.per_target:
            return False
        if self.boards_bound and (board := self._board(row)) and self._boards[board] >= limits.per_board:
            return False
        if stock.looks is not None and self._looks.shape[1] and self.picks:
            likeness = self._looks[: len(self.picks)] @ stock.looks[row]
            if float(likeness.max()) > 1 - limits.min_distance:
                return False
        return stock.content is None or stock.content(row) not in self._contents

    def take(self, pick: Pick) -> None:
        if self.stock.looks is not None and self._looks.shape[1]:
            self._looks[len(self.picks)] = self.stock.looks[pick.row]
        self.picks.append(pick)
        self._rows.add(pick.row)
        self._boards[self._board(pick.row)] += 1
        self._targets[pick.target] += 1
        if self.stock.content is not None:
            self._contents.add(self.stock.content(pick.row))

    def _board(self, row: int) -> str:
        return "" if self.stock.boards is None else str(self.stock.boards[row])


# Offers of one kind in the order in which they are wanted; asked again from the start when the limits give way.
Stream = Callable[[Gate], Iterable[Pick]]


def deal(streams: Mapping[str, Stream], quotas: Mapping[str, int], stock: Stock, limits: Limits) -> list[Pick]:
    """Fill the quota of every stream; what some cannot fill goes to the others in equal parts, at last beyond the bound
    of a board."""
    gate = Gate(stock, limits)
    counts = dict.fromkeys(streams, 0)
    for bound in (True, False) if gate.boards_bound else (False,):
        gate.boards_bound = bound
        open_, share = list(streams), dict(quotas) if not gate.picks else _raised(counts, list(streams), limits.rows)
        while open_ and len(gate.picks) < limits.rows:
            for name in open_:
                _take(gate, streams[name], name, counts, share[name])
            open_ = [name for name in open_ if counts[name] >= share[name]]
            share = _raised(counts, open_, limits.rows)
    return gate.picks


def _take(gate: Gate, stream: Stream, name: str, counts: dict[str, int], most: int) -> None:
    """Admitted offers of one stream until it has `most` rows."""
    for pick in stream(gate):
        if counts[name] >= most or len(gate.picks) >= gate.limits.rows:
            return
        if gate.admits(pick):
            gate.take(pick)
            counts[name] += 1


def _raised(counts: Mapping[str, int], open_: Sequence[str], rows: int) -> dict[str, int]:
    """Rows that each open stream may have: what is missing of `rows`, in equal parts."""
    missing = rows - sum(counts.values())
    return {name: counts[name] + -(-missing // len(open_)) for name in open_}


def knn(target_labels: Sequence[str], near: Neighbours, stock: Stock, limits: Limits) -> list[Pick]:
    """Nearest free rows of any label, targets in the order given, rank by rank: needs no pool labels.

    The labels of the targets share the rows: half PASS, half defects, the defects equally.
    """
    return _nearest(target_labels, near, stock, limits, same_label=False)


def knn_label(target_labels: Sequence[str], near: Neighbours, stock: Stock, limits: Limits) -> list[Pick]:
    """As :func:`knn`, of the target's own label only (compared without case)."""
    return _nearest(target_labels, near, stock, limits, same_label=True)


def weakness(scores: NDArray[np.float64], stock: Stock, limits: Limits) -> list[Pick]:
    """The rows that the current model gets most wrong: defects of the lowest score, PASS of the highest, half and half.

    `scores` (n,): `siamese_score`, NaN where a row was not scored. Gap analysis' weakness applied to the pool.
    """
    defect, good = _classes(stock, scores)
    streams = {
        "defect": _ordered(defect[np.argsort(scores[defect], kind="stable")], "a lowest-scoring defect", scores),
        PASS: _ordered(good[np.argsort(-scores[good], kind="stable")], "a highest-scoring PASS", scores),
    }
    return deal(streams, {"defect": limits.rows - limits.rows // 2, PASS: limits.rows // 2}, stock, limits)


def weakness_diverse(scores: NDArray[np.float64], stock: Stock, limits: Limits) -> list[Pick]:
    """Of each label's weakest rows those that look least alike; the defects share their half equally.

    Farthest first (Gonzalez, 1985) among four times as many weakest rows as the label has places; `looks` are needed.
    """
    if stock.looks is None:
        raise ValueError("weakness_diverse needs the looks of the pool rows")
    defect, good = _classes(stock, scores)
    kinds = sorted(set(stock.labels[defect].tolist()))
    quotas = _shares([*kinds, *([PASS] if len(good) else [])], limits.rows)
    streams: dict[str, Stream] = {}
    for name, share in quotas.items():
        mine = good if name == PASS else defect[stock.labels[defect] == name]
        weakest = mine[np.argsort(-scores[mine] if name == PASS else scores[mine], kind="stable")]
        near = weakest[: _CANDIDATES * share]
        order = np.concatenate([near[farthest_first(stock.looks[near])], weakest[len(near) :]])
        streams[name] = _ordered(order, f"a weak {name} unlike the others", scores)
    return deal(streams, quotas, stock, limits)


def uncertain(scores: NDArray[np.float64], threshold: float, stock: Stock, limits: Limits) -> list[Pick]:
    """Rows whose score is nearest to the threshold, half above it and half below: what a person should label first."""
    rows = np.flatnonzero(stock.free & ~np.isnan(scores))
    rows = rows[np.argsort(np.abs(scores[rows] - threshold), kind="stable")]
    above = scores[rows] > threshold
    streams = {
        "above": _ordered(rows[above], "nearest above the threshold", scores),
        "below": _ordered(rows[~above], "nearest below the threshold", scores),
    }
    return deal(streams, {"above": limits.rows - limits.rows // 2, "below": limits.rows // 2}, stock, limits)


def random_rows(stock: Stock, limits: Limits, seed: int) -> list[Pick]:
    """Free rows drawn uniformly: the yardstick that every policy must beat."""
    order = np.random.default_rng(seed).permutation(np.flatnonzero(stock.free))
    return deal({"any": _ordered(order, "random")}, {"any": limits.rows}, stock, limits)


def random_balanced(stock: Stock, limits: Limits, seed: int) -> list[Pick]:
    """Free rows drawn uniformly within each label: half PASS, half defects, the defects equally."""
    order = np.random.default_rng(seed).permutation(np.flatnonzero(stock.free))
    labels = stock.labels[order]
    quotas = _shares(sorted(set(labels.tolist()) - {UNLABELLED}), limits.rows)
    streams = {name: _ordered(order[labels == name], "random of its label") for name in quotas}
    return deal(streams, quotas, stock, limits)


def farthest_first(looks: Matrix) -> NDArray[np.int64]:
    """Order of unit vectors (n, d): the first, then always the one least like all before it."""
    if len(looks) == 0:
        return np.zeros(0, np.int64)
    order, nearest = [0], looks @ looks[0]
    for _ in range(1, len(looks)):
        nearest[order[-1]] = np.inf
        order.append(int(np.argmin(nearest)))
        np.maximum(nearest, looks @ looks[order[-1]], out=nearest)
    return np.array(order, np.int64)


def _classes(stock: Stock, scores: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(free scored defects, free scored PASS rows)."""
    usable = stock.free & ~np.isnan(scores) & (stock.labels != UNLABELLED)
    good = stock.labels == PASS
    return np.flatnonzero(usable & ~good), np.flatnonzero(usable & good)


def _shares(labels: Sequence[str], rows: int) -> dict[str, int]:
    """Half to PASS, half to the defects in equal parts; equal parts where there is no PASS or no defect."""
    defects = [label for label in labels if label != PASS]
    if not defects or PASS not in labels:
        return {label: -(-rows // max(len(labels), 1)) for label in labels}
    quota = {label: -(-(rows // 2) // len(defects)) for label in defects}
    quota[PASS] = rows - rows // 2
    return quota


def _ordered(rows: NDArray[np.int64], reason: str, scores: NDArray[np.float64] | None = None) -> Stream:
    def offers(_: Gate) -> Iterator[Pick]:
        for rank, row in enumerate(rows, 1):
            said = reason if scores is None else f"{reason}, score {scores[row]:.4g}"
            yield Pick(int(row), NO_TARGET, rank, None, said)

    return offers


def _nearest(
    target_labels: Sequence[str], near: Neighbours, stock: Stock, limits: Limits, *, same_label: bool
) -> list[Pick]:
    def stream(label: str) -> Stream:
        asking = [target for target, name in enumerate(target_labels) if name == label]
        return lambda gate: _rounds([_offers(t, label, near, stock, limits, same_label) for t in asking], gate)

    labels = list(dict.fromkeys(target_labels))
    return deal({label: stream(label) for label in labels}, _shares(labels, limits.rows), stock, limits)


def _offers(
    target: int, label: str, near: Neighbours, stock: Stock, limits: Limits, same_label: bool
) -> Iterator[Pick]:
    """Similar neighbours of one target, nearest first."""
    reason = "nearest of the same label" if same_label else "nearest"
    rank = 0
    for row, similarity in zip(near.index[target], near.similarity[target], strict=True):
        if row < 0 or similarity < limits.min_similarity:
            continue
        if same_label and stock.labels[row].casefold() != label.casefold():
            continue
        rank += 1
        yield Pick(int(row), target, rank, float(similarity), reason)


def _rounds(offers: Sequence[Iterator[Pick]], gate: Gate) -> Iterator[Pick]:
    """Every target's nearest admitted row, then every target's next one, as often as a target may ask."""
    for _ in range(gate.limits.per_target):
        for stream in offers:
            pick = next((offer for offer in stream if gate.admits(offer)), None)
            if pick is not None:
                yield pick
