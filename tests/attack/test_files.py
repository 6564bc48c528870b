"""Files that are bombs, cut off, of another kind, or wired to run something when they are read."""

from __future__ import annotations

import json
import pickle
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save

from attacks import TRAINING, Attacker
from deft_aoi.base import safe_images
from deft_aoi.base.errors import DeftError, InputError
from deft_aoi.base.rows import read_parquet, read_rows, read_sheet, write_rows, write_sheet
from deft_aoi.base.safe_paths import printable
from deft_aoi.base.safe_yaml import parse_json, parse_yaml, read_yaml
from deft_aoi.engine.features.checkpoint import load_checkpoint, made_for
from deft_aoi.engine.net.facts import NetFacts
from deft_aoi.engine.net.net_checkpoint import load_checkpoint as load_net
from deft_aoi.engine.net.net_checkpoint import load_resume, save_checkpoint, scoring_model
from deft_aoi.engine.onnx_check import check_onnx
from deft_aoi.engine.onnx_writer import UINT8, Graph
from deft_aoi.spec.tree import Optics, load_spec, optics

KIND = "files"
VIEW = Optics(("WhiteLight",), ".png", 48, 48)


class Runs:
    """Pickled, it writes a file when it is loaded."""

    def __init__(self, trap: Path) -> None:
        self.trap = trap

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.trap, "ran")


# --- YAML and JSON --------------------------------------------------------------------------------------------------

LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 7)
)
YAMLS = {
    "object": "!!python/object/apply:os.system ['true']",
    "name": "!!python/name:os.system",
    "module": "!!python/module:subprocess",
    "new": "!!python/object/new:pathlib.Path [/etc/passwd]",
    "billion laughs": LAUGHS,
    "few aliases, many leaves": "a: &a [" + "x, " * 30_000 + "]\nb: [*a, *a, *a, *a]",
    "deep": "task: " + "[" * 50_000,
    "deep maps": "".join(" " * n + "a:\n" for n in range(200)),
    "many": "[" + "x," * 200_000 + "]",
    "large": "task: " + "x" * (2 << 20),
    "digits": "seed: " + "9" * 6000,
    "date": "seed: 2020-99-99",
    "set": "? [1, 2]\n: x",
    "binary": "seed: !!binary '&'",
    "recursive": "&a [*a]",
    "merge": "<<: x",
    "tab": "a:\n\t- b",
    "nul": "a: \0",
    "surrogate": 'a: "\\ud800"',
    "colon": ": :",
    "float": "seed: 0x",
    "sexagesimal": "a: 1:99:99:99:99",
    "int": "a: 0b",
}


@pytest.mark.parametrize("text", YAMLS.values(), ids=YAMLS.keys())
def test_yaml_gives_plain_values_or_one_line(attacker: Attacker, tmp_path: Path, text: str) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(text)
    attacker.refused(lambda: load_spec(spec))
    attacker.attempt(lambda: str(type(parse_yaml(text, "text"))))


def test_yaml_of_another_encoding_and_shape(attacker: Attacker, tmp_path: Path) -> None:
    spec = tmp_path / "spec.yaml"
    for data in (b"\xff\xfea\0", b"\x80\x81", "task: ä".encode("latin1"), b"- 1", b"", b"3", b"~: 1", b"1: 2"):
        spec.write_bytes(data)
        attacker.refused(lambda: load_spec(spec), what=str(data))
    for tree in ({"train": 1}, {"dataset": {"classify": []}}, {"dataset": {"classify": {"input_map": {"a": "x"}}}}):
        spec.write_text(json.dumps(tree))
        attacker.refused(lambda: optics(load_spec(spec), spec), what=str(tree))
    assert read_yaml(_write(tmp_path / "ok.yaml", "a: &a [1, 2]\nb: *a\n")) == {"a": [1, 2], "b": [1, 2]}


def test_deep_json_is_an_ordinary_error(attacker: Attacker) -> None:
    for text in ("[" * 200_000, '{"a":' * 200_000, "1" * 6000, "\ud800", b"\xff"):

        def read(text: str | bytes = text) -> Any:
            try:
                return parse_json(text)
            except ValueError as error:
                raise InputError("refused") from error

        attacker.refused(read, what=str(text[:20]))


# --- CSV ------------------------------------------------------------------------------------------------------------

HEADER = b"input_path,golden_path,label,object_name,description\n"
ROW = b"K,G,PASS,C0,x\n"
GOOD_CSVS = {
    "BOM": b"\xef\xbb\xbf" + HEADER + ROW,
    "CRLF": (HEADER + ROW).replace(b"\n", b"\r\n"),
    "CR": (HEADER + ROW).replace(b"\n", b"\r"),
    "quotes": HEADER + b'"K","G","PASS","C0","a, ""b"""\n',
    "line break in a cell": HEADER + b'K,G,PASS,C0,"a\nb"\n',
    "short row": HEADER + b"K,G,PASS,C0\n",
    "formula": HEADER + b"K,G,PASS,C0,\"=cmd|' /c calc'!A1\"\n",
}
BAD_CSVS = {
    "latin-1": HEADER + "K,G,PASS,C0,Löt\n".encode("latin1"),
    "mixed": HEADER + "K,G,PASS,C0,Löt\n".encode() + "K,G,PASS,C1,Löt\n".encode("latin1"),
    "UTF-16": (HEADER + ROW).decode().encode("utf-16"),
    "10M characters": HEADER + b"K,G,PASS,C0," + b"x" * 10_000_000 + b"\n",
    "10M in a name": HEADER + b"K,G,PASS," + b"x" * 10_000_000 + b",d\n",
    "open quote": HEADER + b'K,G,PASS,C0,"x\n',
    "surplus cells": HEADER + b"K,G,PASS,C0,x,y,z\n",
    "header twice": HEADER.replace(b"description", b"label") + ROW,
    "no rows": HEADER,
    "empty": b"",
    "semicolons": (HEADER + ROW).replace(b",", b";"),
    "nul": b"\0" * 5000,
    "PNG": b"\x89PNG\r\n\x1a\n" + bytes(range(256)),
    "gzip": zlib.compress(HEADER),
}


@pytest.mark.parametrize("data", GOOD_CSVS.values(), ids=GOOD_CSVS.keys())
def test_what_spreadsheets_save_is_read_exactly(tmp_path: Path, data: bytes) -> None:
    csv = tmp_path / "rows.csv"
    csv.write_bytes(data)
    rows = read_rows(csv)
    assert rows.loc[0, ["input_path", "label", "object_name"]].tolist() == ["K", "PASS", "C0"]
    write_rows(csv, rows)
    pd.testing.assert_frame_equal(read_rows(csv), rows)


@pytest.mark.parametrize("data", BAD_CSVS.values(), ids=BAD_CSVS.keys())
def test_what_is_no_table_is_refused(attacker: Attacker, tmp_path: Path, data: bytes) -> None:
    csv = tmp_path / "rows.csv"
    csv.write_bytes(data)
    said = attacker.refused(lambda: read_rows(csv))
    assert len(said) < 600
    assert printable(said) == said


def test_a_formula_is_neutral_where_people_look_and_exact_where_programs_read(
    attacker: Attacker, tmp_path: Path
) -> None:
    cells = ["=cmd|' /c calc'!A1", "+1+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1", " =1", '=HYPERLINK("http://x")']
    kept = ["-0.5", "+3e-2", "bridge", "R821@1", "a=b", ""]
    rows = pd.DataFrame({"object_name": [*cells, *kept]})
    write_rows(tmp_path / "machine.csv", rows)
    write_sheet(tmp_path / "people.csv", rows)
    exact, sheet = (pd.read_csv(tmp_path / f"{n}.csv", dtype=str, keep_default_na=False) for n in ("machine", "people"))
    assert exact["object_name"].tolist() == rows["object_name"].tolist()
    attacker.found("leaked", [c for c in sheet["object_name"][: len(cells)] if not c.startswith("'")], len(cells))
    assert sheet["object_name"].tolist()[len(cells) :] == kept
    twice = pd.DataFrame({"object_name": [*cells, *kept, "'=1", "''=1", "'x", "'-0.5"]})
    write_sheet(tmp_path / "people.csv", twice)
    assert read_sheet(tmp_path / "people.csv")["object_name"].tolist() == twice["object_name"].tolist()


def test_the_escapes_sheet_is_neutral(attacker: Attacker, tmp_path: Path) -> None:
    from deft_aoi.kpi.analyze import write_analysis

    csv = tmp_path / "inference.csv"
    names = ["=cmd()", "C1", "C2", "C3"]
    rows = {"input_path": "K", "golden_path": "G", "label": ["a", "a", "PASS", "PASS"], "object_name": names}
    pd.DataFrame({**rows, "siamese_score": ["0.1", "0.9", "0.2", "0.3"]}).to_csv(csv, index=False)
    write_analysis(csv, tmp_path)
    sheet = (tmp_path / "best_f1_missed_no_pass_samples.csv").read_text()
    attacker.found("leaked", ["formula"] if ",=cmd" in sheet else [], 1)
    assert "'=cmd()" in sheet


# --- images ---------------------------------------------------------------------------------------------------------


def png(width: int, height: int, body: bytes = b"") -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def encoded(ext: str) -> bytes:
    picture = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    return cv2.imencode(ext, picture)[1].tobytes()


def test_a_bomb_is_named_before_it_is_unpacked(attacker: Attacker) -> None:
    bomb = png(30_000, 30_000, zlib.compress(bytes(30_001 * 300), 9))
    for data in (bomb, png(2**31 - 1, 2**31 - 1), png(1, 2**31 - 1), png(0, 0), png(12_000, 12_000)):
        attacker.attempt(lambda data=data: safe_images.decode(data))
        assert safe_images.decode(data) is None
        assert safe_images.problem(data)


@pytest.mark.parametrize("ext", [".png", ".jpg", ".bmp", ".tif", ".webp"])
def test_a_cut_off_image_is_none(attacker: Attacker, ext: str) -> None:
    """OpenCV fills the missing part of a JPEG with grey and says nothing: a part would be judged on half of it."""
    whole = encoded(ext)
    assert safe_images.decode(whole) is not None
    assert safe_images.decode(whole + b"\0" * 10) is not None, "some cameras append"
    for share in (0.3, 0.6, 0.9):
        cut = whole[: int(len(whole) * share)]
        attacker.attempt(lambda cut=cut: safe_images.decode(cut))
        assert safe_images.decode(cut) is None, share


def test_other_files_are_no_images(attacker: Attacker, tmp_path: Path) -> None:
    pickled = pickle.dumps(Runs(tmp_path / "trap"))
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'
    for data in (b"", b"GIF89a" + bytes(100), b"%PDF-1.7", svg, pickled, b"push graphic-context", bytes(1000)):
        attacker.attempt(lambda data=data: safe_images.decode(data))
        assert safe_images.decode(data) is None
    assert not (tmp_path / "trap").exists()


def test_bad_pregenerated_images_are_listed_and_skipped(attacker: Attacker, tmp_path: Path) -> None:
    from deft_aoi.data.pairs import convert_pairs, label_from_name, list_images, match_pairs

    bad = {
        "bomb_1": png(30_000, 30_000),
        "cut_2": encoded(".png")[:500],
        "text_3": b"no image",
        "good_4": encoded(".png"),
    }
    for folder in ("ng", "ok"):
        (tmp_path / folder).mkdir()
        for name, data in bad.items():
            (tmp_path / folder / f"PCB+{name}.png").write_bytes(data if folder == "ng" else encoded(".png"))
    found, skipped = match_pairs(
        list_images(tmp_path / "ng", "NG"), list_images(tmp_path / "ok", "OK"), ("L",), label_from_name
    )
    done, unreadable = convert_pairs(found, lambda pair: (tmp_path / "a", tmp_path / "b"), ".png")
    attacker.note("refused", len(unreadable))
    assert [pair.name for pair in done] == ["PCB+good_4"]
    assert len(unreadable) + len(skipped) == 3
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["PCB+good_4_L.png"]


# --- Parquet, safetensors, ONNX, pickles ----------------------------------------------------------------------------


def test_parquet_of_other_types_is_refused(attacker: Attacker, tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    frames = [
        {"filepath": [1, 2], "embedding": [[0.5], [0.5]]},
        {"filepath": ["a", None], "embedding": [[0.5], [0.5]]},
        {"filepath": ["a", "b"], "embedding": ["x", "y"]},
        {"filepath": ["a", "b"], "embedding": [[1, 2], [3, 4]]},
        {"filepath": ["a", "b"], "embedding": [{"a": 1}, {"a": 2}]},
        {"other": ["a", "b"]},
    ]
    wanted = {"filepath": "text", "embedding": "vector"}
    for frame in frames:
        pd.DataFrame(frame).to_parquet(path)
        attacker.refused(lambda: read_parquet(path, wanted), what=str(frame))
    whole = path.read_bytes()
    for data in (
        b"",
        b"PAR1",
        whole[: len(whole) // 2],
        whole[:-8] + b"\xff" * 8,
        pickle.dumps(Runs(tmp_path / "trap")),
    ):
        path.write_bytes(data)
        attacker.refused(lambda: read_parquet(path, wanted), what=str(data[:20]))
    assert not (tmp_path / "trap").exists()


def test_nothing_is_ever_unpickled(attacker: Attacker, tmp_path: Path) -> None:
    """A TAO .pth is a pickle: both engines refuse it unread."""
    trap, path = tmp_path / "trap", tmp_path / "model_epoch_000_step_00001.pth"
    for data in (pickle.dumps(Runs(trap)), pickle.dumps(Runs(trap), protocol=0)):
        path.write_bytes(data)
        attacker.refused(lambda: load_checkpoint(path, VIEW))
        attacker.refused(lambda: load_net(path, VIEW))
    assert not trap.exists()


def test_safetensors_are_checked_before_they_count(attacker: Attacker, tmp_path: Path) -> None:
    path = tmp_path / "model_epoch_000_step_00001.pth"
    facts = {"engine": "deft-aoi features", **made_for(VIEW)}
    size = len(facts["inputs"])
    good = {name: np.ones(size) for name in ("center", "scale", "weights")} | {"bias": np.zeros(1)}
    noted = json.dumps(facts, sort_keys=True)
    path.write_bytes(save(good, {"deft": noted}))
    assert load_checkpoint(path, VIEW).bias == 0
    whole = path.read_bytes()
    broken = [
        save(good, {"deft": "{"}), save(good, {"deft": "[1]"}), save(good), save({}, {"deft": noted}),
        save(good | {"center": np.ones(3)}, {"deft": noted}), save(good | {"bias": np.zeros((2, 2))}, {"deft": noted}),
        save(good | {"weights": np.full(size, np.nan)}, {"deft": noted}),
        save(good | {"scale": np.zeros(size)}, {"deft": noted}),
        save(good | {"weights": -np.ones(size)}, {"deft": noted}),
        save(good | {"center": np.ones(size, np.int64)}, {"deft": noted}),
        whole[:100], whole[:-1], b"\xff" * 8 + whole[8:], (2**40).to_bytes(8, "little") + whole[8:], b"",
    ]  # fmt: skip
    for data in broken:
        path.write_bytes(data)
        attacker.refused(lambda: load_checkpoint(path, VIEW), what=str(data[:60]))
    for data in (b"", b"\0" * 50, b"\xff" * 50, whole):
        (tmp_path / "resume.safetensors").write_bytes(data)
        attacker.refused(lambda: load_resume(tmp_path, "fingerprint"), what=str(data[:20]))


def net_weights(width: int = 4) -> dict[str, np.ndarray]:
    rng, inputs = np.random.default_rng(0), 9
    made: dict[str, np.ndarray] = {"stem.weight": rng.normal(size=(width, inputs, 3, 3)), "stem.bias": np.zeros(width)}
    for number in range(4):
        for part, side in (("first", 3), ("second", 3), ("skip", 1)):
            made[f"blocks.{number}.{part}.weight"] = rng.normal(size=(width, width, side, side))
            if part != "skip":
                for name in ("weight", "bias", "running_mean", "running_var"):
                    made[f"blocks.{number}.{part}_norm.{name}"] = np.ones(width)
    made |= {"head.weight": rng.normal(size=(1, 2 * width)), "head.bias": np.zeros(1)}
    return {name: value.astype(np.float32) for name, value in made.items()}


def test_an_exchanged_onnx_is_not_loaded(attacker: Attacker, tmp_path: Path) -> None:
    """It names the right checkpoint and computes something else: one constant score would pass every part."""
    path = tmp_path / "model_epoch_000_step_00001.pth"
    save_checkpoint(path, net_weights(), NetFacts(VIEW.lights, 48, 48, 3, 4))
    checkpoint = load_net(path, VIEW)
    whole = scoring_model(checkpoint)
    graph = Graph()
    zero = graph.node(
        "Mul", [graph.node("Cast", ["test"], "float", to=1), graph.constant("zero", np.float32(0))], "off"
    )
    graph.node("ReduceMean", [zero], "logits", axes=(1, 2, 3), keepdims=0)
    image = (UINT8, (3, 48, 48))
    forged = graph.model({"test": image, "golden": image}, "logits", {"weights_sha256": checkpoint.digest})
    check_onnx(forged, "forged")
    for data in (forged, whole + b"\x10\x01", whole[:-20], b"", b"\xff" * 100, pickle.dumps(Runs(tmp_path / "trap"))):
        checkpoint.onnx.write_bytes(data)
        attacker.refused(lambda: scoring_model(checkpoint), what=str(data[:30]))
    assert not (tmp_path / "trap").exists()


def field(number: int, data: bytes) -> bytes:
    def varint(value: int) -> bytes:
        low, high = value & 0x7F, value >> 7
        return bytes([low | 0x80]) + varint(high) if high else bytes([low])

    return varint(number << 3 | 2) + varint(len(data)) + data


ONNX = {
    "a tensor in another file": field(
        7, field(5, b"\x70\x01" + field(13, field(1, b"location") + field(2, b"/etc/passwd")))
    ),
    "a tensor of a node in another file": field(7, field(1, field(5, field(5, b"\x70\x01")))),
    "an operator of a library": field(7, field(1, field(4, b"System") + field(7, b"evil.ops"))),
    "an operator set of a library": field(8, field(1, b"com.evil")) + field(7, b""),
    "a loop": field(7, field(1, field(4, b"Loop"))),
    "a loop in a branch": field(7, field(1, field(4, b"If") + field(5, field(6, field(1, field(4, b"Scan")))))),
    "functions": field(7, b"") + field(25, b""),
    "training": field(7, b"") + field(20, b""),
    "two graphs": field(7, b"") + field(7, b""),
    "no graph": field(8, b""),
    "cut off": field(7, b"x" * 20)[:-5],
    "endless number": b"\xff" * 30,
    "group": b"\x0b\x0c",
}


@pytest.mark.parametrize("data", ONNX.values(), ids=ONNX.keys())
def test_an_onnx_is_arithmetic_only(attacker: Attacker, data: bytes) -> None:
    attacker.refused(lambda: check_onnx(data, "model.onnx"))


def test_our_own_models_pass() -> None:
    from deft_aoi.engine.features.trunk import MODEL

    check_onnx(MODEL.read_bytes(), "trunk")


def test_a_training_row_with_a_bad_image_is_named(attacker: Attacker, workspace: Path) -> None:
    """Training, validation and KPI rows are never skipped: a KPI of fewer parts would be another KPI."""
    from deft_aoi.engine.features.table import feature_table

    rows = read_rows(workspace / TRAINING)
    image = workspace / "kpi/images" / rows["input_path"][0] / f"{rows['object_name'][0]}_WhiteLight.png"
    for data, why in ((png(30_000, 30_000), "pixels"), (image.read_bytes()[:200], "cut off"), (b"", "empty")):
        image.write_bytes(data)
        with pytest.raises(DeftError, match=why):
            feature_table(rows.head(1), workspace / "kpi/images", Optics(("WhiteLight",), ".png", 48, 48))
        attacker.note("refused")


def _write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path
