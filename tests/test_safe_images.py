"""base.safe_images: one decoder, which sees every file as TAO's reader (Pillow, RGB) does; deep pictures keep range."""

from __future__ import annotations

import ast
import io
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from deft_aoi.base import safe_images
from deft_aoi.base.errors import Refusals
from deft_aoi.base.paths import Workspace
from deft_aoi.base.rows import read_rows
from deft_aoi.data.depth import depth_words, full_scale
from deft_aoi.importers.pair_folders import import_pairs
from deft_aoi.preflight.preflight import preflight
from small_workspace import make_workspace

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
FORMATS = {"JPEG": {"quality": 95}, "PNG": {}, "WEBP": {"lossless": True}, "TIFF": {}}


def tagged(kind: str, orientation: int) -> bytes:
    coarse = np.random.default_rng(orientation).integers(0, 255, (3, 5, 3), dtype=np.uint8)
    exif, stream = Image.Exif(), io.BytesIO()
    exif[0x112] = orientation
    Image.fromarray(np.kron(coarse, np.ones((8, 8, 1), np.uint8))).save(stream, kind, exif=exif, **FORMATS[kind])
    return stream.getvalue()


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pixels_are_those_that_tao_sees_whatever_the_orientation_tag(kind: str, orientation: int) -> None:
    data = tagged(kind, orientation)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))[..., ::-1]
    for flags in (cv2.IMREAD_ANYCOLOR, cv2.IMREAD_COLOR):
        assert np.array_equal(safe_images.decode(data, flags), expected)
    grey = safe_images.decode(data, cv2.IMREAD_GRAYSCALE)
    assert grey is not None
    assert grey.shape == expected.shape[:2]
    assert safe_images.orientation(data) == (1 if kind == "TIFF" else orientation)


def deep(path: Path, largest: int, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, largest + 1, (32, 32))
    noise[0, 0] = largest
    cv2.imwrite(str(path), noise.astype(np.uint16))


@pytest.mark.parametrize(("largest", "scale"), [(900, 1023), (3070, 4095), (16_000, 16_383), (60_000, 65_535)])
def test_an_import_brings_deep_pictures_to_eight_bits_by_the_range_of_all(
    tmp_path: Path, largest: int, scale: int
) -> None:
    assert full_scale(largest) == scale
    for number in range(8):
        for folder, name in (("ng", f"PCB+bridge_{number}.png"), ("good", f"R{number}.png")):
            deep(tmp_path / folder / name, largest if number == 5 else largest // 2, number)
            deep(tmp_path / "ok" / name, largest // 2, number + 50)
    summary = import_pairs(
        tmp_path / "ng", tmp_path / "ok", tmp_path / "w", passes=tmp_path / "good", ext=".png", size=32
    )
    assert summary.full_scale == scale
    for source, written in (("ng", "test"), ("ok", "golden")):
        before = cv2.imread(str(tmp_path / source / "PCB+bridge_5.png"), cv2.IMREAD_UNCHANGED)
        after = safe_images.read(next((tmp_path / "w").rglob(f"{written}/PCB+bridge_5_SolderLight.png")))
        assert after is not None
        assert np.abs(after - before.astype(float) * 255 / scale).max() <= 0.5


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_workspace(tmp_path_factory.mktemp("line") / "ws")


def with_depth(pristine: Path, root: Path, factor: int) -> Path:
    shutil.copytree(pristine, root)
    for path in root.rglob("*.png"):
        picture = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE).astype(np.uint16)
        cv2.imwrite(str(path), picture * factor)
    return root


def asked(root: Path, **more: object) -> dict[str, object]:
    return {"workspace": str(root), "max_iterations": 1, "kpi_target": "FAR < 5% at recall = 100%", **more}


def test_preflight_refuses_12_bit_values_in_16_bit_files_and_notes_whole_16_bits(
    pristine: Path, tmp_path: Path
) -> None:
    with pytest.raises(Refusals, match=r"images .*more than 8 bits.*12-bit data.*deft import-pairs"):
        preflight(asked(with_depth(pristine, tmp_path / "twelve", 16)))
    found = preflight(asked(with_depth(pristine, tmp_path / "sixteen", 257)))
    assert any("upper 8 are used" in f.text for f in found.findings if f.level == "note")


def test_preflight_notes_orientation_tags(pristine: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(pristine, tmp_path / "ws"))
    row = read_rows(Workspace(root).kpi_csv).iloc[0]
    path = root / "kpi/images" / row["input_path"] / f"{row['object_name']}_SolderLight.png"
    exif = Image.Exif()
    exif[0x112] = 6
    Image.open(path).save(path, exif=exif)
    found = preflight(asked(root))
    assert any("1 images (kpi 1" in f.text and "orientation tag" in f.text for f in found.findings)


def test_depth_levels() -> None:
    assert [depth_words(value, clips=False)[0] for value in (255, 4095, 16_383, 16_384, 65_535, 1e6)] == [
        "block", "block", "block", "note", "note", "block",
    ]  # fmt: skip
    assert depth_words(65_535, clips=True)[0] == "block"


DECODERS = {"imread", "imdecode", "imreadmulti", "imdecodemulti"}


def decoders(path: Path) -> set[str]:
    """Calls in `path` that turn an image file into pixels."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name.rpartition(".")[2] in DECODERS or name in ("Image.open", "PIL.Image.open", "plt.imread"):
                found.add(name)
    return found


def test_there_is_one_decoder(tmp_path: Path) -> None:
    found = {path.name: calls for path in SCRIPTS.rglob("*.py") if (calls := decoders(path))}
    assert found == {"safe_images.py": {"cv2.imdecode", "Image.open"}}
    (tmp_path / "second.py").write_text("import cv2 as c\nfrom PIL import Image\nc.imread('x')\nImage.open('x')\n")
    assert decoders(tmp_path / "second.py") == {"c.imread", "Image.open"}
