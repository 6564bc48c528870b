"""AnomalyGen's three slots in a workspace: fine-tuned checkpoint, base models, data set. What is there, what is not."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from deft_aoi.base.errors import InputError
from deft_aoi.base.paths import Workspace
from deft_aoi.executors.base import ANOMALYGEN, PAIDF_ANOMALYGEN, Container, Mount, Task
from deft_aoi.record.facts import Finetuned
from deft_aoi.record.order import FINETUNE
from deft_aoi.record.run import Run
from deft_aoi.synthetic.dataset import MODELS, SPEC, AnomalySet, model_file, problems, read_entries

CHECKPOINT, BASE, DATASET = "checkpoint", "base models", "data set"
HOME = "/workspace/paidf-anomalygen"
BASE_MODEL = "nvidia/Cosmos-Predict2-2B-Text2Image"
# NVIDIA's own figures; it publishes none for the data set.
SIZES: Mapping[str, str] = {CHECKPOINT: "about 5 GB", BASE: "about 22 GB", DATASET: "size not published"}
SOURCES: Mapping[str, str] = {
    CHECKPOINT: "nvidia/Cosmos-AnomalyGen-PCB-2B",
    BASE: BASE_MODEL + " and the models next to it",
    DATASET: "nvidia/Cosmos-AnomalyGen-PCB-Dataset",
}
# What the container's own helpers are called with; {0} is the slot's folder.
FETCH: Mapping[str, str] = {
    CHECKPOINT: 'bash scripts/utilities/download_anomalygen_checkpoints.sh --uc pcb --checkpoint-dir "$0"',
    BASE: '"$ANOMALYGEN_SCRIPTS/check.sh" || "$ANOMALYGEN_SCRIPTS/download_checkpoints.sh"',
    DATASET: 'python3 -m scripts.utilities.prepare_dataset_uc1 "$0"',
}
_SIZE = re.compile(r"(?<![A-Za-z0-9])(2b|14b)(?![A-Za-z0-9])", re.IGNORECASE)
_ITER = re.compile(r"iter_0*(\d+)\.pt")


@dataclass(frozen=True)
class Slots:
    """The folders of one project."""

    workspace: Workspace
    project: str

    checkpoints = property(lambda self: self.workspace.anomalygen_dir / "checkpoints" / self.project)
    base = property(lambda self: self.workspace.anomalygen_dir / "base_checkpoints")
    dataset = property(lambda self: self.workspace.anomalygen_dir / "datasets" / self.project)

    def folder(self, slot: str) -> Path:
        return {CHECKPOINT: self.checkpoints, BASE: self.base, DATASET: self.dataset}[slot]

    def filled(self, slot: str) -> bool:
        if slot == CHECKPOINT:
            return self.config() is not None
        if slot == BASE:
            return (self.base / BASE_MODEL).is_dir()
        return (self.dataset / SPEC).is_file()

    def missing(self) -> tuple[str, ...]:
        return tuple(slot for slot in (CHECKPOINT, BASE, DATASET) if not self.filled(slot))

    def config(self) -> Path | None:
        """The checkpoint's ag_config.yaml."""
        return config_below(self.checkpoints)


def checkpoint_view(root: Path, step: int | None, view: Path) -> tuple[Path, int]:
    """(folder for --checkpoint_dir, step): AnomalyGen reads `checkpoints/model/iter_<step>.pt` below it.

    `root` is a slot or a training's folder; its ag_config.yaml may lie anywhere below. A flat download (`iter_*.pt`
    next to ag_config.yaml) gets a folder of links, `view`. Raises InputError where the step is missing or unknown.
    """
    config = config_below(root)
    if config is None:
        raise InputError(f"{root}: no ag_config.yaml; put a fine-tuned AnomalyGen checkpoint there")
    home = config.parent
    nested = home / MODELS
    steps = {int(m[1]): path for path in (nested if nested.is_dir() else home).iterdir() if (m := _step(path))}
    latest = home / "checkpoints/latest_checkpoint.txt"
    named = _ITER.search(latest.read_text(encoding="utf-8")) if latest.is_file() else None
    wanted = step if step is not None else int(named[1]) if named else max(steps, default=-1)
    if wanted not in steps:
        there = ", ".join(map(str, sorted(steps))) or "none"
        raise InputError(f"{home}: no iter_{max(wanted, 0):09d}.pt (steps there: {there}); pass --step or stage it")
    if nested.is_dir():
        return home, wanted
    model = model_file(view, wanted)
    model.parent.mkdir(parents=True, exist_ok=True)
    for link, target in ((model, steps[wanted]), (view / "ag_config.yaml", config)):
        link.unlink(missing_ok=True)
        link.symlink_to(target.resolve())
    (view / "checkpoints/latest_checkpoint.txt").write_text(model.name + "\n", encoding="utf-8")
    return view, wanted


def model_size(folder: Path) -> str:
    """`2b` or `14b`, as the checkpoint's ag_config.yaml has it in its names; 2b, AnomalyGen's default, where none does.

    Raises InputError where it names both.
    """
    config = config_below(folder)
    told = {size.lower() for size in _SIZE.findall(config.read_text(encoding="utf-8"))} if config else set()
    if len(told) > 1:
        raise InputError(f"{config}: names the sizes {' and '.join(sorted(told))}; expected one of 2b, 14b")
    return next(iter(told), "2b")


def config_below(root: Path) -> Path | None:
    """The first ag_config.yaml in a folder, wherever below it is (NVIDIA's download nests it)."""
    return next(iter(sorted(root.rglob("ag_config.yaml"))), None) if root.is_dir() else None


def trained_folder(results: Path) -> Path | None:
    """Below a training's output root the folder that holds its configuration and its checkpoints."""
    for config in sorted(results.rglob("ag_config.yaml")) if results.is_dir() else ():
        if any(_step(path) for path in (config.parent / MODELS).glob("*.pt")):
            return config.parent
    return None


def finetuned(run: Run) -> Finetuned | None:
    """Facts of this run's own fine-tuning: the checkpoint that stage `anomalygen` generates from."""
    for entry in reversed(run.entries):
        if entry["stage"] == FINETUNE and entry["status"] == "ok" and (entry.get("facts") or {}).get("checkpoint_dir"):
            return run.left(entry["iter"], Finetuned)
    return None


def _step(path: Path) -> re.Match[str] | None:
    return _ITER.fullmatch(path.name)


def container(slots: Slots, *, fetching: bool = False) -> Container:
    """What AnomalyGen asks of its container: the base models where it looks for them, writable only while fetching."""
    slots.base.mkdir(parents=True, exist_ok=True)
    environment = {**ANOMALYGEN.environment, "HOME": "/tmp", "USER": "deft", "LOGNAME": "deft", "PYTHONPATH": HOME}
    mount = Mount(slots.base, f"{HOME}/checkpoints", read_only=not fetching)
    return replace(ANOMALYGEN, environment=environment, mounts=(mount,))


def fetch_task(slots: Slots, slot: str, output: Path) -> Task:
    """Let the container's own helper fill a slot."""
    folder = slots.folder(slot)
    folder.mkdir(parents=True, exist_ok=True)
    name = f"fetch_{slot.replace(' ', '_')}"
    command = ("bash", "-lc", FETCH[slot], str(folder))
    box = container(slots, fetching=True)
    proof = {BASE: (slots.base / BASE_MODEL,), DATASET: (slots.dataset / SPEC,)}.get(slot, ())
    return Task(name, command, output / name, expects=proof, image=PAIDF_ANOMALYGEN, container=box)


def set_problems(folder: Path) -> list[str]:
    """What breaks one of AnomalyGen's four invariants in a data set, one line each."""
    try:
        return problems(AnomalySet.at(folder), read_entries(folder / SPEC))
    except InputError as error:
        return [str(error)]
