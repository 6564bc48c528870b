"""The reference generator behind AnomalyGen's two scripts: what it writes, what it refuses, that a seed decides all."""

from __future__ import annotations

import csv
import hashlib
import json
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

import inside
from anomaly_world import GROUND, board, make_set, write
from deft_aoi.base.errors import InputError
from deft_aoi.engine.images import decode, make_pair
from deft_aoi.synthetic import anomalygen_prep, anomalygen_sdg, blend
from deft_aoi.synthetic.dataset import AnomalySet, problems, read_entries
from deft_aoi.synthetic.mask_places import diagnosis, too_large
from deft_aoi.synthetic.realism import read_parts
from deft_aoi.synthetic.realism_looks import edge


def prep(root: Path, out: Path, *more: str, total: int = 8) -> inside.Done:
    flags = ["--name", "x", "--num-sdg", str(total), "--dataset-dir", str(root), "--amp-output-dir", str(out / "amp")]
    flags += ["--output-jsonl", str(out / "testcase.jsonl"), "--defect-spec", str(root / "defect_spec.jsonl"), *more]
    return run("anomalygen_prep", flags)


def sdg(out: Path) -> inside.Done:
    flags = ["--checkpoint_dir", "none", "--step", "0", "--input_jsonl", str(out / "testcase.jsonl")]
    return run("anomalygen_sdg", [*flags, "--output_dir", str(out / "sdg")])


def run(module: str, flags: list[str]) -> inside.Done:
    return inside.engine(module, *flags)


def hashes(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*.png"))
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_both_scripts_write_the_originals_layout_and_a_seed_decides_all(tmp_path: Path) -> None:
    root = make_set(tmp_path / "set")
    for name in ("one", "two"):
        done = prep(root, tmp_path / name, "--seed", "5")
        assert done.returncode == 0, done.stderr
        done = sdg(tmp_path / name)
        assert done.returncode == 0, done.stderr
    home = tmp_path / "one"
    assert json.loads((home / "allocation.json").read_text()) == {"IC+bridge": 4, "IC+missing": 4}
    with open(home / "sdg/SDG_result.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert Counter(row["anomaly_type"] for row in rows) == {"IC+bridge": 4, "IC+missing": 4}
    assert {row["guardrail_pass"] for row in rows} == {""}, "no guardrail ran, so none has passed"
    names = {f"IC+{kind}_{n:05d}.png" for kind in ("bridge", "missing") for n in range(4)}
    for folder in ("reconstructed_image", "original_image", "original_mask"):
        assert {path.name for path in (home / "sdg" / folder).iterdir()} == names
    for name in names:
        bad, good = (cv2.imread(str(home / "sdg" / part / name)) for part in ("reconstructed_image", "original_image"))
        mask = cv2.imread(str(home / "sdg/original_mask" / name), cv2.IMREAD_GRAYSCALE)
        assert (bad[mask > 0] != good[mask > 0]).any(), name
        far = cv2.dilate(mask, np.ones((21, 21), np.uint8)) == 0
        assert (bad[far] == good[far]).all(), "nothing changes outside the defect"
    assert hashes(home / "sdg") == hashes(tmp_path / "two/sdg")
    assert prep(root, tmp_path / "three", "--seed", "6").returncode == 0
    assert sdg(tmp_path / "three").returncode == 0
    assert hashes(home / "sdg") != hashes(tmp_path / "three/sdg")


def test_counts_by_defect_are_as_asked(tmp_path: Path) -> None:
    root = make_set(tmp_path / "set")
    assert prep(root, tmp_path / "o", "--per-defect-counts", '{"IC+bridge": 5}').returncode == 0
    rows = [json.loads(line) for line in (tmp_path / "o/testcase.jsonl").read_text().splitlines()]
    assert Counter(row["anomaly_type"] for row in rows) == {"IC+bridge": 5}
    pairs = [(row["image_filename"], row["reference_image"]) for row in rows]
    assert len(set(pairs)) == 5, "a mask meets another good part before any pair repeats"


def test_masks_are_placed_on_labelled_ground_only(tmp_path: Path) -> None:
    root = make_set(tmp_path / "set", dependency="cad")
    assert prep(root, tmp_path / "o").returncode == 0
    for row in map(json.loads, (tmp_path / "o/testcase.jsonl").read_text().splitlines()):
        mask = cv2.imread(row["mask_filename"], cv2.IMREAD_GRAYSCALE)
        cad = cv2.imread(str(root / "IC/cad_mask" / Path(row["image_filename"]).name))[:, :, ::-1]
        assert (cad[mask > 0] == GROUND).all()


def test_a_mask_without_a_place_is_left_out_and_named(tmp_path: Path) -> None:
    root = make_set(tmp_path / "set", dependency="cad")
    wide = np.zeros((64, 64), np.uint8)
    wide[30:34, 2:62] = 255
    for path in (root / "IC/mask/bridge").iterdir():
        write(path, wide)
    done = prep(root, tmp_path / "o")
    assert done.returncode == 0
    assert "no place for n0 of IC+bridge" in done.stdout
    rows = (tmp_path / "o/testcase.jsonl").read_text().splitlines()
    assert Counter(json.loads(row)["anomaly_type"] for row in rows) == {"IC+missing": 4}
    entries = read_entries(root / "defect_spec.jsonl")
    assert "3 of 3 masks fit nowhere (the smallest of them is 60 x 4 pixels, the largest free area 32 x 32)" in (
        " ".join(too_large(AnomalySet.at(root), entries))
    )


def test_a_picture_that_cannot_be_read_is_left_out_without_an_error_as_in_the_original(tmp_path: Path) -> None:
    root = make_set(tmp_path / "set", masks=2)
    assert prep(root, tmp_path / "o").returncode == 0
    (root / "IC/anomaly_image/bridge/n1.png").write_bytes(b"torn")
    done = sdg(tmp_path / "o")
    assert (done.returncode, done.stdout.count("left out")) == (0, 2)
    assert "generated 6 of 8" in done.stdout


@pytest.mark.parametrize(
    ("breaks", "says"),
    [
        (lambda root: (root / "semantic_segmentation_labels.json").unlink(), "labels file"),
        (lambda root: (root / "IC/cad_mask/c1.png").unlink(), "pairs: 1 clean images of IC have no cad_mask"),
        (lambda root: [write(p, np.full((64, 64, 3), 255, np.uint8)) for p in (root / "IC/cad_mask").iterdir()],
         "shows (255, 255, 255), no colour that"),
        (lambda root: spec_line(root, {"defect_type": "IC+bridge", "spatial_dependency": "text"}), "prompt: IC+bridge"),
        (lambda root: spec_line(root, {"defect_type": "IC+scratch", "spatial_dependency": "free"}), "no masks in"),
    ],
)  # fmt: skip
def test_each_invariant_has_its_own_sentence(tmp_path: Path, breaks, says: str) -> None:
    root = make_set(tmp_path / "set", dependency="cad")
    assert problems(AnomalySet.at(root), read_entries(root / "defect_spec.jsonl")) == []
    breaks(root)
    lines = problems(AnomalySet.at(root), read_entries(root / "defect_spec.jsonl"))
    assert any(says in line for line in lines), lines


def spec_line(root: Path, record: dict[str, str]) -> None:
    with open(root / "defect_spec.jsonl", "a") as stream:
        stream.write(json.dumps(record) + "\n")


@pytest.mark.parametrize(
    "line", ["{", "{}", '{"defect_type": "bridge"}', '{"defect_type": "A+b", "spatial_dependency": "x"}']
)
def test_a_bad_line_of_the_spec_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "defect_spec.jsonl"
    path.write_text(f'{{"defect_type": "A+b", "spatial_dependency": "free"}}\n{line}\n')
    with pytest.raises(InputError, match="line 2"):
        read_entries(path)


def test_the_diagnosis_asks_its_three_questions_in_order(tmp_path: Path) -> None:
    root = make_set(tmp_path / "set", dependency="cad", box=(40, 6))
    flat = np.zeros((64, 64, 3), np.uint8)
    write(root / "IC/cad_mask/c2.png", flat + 255)
    entries = read_entries(root / "defect_spec.jsonl")[:1]
    first, second, third = diagnosis(AnomalySet.at(root), entries)
    assert first.startswith("(1) 1 of 4 cad_masks of IC show no colour")
    assert second.startswith("(2) IC+bridge: 3 of 3 masks fit nowhere")
    assert third.startswith("(3) Then try one defect alone")


def test_a_transplant_lands_where_its_mask_is() -> None:
    rng = np.random.default_rng(3)
    picture = np.full((60, 70, 3), (60, 110, 50), np.uint8)
    picture[12:48, 22:54] = cv2.GaussianBlur(rng.integers(0, 255, (36, 32, 3), dtype=np.uint8), (0, 0), 2) // 4 + 190
    for width, height in ((10, 10), (11, 14), (15, 9)):
        mask = np.zeros((60, 70), np.uint8)
        mask[20 : 20 + height, 31 : 31 + width] = 255
        same = blend.transplant([picture], [picture], mask, rng)[0].astype(int)
        assert np.abs(same - picture).max() <= 4, "a picture blended into itself stays itself, so nothing has moved"


def test_pictures_of_two_levels_are_cut_and_feathered() -> None:
    copper = np.zeros((50, 50, 3), np.uint8)
    copper[:, 20:30] = 255
    cut = np.zeros_like(copper)
    mask = np.zeros((50, 50), np.uint8)
    mask[20:30, 15:35] = 255
    opened = blend.transplant([copper], [cut], mask, np.random.default_rng(0))[0]
    assert opened[25, 25].max() < 10
    assert (opened[40] == copper[40]).all()


def leaded(rng: np.random.Generator) -> list[np.ndarray]:
    """A dark part with two leads on each side, print on it and a line next to it, under two lights."""
    white, low = (rng.normal(level, 3, (96, 96, 3)) for level in ((60, 110, 50), (30, 40, 30)))
    white[30:66, 28:68], low[30:66, 28:68] = (60, 62, 64), (18, 16, 20)
    for top in (36, 54):
        for left in (16, 68):
            white[top : top + 8, left : left + 12] = (200, 205, 210)
            low[top : top + 8, left : left + 12] = (70, 90, 230)
    white[44:52, 40:42] = 210
    white[24:26, 30:66] = 220
    return [np.clip(cv2.GaussianBlur(p, (0, 0), 0.7), 0, 255).astype(np.uint8) for p in (white, low)]


def test_a_transplant_takes_the_new_board_and_leaves_the_neighbours() -> None:
    good, donor = leaded(np.random.default_rng(0)), leaded(np.random.default_rng(1))
    for picture in donor:  # another board colour, the part gone
        away = np.abs(picture.astype(int) - picture[2, 2]).max(axis=2) < 25
        picture[away] = np.clip(picture[away].astype(int) + np.array([50, -30, 0]), 0, 255)
        picture[30:66, 28:68] = picture[2, 2]
    good[0][80:94, 40:56] = (60, 62, 200)
    mask = np.zeros((96, 96), np.uint8)
    mask[26:88, 24:72] = 255
    made = blend.transplant(good, donor, mask, np.random.default_rng(0))
    assert np.abs(made[0][44:52, 46:56].reshape(-1, 3).mean(axis=0) - (60, 110, 50)).max() < 6, "its own board"
    assert np.abs(made[0][83:91, 44:52].astype(int) - good[0][83:91, 44:52]).max() <= 1, "the neighbour as it was"


def test_a_cut_has_a_harder_seam_than_a_lens_draws(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    golden = board(rng)
    patch = np.zeros((64, 64, 1), np.float32)
    patch[20:34, 20:44] = 90
    soft = np.clip(golden + cv2.GaussianBlur(patch, (0, 0), 2.5)[:, :, None], 0, 255).astype(np.uint8)
    hard = np.clip(golden + patch, 0, 255).astype(np.uint8)
    paths = {name: str(write(tmp_path / f"{name}.png", image)) for name, image in
             (("golden", golden), ("soft", soft), ("hard", hard))}  # fmt: skip
    rows = [{"name": name, "test": path, "golden": paths["golden"]} for name, path in paths.items()]
    parts = {part.name: part for part in read_parts(pd.DataFrame(rows))}
    assert parts["golden"].mask is None, "nothing visible changed"
    seams = {name: edge(parts[name].pairs, parts[name].mask).seam for name in ("soft", "hard")}
    assert seams["hard"] > 1.5 * seams["soft"]


def test_the_pair_of_a_defect_marks_the_defect() -> None:
    from deft_aoi.synthetic.dataset_source import defect_mask

    rng = np.random.default_rng(2)
    golden = board(rng)
    test = golden.copy()
    test[40:50, 10:22] = (230, 235, 240)
    encoded = [decode(cv2.imencode(".png", image)[1].tobytes()) for image in (test, golden)]
    mask = defect_mask([make_pair(encoded[0], encoded[1], 64, 64)])
    assert mask is not None
    assert (mask[42:48, 12:20] == 255).all()
    assert (mask > 0).sum() < 2 * 10 * 12


def test_placement_by_text_needs_the_container(tmp_path: Path) -> None:
    root = make_set(tmp_path / "set")
    (root / "defect_spec.jsonl").write_text(
        '{"defect_type": "IC+bridge", "spatial_dependency": "text", "roi_prompt_defect_location": "the pads"}\n'
    )
    done = prep(root, tmp_path / "o")
    assert done.returncode == 1
    assert "placement by text needs AnomalyGen's container" in done.stderr
    assert not (tmp_path / "o/testcase.jsonl").exists()


def test_equal_parts_first_ones_one_more() -> None:
    entries = [read_entry(kind) for kind in ("A+b", "A+c", "A+d")]
    assert anomalygen_prep.allocate(entries, 8, None) == {"A+b": 3, "A+c": 3, "A+d": 2}
    assert anomalygen_prep.allocate(entries, 8, '{"A+c": 7}') == {"A+b": 0, "A+c": 7, "A+d": 0}


def read_entry(kind: str):
    return anomalygen_prep.Entry(kind, "free")


def test_an_unreadable_list_of_cases_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "testcase.jsonl").write_text("{torn")
    done = sdg(tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "not readable as JSON lines" in done.stderr
    assert anomalygen_sdg.COLUMNS[0] == "output_filename"
