"""Stage `data_mining`: find the pool rows that earn a place in the next training, never one that was taken before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deft_aoi.base.errors import HardStop, InputError
from deft_aoi.base.paths import Workspace, iter_label, iter_number
from deft_aoi.base.rows import IDENTITY, PASS, SCORE, read_rows, scores_of
from deft_aoi.executors.base import Task
from deft_aoi.executors.platform_choice import ELSEWHERE, LOCAL
from deft_aoi.mining import select
from deft_aoi.mining.embed import component_matrix, light_files
from deft_aoi.mining.index import scale_of
from deft_aoi.mining.neighbours import neighbours
from deft_aoi.mining.screen import Policy, Screened
from deft_aoi.mining.select import UNLABELLED, Limits, Neighbours, Pick, Stock
from deft_aoi.mining.shortlist import BY_CHANCE, shortlist
from deft_aoi.record.facts import Mined
from deft_aoi.record.run import Run
from deft_aoi.stages import mining_files as files
from deft_aoi.stages import mining_tasks as heavy
from deft_aoi.stages import source_embeddings
from deft_aoi.stages.leaks import stop_on_leaks
from deft_aoi.stages.mining_choice import Pool, kept_neighbours, kept_pool
from deft_aoi.stages.mining_none import EMPTY, made_rows, mines, nothing_mined
from deft_aoi.stages.mining_pool import (
    has_labels,
    look_at,
    source_pool,
    taken_contents,
    target_rows,
    used_rows,
    without_copies,
)
from deft_aoi.stages.mining_screen import Screening
from deft_aoi.stages.stage import StageResult

AUTO_POLICY = "auto"
POLICIES = ("weakness", "weakness+diverse", "knn+label", "knn", "uncertain", "random-balanced", "random")
NEED_LABELS = ("weakness", "weakness+diverse", "knn+label", "random-balanced")
ENCODER_FOLDER = "augmentation/encoder"
SOURCE, TARGET = "embed_source", "embed_target"
_DEPTH = 200  # neighbours of a target that are looked at


def default_policy(pool: Iterable[str]) -> tuple[str, str]:
    """(policy, why) that wins for a pool with these labels, none where it cannot be read: see
    benchmarks/results/selection.md."""
    found = {label.strip() for label in pool}
    labels = found - {UNLABELLED}
    if found and not labels:
        return "uncertain", "the pool has no labels: a person labels what the model is unsure of"
    if PASS in labels and len(labels) > 1:
        return "weakness", "the pool has labels"
    return "knn", "the pool has no PASS and defect labels"


def unused_by(policy: str) -> tuple[str, ...]:
    """Fields of the plan that this policy does not read."""
    if policy in select.BY_NEIGHBOUR:
        return ()
    compared = () if select.compares_pictures(policy) else ("encoder",)
    scored = () if policy in select.BY_SCORE else ("score_rows",)
    return (*compared, *scored, "knn_metric", "min_similarity", "top_k_per_target")


def default_encoder(workspace: Workspace) -> str:
    """The staged ONNX file, else the trunk that the skill brings."""
    staged = sorted((workspace.root / ENCODER_FOLDER).glob("*.onnx"))
    return str(staged[0].relative_to(workspace.root)) if staged else heavy.TRUNK


def check_encoder(workspace: Workspace, encoder: str, platform: str) -> None:
    """Refuse an encoder that is not there."""
    if encoder == heavy.TAO_ENCODER and platform == LOCAL:
        raise InputError(f"encoder {encoder}: platform {LOCAL} has no container; use trunk or a staged ONNX file")
    if encoder not in (heavy.TRUNK, heavy.TAO_ENCODER):
        path = workspace.inside(encoder, "--encoder")
        if path.suffix != ".onnx" or not path.is_file():
            raise InputError(
                f"encoder {encoder}: expected {heavy.TRUNK}, {heavy.TAO_ENCODER}, or an .onnx file in the workspace; "
                f"to stage SigLIP: deft stage-encoder --workspace {workspace.root}"
            )


@dataclass(frozen=True)
class Found:
    """What the search gave: the selection, how far each label is suspected, candidates by label."""

    screened: Screened
    doubt: NDArray[np.float64]
    candidates: Counter[str]
    scores: NDArray[np.float64] | None


def open_pool(run: Run, label: str) -> Pool:
    """The pool as it was when the stage began. Raises HardStop where nothing is left to take."""
    return kept_pool(run, label, lambda: pool_now(run, label))


def _pool_or_none(run: Run, label: str) -> Pool | None:
    """:func:`open_pool`; None where there is nothing to mine and the iteration's own synthetic rows carry it."""
    if not mines(run):
        return None
    try:
        return open_pool(run, label)
    except HardStop as stop:
        if stop.code == EMPTY and made_rows(run, label):
            return None
        raise


def pool_now(run: Run, label: str) -> Pool:
    """The pool as it is on disk, and which of its rows may be taken."""
    (rows, barred), targets = without_copies(run, source_pool(run)), target_rows(run, label)
    seen = look_at(run, rows)
    used = used_rows(run, label, rows)
    free = seen.readable & ~used
    unlabelled = (rows["label"] == UNLABELLED).to_numpy()
    if run.plan.policy == "uncertain" and unlabelled.any():
        free &= unlabelled
    elif run.plan.policy in NEED_LABELS or not unlabelled.all():
        free &= ~unlabelled
    if not free.any():
        raise nothing_left(run, len(rows), 0)
    labels = rows["label"].to_numpy(str)
    stock = Stock(
        labels, free, rows["boardname"].to_numpy(str), seen.coarse, seen.content.__getitem__,
        taken_contents(run, label),
    )  # fmt: skip
    most = run.plan.most_scored if run.plan.policy in select.BY_SCORE and run.plan.platform != ELSEWHERE else 0
    asked = shortlist(labels, free, seen.unlike, most, run.plan.seed)
    return Pool(rows, targets, stock, int((~seen.readable).sum()), barred, asked)


def tasks(run: Run, label: str) -> Iterator[Task]:
    """What the policy needs to know of the unused pool, then, where labels are screened, how judges and offers look.

    A later task is made from what an earlier one wrote.
    """
    pool = _pool_or_none(run, label)
    if pool is None:
        return
    if run.plan.policy in select.BY_SCORE:
        yield heavy.scoring(run, label, pool.rows.iloc[pool.to_score].drop(columns="origin"))
    if select.compares_pictures(run.plan.policy):
        pictures = _files(run, pool.rows.iloc[pool.to_score], run.workspace.root)
        if source_embeddings.used(run):
            pictures = source_embeddings.unknown(run, pictures)
        if pictures:
            yield _embedding(run, label, SOURCE, pictures)
    if run.plan.policy in select.BY_NEIGHBOUR:
        yield _embedding(run, label, TARGET, _files(run, pool.targets, run.workspace.images))
    if screens(run, pool):
        policy, scores, _ = chosen_policy(run, label, pool)
        yield from _screening(run, label, pool, policy, scores).tasks()


def _files(run: Run, rows: pd.DataFrame, root: Path) -> list[str]:
    listed = [file for per_light in light_files(rows, root, run.optics) for file in per_light]
    return list(dict.fromkeys(listed))


def _embedding(run: Run, label: str, name: str, files: list[str]) -> Task:
    return heavy.embedding(run, run.paths.mining(label), name, pd.DataFrame({"filepath": files}), run.plan.encoder)


def screens(run: Run, pool: Pool) -> bool:
    """Whether labels of picks are judged: asked for, and there are labels."""
    return run.plan.screen and has_labels(pool.rows)


def _screening(
    run: Run, label: str, pool: Pool, policy: Policy, scores: NDArray[np.float64] | None
) -> Screening:  # fmt: skip
    by_chance = pool.asked == BY_CHANCE
    return Screening(run, label, pool.rows, pool.stock, policy, limits(run), scores, by_chance)


def collect(run: Run, label: str) -> StageResult:
    if (pool := _pool_or_none(run, label)) is None:
        return nothing_mined(run, label, "nothing of the pool is left" if mines(run) else "no mining pool")
    found = search(run, label, pool)
    if not found.screened.picks:
        if made_rows(run, label):
            return nothing_mined(run, label, f"none of {len(pool.free)} unused pool rows qualified")
        raise nothing_left(run, len(pool.rows), len(pool.free))
    picks, rows = found.screened.picks, pool.rows
    mined = files.pick_frame(run, rows, pool.targets, picks, found.scores)
    mined["content"] = [pool.stock.content(pick.row) for pick in picks] if pool.stock.content else ""
    if (mined["label"] == UNLABELLED).any():
        mined = files.asked_labels(run, label, mined)
        place = {key: n for n, key in enumerate(zip(rows["input_path"], rows["object_name"], strict=True))}
        at = [place[key] for key in zip(mined["input_path"], mined["object_name"], strict=True)]
        rows = rows.copy()
        rows.loc[at, "label"] = mined["label"].to_numpy()
        picks = [Pick(row, select.NO_TARGET, 0, None, "") for row in at]
    artifacts = files.write_results(run, label, rows, picks, mined, sum(found.candidates.values()))
    suspects = found.screened.review
    review = files.pick_frame(run, rows, pool.targets, suspects, found.scores)
    artifacts += (files.write_review(run, label, review, found.doubt[[p.row for p in suspects]].tolist()),)
    stop_on_leaks(run, rows.iloc[[pick.row for pick in picks]].drop(columns="origin"), artifacts[1])
    kept = Counter(mined["label"])
    candidates = sum(found.candidates.values())
    facts: dict[str, Any] = {
        "mining_mined_parquet": str(artifacts[0]),
        "mining_mined_count": len(mined),
        "candidates": candidates,
        "kept": len(mined),
        "rejected": candidates - len(mined),
        "min_similarity": files.similarity_floor(run),
        "policy": run.plan.policy,
        "by_label": {
            name: {"kept": kept[name], "candidates": found.candidates[name]} for name in sorted(kept | found.candidates)
        },
        "synthetic_kept": int((mined["origin"] == "synthetic").sum()),
        "unreadable": pool.unreadable,
        "scored": 0 if found.scores is None else int((~np.isnan(found.scores)).sum()),
        "barred": pool.barred,
        "label_review": len(review),
        "offers": {"asked": found.screened.asked, "suspect": found.screened.suspect},
        "doubted_kept": len(doubted := files.doubted_before(run, mined)),
        "warnings": [*warnings(run, label, pool.targets, rows, len(mined)), *stopped_asking(found.screened)],
    }
    summary = f"{len(mined)} rows mined of {len(pool.free)} unused ({facts['synthetic_kept']} synthetic)"
    if len(pool.to_score) < len(pool.free):
        summary += f" · {len(pool.to_score):,} of these were scored, the hardest at a glance and some by chance"
    if len(review):
        listed = run.paths.relative(run.paths.mining(label) / f"{files.REVIEW}.csv")
        summary += f" · {len(review)} kept out for a suspected label error: {listed}"
    if pool.barred:
        sets = ", ".join(f"{count} of {name}" for name, count in pool.barred.items())
        summary += f" · pool rows barred as near-duplicates of rows that judge: {sets}"
    if doubted:
        why = (
            "re-checked with the rows known now, their label fits" if screens(run, pool) else "labels are not screened"
        )
        named = ", ".join(doubted[:3]) + (", ..." if len(doubted) > 3 else "")
        summary += f" · {len(doubted)} of them were suspect before ({run.paths.label_review.name}): {named}; {why}"
    summary += "".join(f" · {text}" for text in facts["warnings"])
    return StageResult(summary, facts, artifacts)


def nothing_left(run: Run, rows: int, unused: int) -> HardStop:
    """The stop of a pool that gives nothing any more."""
    floor = f", similarity floor {run.plan.min_similarity:g}" if run.plan.policy in select.BY_NEIGHBOUR else ""
    return HardStop(
        EMPTY,
        f"no pool row qualified: {unused} unused of {rows}{floor}",
        evidence=str(run.workspace.pool_csv),
        remedy="add rows to the mining pool" + (" or approve a plan with a lower --min-similarity" if floor else ""),
    )


def limits(run: Run) -> Limits:
    plan = run.plan
    bound = plan.max_per_board or -(-plan.mine_rows // 4)
    return Limits(plan.mine_rows, plan.top_k_per_target, plan.min_similarity, bound, plan.min_distance)


def search(run: Run, label: str, pool: Pool) -> Found:
    """Apply the approved policy, without rows whose label is suspect."""
    policy, scores, candidates = chosen_policy(run, label, pool)
    if not screens(run, pool):
        picks = policy(pool.stock, limits(run))
        return Found(Screened(picks, [], 0, 0, False), np.zeros(len(pool.rows)), candidates, scores)
    offers = _screening(run, label, pool, policy, scores).offers()
    return Found(offers.result(), offers.known_doubt(), candidates, scores)


def chosen_policy(run: Run, label: str, pool: Pool) -> tuple[Policy, NDArray[np.float64] | None, Counter[str]]:
    """(policy with everything but stock and limits filled in, scores that it uses, candidates by label)."""
    name, stock = run.plan.policy, pool.stock
    free_labels = Counter(stock.labels[pool.free].tolist())
    if name.startswith("random"):
        draw = select.random_balanced if name == "random-balanced" else select.random_rows
        return partial(draw, seed=run.plan.seed + iter_number(label)), None, free_labels
    if name in select.BY_NEIGHBOUR:
        wanted = list(pool.targets["label"])
        near = kept_neighbours(run, label, lambda: _nearest(run, label, pool))
        reached = np.unique(near.index[near.index >= 0])
        picks = select.knn_label if name == "knn+label" else select.knn
        return partial(picks, wanted, near), None, Counter(stock.labels[reached].tolist())
    scores = pool_scores(run.paths.mining(label) / heavy.SCORES / "inference.csv", pool.rows)
    if name == "uncertain":
        return partial(select.uncertain, scores, run.champion()[1].known_threshold()), scores, free_labels
    if name == "weakness":
        return partial(select.weakness, scores), scores, free_labels
    source, _ = _vectors(run, label, SOURCE, pool.rows, run.workspace.root)
    looks = scale_of(source, pool.free)(np.asarray(source, np.float32))
    return partial(_diverse, scores, looks), scores, free_labels


def _nearest(run: Run, label: str, pool: Pool) -> Neighbours:
    source, there = _vectors(run, label, SOURCE, pool.rows, run.workspace.root)
    asked, _ = _vectors(run, label, TARGET, pool.targets, run.workspace.images)
    return neighbours(
        asked, list(pool.targets["label"]), source, pool.stock.labels, pool.stock.free & there, _DEPTH,
        same_label=run.plan.policy == "knn+label", folder=run.workspace.cache / "index",
        metric=run.plan.knn_metric,
    )  # fmt: skip


def pool_scores(csv: Path, rows: pd.DataFrame) -> NDArray[np.float64]:
    """(n,) score of each row, joined by what the rows are: NaN where one was not scored, as when its image came back
    after that."""
    found, names = read_rows(csv, required=(SCORE, *IDENTITY)), list(IDENTITY)
    values = pd.Series(scores_of(csv, found[SCORE]).to_numpy(), index=pd.MultiIndex.from_frame(found[names]))
    values = values[~values.index.duplicated()]
    return values.reindex(pd.MultiIndex.from_frame(rows[names])).to_numpy(np.float64)


def _diverse(scores: NDArray[np.float64], looks: NDArray[np.float32], stock: Stock, limits: Limits) -> list[Pick]:
    return select.weakness_diverse(scores, replace(stock, looks=looks), limits)


def _vectors(run: Run, label: str, name: str, rows: pd.DataFrame, root: Path) -> tuple[Any, NDArray[np.bool_]]:
    made = heavy.embeddings(run.paths.mining(label), name)
    held = [made] if made.is_file() else []
    if name == SOURCE and source_embeddings.used(run):
        source_embeddings.verify(run)
        held.insert(0, source_embeddings.path(run))  # what this iteration had to embed again comes after, and counts
    return component_matrix(held, light_files(rows, root, run.optics), made.with_name("components.npy"))


def stopped_asking(found: Screened) -> list[str]:
    """What to say where the pool was not asked, or not asked for more, because its labels are suspect."""
    if found.faulty is not None:
        return [
            f"{100 * found.faulty:.0f} % of the pool's defect labels are suspect, counted on rows drawn by chance. The "
            f"selection policy would choose label errors, so it was not asked: {len(found.picks)} clean rows of those "
            "drawn by chance were taken. Have the labels of the pool checked, then start a new run"
        ]
    if not found.stopped or 2 * found.suspect <= found.asked:
        return []
    return [
        f"{found.suspect} of {found.asked} offered rows have a suspect label, so the pool was not asked for more: have "
        "its labels checked"
    ]


def warnings(run: Run, label: str, targets: pd.DataFrame, pool: pd.DataFrame, kept: int) -> list[str]:
    """What a person should know though the loop goes on."""
    stock = {name.casefold() for name in pool["label"]}
    absent = sorted({name for name in targets["label"] if name.casefold() not in stock})
    found = [f"no pool rows for {', '.join(absent)}"] if absent and stock != {UNLABELLED} else []
    if iter_number(label) > 1:
        before = run.left(iter_label(iter_number(label) - 1), Mined).mining_mined_count
        found += [f"fewer than half of the {before} rows of {run.previous_label(label)}"] if 2 * kept < before else []
    return found
