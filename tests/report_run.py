"""A small, coherent run directory written by code: what the report's tests (and a look at the page) need.

Scores are drawn so that each iteration separates better than the one before; every fact of the journal is computed
from the files next to it, so that a check which recomputes them must agree.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import yaml
from scipy import stats

from deft_aoi.base.rows import COLUMNS
from deft_aoi.record import journal, state

LIGHTS = ("SolderLight", "WhiteLight")
DEFECTS = ("bridge", "missing", "shift", "tombstone")
START = datetime(2026, 3, 2, 9, 0, 0, tzinfo=timezone.utc)
SECONDS = {
    "train": 31, "evaluate": 12, "rca": 3, "routing": 1, "anomalygen": 4, "data_mining": 17, "data_merge": 2,
    "loop_stop": 0,
}  # fmt: skip
SIZE = 72


@dataclass
class RunMaker:
    """Writes one run; `finish()` makes journal and state. Labels may be renamed to test escaping."""

    root: Path
    n_pass: int = 120
    n_defect: int = 24
    max_iterations: int = 2
    defects: tuple[str, ...] = DEFECTS
    object_prefix: str = "U"
    target: str = "FAR < 0.5% @ recall 100%"
    target_far: float = 0.5
    entries: list[dict[str, Any]] = field(default_factory=list)
    clock: datetime = START
    best: tuple[str, float, str] = ("", float("inf"), "")

    def __post_init__(self) -> None:
        self.workspace = self.root / "workspace"
        self.run = self.workspace / "results/run_20260302_090000"
        self.run.mkdir(parents=True)
        self.random = np.random.default_rng(7)
        self.rows = self._kpi_rows()
        self._write_workspace()

    def _kpi_rows(self) -> pd.DataFrame:
        labels = ["PASS"] * self.n_pass + [self.defects[i % len(self.defects)] for i in range(self.n_defect)]
        rows = pd.DataFrame({name: [""] * len(labels) for name in COLUMNS})
        rows["label"] = labels
        rows["object_name"] = [f"{self.object_prefix}{number:04d}" for number in range(len(labels))]
        rows["boardname"] = [f"board{number % 9:02d}" for number in range(len(labels))]
        rows["input_path"] = [f"test/{board}" for board in rows["boardname"]]
        rows["golden_path"] = [f"golden/{board}" for board in rows["boardname"]]
        return rows

    def _write_workspace(self) -> None:
        spec = {
            "task": "classify",
            "dataset": {"classify": {
                "input_map": {light: index for index, light in enumerate(LIGHTS)}, "image_ext": ".jpg",
                "image_width": SIZE, "image_height": SIZE,
            }},
        }  # fmt: skip
        (self.workspace / "specs").mkdir()
        (self.workspace / "specs/baseline_spec.yaml").write_text(yaml.safe_dump(spec))
        images = self.workspace / "kpi/images"
        for row in self.rows.itertuples():
            for light_index, light in enumerate(LIGHTS):
                for folder, label in ((row.golden_path, "PASS"), (row.input_path, row.label)):
                    path = images / str(folder) / f"{row.object_name}_{light}.jpg"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    is_golden = folder == row.golden_path
                    cv2.imwrite(str(path), picture(int(row.Index), str(label), light_index, golden=is_golden))
        self.rows.to_csv(self.workspace / "kpi/testing_set.csv", index=False)

    def add(self, label: str, stage: str, summary: str, facts: dict[str, Any], *, files: tuple[Path, ...] = (),
            status: str = "ok") -> None:  # fmt: skip
        """One journal line, `SECONDS[stage]` after the one before."""
        self.clock += timedelta(seconds=SECONDS[stage])
        self.entries.append({
            "seq": len(self.entries) + 1, "ts": self.clock.strftime("%Y-%m-%dT%H:%M:%SZ"), "iter": label,
            "stage": stage, "status": status, "summary": summary, "duration_sec": SECONDS[stage],
            "context_tokens": 0, "artifacts": [journal.artifact(self.run, path) for path in files], "facts": facts,
            "prev": "",
        })  # fmt: skip

    def train(self, label: str, rows: int) -> None:
        folder = self.run / label / "train"
        folder.mkdir(parents=True)
        checkpoint = folder / "model_epoch_009_step_00120.pth"
        checkpoint.write_bytes(f"weights of {label}".encode())
        self.add(label, "train", f"{rows} rows, 10 epochs, val_loss 0.0811", {
            "rows": rows, "defects": rows // 4, "engine": "features", "seed": 1234, "epochs": 10, "val_loss": 0.0811,
            "checkpoints": dict.fromkeys(("best_val", "latest"), f"{label}/train/{checkpoint.name}"),
            "spec": f"{label}/train/spec.yaml", "training_csv": f"{label}/dataset/train_combined_{label}.csv",
            "init_from": None if label == "baseline" else "baseline/train/model_epoch_009_step_00120.pth",
        }, files=(checkpoint,))  # fmt: skip

    def evaluate(self, label: str, separation: float) -> None:
        """Score the KPI rows with normal noise; `separation` is the distance of the two means."""
        is_pass = (self.rows["label"] == "PASS").to_numpy()
        raw = self.random.normal(0.0, 1.0, len(self.rows)) + np.where(is_pass, -separation / 2, separation / 2)
        score = 1.0 / (1.0 + np.exp(-raw))
        path = self.run / label / "inference/best_val/inference.csv"
        path.parent.mkdir(parents=True)
        self.rows.assign(siamese_score=score).to_csv(path, index=False)
        facts = self._kpi_facts(label, path, is_pass, score)
        self.add(label, "evaluate", f"FAR {facts['far_pct']:.2f}% at recall 100%", facts, files=(path,))

    def _kpi_facts(self, label: str, path: Path, is_pass: np.ndarray, score: np.ndarray) -> dict[str, Any]:
        defect = np.sort(score[~is_pass])
        below = score[score < defect[0]]
        threshold = float(below.max()) if below.size else float(np.nextafter(defect[0], -np.inf))
        false_calls, n_pass = int((score[is_pass] > threshold).sum()), int(is_pass.sum())
        far = 100 * false_calls / n_pass
        upper = (
            100 * float(stats.beta.ppf(0.95, false_calls + 1, n_pass - false_calls)) if false_calls < n_pass else 100.0
        )
        soft = defect[int(np.floor(0.005 * defect.size))]
        relative = path.relative_to(self.run).as_posix()
        checkpoint = f"{label}/train/model_epoch_009_step_00120.pth"
        met, champion = far < self.target_far, far < self.best[1]
        if champion:
            self.best = (label, far, relative)
        part = {
            "far_pct": far, "far_995_pct": 100 * float((score[is_pass] >= soft).mean()), "threshold": threshold,
            "auroc": float(stats.mannwhitneyu(score[~is_pass], score[is_pass]).statistic / (n_pass * defect.size)),
        }  # fmt: skip
        verdict = "FAIL" if not met else ("PASS" if upper < self.target_far else "NOT PROVABLE")
        return {
            **part, "candidates": {"best_val": {**part, "checkpoint": checkpoint, "inference_csv": relative}},
            "best_ckpt_kind": "best_val", "best_ckpt_path": checkpoint, "inference_csv": relative,
            "far_upper_pct": upper, "n_pass": n_pass, "n_defect": int(defect.size), "false_calls": false_calls,
            "verdict": verdict, "met": met, "champion": champion, "champion_label": self.best[0],
            "classical": {"far_pct": 21.3, "far_995_pct": 14.4, "auroc": 0.953},
        }  # fmt: skip

    def rca(self, label: str, analysed: str) -> None:
        folder = self.run / label / "rca_results/20260302_090100"
        folder.mkdir(parents=True)
        weak = {"PASS": 50, **dict.fromkeys(self.defects, 8)}
        self.add(label, "rca", f"{sum(weak.values())} weak rows of {analysed}", {
            "rca_dir": f"{label}/rca_results/20260302_090100", "rca_gaps_parquet": "kpi_gaps.parquet",
            "rca_threshold": 0.4, "rca_target_defects": list(self.defects[:2]), "analysed": analysed,
            "weak_rows": sum(weak.values()), "weak_by_label": weak,
        })  # fmt: skip

    def mine(self, label: str, base_rows: int, mined_rows: int) -> None:
        """Routing, pre-generated pairs, mining and merge of one iteration."""
        self.add(label, "routing", "4 labels to mining, none dropped", {
            "mining_labels": ["PASS", *self.defects], "anomalygen_labels": ["PASS"], "dropped_labels": [],
        })  # fmt: skip
        self.add(label, "anomalygen", "24 pre-generated pairs staged", {"mode": "pregen_ingest", "pairs": 24})
        mined = self._mined(mined_rows)
        path = self.run / label / "mining_filter/mined.parquet"
        path.parent.mkdir(parents=True)
        mined.to_parquet(path, index=False)
        kept = mined["label"].value_counts().to_dict()
        self.add(label, "data_mining", f"{mined_rows} of {mined_rows * 3} candidates kept", {
            "mining_mined_parquet": f"{label}/mining_filter/mined.parquet", "mining_mined_count": mined_rows,
            "candidates": mined_rows * 3, "kept": mined_rows, "rejected": mined_rows * 2, "min_similarity": 0.9,
            "policy": "knn", "synthetic_kept": int((mined["origin"] == "synthetic").sum()),
            "by_label": {name: {"kept": int(count), "candidates": int(count) * 3} for name, count in kept.items()},
        }, files=(path,))  # fmt: skip
        self._merge(label, base_rows, mined)

    def _mined(self, count: int) -> pd.DataFrame:
        names = ["PASS", *self.defects]
        pick = self.random.integers(0, len(self.rows), count)
        rows = self.rows.iloc[pick]
        target = self.rows.iloc[self.random.integers(0, len(self.rows), count)]
        image = [f"kpi/images/{row.input_path}/{row.object_name}_{LIGHTS[0]}.jpg" for row in rows.itertuples()]
        targets = [f"kpi/images/{row.input_path}/{row.object_name}_{LIGHTS[0]}.jpg" for row in target.itertuples()]
        return pd.DataFrame({
            "filepath": image, "input_path": [f"kpi/images/{value}" for value in rows["input_path"]],
            "golden_path": [f"kpi/images/{value}" for value in rows["golden_path"]],
            "object_name": rows["object_name"].tolist(), "label": [names[i % len(names)] for i in range(count)],
            "target_filepath": targets, "target_label": target["label"].tolist(),
            "rank": [i % 5 + 1 for i in range(count)],
            "similarity": np.linspace(0.99, 0.9, count), "reason": "nearest to a weak row",
            "origin": ["synthetic" if i % 6 == 0 else "real" for i in range(count)],
        })  # fmt: skip

    def _merge(self, label: str, base_rows: int, mined: pd.DataFrame) -> None:
        source = "base_train" if label == "iter1" else "previous_iter_train"
        old = pd.DataFrame({
            "input_path": "kpi/images/test/a", "golden_path": "kpi/images/golden/a", "label": "PASS",
            "object_name": [f"B{i:04d}" for i in range(base_rows)], "provenance": source, "origin": "real",
        })  # fmt: skip
        new = mined[["input_path", "golden_path", "label", "object_name", "origin"]].assign(provenance="mining_pool")
        path = self.run / label / f"dataset/train_combined_{label}_provenance.csv"
        path.parent.mkdir(parents=True)
        rows = pd.concat([old, new], ignore_index=True)
        rows.to_csv(path, index=False)
        self.add(label, "data_merge", f"{len(rows)} rows", {
            "combined_training_csv": f"{label}/dataset/train_combined_{label}.csv",
            "provenance_csv": path.relative_to(self.run).as_posix(), "rows": len(rows),
            "provenance": {source: base_rows, "mining_pool": len(mined)},
            "synthetic_rows": int((mined["origin"] == "synthetic").sum()),
        }, files=(path,))  # fmt: skip

    def finish(self) -> Path:
        """Write journal, state and Pre-Flight; returns the run directory."""
        (self.run / "loop_log.jsonl").write_bytes(b"".join(journal.chain(self.entries)))
        config = {
            "specs_file": str(self.workspace / "specs/baseline_spec.yaml"), "workspace": str(self.workspace),
            "training_csv": str(self.workspace / "train/base/training_set.csv"),
            "validation_csv": str(self.workspace / "train/base/validation_set.csv"),
            "kpi_test_csv": str(self.workspace / "kpi/testing_set.csv"),
            "images_dir": str(self.workspace / "kpi/images"), "engine": "features", "platform": "local",
            "seed": 1234, "policy": "knn", "num_gpus": 0, "batch_size": 16, "num_epochs": 10,
            "mining_filter": {"top_k_per_target": 5, "metric": "cosine", "min_similarity": 0.9},
        }  # fmt: skip
        start = state.initial(
            started_at=START.strftime("%Y-%m-%dT%H:%M:%SZ"), kpi_target=self.target, results_dir=str(self.run),
            max_iterations=self.max_iterations, config=config,
        )  # fmt: skip
        state.save(self.run / "deft_state.json", state.fold(start, self.entries))
        (self.run / "preflight.json").write_text(json.dumps({
            "plan": {"engine": "features", "seed": 1234, "anomalygen_labels": ["PASS", "MISSING"]},
            "sources": {"engine": "default", "seed": "user", "anomalygen_labels": "default"},
            "findings": [], "digest": "5f1c" * 16, "inputs": {"kpi/testing_set.csv": "ab" * 32},
            "dataset": {
                "training": {"rows": 250, "pass": 188, "defects": {"bridge": 62}, "boards": 4}, "mining_pool": 900,
            },
            "versions": {"deft": "0.1.0", "python": "3.11.9", "numpy": "2.1.0", "onnxruntime": "1.19.2"},
        }))  # fmt: skip
        return self.run


def baseline_only(root: Path, make: type[RunMaker] = RunMaker, **options: Any) -> RunMaker:
    """A run whose baseline is trained, evaluated and analysed."""
    maker = make(root, **options)
    maker.train("baseline", 250)
    maker.evaluate("baseline", 2.6)
    maker.rca("baseline", "baseline")
    return maker


def whole_run(root: Path, **options: Any) -> RunMaker:
    """Baseline and `max_iterations` iterations up to loop_stop."""
    maker = baseline_only(root, **options)
    rows = 250
    for number in range(1, maker.max_iterations + 1):
        label = f"iter{number}"
        maker.rca(label, maker.best[0])
        maker.mine(label, rows, 60)
        rows += 60
        maker.train(label, rows)
        maker.evaluate(label, 2.7 + 0.5 * number)
    best, far, _ = maker.best
    maker.add(f"iter{maker.max_iterations}", "loop_stop", f"max_iterations: best {best}", {
        "reason": "max_iterations", "best_label": best, "best_far_pct": far, "verdict": "FAIL",
    })  # fmt: skip
    return maker


def picture(number: int, label: str, light: int, *, golden: bool = False) -> np.ndarray:
    """One component on a board, BGR uint8; the same `number` gives the same board under each label."""
    random = np.random.default_rng([number, light])
    board = np.array([58, 92, 30] if light == 0 else [96, 120, 88], np.float32)
    image = np.full((SIZE, SIZE, 3), board, np.float32)
    middle = SIZE // 2 + int(random.integers(-2, 3))
    for x in (middle - 18, middle + 10):
        cv2.rectangle(image, (x, middle - 9), (x + 8, middle + 9), (205, 212, 216), -1)
    if label != "missing":
        shift = 9 if label == "shift" else 0
        turn = 70 if label == "tombstone" else 0
        box = cv2.boxPoints(((float(middle + shift), float(middle + shift // 2)), (22.0, 15.0), float(turn)))
        cv2.fillConvexPoly(image, box.astype(np.int32), (42, 40, 46))
    if label == "bridge":
        cv2.line(image, (middle - 12, middle + 10), (middle + 13, middle + 12), (228, 230, 232), 4)
    seen = np.random.default_rng([number, light, int(golden)])
    image = np.roll(image, tuple(seen.integers(-2, 3, 2)), axis=(0, 1))
    image = image * (1 + 0.06 * seen.normal()) + seen.normal(0, 4, image.shape)
    return np.clip(cv2.GaussianBlur(image, (3, 3), 0), 0, 255).astype(np.uint8)
