"""Does a source of rows earn its place? The last iteration trained again with and without it, side by side.

Both arms start from the baseline's checkpoint, which has seen seed rows alone, so that nothing of the left-out source
is in its weights. Every seed trains both on nine tenths of the rows, drawn by the seed and the same for both: an engine
may give one model for every seed, and the rows are what chance would have dealt otherwise. It runs on the run's own
executor, below `<run>/ablation/`, and is no fact of the loop: neither journal nor state nor a file of the run changes.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from deft_aoi.base.errors import InputError
from deft_aoi.base.files import atomic_write_json, atomic_write_text, sha256_file, utc_now
from deft_aoi.base.paths import ABLATION_RECORD, BASELINE, RunPaths, iter_number
from deft_aoi.base.rows import PASS, read_rows, write_rows
from deft_aoi.executors.base import Executor
from deft_aoi.kpi.gate import rank
from deft_aoi.kpi.judged import standing
from deft_aoi.loop import driver
from deft_aoi.record.facts import Merged
from deft_aoi.record.order import DATA_MERGE, EVALUATE, TRAIN, Step
from deft_aoi.record.run import Run, approved, read_json
from deft_aoi.stages import evaluate, train
from deft_aoi.stages.synthetic_rows import SYNTHETIC

SOURCES = ("synthetic", "mined")
WITH, WITHOUT = "with", "without"
TABLE = "ablation.md"
FEWEST_SEEDS = 3
_DEALT = 0.9  # share of the rows that one seed trains on
Record = dict[str, Any]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Cut:
    """The rows of an iteration and which of them the other arm keeps."""

    label: str
    source: str
    rows: pd.DataFrame
    kept: list[bool]

    def arm(self, name: str, seed: int) -> pd.DataFrame:
        """Rows of one arm; which tenth is left out depends on the seed alone."""
        dealt = np.random.default_rng([seed, 11]).random(len(self.rows)) < _DEALT
        return self.rows[dealt] if name == WITH else self.rows[dealt & np.array(self.kept)]


def ablate(results_dir: Path, source: str, seeds: int, say: Say, executor: Executor | None = None) -> Record:
    """Train and score both arms with `seeds` seeds and write ablation.json and ablation.md; returns the record.

    Jobs that an interrupted call left behind are taken up again; a finished ablation is only read. Raises InputError
    where there is nothing to leave out or too few seeds, HardStop where a task fails.
    """
    if source not in SOURCES:
        raise InputError(f"--without {source}: expected {' or '.join(SOURCES)}")
    if seeds < FEWEST_SEEDS:
        raise InputError(f"--seeds {seeds}: a difference needs its spread, so expected {FEWEST_SEEDS} or more")
    with driver.only_worker(results_dir) as run:
        approved(run.paths, run.state)
        cut = make_cut(run, source)
        home = run.paths.ablation(cut.label, source)
        if (home / ABLATION_RECORD).is_file() and len(read_json(home / ABLATION_RECORD)["seeds"]) >= seeds:
            return read_json(home / ABLATION_RECORD)
        work = executor or driver.make_executor(run)
        points = []
        for seed in (run.plan.seed + number for number in range(seeds)):
            for name in (WITH, WITHOUT):
                facts = run_arm(run, cut, home, name, seed, work)
                points.append({"arm": name, "seed": seed, **facts})
                say(f"{name} {source}, seed {seed}: FAR {facts['far_pct']:.2f}%")
        record = _record(run, cut, points) | {"table": run.paths.relative(home / TABLE)}
        atomic_write_text(home / TABLE, table(record))
        atomic_write_json(home / ABLATION_RECORD, record)
    return record


def make_cut(run: Run, source: str) -> Cut:
    """Rows of the last iteration that was merged, and which do not come from `source`.

    `synthetic`: every generated row of this and earlier iterations. `mined`: every real row that is no seed row.
    """
    labels = [e["iter"] for e in run.entries if (e["stage"], e["status"]) == (DATA_MERGE, "ok")]
    if not labels:
        raise InputError(f"{run.paths.root}: no iteration has merged rows yet; nothing to leave out")
    label = max(labels, key=iter_number)
    merged = run.left(label, Merged)
    rows, provenance = map(read_rows, (merged.combined_training_csv, merged.provenance_csv))
    if "origin" not in provenance.columns:
        raise InputError(f"{merged.provenance_csv}: no column origin (a run of 7.0.x), so its sources are unknown")
    synthetic = (provenance["origin"] == SYNTHETIC).to_numpy()
    seed = pd.Series(range(len(rows))).lt(len(read_rows(run.workspace.training_csv))).to_numpy()  # they stand first
    gone = synthetic if source == "synthetic" else ~synthetic & ~seed
    if not gone.any():
        raise InputError(f"{label} has no {source} rows among its {len(rows)}: nothing to leave out")
    kept = rows[~gone]
    defects = int((kept["label"] != PASS).sum())
    if len(kept) < run.plan.batch_size or defects in (0, len(kept)):
        raise InputError(
            f"{label} without its {int(gone.sum())} {source} rows has {len(kept)} rows, {defects} of them defects: "
            "too few to train on"
        )
    return Cut(label, source, rows, [not out for out in gone])


def run_arm(run: Run, cut: Cut, home: Path, name: str, seed: int, executor: Executor) -> Record:
    """Train and score one arm with one seed; its KPI figures by the loop's own rule (the better checkpoint counts)."""
    folder = home / name / f"seed{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    only_baseline = tuple(entry for entry in run.entries if entry["iter"] == BASELINE)
    shadow = replace(run, paths=RunPaths.at(folder), plan=replace(run.plan, seed=seed), entries=only_baseline)
    if not (csv := shadow.paths.combined_csv(cut.label)).is_file():
        write_rows(csv, cut.arm(name, seed))
    start = Path(str(train.initial_weights(shadow, cut.label)))
    if not start.is_file():
        raise InputError(f"{start}: the baseline's checkpoint is gone (pruned?); an ablation has to start from it")
    driver.do_tasks(shadow, Step(cut.label, TRAIN), driver.stage_module(TRAIN), executor, float("inf"))
    facts = train.collect(shadow, cut.label).record()
    trained = {"seq": 0, "iter": cut.label, "stage": TRAIN, "status": "ok", "facts": facts}
    shadow = replace(shadow, entries=(*only_baseline, trained))
    driver.do_tasks(shadow, Step(cut.label, EVALUATE), driver.stage_module(EVALUATE), executor, float("inf"))
    target = run.plan.target
    scored = [
        evaluate.candidate_facts(run, target, shadow.paths.inference(cut.label, kind) / "inference.csv", cut.label)
        for kind in evaluate.checkpoints(shadow, cut.label)
    ]
    best = min(scored, key=lambda facts: rank(standing(target, facts)))
    shown = {name: best[name] for name in ("far_pct", "far_995_pct", "auroc", "false_calls", "misses")}
    return {
        **shown,
        "scores": run.paths.relative(Path(best["inference_csv"])),
        "sha256": sha256_file(Path(best["inference_csv"])),
    }


def _record(run: Run, cut: Cut, points: Sequence[Mapping[str, Any]]) -> Record:
    seeds = sorted({int(point["seed"]) for point in points})
    far = {(point["arm"], point["seed"]): float(point["far_pct"]) for point in points}
    gaps = [far[(WITHOUT, seed)] - far[(WITH, seed)] for seed in seeds]
    return {
        "version": 1,
        "made": utc_now(),
        "iteration": cut.label,
        "without": cut.source,
        "rows": {WITH: len(cut.rows), WITHOUT: sum(cut.kept)},
        "start": "baseline",
        "engine": run.plan.engine,
        "seeds": seeds,
        "points": [dict(point) for point in points],
        "difference": {**spread(gaps), "per_seed": gaps},
        "sentence": sentence(cut.source, gaps),
    }


def spread(gaps: Sequence[float]) -> Record:
    """Mean, standard deviation, and the 95 % interval of the mean (Student's t), all in percentage points."""
    from scipy import stats

    mean, deviation = statistics.fmean(gaps), statistics.stdev(gaps)
    half = float(stats.t.ppf(0.975, len(gaps) - 1)) * deviation / len(gaps) ** 0.5
    return {"mean": mean, "deviation": deviation, "low": mean - half, "high": mean + half}


def sentence(source: str, gaps: Sequence[float]) -> str:
    """What the difference allows to say, and no more."""
    found = spread(gaps)
    interval = f"95 % {found['low']:+.2f} to {found['high']:+.2f}"
    shown = f"{found['mean']:+.2f} points (standard deviation {found['deviation']:.2f}, {interval})"
    words = f"Without its {source} rows FAR changes by {shown} over {len(gaps)} seeds: "
    if found["low"] > 0:
        return words + f"the {source} rows help."
    if found["high"] < 0:
        return words + f"the {source} rows hurt."
    return words + "no difference that these seeds could tell from chance."


def table(record: Mapping[str, Any]) -> str:
    """Markdown: FAR of both arms for every seed, then the sentence."""
    far = {(point["arm"], point["seed"]): point["far_pct"] for point in record["points"]}
    lines = [f"# {record['iteration']} with and without its {record['without']} rows", ""]
    lines += [
        f"| seed | FAR with ({record['rows'][WITH]} rows) | FAR without ({record['rows'][WITHOUT]} rows) | difference |"
    ]
    lines += ["|---|---|---|---|"]
    for seed, gap in zip(record["seeds"], record["difference"]["per_seed"]):
        lines.append(f"| {seed} | {far[(WITH, seed)]:.2f}% | {far[(WITHOUT, seed)]:.2f}% | {gap:+.2f} |")
    lines += [
        "",
        record["sentence"],
        "",
        "Both arms start from the baseline's checkpoint; FAR is that of the KPI set.",
        "",
    ]
    return "\n".join(lines)
