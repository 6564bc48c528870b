"""How a task begins that does not begin with a plain workspace of a simulated line. Standard library only."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

TABLES = ("train/base/training_set.csv", "train/base/validation_set.csv", "kpi/testing_set.csv")
POOL = "augmentation/mining_pool/mining_pool.csv"
Row = dict[str, str]
Deft = Callable[..., Any]


def rows(path: Path) -> list[Row]:
    with open(path, newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def write_rows(path: Path, table: list[Row]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(table[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)


def digest(folder: Path) -> str:
    """SHA-256 over names and bytes of all files of a folder."""
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            found.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return found.hexdigest()


def elsewhere(workspace: Path) -> None:
    """A workspace as TAO's users have it, on a machine without a GPU: backbone staged, their model's scores at hand."""
    (workspace / "simulated_line.json").unlink()
    spec = workspace / "specs/baseline_spec.yaml"
    fits = spec.read_text(encoding="utf-8").replace("c_radio_v2_vit_base_patch16_224", "fan_tiny_8_p4_hybrid")
    fits = fits.replace("c_radio_v2_b.safetensors", "fan_tiny.pth")
    fits = re.sub(r"(feature_strides:\s*(?:\[|- )4(?:, |\s*- )8(?:, |\s*- )16(?:, |\s*- ))32", r"\g<1>16", fits)
    spec.write_text(fits, encoding="utf-8")  # a backbone that takes two lights of 96 x 96 as they are
    backbone = workspace / "augmentation/backbone/fan_tiny.pth"
    backbone.parent.mkdir(parents=True, exist_ok=True)
    backbone.write_bytes(b"weights that only the other machine reads")
    table = rows(workspace / TABLES[2]) + rows(workspace / POOL)
    for place, row in enumerate(table):
        base = 0.0 if row["label"] == "PASS" else 0.2 + 0.6 * (place % 2)
        row["siamese_score"] = f"{base + 0.3 * (place * 37 % 101) / 101:.6f}"
    write_rows(workspace / "inference.csv", table)


def pictures(workspace: Path, folder: Path) -> None:
    """Only pictures, in folders OK, NG and GOLDEN, named by board and component as a station does; no workspace."""
    for kind, source, name in _shots(workspace):
        target = folder / kind / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    shutil.rmtree(workspace)


def _shots(workspace: Path) -> Iterator[tuple[str, Path, str]]:
    """(folder, picture, name) of each row's picture under its first light, and of its golden."""
    line = json.loads((workspace / "simulated_line.json").read_text(encoding="utf-8"))
    light, serials = line["lights"][0], dict[str, str]()
    for table, images in ((TABLES[0], ""), (TABLES[1], ""), (TABLES[2], ""), (POOL, "pool")):
        root = (workspace / POOL).parent if images else workspace / "kpi/images"
        for row in rows(workspace / table):
            serial = serials.setdefault(row["boardname"], f"SN{1000 + len(serials)}")
            name = f"{serial}_{row['comp_name']}"
            kind = "OK" if row["label"] == "PASS" else f"NG/{row['label']}"
            for folder, where in ((kind, row["input_path"]), ("GOLDEN", row["golden_path"])):
                place = root / where if not Path(where).suffix else (root / where).parent  # a pool names files
                found = sorted(place.glob(f"{row['object_name']}_{light}.*"))
                if found:
                    yield folder, found[0], f"{name}{found[0].suffix}"


def feedback(workspace: Path, into: Path, deft: Deft, expect: dict[str, Any]) -> Path:
    """A finished run, new pictures that its model has decided, and a table of what operators found; returns the run."""
    words = ("--max-iterations", "1", "--kpi-target", expect["kpi_target"])
    deft("preflight", "--workspace", workspace, *words)
    run = sorted((workspace / "results").glob("run_*"))[-1]
    code = json.loads((run / "preflight.json").read_text(encoding="utf-8"))["approval_code"]
    deft("start", "--workspace", workspace, "--approve", code)
    deft("run", "--results-dir", run)
    other = into / "other"
    deft("simulate", "--workspace", other, "--seed", "99", "--boards", "6", "--rows-per-board", "30")
    shots = into / "line"
    light = json.loads((other / "simulated_line.json").read_text(encoding="utf-8"))["lights"]
    truth: dict[str, str] = {}
    for row in rows(other / TABLES[2]):
        for one in light:
            source = other / "kpi/images" / row["input_path"]
            for found in source.glob(f"{row['object_name']}_{one}.*"):
                target = shots / row["boardname"] / found.name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(found, target)
        truth[row["object_name"]] = row["label"]
    goldens = into / "goldens"
    for row in rows(other / TABLES[2]):
        for found in (other / "kpi/images" / row["golden_path"]).glob(f"{row['object_name']}_*"):
            target = goldens / row["boardname"] / found.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(found, target)
    decided = into / "decided"
    model = run / "best_model.json"
    deft("score", "--model", model, "--images", shots, "--goldens", goldens, "--output-dir", decided)
    table = rows(decided / "decisions.csv")
    for row in table:
        label = next((truth[name] for name in truth if name in row["part"]), "")
        row["verdict"] = "" if not label else "false call" if label == "PASS" else "real defect"
    write_rows(into / "verdicts.csv", [row for row in table if row["verdict"] and row["decision"] != "PASS"] or table)
    shutil.rmtree(other)
    return run
