"""Stage `routing`: send each weak sample to mining, to AnomalyGen, to both, or name why it goes nowhere."""

from __future__ import annotations

import time
from collections import Counter

import pandas as pd

from deft_aoi.base.errors import HardStop
from deft_aoi.base.files import atomic_write_text
from deft_aoi.base.paths import iter_label, iter_number
from deft_aoi.base.rows import PASS, read_parquet, read_rows, write_parquet
from deft_aoi.data.sets import pregen_set
from deft_aoi.executors.base import Task
from deft_aoi.mining.select import UNLABELLED
from deft_aoi.rca.holders import Holder, Request, requests
from deft_aoi.record.facts import Analysed, Mined, Routed
from deft_aoi.record.run import Run
from deft_aoi.stages.coverage import ANOMALYGEN, MINING, Budget, Coverage, coverage, table
from deft_aoi.stages.mining_pool import real_pool
from deft_aoi.stages.stage import StageResult
from deft_aoi.synthetic.pregenerated import MODE as PREGEN

INLINE = "inference_only"
PATCHES = "patches"  # defects of no type, made from PASS rows: no weak label has to be routed to it


def tasks(run: Run, label: str) -> list[Task]:
    return []


def collect(run: Run, label: str) -> StageResult:
    analysis = run.left(label, Analysed)
    gaps = read_parquet(analysis.rca_gaps_parquet, {"label": "text"})
    pool = real_pool(run)
    labels = sorted(gaps["label"].unique(), key=lambda name: (name != PASS, name))
    mining, anomalygen, dropped = route(labels, set(pool["label"]), run.plan.anomalygen_labels, run.plan.synthetic)
    folder = run.paths.routing(label) / time.strftime("%Y%m%d_%H%M%S", time.gmtime())
    write_parquet(folder / "mining_gaps.parquet", gaps[gaps["label"].isin(mining)])
    write_parquet(folder / "anomalygen_gaps.parquet", gaps[gaps["label"].isin(anomalygen)])
    routes = {MINING: mining, ANOMALYGEN: anomalygen}
    entries = _coverage(run, label, analysis.analysed, gaps, pool, routes)
    asked = [] if UNLABELLED in set(pool["label"]) else to_collect(run, analysis, entries)
    atomic_write_text(folder / "routing_summary.txt", summary_text(run, entries, asked))
    if not mining and not anomalygen and run.plan.synthetic != PATCHES:
        raise HardStop(
            "nothing_to_route",
            f"no weak label ({', '.join(labels)}) is in the mining pool, nor does AnomalyGen make one",
            evidence=str(folder / "routing_summary.txt"),
            remedy="add samples of these labels to the mining pool, then: deft resolve --reason TEXT",
        )
    facts = Routed(
        routing_mining_parquet=folder / "mining_gaps.parquet",
        routing_anomalygen_parquet=folder / "anomalygen_gaps.parquet",
        mining_labels=tuple(mining),
        anomalygen_labels=tuple(anomalygen),
        dropped_labels=tuple(dropped),
        coverage=tuple(entry.to_json() for entry in entries),
        forecast_rows=sum(entry.forecast for entry in entries),
        requests=tuple(one.to_json() for one in asked),
    )
    summary = f"{len(mining)} labels to mining"
    summary += " (pre-generated pairs are part of its pool)" if run.plan.synthetic == PREGEN else ""
    summary += f", {len(anomalygen)} to AnomalyGen" if run.plan.synthetic == INLINE else ""
    summary += f", {len(dropped)} dropped, at most {facts.forecast_rows} rows to come from mining"
    if dropped:
        summary += f" ({', '.join(dropped)}: not in the pool)"
    if asked:
        told = ", ".join(f"{one.rows} {one.holder.label}" for one in asked)
        summary += f" · collect {told}: the pool has too few ({run.paths.relative(folder / 'routing_summary.txt')})"
    return StageResult(summary, facts, tuple(sorted(folder.iterdir())))


def route(
    labels: list[str], pool_labels: set[str], anomalygen_labels: tuple[str, ...], synthetic: str
) -> tuple[list[str], list[str], list[str]]:
    """(mining, anomalygen, dropped) labels; compared without case. A label may go to both.

    With pre-generated pairs all gaps go to mining: the pairs are part of its source pool; with rows that nobody has
    labelled too. A label `*` sends every weak
    label to AnomalyGen.
    """
    in_pool = {name.casefold() for name in pool_labels}
    generated = {name.casefold() for name in anomalygen_labels} if synthetic == INLINE else set()
    everything = synthetic == PREGEN or "" in pool_labels
    mining = [name for name in labels if everything or name.casefold() in in_pool]
    every = synthetic == INLINE and "*" in anomalygen_labels
    anomalygen = [name for name in labels if every or name.casefold() in generated]
    dropped = [name for name in labels if name not in mining and name not in anomalygen]
    return mining, anomalygen, dropped


def to_collect(run: Run, analysis: Analysed, entries: list[Coverage]) -> list[Request]:
    """What a person must bring, since the pool lacks it and nothing generates it."""
    unused = {entry.label: entry.pool + entry.synthetic for entry in entries}
    made = [entry.label for entry in entries if ANOMALYGEN in entry.goes_to]
    return requests([Holder.from_json(one) for one in analysis.holders], unused, made, run.plan.mine_rows)


def summary_text(run: Run, entries: list[Coverage], asked: list[Request]) -> str:
    """Coverage table: one line for each weak label; a sample counts once, whatever the number of lights. Then what to
    collect."""
    lines = table(entries)
    rows = sum(entry.forecast for entry in entries)
    lines += ["", f"Forecast, before any image is compared: at most {rows} of the {run.plan.mine_rows} rows asked for "
              f"(policy {run.plan.policy}); a similarity floor or a screen can only lower it."]  # fmt: skip
    if any(ANOMALYGEN in entry.goes_to for entry in entries):
        lines.append(f"AnomalyGen is asked for {run.plan.num_sdg} pairs besides.")
    if asked:
        lines += ["", "To collect: no mining can find what the pool does not have.", *(one.sentence for one in asked)]
    return "\n".join(lines) + "\n"


def _coverage(
    run: Run, label: str, analysed: str, gaps: pd.DataFrame, pool: pd.DataFrame, routes: dict[str, list[str]]
) -> list[Coverage]:
    """Counts by label of what is weak, trained on and still unused."""
    weak = Counter(map(str, gaps.drop_duplicates(["input_path", "object_name"])["label"]))
    training = Counter(read_rows(run.training_csv(analysed), required=("label",))["label"])
    stock = {"real": Counter(pool["label"]), "synthetic": Counter[str]()}
    if run.plan.synthetic == PREGEN and (staged := pregen_set(run.workspace, run.optics)):
        stock["synthetic"] = Counter(staged.labels)
    for number in range(1, iter_number(label)):
        earlier = read_parquet(run.left(iter_label(number), Mined).mining_mined_parquet, {})
        if {"label", "origin"} <= set(earlier.columns):  # 7.0.x: not distinguished
            for kind, part in earlier.groupby("origin"):
                stock[str(kind)] -= Counter(part["label"])
    made = list(weak) if "*" in run.plan.anomalygen_labels else list(run.plan.anomalygen_labels)
    budget = Budget(run.plan.policy, run.plan.mine_rows, run.plan.top_k_per_target)
    generated = made if run.plan.synthetic == INLINE else []
    return coverage(weak, training, stock["real"], stock["synthetic"], generated, routes, budget)
