"""data.pairs and changenet_data_pair_prepare.py: names, matching, conversion."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from deft_aoi.base.errors import InputError
from deft_aoi.base.rows import COLUMNS, check_images, read_rows
from deft_aoi.data.pairs import convert_image, label_from_name, list_images, match_pairs
from deft_aoi.importers.pair_table import prepare_pairs
from pair_images import image

SCRIPT = Path(__file__).resolve().parents[1] / "scripts/changenet_data_pair_prepare.py"


def folders(root: Path, *names: str, suffix: str = ".png") -> tuple[Path, Path]:
    for number, name in enumerate(names):
        image(root / "ng" / f"{name}{suffix}", number)
        image(root / "ok" / f"{name}{suffix}", number + 50)
    return root / "ng", root / "ok"


@pytest.mark.parametrize(
    ("stem", "label"),
    [
        ("PCB+bridge_00000", "bridge"), ("PCB+excess_solder_00012", "excess_solder"), ("a b+Missing_1", "missing"),
        ("PCB+PASS_1", "PASS"), ("PCB+good_1", "PASS"), ("bridge_00000", None), ("PCB+bridge", None), ("PCB+_1", None),
    ],
)  # fmt: skip
def test_label_from_name(stem: str, label: str | None) -> None:
    assert label_from_name(stem) == label


def test_same_stem_with_two_extensions_is_refused(tmp_path: Path) -> None:
    ng, _ = folders(tmp_path, "PCB+a_1")
    image(ng / "PCB+a_1.bmp", 1)
    with pytest.raises(InputError, match=r"PCB\+a_1.bmp and PCB\+a_1.png share"):
        list_images(ng, "ng")


def test_same_object_with_and_without_its_light_is_refused(tmp_path: Path) -> None:
    ng, ok = folders(tmp_path, "PCB+a_1", "PCB+a_1_SolderLight")
    with pytest.raises(InputError, match="same object"):
        match_pairs(list_images(ng, "ng"), list_images(ok, "ok"), ["SolderLight"], label_from_name)


def test_same_format_is_copied_and_another_is_converted(tmp_path: Path) -> None:
    source = image(tmp_path / "a.jpeg", 1)
    assert convert_image(source, tmp_path / "copy.jpg")
    assert (tmp_path / "copy.jpg").read_bytes() == source.read_bytes()
    assert convert_image(source, tmp_path / "b.png")
    assert (cv2.imread(str(tmp_path / "b.png")) == cv2.imread(str(source))).all()
    (tmp_path / "no.png").write_bytes(b"x")
    assert not convert_image(tmp_path / "no.png", tmp_path / "c.png")
    assert not (tmp_path / "c.png").exists()


def test_table_points_at_its_images(tmp_path: Path) -> None:
    ng, ok = folders(tmp_path, "PCB+bridge_00000", "PCB+missing_00001", "unnamed")
    summary = prepare_pairs(ng, ok, tmp_path / "out/dataset.csv")
    rows = read_rows(tmp_path / "out/dataset.csv")
    assert tuple(rows.columns) == COLUMNS
    assert list(rows["label"]) == ["bridge", "missing", "ng"]
    assert set(rows["input_path"]) == {"sdg_ng"}
    assert set(rows["golden_path"]) == {"sdg_ok"}
    check_images(rows, tmp_path, tmp_path / "out/images", ["SolderLight"], ".jpg")
    assert json.loads((tmp_path / "out/ingest_summary.json").read_text()) == summary
    assert summary["skipped"] == []


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    ng, ok = folders(tmp_path, "PCB+bridge_00000")
    prepare_pairs(ng, ok, tmp_path / "one.csv")
    for output in ("one.csv", "two.csv"):
        with pytest.raises(InputError, match="would be overwritten"):
            prepare_pairs(ng, ok, tmp_path / output)
    prepare_pairs(ng, ok, tmp_path / "two.csv", subdir="second")


def test_script_with_a_fixed_label_and_two_lights(tmp_path: Path) -> None:
    folders(tmp_path, "R1_White", "R1_Red", "R2_White")
    flags = ["--input-dir", "ng", "--golden-dir", "ok", "-l", "Shift", "-o", "dataset.csv",
             "--light", "White", "--light", "Red",
             "--image-ext", ".png", "--images-dir", "pics", "--subdir", "s"]  # fmt: skip
    done = subprocess.run([sys.executable, SCRIPT, *flags], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "wrote dataset.csv: 1 rows (shift 1)\n"
    assert "R2_White.png (no image for light Red)" in done.stderr
    assert (tmp_path / "pics/s_ok/R1_Red.png").is_file()


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--input-dir", "none"], "no such folder"),
        (["--label", "null"], "expected PASS or the name of a defect"),
        (["--image-ext", "jpg"], "image extension 'jpg'"),
        (["--golden-dir", "empty"], "no images in it"),
        (["--light", "White", "--light", "Red"], "no usable pair"),
    ],
)
def test_refusals_are_one_line_and_write_nothing(tmp_path: Path, flags: list[str], says: str) -> None:
    folders(tmp_path, "PCB+bridge_00000")
    (tmp_path / "empty").mkdir()
    before = sorted(tmp_path.rglob("*"))
    command = [sys.executable, SCRIPT, "--input-dir", "ng", "--golden-dir", "ok", *flags]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert says in done.stderr
    assert sorted(tmp_path.rglob("*")) == before
