"""Stage `anomalygen`: bring synthetic pairs into the run, made before (pregen_ingest) or here.

Here they are made by a generator (inference_only) or from PASS rows (patches)."""

from __future__ import annotations

from collections.abc import Iterator

from deft_aoi.base.paths import iter_number
from deft_aoi.base.rows import read_rows
from deft_aoi.executors.base import Task
from deft_aoi.record.facts import Generated
from deft_aoi.record.run import Run
from deft_aoi.stages import anomalygen_inline, anomalygen_patches, realism_task, source_embeddings
from deft_aoi.stages.routing import INLINE
from deft_aoi.stages.stage import StageResult
from deft_aoi.synthetic.pregenerated import MANIFEST, ROWS, stage_pregen, verify_pregen
from deft_aoi.synthetic.pregenerated import MODE as PREGEN


def tasks(run: Run, label: str) -> Iterator[Task]:
    """Inline: dataset, masks, generation. Pre-generated: once in a run the pairs are staged, the source pool is
    embedded, and the pairs are screened."""
    if run.plan.synthetic == INLINE:
        yield from anomalygen_inline.tasks(run, label)
    elif run.plan.synthetic == anomalygen_patches.MODE:
        anomalygen_patches.stage(run, label)
    elif run.plan.synthetic == PREGEN:
        if iter_number(label) == 1:
            stage_pregen(run.workspace, run.paths, run.optics)
        if (run.paths.synth_pool / MANIFEST).is_file() and source_embeddings.due(run):
            yield source_embeddings.task(run)
        if iter_number(label) > 1:
            return
        pairs = read_rows(run.paths.synth_pool / ROWS)
        pictures = realism_task.pictures_of(pairs, run.workspace.root, run.optics)
        yield realism_task.task(run, run.paths.synth_pool, pictures, anomalygen_inline.source_rows(run, label))


def collect(run: Run, label: str) -> StageResult:
    """Raises HardStop where the customer's folder changed since it was staged."""
    if run.plan.synthetic == INLINE:
        return anomalygen_inline.collect(run, label)
    if run.plan.synthetic == anomalygen_patches.MODE:
        return anomalygen_patches.collect(run, label)
    if run.plan.synthetic != PREGEN:
        return StageResult("no synthetic source in this run", Generated("off"))
    manifest = run.paths.synth_pool / MANIFEST
    record = verify_pregen(run.workspace, run.paths)
    embedded = source_embeddings.seal(run)
    pairs, screened = int(record["pairs"]), realism_task.facts(run.paths.synth_pool)
    summary = f"{pairs} pre-generated pairs {'staged' if iter_number(label) == 1 else 'unchanged'}"
    summary += realism_task.flagged_words(run, screened)
    facts = Generated(
        PREGEN, pairs, by_label=record["by_label"], realism=screened,
        source_embeddings=source_embeddings.path(run), source_images=embedded["images"],
    )  # fmt: skip
    return StageResult(summary, facts, (manifest, source_embeddings.path(run)))
