"""Stage `data_merge`: the rows that the next training reads, with the provenance of each."""

from __future__ import annotations

from collections import Counter

import pandas as pd

from deft_aoi.base.errors import HardStop
from deft_aoi.base.files import atomic_write_json
from deft_aoi.base.paths import iter_number
from deft_aoi.base.rows import COLUMNS, check_images, normalise_label, pad_columns, read_parquet, read_rows, write_rows
from deft_aoi.executors.base import Task
from deft_aoi.record.facts import Merged, Mined
from deft_aoi.record.run import Run
from deft_aoi.stages.leaks import stop_on_leaks
from deft_aoi.stages.stage import StageResult
from deft_aoi.stages.synthetic_rows import SYNTHETIC, doubtful, generated_rows, within_share

KEYS = ["input_path", "golden_path", "label", "object_name"]


def tasks(run: Run, label: str) -> list[Task]:
    return []


def collect(run: Run, label: str) -> StageResult:
    """iter1 = seed + new rows, iterN = previous combined + new rows (never the seed again)."""
    old, provenance = earlier_rows(run, label)
    new = mined_rows(run, label)
    made = generated_rows(run, label)
    if made is not None:
        new = pd.concat([new, made.assign(origin=SYNTHETIC)], ignore_index=True)
    kept = within_share(provenance["origin"], new, run.plan.max_synthetic_share, doubtful(run, label))
    over = len(kept) - sum(kept)
    new = new[kept]
    if new.empty:
        raise HardStop(
            "no_new_rows",
            f"{label} has no new row: 0 mined, {over} synthetic rows are above the share of "
            f"{run.plan.max_synthetic_share:.0%}",
            evidence=str(run.paths.mining(label) / "mining_pool.csv"),
            remedy="add rows to the mining pool, or approve a plan with a higher --max-synthetic-share; then: deft "
            "resolve --reason TEXT",
        )
    added = new[[*KEYS, "origin"]].assign(provenance="mining_pool")
    combined = pad_columns(pd.concat([old, new.drop(columns="origin")], ignore_index=True).fillna(""))
    combined["label"] = combined["label"].map(normalise_label)
    sources = pd.concat([provenance, added], ignore_index=True)[[*KEYS, "provenance", "origin"]]
    sources["source"] = sources["provenance"]  # the name that NVIDIA's bank reads
    csv, provenance_csv = run.paths.combined_csv(label), run.paths.provenance_csv(label)
    write_rows(csv, combined)
    write_rows(provenance_csv, sources)
    check_images(combined, csv, run.workspace.root, run.optics.lights, run.optics.ext, root=run.workspace.root)
    checked = stop_on_leaks(run, combined, csv)
    counts = {str(k): int(v) for k, v in sources["provenance"].value_counts().items()}
    report = run.paths.dataset(label) / "merge_validation.json"
    atomic_write_json(report, {"csv": str(csv), "rows": len(combined), "images": "all present", **checked})
    facts = Merged(
        combined_training_csv=csv,
        provenance_csv=provenance_csv,
        rows=len(combined),
        provenance=counts,
        synthetic_rows=int((sources["origin"] == SYNTHETIC).sum()),
        synthetic_over_share=over,
    )
    shares = ", ".join(f"{n} {name}" for name, n in counts.items())
    synthetic = Counter(added.loc[added["origin"] == SYNTHETIC, "label"])
    if synthetic:
        named = ", ".join(f"{name} {n}" for name, n in sorted(synthetic.items()))
        shares += f"; {sum(synthetic.values())} of the new rows are synthetic: {named}"
    shares += f"; {over} synthetic rows left out above {run.plan.max_synthetic_share:.0%}" if over else ""
    return StageResult(f"{len(combined)} training rows ({shares})", facts, (csv, provenance_csv, report))


def mined_rows(run: Run, label: str) -> pd.DataFrame:
    """Rows that this iteration mined, with the origin of each."""
    if not run.left(label, Mined).mining_mined_count:
        return pd.DataFrame(columns=[*COLUMNS, "origin"])
    rows = read_rows(run.paths.mining(label) / "mining_pool.csv").drop(columns="source", errors="ignore")
    if "origin" in rows.columns:
        return rows
    # Mined by an earlier version: the origin is in the table next to the CSV, or nowhere (7.0.x).
    mined = read_parquet(run.left(label, Mined).mining_mined_parquet, {})
    return rows.assign(origin=mined["origin"].to_numpy() if "origin" in mined.columns else "real")


def earlier_rows(run: Run, label: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows that were there before and their provenance; the seed's paths get the images folder in front, once."""
    if iter_number(label) > 1:
        previous = run.previous_label(label)
        rows = read_rows(run.paths.combined_csv(previous))
        provenance = read_rows(run.paths.provenance_csv(previous)).assign(provenance="previous_iter_train")
        return rows, provenance if "origin" in provenance.columns else provenance.assign(origin="real")
    rows = pad_columns(read_rows(run.workspace.training_csv))
    prefix = run.workspace.images.relative_to(run.workspace.root).as_posix()
    for column in ("input_path", "golden_path"):
        rows[column] = [f"{prefix}/{value}" for value in rows[column]]
    return rows, rows[KEYS].assign(provenance="base_train", origin="real")
