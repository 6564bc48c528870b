"""What mining leaves on disk: the mined rows, the review list, the labelling queue and the contract's summaries."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deft_aoi.base.errors import HardStop
from deft_aoi.base.files import atomic_write_text
from deft_aoi.base.names import means_good, names_nothing
from deft_aoi.base.rows import (
    IDENTITY,
    PASS,
    image_path,
    normalise_label,
    read_sheet,
    write_parquet,
    write_rows,
    write_sheet,
)
from deft_aoi.data.label_review import read_review
from deft_aoi.data.sets import POOL
from deft_aoi.mining.select import NO_TARGET, UNLABELLED, Pick, compares_pictures
from deft_aoi.rca.contact_sheet import contact_sheet
from deft_aoi.record.run import Run
from deft_aoi.stages import source_embeddings

REVIEW, QUEUE = "label_review", "labelling_queue"
SHEET_ROWS = 20
_LINKED = ("source", "target")


def similarity_floor(run: Run) -> float | None:
    """The floor that was used; None for a policy that compares no images."""
    return run.plan.min_similarity if run.plan.policy.startswith("knn") else None


def pick_frame(
    run: Run, pool: pd.DataFrame, targets: pd.DataFrame, picks: list[Pick], scores: NDArray[np.float64] | None
) -> pd.DataFrame:
    """One row for each pick: what was taken, for which target, at which rank and similarity, and why."""
    light, ext = run.optics.lights[0], run.optics.ext
    names = ("input_path", "golden_path", "object_name", "label", "origin")
    rows = pool.iloc[[pick.row for pick in picks]]
    asked = [None if pick.target == NO_TARGET else targets.iloc[pick.target] for pick in picks]
    return pd.DataFrame(
        {
            "filepath": [f"{a}/{b}_{light}{ext}" for a, b in zip(rows["input_path"], rows["object_name"], strict=True)],
            **{name: rows[name].to_numpy() for name in names},
            "target_filepath": ["" if target is None else target["filepath"] for target in asked],
            "target_label": ["" if target is None else target["label"] for target in asked],
            "rank": [pick.rank for pick in picks],
            "similarity": pd.Series([pick.similarity for pick in picks], dtype="float64"),
            "score": pd.Series([None if scores is None else scores[pick.row] for pick in picks], dtype="float64"),
            "reason": [pick.reason for pick in picks],
        }
    )


def write_results(
    run: Run, label: str, pool: pd.DataFrame, picks: list[Pick], mined: pd.DataFrame, candidates: int
) -> tuple[Path, ...]:
    """The contract's files; returns mined.parquet, mining_pool.csv, knn_summary.csv."""
    folder = run.paths.mining(label)
    write_parquet(folder / "mined.parquet", mined)
    rows = pool.iloc[[pick.row for pick in picks]]
    write_rows(folder / "mining_pool.csv", rows.assign(source="mining_pool"))  # the column that NVIDIA's bank reads
    write_rows(folder / "sdg_rows.csv", rows[rows["origin"] == "synthetic"].drop(columns="origin"))
    totals = {
        "candidate_count": candidates,
        "kept_count": len(mined),
        "rejected_count": candidates - len(mined),
        "similarity_threshold": similarity_floor(run),
    }
    write_rows(folder / "knn_summary.csv", pd.DataFrame([totals]))
    lines = [f"Policy: {run.plan.policy}", f"Total candidates: {candidates}", f"Unique items saved: {len(mined)}"]
    lines += [f"Results saved to: {folder / 'mined.parquet'}"]
    lines += [] if similarity_floor(run) is not None else ["Similarity floor: not used by this policy"]
    atomic_write_text(folder / "mining_summary.txt", "\n".join(lines) + "\n")
    for name in _LINKED:
        made, wanted = folder / f"embed_{name}/{name}_embeddings.parquet", folder / f"{name}_embeddings.parquet"
        whole = name == "source" and compares_pictures(run.plan.policy) and source_embeddings.used(run)
        if whole and not made.is_file():
            made = source_embeddings.path(run)  # embedded once for the whole run
        if made.is_file() and not wanted.exists():
            os.link(made, wanted)
    return tuple(folder / name for name in ("mined.parquet", "mining_pool.csv", "knn_summary.csv"))


def doubted_before(run: Run, mined: pd.DataFrame) -> list[str]:
    """Names of mined rows whose label Pre-Flight or a person put into the run's label_review.csv."""
    listed = read_review(run.paths.label_review)
    listed = listed[listed["set"] == POOL]
    known = set(zip(listed["input_path"], listed["object_name"], strict=True))
    rows = zip(mined["input_path"], mined["object_name"], strict=True)
    return [f"{folder}/{name}" for folder, name in rows if (folder, name) in known]


def write_review(run: Run, label: str, review: pd.DataFrame, doubt: list[float]) -> Path:
    """`label_review.csv`: picks that were kept out for their label, the most suspect first, and their picture."""
    listed = review.assign(doubt=doubt).sort_values("doubt", ascending=False, kind="stable", ignore_index=True)
    path = run.paths.mining(label) / f"{REVIEW}.csv"
    write_sheet(path, listed)
    if len(listed):
        causes = [f"wrong label? doubt {value:.2f}" for value in listed["doubt"]]
        sheet(run, listed, causes, path.with_suffix(".png"))
    return path


def sheet(run: Run, rows: pd.DataFrame, causes: list[str], path: Path) -> None:
    """Contact sheet of the first rows: what is asked of each, then test, golden and difference of each light."""
    samples = []
    for row, cause in list(zip(rows.to_dict("records"), causes, strict=True))[:SHEET_ROWS]:
        parts = {
            name: [
                str(image_path(run.workspace.root, row[column], row["object_name"], light, run.optics.ext))
                for light in run.optics.lights
            ]
            for name, column in (("filepath", "input_path"), ("golden_filepath", "golden_path"))
        }
        said = {"label": row["label"] or "label?", "object_name": row["object_name"], "cause": cause}
        samples.append(pd.DataFrame(parts | {"light": run.optics.lights}).assign(**said, evidence=row["reason"]))
    contact_sheet(samples, path)


def asked_labels(run: Run, label: str, queue: pd.DataFrame) -> pd.DataFrame:
    """The queue with a person's labels, rows without one left out.

    Where nobody has labelled it yet the queue is written, and the loop stops for that person. Raises HardStop.
    """
    folder = run.paths.mining(label)
    path = folder / f"{QUEUE}.csv"
    if path.is_file():
        given, names = read_sheet(path), list(IDENTITY)
        if missing := {*names, "label"} - set(given.columns):
            raise _labels_needed(path, f"column {sorted(missing)[0]} is gone")
        merged = queue.drop(columns="label").merge(given[[*names, "label"]], on=names, how="left")
        merged["label"] = merged["label"].fillna(UNLABELLED).map(normalise_label)
        filled = merged[merged["label"] != UNLABELLED]
        if len(filled):
            odd = [text for text in filled["label"] if text != PASS and (means_good(text) or names_nothing(text))]
            if odd:
                raise _labels_needed(path, f"{len(odd)} labels are neither PASS nor a defect's name, as {odd[0]!r}")
            return filled.reset_index(drop=True)
    else:
        write_sheet(path, queue)
        sheet(run, queue, ["what is it?"] * len(queue), path.with_suffix(".png"))
    raise _labels_needed(path, f"{len(queue)} rows of the pool wait for a person's label")


def _labels_needed(path: Path, message: str) -> HardStop:
    return HardStop(
        "labels_needed",
        message,
        evidence=str(path),
        remedy=f"look at {path.with_suffix('.png').name} and at each row's image, write PASS or the defect's name into "
        "column label (leave what cannot be determined), then: deft resolve --reason TEXT",
    )
