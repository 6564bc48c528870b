"""Runs for the browser tests of the page: finished, running, hard-stopped, 100,000 rows; null engine, synthetic."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from deft_aoi.base.files import utc_now
from deft_aoi.data.label_review import COLUMNS, write_review
from deft_aoi.web.map_rows import map_rows
from deft_aoi.web.site import make_site
from inside import deft, jobs_by
from loop_cli import begin
from null_jobs import NullExecutor
from real_loops import NEVER_MET, PLAN
from small_workspace import make_workspace

ROWS = 100_000
DEFECTS = ("bridge", "missing", "shift", "tombstone")


def finished(root: Path, policy: str = "knn+label") -> Path:
    """A whole loop of the null engine, with embeddings."""
    with jobs_by(NullExecutor):
        run = begin(root, policy=policy)
        deft("run", "--results-dir", run, check=None)
    return run


def hard_stopped(root: Path) -> Path:
    """An unlabelled pool: the loop waits for a person's labels."""
    make_workspace(root, counts=(24, 24, 48, 40))
    csv = root / "augmentation/mining_pool/mining_pool.csv"
    pool = pd.read_csv(csv, dtype=str)
    pool.assign(label="").to_csv(csv, index=False)
    with jobs_by(NullExecutor):
        run = begin(root, policy="auto")
        deft("run", "--results-dir", run, check=3)
    return run


def running(root: Path) -> Path:
    """A run in the middle of a job's epochs; whoever holds `LOCK` of the job keeps it alive."""
    with jobs_by(NullExecutor):
        run = begin(root, policy="random")
        deft("step", "--results-dir", run)
    job = run / "jobs/baseline-evaluate-inference_best_val"
    job.mkdir(parents=True, exist_ok=True)
    handle = {"platform": "local", "command": ["x"], "task": ["x"], "environment": {}, "submitted": utc_now()}
    (job / "handle.json").write_text(json.dumps(handle))
    (job / "output.log").write_text("".join(f"inference rows: batch {n} of 40\n" for n in range(30)))
    status = run / "baseline/inference/best_val/status.json"
    status.parent.mkdir(parents=True, exist_ok=True)
    says = {"status": "RUNNING", "message": "Training loop in progress", "max_epoch": 39}
    lines = [says | {"epoch": n} for n in range(30)]
    status.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return run


def many_rows(root: Path) -> Path:
    """A finished run whose pool has 100,000 rows: tables, scores and embeddings of numbers, no pictures of them."""
    run = finished(root)
    rng = np.random.default_rng(0)
    csv = root / "augmentation/mining_pool/mining_pool.csv"
    pool = pd.read_csv(csv, dtype=str)
    others = ("train/base/training_set.csv", "train/base/validation_set.csv", "kpi/testing_set.csv")
    count = ROWS - len(pool) - sum(len(pd.read_csv(root / name)) for name in others)
    label = np.where(rng.random(count) < 0.9, "PASS", rng.choice(DEFECTS, count))
    board = rng.integers(0, 40, count)
    more = pd.DataFrame({
        "input_path": [f"X{b}/test" for b in board], "golden_path": [f"X{b}/golden" for b in board], "label": label,
        "object_name": [f"N{n}" for n in range(count)], "boardname": [f"X{b}" for b in board],
    })  # fmt: skip
    pd.concat([pool, more], ignore_index=True).to_csv(csv, index=False)
    made = run / "iter1/mining_filter/source_embeddings.parquet"
    kept = pd.read_parquet(made)
    size = len(kept["embedding"].iloc[0])
    middle = rng.normal(0, 1, (len(DEFECTS) + 1, size))
    kind = np.array([0 if name == "PASS" else 1 + DEFECTS.index(name) for name in label])
    vectors = (0.5 + 0.12 * middle[kind] + 0.08 * rng.normal(0, 1, (count, size))).astype(np.float32)
    folder = root / "augmentation/mining_pool"
    old = [np.asarray(vector, np.float32) for vector in kept["embedding"]]
    frames = [pd.DataFrame({"filepath": kept["filepath"], "embedding": old})]
    for light in ("WhiteLight", "SolderLight"):
        names = [f"{folder}/X{b}/test/N{n}_{light}.png" for n, b in enumerate(board)]
        frames.append(pd.DataFrame({"filepath": names, "embedding": list(vectors)}))
    made.unlink()
    pd.concat(frames, ignore_index=True).to_parquet(made, index=False)
    _more_scores(run, rng)
    site = make_site([], run, [])
    known = site.runs()[0]
    map_rows(site.source(known), known.paths, known.workspace)  # computed once, as the first look at it would
    return run


def _more_scores(run: Path, rng: np.random.Generator) -> None:
    """100,000 scored KPI rows for the figures: those of each model are repeated with other scores."""
    for path in run.glob("*/inference/*/inference.csv"):
        rows = pd.read_csv(path)
        times = -(-ROWS // len(rows))
        big = pd.concat([rows] * times, ignore_index=True).head(ROWS)
        noise = rng.normal(0, 0.03, len(big))
        noise[: len(rows)] = 0
        big["siamese_score"] = np.clip(big["siamese_score"] + noise, 0, 1)
        again = np.arange(len(big)) // len(rows)
        big["object_name"] = [f"{name}_{n}" if n else name for name, n in zip(big["object_name"], again)]
        path.unlink()
        big.to_csv(path, index=False)


def suspected(run: Path, count: int) -> list[str]:
    """Put KPI rows as suspected labels into label_review.csv; their names in the order of the queue."""
    kpi = pd.read_csv(run.parents[1] / "kpi/testing_set.csv", dtype=str, keep_default_na=False)
    rows = kpi.head(count).reset_index(drop=True)
    table = rows.assign(
        set="kpi", line=range(2, len(rows) + 2), level="likely", doubt="0.88", probability_defect="0.9",
        suggested=["a defect" if label == "PASS" else "PASS" for label in rows["label"]], source="cross-validation",
        verdict="", note="",
    )  # fmt: skip
    write_review(run / "label_review.csv", table[list(COLUMNS)])
    return list(table["object_name"])


def unlabelled_line(root: Path) -> Path:
    """A workspace whose pool has no labels, and whose training set has a few wrong ones."""
    make_workspace(root, counts=(40, 24, 48, 40))
    pool = root / "augmentation/mining_pool/mining_pool.csv"
    pd.read_csv(pool, dtype=str).assign(label="").to_csv(pool, index=False)
    seed = root / "train/base/training_set.csv"
    rows = pd.read_csv(seed, dtype=str)
    rows.loc[[1, 2], "label"] = "missing"
    rows.to_csv(seed, index=False)
    return root


def agent_plans(root: Path) -> str:
    """What the agent types first; the Summary that it shows."""
    return str(deft("preflight", "--workspace", root, *PLAN, *NEVER_MET, "--policy", "auto").stdout)
