"""The whole loop on a workspace as NVIDIA's bank lays it out: one images folder, pool paths in each style."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from loop_cli import ROWS, deft, entries
from small_workspace import LIGHTS, make_workspace, spec

DATA = "/data/datasets/NV_PCB_Siamese"
TAIL = f"_{LIGHTS[0]}.png"


def as_the_bank(root: Path) -> Path:
    """The small line with all images under <workspace>/images, four-column CSVs and the template's placeholders."""
    make_workspace(root, counts=(ROWS, 24, 48, 60))
    (root / "kpi/images").rename(root / "images")
    for folder in sorted((root / "augmentation/mining_pool").glob("P*")):
        folder.rename(root / "images" / folder.name)
    for name in ("train/base/training_set", "train/base/validation_set", "kpi/testing_set"):
        rows = pd.read_csv(root / f"{name}.csv", dtype=str)
        rows[["input_path", "golden_path", "label", "object_name"]].to_csv(root / f"{name}.csv", index=False)
    tree: dict[str, Any] = spec() | {"results_dir": "/results"}
    for name in ("train", "validation", "test", "infer"):
        tree["dataset"]["classify"][f"{name}_dataset"] = {
            "csv_path": f"{DATA}/csv/training_set.csv",
            "images_dir": f"{DATA}/images",
        }
    (root / "specs/baseline_spec.yaml").write_text(yaml.safe_dump(tree))
    pool = root / "augmentation/mining_pool/mining_pool.csv"
    rows = pd.read_csv(pool, dtype=str)
    style = rows.index % 4
    for column in ("input_path", "golden_path"):
        for_file = root / "images" / rows[column] / (rows["object_name"] + TAIL)
        absolute = for_file.map(str)
        rows[column] = rows[column].where(style > 0, absolute)  # a file, absolute
        rows[column] = rows[column].where(style != 1, "images/" + rows[column])  # a folder, as in images/R1
        rows[column] = rows[column].where(style != 2, "../../images/" + rows[column])  # from the CSV's folder
    rows["image_path"] = rows["input_path"].where(style == 1, "")
    rows["filepath"] = rows["input_path"].where(style == 0, "")
    rows.loc[style < 2, "input_path"] = ""
    rows.to_csv(pool, index=False)
    return root


def test_the_loop_runs_on_it_to_the_end_without_an_edit(tmp_path: Path, null_engine_here: None) -> None:
    root = as_the_bank(tmp_path / "ws")
    words = (
        "--max-iterations",
        "1",
        "--mine-rows",
        "12",
        "--num-epochs",
        "2",
        "--kpi-target",
        "FAR <= 0% at recall = 100%",
    )
    shown = deft("preflight", "--workspace", str(root), *words).stdout
    code = shown.split("Approval code: **")[1].split("*")[0]
    run = Path(
        deft("start", "--workspace", str(root), "--approve", code).stdout.split("\n")[0].removeprefix("started ")
    )
    deft("run", "--results-dir", str(run))
    assert entries(run)[-1]["stage"] == "loop_stop"
    combined = pd.read_csv(run / "iter1/dataset/train_combined_iter1.csv", dtype=str)
    assert len(combined) == ROWS + 12
    assert combined["input_path"].str.fullmatch(r"images/[TP]\d/test").all()  # the prefix once, whatever the style
    provenance = pd.read_csv(run / "iter1/dataset/train_combined_iter1_provenance.csv", dtype=str)
    assert provenance["source"].tolist() == ["base_train"] * ROWS + ["mining_pool"] * 12
    assert deft("verify", "--results-dir", str(run)).stdout.startswith("verified: ")
