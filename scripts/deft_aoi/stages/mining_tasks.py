"""The heavy commands of mining: read the pool, embed it, score it, measure the pairs whose labels are judged."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from deft_aoi.base.rows import write_parquet, write_rows
from deft_aoi.executors.base import TAO_DATA_SERVICES, TAO_PYT, Task
from deft_aoi.record.run import Run
from deft_aoi.spec.tree import Spec, dump_spec, put
from deft_aoi.stages.evaluate import FINISHED
from deft_aoi.stages.task_specs import task_spec, without_nulls

SCORES = "score_pool"
TRUNK = "trunk"
TAO_ENCODER = "tao"  # SigLIP in NVIDIA's data services container
_HUB_SIGLIP = "google/siglip-base-patch16-224"


def embedding(run: Run, folder: Path, name: str, table: pd.DataFrame, encoder: str) -> Task:
    """One embedding of image files (`filepath` of `table`) below `folder`: `encoder` is trunk, thumbnail, an ONNX
    file, or NVIDIA's container. What else the table has comes along."""
    output = folder / name
    write_parquet(folder / f"{name}_images.parquet", table)
    in_container = encoder == TAO_ENCODER
    model = {TAO_ENCODER: ("SigLIP", _HUB_SIGLIP), TRUNK: (TRUNK, "reference")}
    named = model.get(encoder, ("onnx", str(run.workspace.root / encoder)))
    spec = {
        "input_parquet": str(folder / f"{name}_images.parquet"),
        "output_parquet": str(embeddings(folder, name)),
        "model": named[0],
        "model_path": named[1],
    }
    dump_spec(folder / f"{name}.yaml", spec)
    return Task(
        name, ("embedding", "image_embeddings", "-e", str(folder / f"{name}.yaml")), output,
        expects=(embeddings(folder, name),), image=TAO_DATA_SERVICES if in_container else None,
        gpus=1 if in_container else 0,
    )  # fmt: skip


def embeddings(folder: Path, name: str) -> Path:
    """Where an embedding task writes: `embed_source` gives source_embeddings.parquet."""
    return folder / name / f"{name.removeprefix('embed_')}_embeddings.parquet"


def scoring(run: Run, label: str, rows: pd.DataFrame) -> Task:
    """One inference of the best model so far over pool rows."""
    csv, output = run.paths.mining(label) / "pool_to_score.csv", run.paths.mining(label) / SCORES
    spec = _over(run, label, csv, rows)
    put(spec, "dataset.classify.batch_size", min(run.plan.batch_size, len(rows)))  # TAO refuses fewer rows than a batch
    put(spec, "inference.checkpoint", str(run.champion()[1].best_ckpt_path))
    put(spec, "inference.results_dir", str(output))
    where = run.paths.mining(label) / "score_pool.yaml"
    dump_spec(where, without_nulls(spec))
    command = ("visual_changenet", "inference", "-e", str(where))
    expects = (output / "inference.csv",)
    return Task(SCORES, command, output, expects=expects, finished=FINISHED, image=TAO_PYT, gpus=1)


def measuring(run: Run, label: str, name: str, rows: pd.DataFrame) -> Task:
    """How far test and golden of these rows differ: what the screening judges labels by."""
    csv, features = measured(run, label, name)
    where = run.paths.mining(label) / f"{name}.yaml"
    dump_spec(where, _over(run, label, csv, rows))
    command = ("pair_features", "-e", str(where), f"results_dir={features.parent}")
    return Task(name, command, features.parent, expects=(features,))


def measured(run: Run, label: str, name: str) -> tuple[Path, Path]:
    """(the rows that are measured, their features)."""
    folder = run.paths.mining(label)
    return folder / f"{name}.csv", folder / name / "features.npy"


def _over(run: Run, label: str, csv: Path, rows: pd.DataFrame) -> Spec:
    write_rows(csv, rows)
    spec = task_spec(run, label)
    put(spec, "dataset.classify.infer_dataset", {"csv_path": str(csv), "images_dir": str(run.workspace.root)})
    return spec
