"""Stage `routing`: send each weak sample to mining, to AnomalyGen, to both, or name why it goes nowhere."""

from __future__ import annotations

import time
from pathlib import Path

import pandas as pd

from deft_aoi.contracts import PASS, read_parquet, read_pool, write_parquet
from deft_aoi.data.pregen import MODE as PREGEN
from deft_aoi.errors import HardStop
from deft_aoi.executors.base import Task
from deft_aoi.fsio import atomic_write_text
from deft_aoi.run import Run
from deft_aoi.stages.base import StageResult

INLINE = "inference_only"


def tasks(run: Run, label: str) -> list[Task]:
    return []


def collect(run: Run, label: str) -> StageResult:
    gaps = read_parquet(Path(run.facts(label, "rca")["rca_gaps_parquet"]), {"label": "text"})
    pool = read_pool(run.workspace.pool_csv, run.workspace.root, run.optics.lights, run.optics.ext)
    labels = sorted(gaps["label"].unique(), key=lambda name: (name != PASS, name))
    mining, anomalygen, dropped = route(labels, set(pool["label"]), run.plan.anomalygen_labels, run.plan.synthetic)
    folder = run.paths.routing(label) / time.strftime("%Y%m%d_%H%M%S", time.gmtime())
    write_parquet(folder / "mining_gaps.parquet", gaps[gaps["label"].isin(mining)])
    write_parquet(folder / "anomalygen_gaps.parquet", gaps[gaps["label"].isin(anomalygen)])
    atomic_write_text(folder / "routing_summary.txt", summary_text(gaps, pool, mining, anomalygen, dropped))
    if not mining and not anomalygen:
        raise HardStop(
            "nothing_to_route",
            f"no weak label ({', '.join(labels)}) is in the mining pool, nor does AnomalyGen make one",
            evidence=str(folder / "routing_summary.txt"),
            remedy="add samples of these labels to the mining pool, then: deft resolve --reason TEXT",
        )
    facts = {
        "routing_mining_parquet": str(folder / "mining_gaps.parquet"),
        "routing_anomalygen_parquet": str(folder / "anomalygen_gaps.parquet"),
        "mining_labels": mining,
        "anomalygen_labels": anomalygen,
        "dropped_labels": dropped,
    }
    summary = f"{len(mining)} labels to mining, {len(anomalygen)} to AnomalyGen, {len(dropped)} dropped"
    if dropped:
        summary += f" ({', '.join(dropped)}: not in the pool)"
    return StageResult(summary, facts, tuple(sorted(folder.iterdir())))


def route(
    labels: list[str], pool_labels: set[str], anomalygen_labels: tuple[str, ...], synthetic: str
) -> tuple[list[str], list[str], list[str]]:
    """(mining, anomalygen, dropped) labels; compared without case. A label may go to both.

    With pre-generated pairs all gaps go to mining: the pairs are part of its source pool. A label `*` sends every weak
    label to AnomalyGen.
    """
    in_pool = {name.casefold() for name in pool_labels}
    generated = {name.casefold() for name in anomalygen_labels} if synthetic == INLINE else set()
    everything = synthetic == PREGEN
    mining = [name for name in labels if everything or name.casefold() in in_pool]
    every = synthetic == INLINE and "*" in anomalygen_labels
    anomalygen = [name for name in labels if every or name.casefold() in generated]
    dropped = [name for name in labels if name not in mining and name not in anomalygen]
    return mining, anomalygen, dropped


def summary_text(
    gaps: pd.DataFrame, pool: pd.DataFrame, mining: list[str], anomalygen: list[str], dropped: list[str]
) -> str:
    """Coverage table: one line for each weak label; a sample counts once, whatever the number of lights."""
    components = gaps.drop_duplicates(["input_path", "object_name"])
    weak, stock = components["label"].value_counts(), pool["label"].value_counts()
    lines = ["label | weak samples | pool rows | goes to"]
    for name in [*mining, *[n for n in anomalygen if n not in mining], *dropped]:
        goes = [where for where, names in (("mining", mining), ("anomalygen", anomalygen)) if name in names]
        lines.append(f"{name} | {weak.get(name, 0)} | {stock.get(name, 0)} | {' + '.join(goes) or 'dropped'}")
    return "\n".join(lines) + "\n"
