"""A challenger against the champion on the same rows: losses by defect and by board, and how sure the change is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deft_aoi.base.errors import InputError
from deft_aoi.base.rows import IDENTITY
from deft_aoi.kpi.analyze import by_label
from deft_aoi.kpi.boards import BoardCounts, board_counts, halves, resample
from deft_aoi.kpi.scored import Groups, Scored, read_scored

MOST = 20  # losses listed by defect and by board
_SEED = 0
_MOST_GROUPS = 20_000


def compare(champion: Path, challenger: Path, thresholds: tuple[float, float], *, full_recall: bool) -> dict[str, Any]:
    """JSON-ready comparison of two scored CSVs of the same rows, each at its own threshold (champion, challenger).

    `labels` and `boards` list where the challenger is worse, `newly_escaping` and `newly_false` count rows that the
    champion decided rightly, and `difference` is the spread of the FAR difference (challenger - champion, percentage
    points) over random halves of the boards. With `full_recall` each half sets its own threshold, so that its luck
    counts too.
    Raises InputError where the rows differ.
    """
    old, new = read_scored(champion), _aligned(read_scored(challenger), read_scored(champion))
    wrong = [(one.score > limit) != one.defect for one, limit in zip((old, new), thresholds, strict=True)]
    newly = ~wrong[0] & wrong[1]
    return {
        "labels": _label_losses(old, new, thresholds),
        "boards": _board_losses(old.boards, old.defect, wrong),
        "newly_escaping": int((newly & old.defect).sum()),
        "newly_false": int((newly & ~old.defect).sum()),
        "no_longer_wrong": int((wrong[0] & ~wrong[1]).sum()),
        "difference": _difference(old, new, thresholds, wrong, full_recall=full_recall),
    }


def _aligned(new: Scored, old: Scored) -> Scored:
    """`new` with its rows in the order of `old`."""
    if set(IDENTITY) <= {*new.table.column_names} and set(IDENTITY) <= {*old.table.column_names}:
        names = [new.table.select(IDENTITY).to_pandas(), old.table.select(IDENTITY).to_pandas()]
        if not names[0].equals(names[1]):
            places = dict(zip(names[0].itertuples(index=False, name=None), range(len(names[0])), strict=True))
            order = np.array([places.get(row, -1) for row in names[1].itertuples(index=False, name=None)])
            if (order < 0).any() or len(order) != len(places):
                raise InputError(f"{new.csv} and {old.csv} score other rows; expected the same KPI set")
            return Scored(new.csv, new.label[order], new.defect[order], new.score[order], new.table.take(order))
    if new.score.size != old.score.size or not np.array_equal(new.defect, old.defect):
        raise InputError(f"{new.csv} and {old.csv} score other rows; expected the same KPI set")
    return new


def _label_losses(old: Scored, new: Scored, thresholds: tuple[float, float]) -> list[dict[str, Any]]:
    """Defects that escape more often, or that alone would cost a higher FAR at recall 100 %; the worst first."""
    before, now = (by_label(one, limit) for one, limit in zip((old, new), thresholds, strict=True))
    losses = []
    for name, row in now.items():
        was = before[name]
        if row["far"] is None:
            continue
        escapes = (was["rows"] - was["called_no_pass"], row["rows"] - row["called_no_pass"])
        if escapes[1] > escapes[0] or row["far"] > was["far"]:
            losses.append({
                "label": name, "rows": row["rows"], "escapes_before": escapes[0], "escapes": escapes[1],
                "far_alone_before_pct": 100 * was["far"], "far_alone_pct": 100 * row["far"],
            })  # fmt: skip
    losses.sort(
        key=lambda one: (one["escapes_before"] - one["escapes"], one["far_alone_before_pct"] - one["far_alone_pct"])
    )
    return losses[:MOST]


def _board_losses(
    boards: Groups | None, defect: NDArray[np.bool_], wrong: list[NDArray[np.bool_]]
) -> list[dict[str, Any]]:
    """Boards with more false calls or more escapes than before; the worst first."""
    if boards is None:
        return []
    size = len(boards.names)
    calls, escapes = (
        [np.bincount(boards.code[one & kind], minlength=size) for one in wrong] for kind in (~defect, defect)
    )
    worse = np.flatnonzero((calls[1] > calls[0]) | (escapes[1] > escapes[0]))
    order = sorted(worse, key=lambda i: (escapes[0][i] - escapes[1][i], calls[0][i] - calls[1][i], boards.names[i]))
    return [
        {
            "board": boards.names[i], "false_calls_before": int(calls[0][i]), "false_calls": int(calls[1][i]),
            "escapes_before": int(escapes[0][i]), "escapes": int(escapes[1][i]),
        }
        for i in order[:MOST]
    ]  # fmt: skip


def _difference(
    old: Scored, new: Scored, thresholds: tuple[float, float], wrong: list[NDArray[np.bool_]], *, full_recall: bool
) -> dict[str, Any]:
    """FAR difference in percentage points: its 95 % span and the share of draws that are better."""
    boards = old.boards or _row_groups(old.score.size)
    calls = [int((one & ~old.defect).sum()) for one in wrong]
    n_pass = int((~old.defect).sum())
    counts = [
        board_counts(boards, one.defect, one.score, limit) for one, limit in zip((old, new), thresholds, strict=True)
    ]
    drawn = _by_boards(counts, full_recall=full_recall)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return {
        "far_pp": 100 * (calls[1] - calls[0]) / n_pass,
        "low_pp": 100 * float(low),
        "high_pp": 100 * float(high),
        "share_better": float((drawn < 0).mean()),
        "drawn": "boards" if old.boards else "rows",
        "draws": int(drawn.size),
        "threshold_anew": full_recall,
    }


def _row_groups(rows: int) -> Groups:
    """Rows whose boards are unknown: each by itself, of a large set some by chance together."""
    size = min(rows, _MOST_GROUPS)
    return Groups("row", np.arange(rows) % size, tuple(map(str, range(size))))


def _by_boards(counts: list[BoardCounts], *, full_recall: bool) -> NDArray[np.float64]:
    """Difference of each draw; both models see the same boards."""
    drawn = halves(counts[0].n_pass.size, _SEED)
    before, now = (resample(one, drawn) for one in counts)
    apart = now.far_full - before.far_full if full_recall else now.far - before.far
    return apart[~np.isnan(apart)] if not np.isnan(apart).all() else np.zeros(1)
