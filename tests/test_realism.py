"""The realism screen: it finds crude pastes, leaves real defects alone, is silent where it has seen too little."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from anomaly_world import write
from deft_aoi.base.rows import PASS
from deft_aoi.synthetic.realism import NOTHING, SEAM, pastes, read_parts, screen
from deft_aoi.synthetic.realism_crude import HARD, KINDS, paste

SIDE = 64


def scene(rng: np.random.Generator, defect: bool) -> np.ndarray:
    """A board with a chip, and where `defect` a web of solder next to it, all seen through one lens and one sensor."""
    image = np.full((SIDE, SIDE, 3), (60.0, 110.0, 50.0))
    x, y = 20 + rng.integers(-1, 2), 22 + rng.integers(-1, 2)
    image[y : y + 20, x : x + 26] = (60, 62, 64)
    image[y : y + 20, x : x + 6] = image[y : y + 20, x + 20 : x + 26] = (200, 205, 210)
    if defect:
        top, long = y + rng.integers(-6, 22), rng.integers(12, 24)
        image[top : top + 4, x + 2 : x + 2 + long] = (185, 190, 195)
    return np.clip(cv2.GaussianBlur(image, (0, 0), 0.9) + rng.normal(0, 2.5, image.shape), 0, 255).astype(np.uint8)


def rows(root: Path, rng: np.random.Generator, label: str, count: int, board: str) -> list[dict[str, str]]:
    found = []
    for number in range(count):
        files = {
            kind: str(write(root / f"{board}{number % 4}/{label}{number}_{kind}.png", scene(rng, bad)))
            for kind, bad in (("test", label != PASS), ("golden", False))
        }
        found.append({"name": f"{board}/{label}{number}", "label": label, "light": "White", **files})
    return found


def written(root: Path, good: pd.DataFrame) -> pd.DataFrame:
    """Crude pastes onto parts that the screen does not know."""
    lines, parts = [], read_parts(good)
    for kind in KINDS:
        for part in pastes(kind, parts, 15, np.random.default_rng(8)):
            files = {
                which: str(write(root / f"{part.name}_{which}.png", np.rint(picture[:, :, ::-1]).astype(np.uint8)))
                for which, picture in (("test", part.pairs[0].test), ("golden", part.pairs[0].golden))
            }
            lines.append({"name": part.name, "label": kind, "light": "White", **files})
    return pd.DataFrame(lines)


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> tuple[pd.DataFrame, dict[str, float]]:
    root, rng = tmp_path_factory.mktemp("realism"), np.random.default_rng(1)
    real = pd.DataFrame(rows(root, rng, "bridge", 60, "A") + rows(root, rng, PASS, 40, "A"))
    held = pd.DataFrame(rows(root, rng, "bridge", 40, "B"))
    crude = written(root / "crude", pd.DataFrame(rows(root, rng, PASS, 20, "C")))
    same = held.iloc[:1].assign(name="same", test=held["golden"].iloc[0])
    table, limits = screen(pd.concat([held, crude, same], ignore_index=True), real)
    return table, limits


def test_real_defects_pass_and_crude_pastes_are_found(judged: tuple[pd.DataFrame, dict[str, float]]) -> None:
    table, limits = judged
    assert (limits["real_parts"], limits["real_defects"]) == (100, 60)
    flagged = (table["flags"] != "").groupby(table["label"]).mean()
    named = table["name"] != "same"
    assert (table["flags"][named & (table["label"] == "bridge")] != "").mean() <= 0.1
    assert flagged["hard"] >= 0.8
    assert flagged[list(KINDS)].mean() >= 0.7
    hard = table[(table["label"] == HARD) & (table["flags"] != "")]
    assert hard["flags"].str.contains(SEAM).mean() > 0.5, "and for what it is"


def test_a_pair_without_a_visible_change_is_told(judged: tuple[pd.DataFrame, dict[str, float]]) -> None:
    table, _ = judged
    assert table.set_index("name").loc["same", "flags"] == NOTHING


def test_too_few_real_defects_judge_nobody(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    real = pd.DataFrame(rows(tmp_path, rng, "bridge", 5, "A") + rows(tmp_path, rng, PASS, 20, "A"))
    table, limits = screen(written(tmp_path / "crude", pd.DataFrame(rows(tmp_path, rng, PASS, 6, "C"))), real)
    assert limits["score"] is None
    assert set(table["flags"]) <= {"", NOTHING}


@pytest.mark.parametrize("kind", KINDS)
def test_a_crude_paste_changes_one_place_under_every_light(kind: str) -> None:
    rng = np.random.default_rng(3)
    parts = [[scene(rng, False).astype(np.float32) for _ in range(2)] for _ in range(2)]
    made = paste(kind, parts[0], parts[1], np.random.default_rng(4))
    again = paste(kind, parts[0], parts[1], np.random.default_rng(4))
    for before, after, repeated in zip(parts[0], made, again):
        assert (after == repeated).all()
        changed = np.abs(after - before).max(axis=2) > 0
        assert 20 < changed.sum() < 0.4 * changed.size
