"""The net engine's loop on a small simulated line, on one CPU core: about a minute."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from deft_aoi.base.paths import SKILL_ROOT
from deft_aoi.base.rows import read_rows
from deft_aoi.record import journal
from inside import InsideExecutor, deft, jobs_by

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="torch is not installed (DEFT_EXTRAS=net)"
)


def test_one_iteration_improves_and_scores_without_torch(tmp_path: Path) -> None:
    import torch

    torch.set_num_threads(1)  # so that every machine computes the same
    line = tmp_path / "line"
    deft("simulate", "--workspace", line, "--boards", "6", "--seed", "1")
    plan = ("--engine", "net", "--max-iterations", "1", "--num-epochs", "3", "--mine-rows", "200")
    with jobs_by(InsideExecutor):
        shown = json.loads(deft("preflight", "--workspace", line, *plan, "--json").stdout)
        deft("start", "--workspace", line, "--approve", shown["approval_code"])
        (run,) = (line / "results").glob("run_*")
        deft("run", "--results-dir", run)

    models = [entry["facts"] for entry in journal.read(run / "loop_log.jsonl") if entry["stage"] == "evaluate"]
    assert [model["champion"] for model in models] == [True, True]
    assert models[1]["far_pct"] < 0.5 * models[0]["far_pct"]
    assert models[1]["auroc"] > 0.9 > models[0]["auroc"]
    deft("verify", "--results-dir", run)

    # A machine without torch: the hand-off still scores, and every decision is the same.
    (tmp_path / "none").mkdir()
    (tmp_path / "none/sitecustomize.py").write_text("import sys\n\nsys.modules['torch'] = None\n")
    spec = run / "best_model_inference_spec.yaml"
    best = json.loads((run / "best_model.json").read_text())
    infer = "dataset.classify.infer_dataset"
    path = os.pathsep.join(map(str, (tmp_path / "none", SKILL_ROOT / "scripts")))
    command = [
        sys.executable, "-m", "deft_aoi.cli.main", "visual_changenet", "inference", "-e", spec,
        f"inference.checkpoint={best['checkpoint']}", f"inference.results_dir={tmp_path / 'again'}",
        f"{infer}.csv_path={line / 'kpi/testing_set.csv'}", f"{infer}.images_dir={line / 'kpi/images'}",
    ]  # fmt: skip
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    scores, known = (
        read_rows(csv)["siamese_score"].astype(float).to_numpy()
        for csv in (tmp_path / "again/inference.csv", run / models[1]["inference_csv"])
    )
    assert np.abs(scores - known).max() < 1e-6
    assert np.array_equal(scores > best["threshold"], known > best["threshold"])
