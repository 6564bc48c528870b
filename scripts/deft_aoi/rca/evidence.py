"""What is measured of weak samples: doubt of the label, golden, registration, brightness, nearest training row."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deft_aoi.base.rows import PASS, image_paths, normalise_label
from deft_aoi.data.label_noise import Doubt, enough
from deft_aoi.data.label_review import remembered_doubt
from deft_aoi.engine.cache import Store, content_key
from deft_aoi.engine.features.head import columns
from deft_aoi.engine.features.table import feature_table, in_parallel
from deft_aoi.engine.images import Pair, decode, luminance, make_pair
from deft_aoi.rca.causes import Evidence
from deft_aoi.spec.tree import Optics

REFERENCES = 200  # good parts that say what is usual
JUDGES = 3000  # rows of the analysed set, next to the weak ones, that judge labels
_GOLDEN_SIDE = 64  # pixels at which goldens are compared
_SIBLINGS = 4
_LEAST_SIBLINGS = 2
_FACTS = 5  # dx, dy, mean of test, mean of golden, share of pixels at either end of the grey scale
_ENDS = (48, 207)  # grey levels that a black-and-white picture stays outside of, JPEG's noise among them
_TWO_LEVEL = 0.95  # share of such pixels
_NEVER = math.inf
_BLOCK = 1024  # rows whose distances are in memory together
_PLACES = (("project", "object_name"), ("comp_type_2", "part_type"))  # columns that tell where a golden belongs

Table = NDArray[np.float32]


@dataclass(frozen=True)
class Known:
    """Rows that a model learned from, and the folder that their paths start from."""

    rows: pd.DataFrame
    root: Path


@dataclass(frozen=True)
class Measured:
    """Evidence of each weak sample, in order; `gains` (rows, lights) of the measured rows of the set, whose positions
    are `measured`; `gain` (median, spread) by light of good parts, those of training where it is known."""

    evidence: list[Evidence]
    measured: NDArray[np.int64]
    gains: NDArray[np.float64]
    gain: Mapping[str, tuple[float, float]]


def measure(
    scored: pd.DataFrame,
    weak: NDArray[np.int64],
    root: Path,
    optics: Optics,
    known: Known | None,
    judges: Sequence[Known],
) -> Measured:
    """Evidence of the rows `weak` (positions in `scored`).

    `known` is what the model was trained on (None: unknown); `judges` are further sets that help to judge labels. They
    do not change from model to model, so labels are judged once. Everything is cached by content.
    """
    good = np.setdiff1d(np.flatnonzero((scored["label"] == PASS).to_numpy()), weak)
    references = _evenly(good, REFERENCES)
    rows = np.concatenate([weak, references])
    facts = pair_facts(scored.iloc[rows], root, optics)
    shift = np.hypot(facts[..., 0], facts[..., 1])
    gains = facts[..., 2] / np.maximum(facts[..., 3], 1.0)
    usual = slice(len(weak), None) if len(references) else slice(None)
    usual_shift = float(np.percentile(shift[usual].max(axis=1), 95))
    learned = _good_gains(known, optics)
    usual_gain = {
        light: _spread((gains[usual] if learned is None else learned)[:, n]) for n, light in enumerate(optics.lights)
    }
    split = _split(facts)
    usual_split = float(np.percentile(split[usual], 95))
    doubt = _doubts(scored, weak, root, optics, judges)
    counts, distance = nearest_training(scored.iloc[weak], root, optics, known)
    golden = golden_ratios(scored, weak, root, optics)
    evidence = [
        Evidence(
            doubt=float(doubt.doubt[n]) if doubt else math.nan,
            likely=bool(doubt.likely[n]) if doubt else False,
            golden_ratio=golden[n],
            shift=float(shift[n].max()),
            usual_shift=usual_shift,
            split=float(split[n]),
            usual_split=usual_split,
            gain={light: float(gains[n, m]) for m, light in enumerate(optics.lights)},
            usual_gain=usual_gain,
            training_rows=counts[n] if known else None,
            distance=float(distance[n]),
            label=str(scored["label"].iloc[weak[n]]),
            two_level=bool(facts[n, :, 4].min() >= _TWO_LEVEL),
        )
        for n in range(len(weak))
    ]
    return Measured(evidence, rows, gains, usual_gain)


def _good_gains(known: Known | None, optics: Optics) -> NDArray[np.float64] | None:
    """Brightness of test over golden of good parts that the model learned from, (rows, lights)."""
    if known is None:
        return None
    good = np.flatnonzero((known.rows["label"] == PASS).to_numpy())
    if not len(good):
        return None
    facts = pair_facts(known.rows.iloc[_evenly(good, REFERENCES)], known.root, optics)
    return np.asarray(facts[..., 2] / np.maximum(facts[..., 3], 1.0), np.float64)


def pair_facts(rows: pd.DataFrame, root: Path, optics: Optics) -> Table:
    """(rows, lights, 5): shift of golden onto test (dx, dy) in pixels, mean grey of test and of golden, share of their
    pixels that are black or white."""
    store = Store("pairfacts", {"version": 2, "width": optics.width, "height": optics.height}, _FACTS)
    files: list[tuple[str, str]] = []
    for light in optics.lights:
        pair = (image_paths(rows, column, root, light, optics.ext) for column in ("input_path", "golden_path"))
        files += zip(*pair, strict=True)

    def work(chunk: Sequence[tuple[str, str]]) -> list[Table]:
        found = []
        for test, golden in chunk:
            data = Path(test).read_bytes(), Path(golden).read_bytes()
            key = content_key(*data)
            vector = store.get(key)
            if vector is None:
                vector = _facts(*data, optics)
                store.put(key, vector)
            found.append(vector)
        return found

    try:
        vectors = [vector for part in in_parallel(work, files, "weak samples") for vector in part]
    finally:
        store.flush()
    return np.ascontiguousarray(np.stack(vectors).reshape(len(optics.lights), len(rows), _FACTS).transpose(1, 0, 2))


def _facts(test: bytes, golden: bytes, optics: Optics) -> Table:
    images = decode(test), decode(golden)
    if images[0] is None or images[1] is None:
        return np.zeros(_FACTS, np.float32)
    pair: Pair = make_pair(images[0], images[1], optics.width, optics.height)
    inner = luminance(pair.test)[pair.rows, pair.columns], luminance(pair.golden)[pair.rows, pair.columns]
    both = np.concatenate([part.ravel() for part in inner])
    ends = np.mean((both < _ENDS[0]) | (both > _ENDS[1]))
    return np.array([*pair.shift, inner[0].mean(), inner[1].mean(), ends], np.float32)


def _split(facts: Table) -> NDArray[np.float64]:
    """Largest distance between the shifts of two lights, (rows,)."""
    low, high = facts[..., :2].min(axis=1), facts[..., :2].max(axis=1)
    return np.asarray(np.hypot(*(high - low).T), np.float64)


def _doubts(
    scored: pd.DataFrame, weak: NDArray[np.int64], root: Path, optics: Optics, others: Sequence[Known]
) -> Doubt | None:
    """Doubt of the weak rows, judged by a sample of their set and by the other sets; None where too few rows judge."""
    rows = np.union1d(weak, _evenly(np.setdiff1d(np.arange(len(scored)), weak), JUDGES))
    tables = [(scored.iloc[rows], root), *((one.rows, one.root) for one in others)]
    labels = [normalise_label(label) for rows, _ in tables for label in rows["label"]]
    defect = np.array([label != PASS for label in labels])
    if not enough(defect):
        return None
    features = np.concatenate([_features(rows, folder, optics) for rows, folder in tables])
    boards = [board for rows, _ in tables for board in (rows["boardname"] if "boardname" in rows else [""] * len(rows))]
    found = remembered_doubt(features, defect, boards)
    part = np.searchsorted(rows, weak)
    return Doubt(found.probability[part], found.doubt[part], found.doubtful[part], found.likely[part])


def nearest_training(
    rows: pd.DataFrame, root: Path, optics: Optics, known: Known | None
) -> tuple[list[int], NDArray[np.float64]]:
    """(training rows of the label, distance to the nearest of them) for each row; 1 is the distance within which 95 %
    of the training rows have another of their label. NaN without training rows, infinite where none has the label."""
    if known is None or len(known.rows) < 2:
        return [0] * len(rows), np.full(len(rows), math.nan)
    learned = _features(known.rows, known.root, optics)
    asked = _features(rows, root, optics)
    mean, spread = learned.mean(axis=0), learned.std(axis=0) + 1e-3
    learned, asked = (learned - mean) / spread, (asked - mean) / spread
    labels = np.array([normalise_label(label) for label in known.rows["label"]])
    wanted = np.array([normalise_label(label) for label in rows["label"]])
    own: list[NDArray[np.float64]] = []
    distance = np.full(len(rows), _NEVER)
    for label in np.unique(np.concatenate([labels, wanted])):
        stock = learned[labels == label]
        if len(stock) > 1:
            own.append(_nearest(stock, stock, 1))
        mine = np.flatnonzero(wanted == label)
        if len(stock) and len(mine):
            distance[mine] = _nearest(asked[mine], stock, 0)
    usual = float(np.percentile(np.concatenate(own), 95)) if own else 1.0
    counts = [int((labels == label).sum()) for label in wanted]
    return counts, distance / max(usual, 1e-6)


def _nearest(asked: Table, stock: Table, skipped: int) -> NDArray[np.float64]:
    """Distance of each asked row to the nearest row of the stock but for the `skipped` nearest (1: itself)."""
    one, other = asked.astype(np.float64), stock.astype(np.float64)
    lengths = (other**2).sum(1)
    found = []
    for start in range(0, len(one), _BLOCK):
        block = one[start : start + _BLOCK]
        squares = (block**2).sum(1)[:, None] + lengths - 2 * block @ other.T
        found.append(np.partition(squares, skipped, axis=1)[:, skipped])
    return np.sqrt(np.maximum(np.concatenate(found), 0))


def golden_ratios(scored: pd.DataFrame, weak: NDArray[np.int64], root: Path, optics: Optics) -> list[float]:
    """How much more a golden differs from goldens of the same place on other boards than those among themselves.

    The same place is the same project and object name, else the same part type; NaN with fewer than two siblings.
    """
    files = image_paths(scored, "golden_path", root, optics.lights[0], optics.ext)
    places = [keys for names in _PLACES if set(names) <= set(scored.columns) for keys in [_keys(scored, names)]]
    rows_at: list[dict[tuple[str, ...], list[int]]] = []
    for keys in places:
        held: dict[tuple[str, ...], list[int]] = {}
        for row, key in enumerate(keys):
            held.setdefault(key, []).append(row)
        rows_at.append(held)
    store = Store("goldens", {"version": 1, "side": _GOLDEN_SIDE}, 1)
    ratios = []
    try:
        for row in weak:
            choices = (held[keys[row]] for keys, held in zip(places, rows_at, strict=True) if any(keys[row]))
            siblings = next((some for rows in choices if (some := _others(files, int(row), rows))), [])
            ratios.append(_golden_ratio(files[row], siblings, store))
    finally:
        store.flush()
    return ratios


def _keys(scored: pd.DataFrame, names: Sequence[str]) -> list[tuple[str, ...]]:
    return list(zip(*(scored[name] for name in names), strict=True))


def _others(files: Sequence[str], row: int, rows: Sequence[int]) -> list[str]:
    """Up to `_SIBLINGS` other files of the same place; none where there are fewer than two."""
    near = [n for n in rows if n != row][: 8 * _SIBLINGS]
    found = list(dict.fromkeys(files[n] for n in near if files[n] != files[row]))[:_SIBLINGS]
    return found if len(found) >= _LEAST_SIBLINGS else []


def _golden_ratio(own: str, siblings: Sequence[str], store: Store) -> float:
    if len(siblings) < _LEAST_SIBLINGS:
        return math.nan
    mine = [_difference(own, other, store) for other in siblings]
    usual = [_difference(one, other, store) for one, other in itertools.pairwise(siblings)]
    return float(np.median(mine) / max(float(np.median(usual)), 1.0))


def _difference(first: str, second: str, store: Store) -> float:
    """Mean of the largest 2 % of the registered absolute difference of two goldens, in grey levels."""
    try:
        data = Path(first).read_bytes(), Path(second).read_bytes()
    except OSError:
        return math.nan
    key = content_key(*data)
    known = store.get(key)
    if known is None:
        images = decode(data[0]), decode(data[1])
        if images[0] is None or images[1] is None:
            return math.nan
        pair = make_pair(images[0], images[1], _GOLDEN_SIDE, _GOLDEN_SIDE)
        one, other = luminance(pair.test)[pair.rows, pair.columns], luminance(pair.golden)[pair.rows, pair.columns]
        plane = np.abs((one - one.mean()) - (other - other.mean())).ravel()
        known = np.array([np.sort(plane)[-max(1, plane.size // 50) :].mean()], np.float32)
        store.put(key, known)
    return float(known[0])


def _features(rows: pd.DataFrame, root: Path, optics: Optics) -> Table:
    return columns(feature_table(rows, root, optics, "evidence").values).astype(np.float32)


def _evenly(rows: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    if len(rows) <= most:
        return rows
    return rows[np.linspace(0, len(rows) - 1, most).astype(int)]


def _spread(values: NDArray[Any]) -> tuple[float, float]:
    """Median and robust standard deviation."""
    middle = float(np.median(values))
    return middle, 1.4826 * float(np.median(np.abs(values - middle)))
