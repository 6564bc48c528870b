"""Stage `data_mining`: find pool rows like the weak samples, never one that was taken before."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from deft_aoi.contracts import IDENTITY, PASS, read_parquet, read_pool, read_rows, write_parquet, write_rows
from deft_aoi.data.fingerprints import readable
from deft_aoi.data.pregen import MODE as PREGEN
from deft_aoi.errors import HardStop, InputError
from deft_aoi.executors.base import TAO_PYT, Task
from deft_aoi.experiment import dump_spec, put
from deft_aoi.fsio import atomic_write_text
from deft_aoi.kpi.scored import read_scored
from deft_aoi.mining.embed import component_matrix, light_files
from deft_aoi.mining.index import same_label_neighbours
from deft_aoi.mining.select import NO_TARGET, Limits, Pick, knn, random_rows, weakest
from deft_aoi.paths import iter_label, iter_number
from deft_aoi.run import Run
from deft_aoi.stages.base import StageResult
from deft_aoi.stages.evaluate import FINISHED
from deft_aoi.stages.leaks import stop_on_leaks
from deft_aoi.stages.specs import task_spec, without_nulls

POLICIES = ("knn", "weakness", "random")
SOURCES = ("source", "target")
_DEPTH = 200


def default_policy(pool: Path) -> tuple[str, str]:
    """(policy, why): `weakness` where the pool's labels allow it, else `knn`. The benchmarks say why."""
    try:
        labels = set(read_rows(pool, required=("label",))["label"])
    except InputError:  # Pre-Flight's own check names what is wrong with it
        labels = set()
    if PASS in labels and len(labels) > 1:
        return "weakness", "the pool has labels"
    return "knn", "the pool has no PASS and defect labels"


@dataclass(frozen=True)
class Found:
    """What the search gave: picks, how many candidates there were, rows whose image could not be read."""

    picks: list[Pick]
    candidates: Counter[str]
    unreadable: int


def tasks(run: Run, label: str) -> list[Task]:
    """knn: embed the pool and the targets with the same encoder (the cache makes a second pass over the pool free).
    weakness: score the unused pool rows with the best model so far."""
    if run.plan.policy == "random":
        return []
    if run.plan.policy == "weakness":
        return [_scoring(run, label)]
    frames = {"source": source_pool(run), "target": target_rows(run, label)}
    roots = {"source": run.workspace.root, "target": run.workspace.images}
    return [_embedding(run, label, name, frames[name], roots[name]) for name in SOURCES]


def _embedding(run: Run, label: str, name: str, rows: pd.DataFrame, root: Path) -> Task:
    folder = run.paths.mining(label)
    files = [file for per_light in light_files(rows, root, run.optics) for file in per_light]
    listing, output = folder / f"{name}_images.parquet", folder / f"embed_{name}"
    write_parquet(listing, pd.DataFrame({"filepath": files}))
    spec = folder / f"embed_{name}.yaml"
    result = output / f"{name}_embeddings.parquet"
    dump_spec(
        spec,
        {"input_parquet": str(listing), "output_parquet": str(result), "model": "trunk", "model_path": "reference"},
    )
    return Task(f"embed_{name}", ("embedding", "image_embeddings", "-e", str(spec)), output, expects=(result,))


def _scoring(run: Run, label: str) -> Task:
    folder, pool = run.paths.mining(label), source_pool(run)
    csv, output = folder / "pool_to_score.csv", folder / "score_pool"
    free = free_rows(pool, used_rows(run, label, pool))
    if not free:
        raise nothing_left(run, pool, 0)
    write_rows(csv, pool.iloc[free].drop(columns="origin"))
    spec = task_spec(run, label)
    put(spec, "dataset.classify.batch_size", min(run.plan.batch_size, len(free)))  # TAO refuses fewer rows than a batch
    put(spec, "dataset.classify.infer_dataset", {"csv_path": str(csv), "images_dir": str(run.workspace.root)})
    put(spec, "inference.checkpoint", run.champion()[1]["best_ckpt_path"])
    put(spec, "inference.results_dir", str(output))
    dump_spec(folder / "score_pool.yaml", without_nulls(spec))
    command = ("visual_changenet", "inference", "-e", str(folder / "score_pool.yaml"))
    expects = (output / "inference.csv",)
    return Task("score_pool", command, output, expects=expects, finished=FINISHED, image=TAO_PYT, gpus=1)


def collect(run: Run, label: str) -> StageResult:
    pool, targets = source_pool(run), target_rows(run, label)
    used = used_rows(run, label, pool)
    found = search(run, label, pool, targets, used)
    if not found.picks:
        raise nothing_left(run, pool, len(pool) - len(used))
    mined = mined_frame(run, pool, targets, found.picks)
    artifacts = write_results(run, label, pool, mined, found)
    rows = pool.iloc[[pick.row for pick in found.picks]]
    stop_on_leaks(run, rows.drop(columns="origin"), artifacts[1])
    kept = Counter(mined["label"])
    facts: dict[str, Any] = {
        "mining_mined_parquet": str(artifacts[0]),
        "mining_mined_count": len(mined),
        "candidates": sum(found.candidates.values()),
        "kept": len(mined),
        "rejected": sum(found.candidates.values()) - len(mined),
        "min_similarity": similarity_floor(run),
        "policy": run.plan.policy,
        "by_label": {
            name: {"kept": kept[name], "candidates": found.candidates[name]} for name in sorted(kept | found.candidates)
        },
        "synthetic_kept": int((mined["origin"] == "synthetic").sum()),
        "unreadable": found.unreadable,
        "warnings": warnings(run, label, targets, pool, len(mined)),
    }
    summary = f"{len(mined)} rows mined of {len(pool) - len(used)} unused ({facts['synthetic_kept']} synthetic)"
    summary += "".join(f" · {text}" for text in facts["warnings"])
    return StageResult(summary, facts, artifacts)


def nothing_left(run: Run, pool: pd.DataFrame, unused: int) -> HardStop:
    """The stop of a pool that gives nothing any more."""
    floor = f", similarity floor {run.plan.min_similarity:g}" if run.plan.policy == "knn" else ""
    return HardStop(
        "empty_mining",
        f"no pool row qualified: {unused} unused of {len(pool)}{floor}",
        evidence=str(run.workspace.pool_csv),
        remedy="add rows to the mining pool" + (" or approve a plan with a lower --min-similarity" if floor else ""),
    )


def similarity_floor(run: Run) -> float | None:
    """The floor that was used; None for a policy that compares no images."""
    return run.plan.min_similarity if run.plan.policy == "knn" else None


def source_pool(run: Run) -> pd.DataFrame:
    """Real pool plus staged synthetic pairs; paths relative to the workspace, `origin` says which is which.

    A row that an append-only pool names twice stands once; one with an image that cannot be read does not stand here.
    """
    real = read_pool(run.workspace.pool_csv, run.workspace.root, run.optics.lights, run.optics.ext)
    frames = [real.assign(origin="real")]
    synthetic = run.paths.synth_pool / "sdg_rows.csv"
    if run.plan.synthetic == PREGEN and synthetic.is_file():
        frames.append(read_rows(synthetic).assign(origin="synthetic"))
    rows = pd.concat(frames, ignore_index=True).fillna("")
    rows = rows.drop_duplicates(list(IDENTITY), ignore_index=True)
    return rows[readable(rows, run.workspace.root, run.optics)].reset_index(drop=True)


def target_rows(run: Run, label: str) -> pd.DataFrame:
    """Weak samples routed to mining, one row each, the weakest first within a label."""
    gaps = read_parquet(Path(run.facts(label, "routing")["routing_mining_parquet"]), {"label": "text"})
    if missing := [name for name in ("input_path", "object_name", "weakness") if name not in gaps.columns]:
        raise HardStop(
            "old_routing",
            f"the routing of {label} has no {', '.join(missing)}: a run of 7.0.x, left within an iteration",
            evidence=run.facts(label, "routing")["routing_mining_parquet"],
            remedy="deft resolve --stop --reason TEXT hands the best model over; a new run does the rest",
        )
    first_light = gaps.drop_duplicates(["input_path", "object_name"])
    return first_light.sort_values("weakness", ascending=False, kind="stable").reset_index(drop=True)


def used_rows(run: Run, label: str, pool: pd.DataFrame) -> set[int]:
    """Pool rows that an earlier iteration took."""
    keys: set[tuple[str, str]] = set()
    for number in range(1, iter_number(label)):
        earlier = read_parquet(Path(run.facts(iter_label(number), "data_mining")["mining_mined_parquet"]), {})
        if "input_path" not in earlier.columns:  # 7.0.x: the rows stand in the CSV beside it
            earlier = read_rows(run.paths.mining(iter_label(number)) / "mining_pool.csv")
        keys.update(zip(earlier["input_path"], earlier["object_name"], strict=True))
    pairs = zip(pool["input_path"], pool["object_name"], strict=True)
    return {row for row, key in enumerate(pairs) if key in keys}


def free_rows(pool: pd.DataFrame, used: set[int]) -> list[int]:
    """Pool rows that no earlier iteration took, in the pool's order."""
    return [row for row in range(len(pool)) if row not in used]


def search(run: Run, label: str, pool: pd.DataFrame, targets: pd.DataFrame, used: set[int]) -> Found:
    """Apply the approved policy."""
    limits = Limits(run.plan.mine_rows, run.plan.top_k_per_target, run.plan.min_similarity)
    if run.plan.policy == "random":
        return Found(random_rows(len(pool), used, limits, run.plan.seed + iter_number(label)), Counter(), 0)
    folder = run.paths.mining(label)
    if run.plan.policy == "weakness":
        free, labels = free_rows(pool, used), list(pool["label"])
        scores = read_scored(folder / "score_pool/inference.csv").score.tolist()
        return Found(weakest(labels, free, scores, limits), Counter(labels[row] for row in free), 0)
    matrices = []
    for name, rows, root in (("source", pool, run.workspace.root), ("target", targets, run.workspace.images)):
        parquet = folder / f"embed_{name}" / f"{name}_embeddings.parquet"
        matrices.append(component_matrix(parquet, light_files(rows, root, run.optics)))
    (source, readable), (asked, _) = matrices
    unusable = used | {int(row) for row in (~readable).nonzero()[0]}
    target_labels, pool_labels = list(targets["label"]), list(pool["label"])
    near = same_label_neighbours(asked, target_labels, source, pool_labels, unusable, _DEPTH)
    picks = knn(target_labels, pool_labels, near, unusable, limits)
    reached = {int(row) for row in near.index[near.index >= 0]}
    return Found(picks, Counter(pool_labels[row] for row in reached), int((~readable).sum()))


def mined_frame(run: Run, pool: pd.DataFrame, targets: pd.DataFrame, picks: list[Pick]) -> pd.DataFrame:
    """One row for each pick: what was taken, for which target, at which rank and similarity, and why."""
    light, ext = run.optics.lights[0], run.optics.ext
    records = []
    for pick in picks:
        row = pool.iloc[pick.row]
        target = None if pick.target == NO_TARGET else targets.iloc[pick.target]
        records.append(
            {
                "filepath": f"{row['input_path']}/{row['object_name']}_{light}{ext}",
                **{name: row[name] for name in ("input_path", "golden_path", "object_name", "label", "origin")},
                "target_filepath": "" if target is None else target["filepath"],
                "target_label": "" if target is None else target["label"],
                "rank": pick.rank,
                "similarity": pick.similarity,
                "reason": pick.reason,
            }
        )
    return pd.DataFrame(records)


def write_results(run: Run, label: str, pool: pd.DataFrame, mined: pd.DataFrame, found: Found) -> tuple[Path, ...]:
    """The contract's files; returns mined.parquet, mining_pool.csv, knn_summary.csv."""
    folder = run.paths.mining(label)
    write_parquet(folder / "mined.parquet", mined)
    rows = pool.iloc[[pick.row for pick in found.picks]]
    write_rows(folder / "mining_pool.csv", rows.drop(columns="origin"))
    write_rows(folder / "sdg_rows.csv", rows[rows["origin"] == "synthetic"].drop(columns="origin"))
    candidates = sum(found.candidates.values())
    totals = {
        "candidate_count": candidates,
        "kept_count": len(mined),
        "rejected_count": candidates - len(mined),
        "similarity_threshold": similarity_floor(run),
    }
    write_rows(folder / "knn_summary.csv", pd.DataFrame([totals]))
    lines = [f"Policy: {run.plan.policy}", f"Total candidates: {candidates}", f"Unique items saved: {len(mined)}"]
    lines += [f"Results saved to: {folder / 'mined.parquet'}"]
    atomic_write_text(folder / "mining_summary.txt", "\n".join(lines) + "\n")
    for name in SOURCES:
        made, wanted = folder / f"embed_{name}/{name}_embeddings.parquet", folder / f"{name}_embeddings.parquet"
        if made.is_file() and not wanted.exists():
            os.link(made, wanted)
    return tuple(folder / name for name in ("mined.parquet", "mining_pool.csv", "knn_summary.csv"))


def warnings(run: Run, label: str, targets: pd.DataFrame, pool: pd.DataFrame, kept: int) -> list[str]:
    """What a person should know though the loop goes on."""
    stock = {name.casefold() for name in pool["label"]}
    absent = sorted({name for name in targets["label"] if name.casefold() not in stock})
    found = [f"no pool rows for {', '.join(absent)}"] if absent else []
    if iter_number(label) > 1:
        before = run.facts(run.previous_label(label), "data_mining")["mining_mined_count"]
        found += [f"fewer than half of the {before} rows of {run.previous_label(label)}"] if 2 * kept < before else []
    return found
