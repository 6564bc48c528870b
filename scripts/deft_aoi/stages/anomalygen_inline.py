"""Inline AnomalyGen: place masks, count them, generate, count again, bring the pairs into the run.

`tasks` is a generator: what follows a task is asked for once that task has succeeded, so a shortfall of placed masks
stops the loop before the expensive call.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from deft_aoi.base.errors import HardStop, InputError
from deft_aoi.base.files import atomic_write_json, move_aside, sha256_file
from deft_aoi.base.paths import Workspace, iter_number
from deft_aoi.base.rows import PASS, normalise_label, parse_csv, read_rows, write_rows
from deft_aoi.data.pairs import Pair, convert_pairs, label_from_name, list_images, match_pairs
from deft_aoi.data.workspace_files import rows_frame
from deft_aoi.executors.base import PAIDF_ANOMALYGEN, Task
from deft_aoi.executors.platform_choice import LOCAL
from deft_aoi.record.facts import Generated, Routed
from deft_aoi.record.run import Run
from deft_aoi.stages import realism_task
from deft_aoi.stages.anomalygen_slots import (
    DATASET,
    Slots,
    checkpoint_view,
    container,
    fetch_task,
    finetuned,
    model_size,
)
from deft_aoi.stages.merge import earlier_rows
from deft_aoi.stages.stage import StageResult
from deft_aoi.synthetic.anomalygen_sdg import NG, OK, RESULT
from deft_aoi.synthetic.dataset import SPEC, AnomalySet, Entry, problems, read_entries
from deft_aoi.synthetic.mask_places import diagnosis, too_large

EVERY = "*"  # in `anomalygen_labels`: whatever gap analysis asks for
ROWS, PAIRS = "sdg_rows.csv", "pairs.json"


def is_reference(run: Run) -> bool:
    """Whether the generator is ours, on this machine, and not AnomalyGen's container."""
    return run.plan.platform == LOCAL


def asked_labels(run: Run, label: str) -> list[str]:
    """Defects that routing sent here; PASS asks for none."""
    return [name for name in run.left(label, Routed).anomalygen_labels if name != PASS]


def inputs(run: Run, label: str) -> Path:
    """Folder of what this stage hands to AnomalyGen; never written by a task."""
    return run.paths.folder(label) / "anomalygen_input"


def data_set(run: Run, label: str) -> Path:
    """The customer's data set, else (reference generator only) the one made of the rows trained on so far."""
    slots = Slots(run.workspace, run.plan.project)
    own = is_reference(run) and not slots.filled(DATASET)
    return run.paths.folder(label) / "anomalygen_dataset" if own else slots.dataset


def tasks(run: Run, label: str) -> Iterator[Task]:
    wanted = asked_labels(run, label)
    if not wanted:
        return
    slots = Slots(run.workspace, run.plan.project)
    first = iter_number(label) == 1 and finetuned(run) is None  # else fine-tuning has fetched them
    for slot in run.plan.anomalygen_fetch if first else ():
        yield fetch_task(slots, slot, run.paths.folder(label) / "anomalygen_fetch")
    folder = data_set(run, label)
    if folder != slots.dataset:
        yield data_set_task(run, label, wanted, folder)
    entries = read_entries(folder / SPEC) if (folder / SPEC).stat().st_size else []
    counts = requested(run, label, entries)
    if not counts:
        return
    _check_places(folder, entries, counts)
    yield _prep_task(run, label, slots, folder, counts)
    check_allocation(run, label, folder, entries, counts)
    yield _sdg_task(run, label, slots)
    stage_pairs(run, label)
    real = source_rows(run, label)
    pictures = realism_task.pictures_of(read_rows(_rows_csv(run, label)), run.workspace.root, run.optics)
    yield realism_task.task(run, run.paths.anomalygen(label), pictures, real)


def collect(run: Run, label: str) -> StageResult:
    """Counts by defect, the staged pairs, and what the realism screen said."""
    wanted = asked_labels(run, label)
    folder, home = data_set(run, label), run.paths.anomalygen(label)
    entries = read_entries(folder / SPEC) if (folder / SPEC).is_file() and (folder / SPEC).stat().st_size else []
    counts = requested(run, label, entries)
    unmade = sorted(set(wanted) - {anomaly_of(kind) for kind in counts})
    own = finetuned(run)
    base = Generated(
        run.plan.synthetic, generator=generator_name(run), labels_not_made=tuple(unmade),
        checkpoint_dir=own.checkpoint_dir if own else None, checkpoint_step=own.step if own else None,
    )  # fmt: skip
    if not counts:
        why = "no defect was routed here"
        if unmade:
            why = f"no example of {', '.join(unmade)}; --synthetic patches needs none"
        return StageResult(f"0 synthetic pairs: {why}", base)
    allocated = allocation(home)
    made = Counter(json.loads((home / PAIRS).read_text(encoding="utf-8"))["by_type"])
    realism = realism_task.facts(home)
    facts = replace(
        base, pairs=sum(made.values()), requested=dict(counts), allocated=dict(allocated), generated=dict(made),
        rows_csv=_rows_csv(run, label), sdg_csv=home / "sdg" / RESULT, dataset=folder, realism=realism,
    )  # fmt: skip
    numbers = f"{sum(counts.values())} requested, {sum(allocated.values())} allocated, {sum(made.values())} generated"
    summary = f"SDG: {numbers}{realism_task.flagged_words(run, realism)}"
    summary += f" · no example of {', '.join(unmade)}" if unmade else ""
    files = ("allocation.json", "testcase.jsonl", f"sdg/{RESULT}", ROWS, PAIRS, f"{realism_task.NAME}/realism.csv")
    return StageResult(summary, facts, tuple(home / name for name in files))


def generator_name(run: Run) -> str:
    return "reference" if is_reference(run) else PAIDF_ANOMALYGEN


def anomaly_of(defect_type: str) -> str:
    return normalise_label(defect_type.partition("+")[2])


def source_rows(run: Run, label: str) -> pd.DataFrame:
    """Real rows that training has seen so far, paths relative to the workspace, without the boards that judge.

    A board of a set that judges gives no picture to the generator, whatever table its rows are in.
    """
    rows, provenance = earlier_rows(run, label)
    held = judging_boards(run.workspace)
    keep = (provenance["origin"] == "real").to_numpy() & ~rows["boardname"].isin(held).to_numpy()
    return rows[keep].reset_index(drop=True)


def judging_boards(workspace: Workspace) -> set[str]:
    """Boards of the KPI, the validation and the acceptance set."""
    held: set[str] = set()
    for csv in (workspace.kpi_csv, workspace.validation_csv, workspace.acceptance_csv):
        if csv.is_file():
            table = read_rows(csv)
            held |= set(table["boardname"]) if "boardname" in table.columns else set()
    return held - {""}


def requested(run: Run, label: str, entries: Sequence[Entry]) -> dict[str, int]:
    """Pairs by defect type: the asked labels share `num_sdg` equally, and so do the kinds of part of one label."""
    groups: dict[str, list[str]] = {}
    asked = {name.casefold() for name in asked_labels(run, label)}
    for entry in entries:
        if (anomaly := anomaly_of(entry.defect_type)).casefold() in asked:
            groups.setdefault(anomaly, []).append(entry.defect_type)
    return spread(run.plan.num_sdg, groups, run.plan.seed + iter_number(label))


def spread(total: int, groups: Mapping[str, Sequence[str]], seed: int) -> dict[str, int]:
    """`total` in equal parts over the groups, then over the members of each; who gets one more is drawn by `seed`."""
    counts: dict[str, int] = {}
    rng = np.random.default_rng([seed, 3])
    names = list(groups)
    for place, name in enumerate(names):
        share = total // len(names) + (place < total % len(names))
        members = [groups[name][i] for i in rng.permutation(len(groups[name]))]
        for number, member in enumerate(members):
            part = share // len(members) + (number < share % len(members))
            if part:
                counts[member] = part
    return counts


def data_set_task(run: Run, label: str, wanted: Sequence[str], folder: Path) -> Task:
    rows = inputs(run, label) / "source_rows.csv"
    write_rows(rows, source_rows(run, label))
    command = ["anomalygen_dataset", "--rows", str(rows), "--images-dir", str(run.workspace.root)]
    command += ["--image-ext", run.optics.ext, "--seed", str(run.plan.seed), "--output", str(folder)]
    command += [part for light in run.optics.lights for part in ("--light", light)]
    command += [part for name in wanted for part in ("--label", name)]
    return Task("dataset", tuple(command), folder, expects=(folder / SPEC,))


def script(run: Run, name: str) -> tuple[str, ...]:
    """How a script of AnomalyGen is started: its container names their folder in a variable of its own."""
    if is_reference(run):
        return (name,)
    python = "python3 " if name.endswith(".py") else ""
    return ("bash", "-lc", f'exec {python}"$ANOMALYGEN_SCRIPTS/$0" "$@"', name)


def _prep_task(run: Run, label: str, slots: Slots, folder: Path, counts: Mapping[str, int]) -> Task:
    home = run.paths.anomalygen(label)
    command = (
        *script(run, "prep_testcase.sh"), "--name", label, "--num-sdg", str(sum(counts.values())),
        "--dataset-dir", str(folder), "--clean-dir", str(folder), "--defect-spec", str(folder / SPEC),
        "--amp-output-dir", str(home / "amp"), "--output-jsonl", str(home / "testcase.jsonl"),
        "--per-defect-counts", json.dumps(dict(counts)), "--seed", str(run.plan.seed + iter_number(label)),
    )  # fmt: skip
    return on_generator(run, slots, "prep_testcase", command, home, (home / "testcase.jsonl", home / "allocation.json"))


def _sdg_task(run: Run, label: str, slots: Slots) -> Task:
    home = run.paths.anomalygen(label)
    checkpoint, step = _checkpoint(run, label, slots)
    command = (
        *script(run, "run_sdg.sh"), "--checkpoint_dir", str(checkpoint), "--step", str(step),
        "--input_jsonl", str(home / "testcase.jsonl"), "--output_dir", str(home / "sdg"),
        "--model_size", model_size(checkpoint), "--seed", str(run.plan.seed + iter_number(label)), "--num_gpus", "1",
    )  # fmt: skip
    return on_generator(run, slots, "run_sdg", command, home / "sdg", (home / "sdg" / RESULT,))


def _checkpoint(run: Run, label: str, slots: Slots) -> tuple[Path, int]:
    """What to generate from: this run's own fine-tuning, else the slot's. The reference generator needs none."""
    own = finetuned(run)
    if own is not None:
        return own.checkpoint_dir, own.step
    if is_reference(run):
        return Path("none"), 0
    return checkpoint_view(slots.checkpoints, run.plan.anomalygen_step, inputs(run, label) / "checkpoint_view")


def on_generator(
    run: Run, slots: Slots, name: str, command: tuple[str, ...], output: Path, expects: tuple[Path, ...], gpus: int = 1
) -> Task:
    """A call of AnomalyGen: in its container, or answered by the reference generator."""
    if is_reference(run):
        return Task(name, command, output, expects=expects)
    box = container(slots)
    return Task(name, command, output, expects=expects, image=PAIDF_ANOMALYGEN, gpus=gpus, container=box)


def _check_places(folder: Path, entries: Sequence[Entry], counts: Mapping[str, int]) -> None:
    """Stop before any container where an invariant is broken or no mask of a defect can have a place."""
    asked = [entry for entry in entries if entry.defect_type in counts]
    broken = problems(AnomalySet.at(folder), asked) or too_large(AnomalySet.at(folder), asked)
    if broken:
        raise HardStop(
            "anomalygen_masks",
            f"AnomalyGen could not place a mask: {'; '.join(broken)}",
            evidence=str(folder),
            remedy="fix the data set, then: deft resolve --reason TEXT",
        )


def allocation(home: Path) -> Counter[str]:
    """Masks that got a place, by defect type: the lines of testcase.jsonl (allocation.json says what was asked for)."""
    lines = (home / "testcase.jsonl").read_text(encoding="utf-8").splitlines()
    return Counter(str(json.loads(line)["anomaly_type"]) for line in lines if line.strip())


def check_allocation(
    run: Run, label: str, folder: Path, entries: Sequence[Entry], counts: Mapping[str, int]
) -> Counter[str]:
    """Raises HardStop where fewer masks were placed than the approved share of what was asked for."""
    home = run.paths.anomalygen(label)
    placed = allocation(home)
    short = {kind: (placed[kind], number) for kind, number in counts.items() if placed[kind] < number}
    total = sum(counts.values())
    if sum(min(placed[kind], number) for kind, number in counts.items()) >= run.plan.min_allocation * total:
        return placed
    found = diagnosis(AnomalySet.at(folder), [entry for entry in entries if entry.defect_type in short])
    report = inputs(run, label) / "shortfall.json"
    atomic_write_json(report, {"requested": dict(counts), "allocated": dict(placed), "diagnosis": found})
    shown = ", ".join(f"{kind} {number} of {asked}" for kind, (number, asked) in short.items())
    raise HardStop(
        "allocation_shortfall",
        f"AnomalyGen placed {sum(placed.values())} of {total} masks ({shown}), so nothing was generated. "
        + " ".join(found),
        evidence=str(report),
        remedy="fix the masks, then: deft resolve --reason TEXT; or approve a new plan with a lower --num-sdg or "
        "--min-allocation",
    )


def stage_pairs(run: Run, label: str) -> None:
    """Compare what was generated with what was allocated; write pictures and rows of the pairs, whole or not at all.

    Raises HardStop `silent_drop` where pairs are missing, `guardrail` where the generator's own screen refused one.
    """
    home = run.paths.anomalygen(label)
    if (home / PAIRS).is_file() and _rows_csv(run, label).is_file():
        return
    allocated, found, refused = allocation(home), _generated(run, home / "sdg"), _refused(home / "sdg" / RESULT)
    made = Counter(kind_of(pair) for pair in found)
    if refused:
        raise HardStop(
            "guardrail",
            f"AnomalyGen's guardrail refused {len(refused)} pictures (first: {refused[0]})",
            evidence=str(home / "sdg" / RESULT),
            remedy="look at them and at the clean images they came from, then: deft resolve --reason TEXT",
        )
    if short := {kind: number for kind, number in allocated.items() if made[kind] < number}:
        shown = ", ".join(f"{kind} {made[kind]} of {number}" for kind, number in short.items())
        raise HardStop(
            "silent_drop",
            f"run_sdg.sh ended well but made {sum(made.values())} of {sum(allocated.values())} pairs ({shown})",
            evidence=str(run.paths.jobs / f"{label}-anomalygen-run_sdg/output.log"),
            remedy="the log names what was left out; fix it, then: deft resolve --reason TEXT",
        )
    images = run.paths.dataset(label) / "images"
    partial = images.with_name("images.partial")
    folders = tuple(partial / f"synthetic_{label}_{part}" for part in ("ng", "ok"))
    pairs, unreadable = convert_pairs(found, lambda _: (folders[0], folders[1]), run.optics.ext)
    if unreadable:
        raise InputError(f"{home / 'sdg'}: {unreadable[0].file} is no readable picture")
    if images.exists():
        move_aside(images)
    partial.rename(images)
    place = images.relative_to(run.workspace.root).as_posix()
    rows = [
        {
            "input_path": f"{place}/{folders[0].name}", "golden_path": f"{place}/{folders[1].name}",
            "label": pair.label, "object_name": pair.name, "project": "synthetic",
            "description": f"{generator_name(run)}, {label}",
        }
        for pair in pairs
    ]  # fmt: skip
    write_rows(_rows_csv(run, label), rows_frame(rows))
    files = {
        path.relative_to(images).as_posix(): sha256_file(path) for path in sorted(images.rglob(f"*{run.optics.ext}"))
    }
    atomic_write_json(home / PAIRS, {"by_type": dict(sorted(made.items())), "files": files})


def kind_of(pair: Pair) -> str:
    """`IC+bridge_00003` -> `IC+bridge`."""
    return pair.name.rpartition("_")[0]


def _generated(run: Run, sdg: Path) -> list[Pair]:
    if not (sdg / NG).is_dir() or not (sdg / OK).is_dir():
        return []
    tests, goldens = (list_images(sdg / part, f"generated {part}", run.workspace.root) for part in (NG, OK))
    return match_pairs(tests, goldens, run.optics.lights, label_from_name)[0]


def _refused(csv: Path) -> list[str]:
    """Pictures that AnomalyGen's guardrail refused; an empty cell means that none ran."""
    table = parse_csv(csv)
    if "guardrail_pass" not in table.columns:
        return []
    return [Path(name).name for name in table.loc[table["guardrail_pass"].isin(["0", "False"]), "output_filename"]]


def _rows_csv(run: Run, label: str) -> Path:
    return run.paths.anomalygen(label) / ROWS
