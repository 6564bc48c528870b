"""kpi.compare: losses by defect and by board, and the paired bootstrap of the difference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from deft_aoi.base.errors import InputError
from deft_aoi.kpi.compare import compare

HEADER = "input_path,golden_path,label,object_name,boardname,siamese_score"


def written(path: Path, rows: list[tuple[str, str, float]], order: list[int] | None = None) -> Path:
    lines = [f"in,gold,{label},C{n},{board},{score!r}" for n, (label, board, score) in enumerate(rows)]
    path.write_text("\n".join([HEADER, *[lines[i] for i in order or range(len(lines))]]) + "\n")
    return path


def test_losses_name_what_got_worse_and_only_that(tmp_path: Path) -> None:
    old = [("PASS", "b1", 0.1), ("PASS", "b1", 0.6), ("PASS", "b2", 0.2), ("open", "b2", 0.5), ("short", "b1", 0.9)]
    new = [("PASS", "b1", 0.1), ("PASS", "b1", 0.2), ("PASS", "b2", 0.6), ("open", "b2", 0.9), ("short", "b1", 0.3)]
    found = compare(written(tmp_path / "a.csv", old), written(tmp_path / "b.csv", new), (0.4, 0.4), full_recall=False)
    assert [(one["label"], one["escapes_before"], one["escapes"]) for one in found["labels"]] == [("short", 0, 1)]
    assert found["labels"][0]["far_alone_pct"] == pytest.approx(100 / 3)
    assert [(one["board"], one["false_calls_before"], one["false_calls"]) for one in found["boards"]] == [
        ("b1", 1, 0), ("b2", 0, 1)
    ]  # fmt: skip
    assert (found["newly_escaping"], found["newly_false"], found["no_longer_wrong"]) == (1, 1, 1)
    assert found["difference"]["far_pp"] == 0.0


def test_the_same_rows_in_another_order_are_matched(tmp_path: Path) -> None:
    rows = [("PASS", f"b{n % 3}", n / 40) for n in range(30)] + [("short", f"b{n % 3}", 0.8) for n in range(6)]
    order = np.random.default_rng(0).permutation(36).tolist()
    a, b = written(tmp_path / "a.csv", rows), written(tmp_path / "b.csv", rows, order)
    found = compare(a, b, (0.5, 0.5), full_recall=True)
    assert (found["labels"], found["boards"], found["newly_false"], found["no_longer_wrong"]) == ([], [], 0, 0)
    assert (found["difference"]["low_pp"], found["difference"]["high_pp"]) == (0.0, 0.0)
    with pytest.raises(InputError, match="score other rows"):
        compare(a, written(tmp_path / "c.csv", rows[:-1]), (0.5, 0.5), full_recall=True)


def models(root: Path, gain: float, boards: bool, seed: int = 2) -> tuple[Path, Path]:
    generator = np.random.default_rng(seed)
    rows: list[list[tuple[str, str, float]]] = [[], []]
    for n in range(800):
        label = "short" if n % 8 == 0 else "PASS"
        noise = generator.normal()
        for which, shift in enumerate((2.0, 2.0 + gain)):
            score = noise + 0.3 * generator.normal() + shift * (label == "short")
            rows[which].append((label, f"b{n % 20}" if boards else "", float(score)))
    return written(root / "a.csv", rows[0]), written(root / "b.csv", rows[1])


@pytest.mark.parametrize("boards", [True, False])
def test_a_plain_gain_is_told_apart_and_none_is_not(tmp_path: Path, boards: bool) -> None:
    better = compare(*models(tmp_path, 1.0, boards), (0.5, 1.5), full_recall=False)["difference"]
    assert better["high_pp"] < 0
    assert better["share_better"] > 0.99
    assert better["drawn"] == ("boards" if boards else "rows")
    same = compare(*models(tmp_path, 0.0, boards), (0.5, 0.5), full_recall=False)["difference"]
    assert same["low_pp"] <= 0 <= same["high_pp"]
    assert same["low_pp"] < same["far_pp"] < same["high_pp"]


def test_equal_models_are_seldom_told_apart(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    code = np.repeat(np.arange(60), 53)
    labels = np.tile(np.where(np.arange(53) < 50, "PASS", "short"), 60)
    apart = 0
    for _ in range(40):
        common = generator.normal(0, 0.9, code.size) + 4.5 * (labels == "short") + generator.normal(0, 0.3, 60)[code]
        files = []
        for name in ("a.csv", "b.csv"):
            score = common + generator.normal(0, 0.45, code.size)
            rows = [(str(label), f"b{board}", float(s)) for label, board, s in zip(labels, code, score, strict=True)]
            files.append(written(tmp_path / name, rows))
        span = compare(files[0], files[1], (2.0, 2.0), full_recall=True)["difference"]
        apart += span["low_pp"] > 0 or span["high_pp"] < 0
    assert apart <= 5  # two are due; draws of boards with replacement give 13 % in the long run


def test_the_luck_of_the_threshold_widens_the_span(tmp_path: Path) -> None:
    a, b = models(tmp_path, 0.0, boards=True)
    fixed = compare(a, b, (0.5, 0.5), full_recall=False)["difference"]
    anew = compare(a, b, (0.5, 0.5), full_recall=True)["difference"]
    assert anew["threshold_anew"]
    assert anew["high_pp"] - anew["low_pp"] > 2 * (fixed["high_pp"] - fixed["low_pp"])
