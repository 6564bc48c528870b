"""A null engine: TAO's command lines answered at once, TAO's files written, no picture looked at.

What a loop does with scores (journal, order, resume, gate, report) does not depend on how they came about, so most
tests of the loop run on this engine. Scores come from a hash of the row and of what the model was trained on: the same
rows and the same training give the same bytes. More rows make a better model, or a worse one where `NOTE` says so.

`null_jobs` has the executors. As a program (`python null_engine.py visual_changenet train -e SPEC`) this module stands
in for the engine's processes, in containers too.
"""

from __future__ import annotations

import csv
import hashlib
import itertools
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

NOTE = "null_engine.json"  # in the workspace, read at every task: {"worse": true} or {"fail": "inference"}
HOLD = "hold"  # while the workspace has a file of this name, every command waits after its start
LINK = "changenet_model_classify_latest.pth"
VECTOR = 12
PICTURES = (b"\x89PNG", b"\xff\xd8\xff")
Rows = list[dict[str, str]]


# --- the engine ------------------------------------------------------------------------------------------------------


def run(words: list[str]) -> int:
    """Answer one command line; exit code 0, or 1 with one line on stderr."""
    program, *rest = words
    task = rest[0] if rest and not rest[0].startswith("-") else ""
    spec = yaml.load(Path(rest[rest.index("-e") + 1]).read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    for text in rest:
        key, mark, value = text.partition("=")
        if mark and not key.startswith("-"):
            put(spec, key, value)
    try:
        COMMANDS[f"{program} {task}".strip()](spec)
    except (OSError, ValueError) as error:
        print(f"{program} {task}: {error}", file=sys.stderr)
        return 1
    return 0


def train(spec: dict[str, Any]) -> None:
    folder = Path(get(spec, "train.results_dir"))
    status = Status(folder, "train", workspace_of(folder))
    if any(folder.glob("*.pth")):
        raise ValueError(f"{folder} already holds checkpoints")
    rows = dataset(spec, "train")
    epochs, every = int(get(spec, "train.num_epochs")), int(get(spec, "train.checkpoint_interval", 1))
    batch = int(get(spec, "dataset.classify.batch_size", 8))
    learned = digest(get(spec, "train.seed", 0), read_text(get(spec, "train.pretrained_model_path")), *map(line, rows))
    status.write("STARTED", "Starting Training Loop.")
    for epoch in range(epochs):
        loss = {"val_loss": round(1 / (1 + len(rows) / 100 + epoch / 10), 6)}
        if (epoch + 1) % int(get(spec, "train.validation_interval", 1)) == 0:
            status.write("RUNNING", "Eval metrics generated.", kpi=loss)
        if (epoch + 1) % every == 0:
            name = f"model_epoch_{epoch:03d}_step_{(epoch + 1) * (len(rows) // batch):05d}.pth"
            model = {"learned": digest(learned, epoch), "rows": len(rows)}
            (folder / name).write_text(json.dumps(model))
            (folder / f".{LINK}").symlink_to(name)
            (folder / f".{LINK}").replace(folder / LINK)
    status.write("RUNNING", "Train finished successfully.")


def inference(spec: dict[str, Any]) -> None:
    folder = Path(get(spec, "inference.results_dir"))
    status = Status(folder, "inference", workspace_of(folder))
    model = json.loads(Path(get(spec, "inference.checkpoint")).read_text())
    rows = dataset(spec, "infer")
    if len(rows) < int(get(spec, "dataset.classify.batch_size", 8)):
        raise ValueError(f"Dataset size ({len(rows)}) is smaller than the total batch size")  # as TAO refuses it
    check_pictures(rows, spec)
    noise = min(0.99, model["rows"] / 33) if status.note.get("worse") else 60 / (60 + model["rows"])
    write(folder / "inference.csv", [r | {"siamese_score": score(r, model["learned"], noise)} for r in rows])
    status.write("RUNNING", "Inference finished successfully.")


def classical(spec: dict[str, Any]) -> None:
    rows = dataset(spec, "infer")
    folder = Path(get(spec, "results_dir"))
    write(folder / "inference.csv", [row | {"siamese_score": score(row, "classical", 0.9)} for row in rows])


def pair_features(spec: dict[str, Any]) -> None:
    import numpy as np

    values = [[share("pair", n, line(row)) for n in range(VECTOR)] for row in dataset(spec, "infer")]
    np.save(Path(get(spec, "results_dir")) / "features.npy", np.array(values, np.float32))


def embedding(spec: dict[str, Any]) -> None:
    import pandas as pd

    source = Path(spec["input_parquet"])
    rows = pd.read_csv(source) if source.suffix == ".csv" else pd.read_parquet(source)
    vectors = [[share("look", n, Path(name).name) for n in range(VECTOR)] for name in rows["filepath"]]
    rows = rows.drop(columns="embedding", errors="ignore")
    rows.insert(list(rows.columns).index("filepath") + 1, "embedding", vectors)
    output = Path(spec["output_parquet"])
    rows.to_parquet(output, index=False)
    write(output.with_suffix(".unreadable.csv"), [], ("filepath", "reason"))


COMMANDS: dict[str, Callable[[dict[str, Any]], None]] = {
    "visual_changenet train": train,
    "visual_changenet inference": inference,
    "classical_baseline": classical,
    "pair_features": pair_features,
    "embedding image_embeddings": embedding,
}


class Status:
    """TAO's status.json of one task, and what the workspace's note wants of it."""

    def __init__(self, folder: Path, task: str, workspace: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "status.json"
        self.write("STARTED", f"Starting Visual ChangeNet {task}.")
        while (workspace / HOLD).exists():
            time.sleep(0.02)
        self.note = json.loads(read_text(workspace / NOTE) or "{}")
        if self.note.get("fail") == task:
            raise ValueError("asked to fail")

    def write(self, status: str, message: str, **more: object) -> None:
        with open(self.path, "a", encoding="utf-8") as stream:
            stream.write(json.dumps({"status": status, "message": message, **more}) + "\n")


def score(row: dict[str, str], learned: str, noise: float) -> str:
    """In (0, 1), defects high; at noise 1 it says nothing."""
    middle = 0.25 if row["label"].upper() == "PASS" else 0.75
    return f"{(1 - noise) * middle + noise * share('score', learned, line(row)):.7f}"


def share(*parts: object) -> float:
    """A number in [0, 1) that depends on `parts` alone."""
    return int(digest(*parts)[:12], 16) / 16**12


def digest(*parts: object) -> str:
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()


def line(row: dict[str, str]) -> str:
    """What a row is known by wherever it comes from: the folder of an image differs between pool and training set."""
    return "\0".join(("/".join(Path(row["input_path"]).parts[-2:]), row["object_name"]))


def dataset(spec: dict[str, Any], name: str) -> Rows:
    path = Path(get(spec, f"dataset.classify.{name}_dataset.csv_path"))
    with open(path, newline="", encoding="utf-8-sig") as stream:
        return list(csv.DictReader(stream))


def check_pictures(rows: Rows, spec: dict[str, Any]) -> None:
    """An image that is none ends an inference, as it does in every engine."""
    images = Path(get(spec, "dataset.classify.infer_dataset.images_dir"))
    ext = get(spec, "dataset.classify.image_ext")
    lights = get(spec, "dataset.classify.input_map")
    for row in rows:
        for folder, light in itertools.product((row["input_path"], row["golden_path"]), lights):
            path = images / folder / f"{row['object_name']}_{light}{ext}"
            with open(path, "rb") as stream:
                if not stream.read(4).startswith(PICTURES):
                    raise ValueError(f"{path}: no image")


def write(path: Path, rows: Rows, header: tuple[str, ...] = ()) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]) if rows else header, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read_text(path: Path | str | None) -> str:
    return Path(path).read_text() if path and Path(path).is_file() else ""


def get(spec: dict[str, Any], key: str, default: Any = None) -> Any:
    node: Any = spec
    for name in key.split("."):
        if not isinstance(node, dict) or name not in node:
            return default
        node = node[name]
    return node


def put(spec: dict[str, Any], key: str, value: object) -> None:
    *parents, last = key.split(".")
    for name in parents:
        spec = spec.setdefault(name, {})
    spec[last] = value


def workspace_of(folder: Path) -> Path:
    """The workspace of a run's folder; of a folder elsewhere, that folder."""
    return next((parent.parent for parent in folder.parents if parent.name == "results"), folder)


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
