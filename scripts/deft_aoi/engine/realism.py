"""`realism_screen`: which synthetic pairs look pasted rather than seen by the camera.

A forest learns, from real parts and from deliberately crude pastes onto them, how a change that a camera saw differs
from a patch with a hard edge, a foreign grain or a foreign colour. A pair is flagged where it looks less real than 95
of 100 real defects do (each judged by trees that never saw it), where nothing visible changed, or where it is half as
far again from every real part, in the trunk's space, as any real part is from the others. A flag is a question to a
person.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from deft_aoi.cli import guarded
from deft_aoi.contracts import PASS, read_rows, write_rows
from deft_aoi.engine.embedding import embed
from deft_aoi.engine.features import in_parallel
from deft_aoi.engine.images import Pair, decode, make_pair
from deft_aoi.engine.realism_crude import COLOUR, HARD, KINDS, NOISE, paste
from deft_aoi.engine.realism_looks import Edge, Mask, Memory, changed, edge, looks
from deft_aoi.errors import InputError
from deft_aoi.fsio import atomic_write_json

RESULT, LIMITS = "realism.csv", "limits.json"
FAR, SEAM, GRAIN, NOTHING = "far from every real part", "hard seam", "grain differs", "no visible change"
TINT = "colour differs"
REASONS = {HARD: SEAM, NOISE: GRAIN, COLOUR: TINT}
FEWEST = 12  # real defects, below which nothing can be said of how they look
FALSE_FLAGS = 0.05  # of real defects that may be flagged
_UNSEEN = 6.0  # raises the limit as if so many defects had been as strange as can be
_FARTHER = 1.5  # times as far as any real part is from the others: another picture, no defect
_PASTES = 120  # of each kind that the forest learns from
_TREES, _LEAF = 400, 3
_SEED = 7
_LARGEST = 160  # pixels of a picture's longer side as it is looked at

Files = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Part:
    """One part: its pictures and their goldens, and the patch that differs; `number` where real parts hold it."""

    name: str
    pairs: Sequence[Pair]
    mask: Mask | None
    number: int | None = None


@dataclass(frozen=True)
class Judge:
    """What was learned: the forest, the squares of real parts, and the score above which a pair is flagged."""

    forest: object
    memory: Memory
    limit: float

    def scores(self, parts: Sequence[Part]) -> list[tuple[float, str] | None]:
        """(how little it looks real, the kind of paste that it looks most like) of each part; None without a change."""
        told = [part for part in parts if part.mask is not None]
        if not told:
            return [None for _ in parts]
        table = np.array([_looks(part, self.memory) for part in told])
        shares = self.forest.predict_proba(table)  # type: ignore[attr-defined]
        found = iter(_judged(shares, list(self.forest.classes_)))  # type: ignore[attr-defined]
        return [None if part.mask is None else next(found) for part in parts]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="realism_screen", description=__doc__)
    columns = "CSV with name, label, light, test, golden: one row a picture"
    parser.add_argument("--pairs", type=Path, required=True, help=f"synthetic pairs: {columns}")
    parser.add_argument("--real", type=Path, required=True, help="the same of real parts, good and defective")
    parser.add_argument("--output", type=Path, required=True, help="folder for realism.csv and limits.json")
    args = parser.parse_args(argv)
    table, limits = screen(_read(args.pairs), _read(args.real))
    write_rows(args.output / RESULT, table)
    atomic_write_json(args.output / LIMITS, limits)
    print(f"{int((table['flags'] != '').sum())} of {len(table)} pairs flagged")
    return 0


def _read(csv: Path) -> pd.DataFrame:
    return read_rows(csv, required=("name", "label", "light", "test", "golden"))


def screen(pairs: pd.DataFrame, real: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, float | int | None]]:
    """One row for each pair (name, label, score, distance, seam, grain, flags) and the limits that real parts gave."""
    near, own = _distances(pairs, real)
    known = read_parts(real)
    defects = set(real.loc[real["label"] != PASS, "name"].astype(str))
    judge = learn(known, defects)
    limits: dict[str, float | int | None] = {
        "real_parts": len(known),
        "real_defects": len(defects),
        "distance": _FARTHER * max(own.values()) if len(own) >= FEWEST else None,
        "score": judge.limit if judge else None,
    }
    labels = pairs.drop_duplicates("name").set_index("name")["label"]

    def work(chunk: Sequence[tuple[str, Files]]) -> list[dict[str, str]]:
        parts = [_part(name, files) for name, files in chunk]
        scores = judge.scores(parts) if judge else [None for _ in parts]
        return [_row(part, score, near.get(part.name), limits) for part, score in zip(parts, scores)]

    rows = [row for part in in_parallel(work, _groups(pairs), "pairs") for row in part]
    table = pd.DataFrame(rows, dtype=str)
    table.insert(1, "label", [str(labels[name]) for name in table["name"]])
    return table, limits


def _row(
    part: Part, score: tuple[float, str] | None, distance: float | None, limits: Mapping[str, float | int | None]
) -> dict[str, str]:
    found = edge(part.pairs, part.mask) if part.mask is not None else None
    return {
        "name": part.name, "score": _text(score[0] if score else None), "distance": _text(distance),
        "seam": _text(found.seam if found else None), "grain": _text(found.grain if found else None),
        "flags": "; ".join(_flags(found, score, distance, limits)),
    }  # fmt: skip


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:.5g}"


def _flags(
    found: Edge | None, score: tuple[float, str] | None, distance: float | None, limits: Mapping[str, float | None]
) -> list[str]:
    if found is None:
        return [NOTHING]
    far, limit = limits["distance"], limits["score"]
    flags = [FAR] if distance is not None and far is not None and distance > far else []
    return flags + ([REASONS[score[1]]] if score is not None and limit is not None and score[0] > limit else [])


def learn(known: Sequence[Part], defects: set[str]) -> Judge | None:
    """The judge of these real parts, of which `defects` are the names of the defective ones; None for too few.

    Its limit is the score that at most `FALSE_FLAGS` of real defects exceed, and higher the fewer they are: the kinds
    and lots that they do not show look stranger than they do.
    """
    from sklearn.ensemble import RandomForestClassifier

    real = [part for part in known if part.name in defects and part.mask is not None]
    good = [part for part in known if part.name not in defects]
    if len(real) < FEWEST or len(good) < 2:
        return None
    rng = np.random.default_rng(_SEED)
    memory = Memory([(p.number or 0, p.pairs, p.mask if p.name in defects else None) for p in known], rng)
    changed_good = [part for part in good if part.mask is not None]
    seen = [*real, *changed_good]
    table, kinds = [_looks(part, memory) for part in seen], ["real"] * len(seen)
    for kind in KINDS:
        for part in pastes(kind, good, _PASTES, rng):
            if part.mask is not None:
                table.append(_looks(part, memory))
                kinds.append(kind)
    forest = RandomForestClassifier(
        _TREES, min_samples_leaf=_LEAF, class_weight="balanced", oob_score=True, random_state=_SEED, n_jobs=1
    )
    forest.fit(np.array(table), np.array(kinds))
    unseen = forest.oob_decision_function_[: len(real)]
    scores = np.sort([score for score, _ in _judged(unseen, list(forest.classes_))])
    place = min(math.ceil((len(scores) + 1) * (1 - FALSE_FLAGS)), len(scores))
    limit = float(scores[place - 1])
    return Judge(forest, memory, limit + (1 - limit) * min(1.0, _UNSEEN / len(scores)))


def pastes(kind: str, good: Sequence[Part], count: int, rng: np.random.Generator) -> list[Part]:
    """Crude pastes onto good parts, each of another part."""
    made: list[Part] = []
    for _ in range(count):
        base, other = (good[int(rng.integers(len(good)))] for _ in range(2))
        tests = paste(kind, [pair.test for pair in base.pairs], [pair.test for pair in other.pairs], rng)
        pairs = [Pair(t, p.golden, p.rows, p.columns, p.shift) for t, p in zip(tests, base.pairs)]
        made.append(Part(f"{kind}_{len(made):05d}", pairs, changed(pairs)))
    return made


def _looks(part: Part, memory: Memory) -> list[float]:
    assert part.mask is not None
    return looks(part.pairs, part.mask, memory, part.number, np.random.default_rng(_SEED))


def _judged(shares: npt.NDArray[np.float64], classes: Sequence[str]) -> list[tuple[float, str]]:
    found = []
    for row in shares:
        by_kind = dict(zip(classes, np.nan_to_num(row)))
        found.append((1.0 - by_kind["real"], max(KINDS, key=lambda kind: by_kind.get(kind, 0.0))))
    return found


def _distances(pairs: pd.DataFrame, real: pd.DataFrame) -> tuple[dict[str, float], dict[str, float]]:
    """Cosine distance to the nearest other real part under the light where it is largest: of pairs, of real parts."""
    near: dict[str, float] = {}
    own: dict[str, float] = {}
    for light, group in pairs.groupby("light", sort=True):
        beside = real[real["light"] == light]
        vectors, known = _vectors(group), _vectors(beside)
        if not len(known) or not len(vectors):
            continue
        for names, table, skip, into in ((group["name"], vectors, False, near), (beside["name"], known, True, own)):
            similarity = table @ known.T
            if skip:
                np.fill_diagonal(similarity, -1.0)
            for name, value in zip(names, 1.0 - similarity.max(axis=1)):
                into[str(name)] = max(into.get(str(name), 0.0), float(value))
    return near, own


def _vectors(rows: pd.DataFrame) -> npt.NDArray[np.float32]:
    vectors = embed([str(path) for path in rows["test"]])
    lost = [path for path, vector in zip(rows["test"], vectors) if vector is None]
    if lost:
        raise InputError(f"{lost[0]}: no readable picture ({len(lost)} such)")
    table = np.stack([vector for vector in vectors if vector is not None]) if vectors else np.zeros((0, 1), np.float32)
    return np.asarray(table / np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-9), np.float32)


def read_parts(rows: pd.DataFrame) -> list[Part]:
    """One part for each name, in order and numbered. Raises InputError where a picture cannot be read."""
    numbered = [(name, files, place) for place, (name, files) in enumerate(_groups(rows))]
    work = lambda chunk: [_part(*one) for one in chunk]  # noqa: E731
    return [part for found in in_parallel(work, numbered, "real parts") for part in found]


def _groups(rows: pd.DataFrame) -> list[tuple[str, Files]]:
    """(name, (test, golden) of each light) of every part."""
    grouped = rows.groupby("name", sort=False)
    return [(str(name), list(zip(part["test"], part["golden"]))) for name, part in grouped]


def _part(name: str, files: Files, number: int | None = None) -> Part:
    pairs = [_pair(test, golden) for test, golden in files]
    return Part(name, pairs, changed(pairs), number)


def _pair(test: str, golden: str) -> Pair:
    """In colour, and not larger than `_LARGEST`: hundreds of them are in memory at a time."""
    pictures = []
    for name in (test, golden):
        picture = decode(Path(name).read_bytes())
        if picture is None:
            raise InputError(f"{name}: no readable picture")
        pictures.append(picture if picture.ndim == 3 else np.repeat(picture[:, :, None], 3, axis=2))
    height, width = pictures[0].shape[:2]
    share = min(1.0, _LARGEST / max(height, width))
    return make_pair(pictures[0], pictures[1], max(1, round(share * width)), max(1, round(share * height)))


if __name__ == "__main__":
    sys.exit(guarded("realism_screen", main))
