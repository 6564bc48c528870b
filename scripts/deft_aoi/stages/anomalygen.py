"""Stage `anomalygen`: bring synthetic pairs into the run, made before (pregen_ingest) or here (inference_only)."""

from __future__ import annotations

from collections.abc import Iterator

from deft_aoi.contracts import read_rows
from deft_aoi.data.pregen import MANIFEST, ROWS, stage_pregen, verify_pregen
from deft_aoi.data.pregen import MODE as PREGEN
from deft_aoi.executors.base import Task
from deft_aoi.paths import iter_number
from deft_aoi.run import Run
from deft_aoi.stages import inline, realism, source_embeddings
from deft_aoi.stages.base import StageResult
from deft_aoi.stages.routing import INLINE


def tasks(run: Run, label: str) -> Iterator[Task]:
    """Inline: dataset, masks, generation. Pre-generated: once in a run the pairs are staged, the source pool is
    embedded, and the pairs are screened."""
    if run.plan.synthetic == INLINE:
        yield from inline.tasks(run, label)
    elif run.plan.synthetic == PREGEN:
        if iter_number(label) == 1:
            stage_pregen(run.workspace, run.paths, run.optics)
        if (run.paths.synth_pool / MANIFEST).is_file() and source_embeddings.due(run):
            yield source_embeddings.task(run)
        if iter_number(label) > 1:
            return
        pairs = read_rows(run.paths.synth_pool / ROWS)
        pictures = realism.pictures_of(pairs, run.workspace.root, run.optics)
        yield realism.task(run, run.paths.synth_pool, pictures, inline.source_rows(run, label))


def collect(run: Run, label: str) -> StageResult:
    """Raises HardStop where the customer's folder changed since it was staged."""
    if run.plan.synthetic == INLINE:
        return inline.collect(run, label)
    if run.plan.synthetic != PREGEN:
        return StageResult("no synthetic source in this run", {"mode": "off", "pairs": 0})
    manifest = run.paths.synth_pool / MANIFEST
    record = verify_pregen(run.workspace, run.paths)
    embedded = source_embeddings.seal(run)
    pairs, screened = int(record["pairs"]), realism.facts(run.paths.synth_pool)
    summary = f"{pairs} pre-generated pairs {'staged' if iter_number(label) == 1 else 'unchanged'}"
    summary += realism.flagged_words(run, screened)
    facts = {
        "mode": PREGEN, "pairs": pairs, "by_label": record["by_label"], "realism": screened,
        "source_embeddings": str(source_embeddings.path(run)), "source_images": embedded["images"],
    }  # fmt: skip
    return StageResult(summary, facts, (manifest, source_embeddings.path(run)))
