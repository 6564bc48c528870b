"""The one place that knows the names inside a workspace and inside a run directory."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from deft_aoi.base import safe_paths
from deft_aoi.base.errors import InputError

SKILL_ROOT = Path(__file__).resolve().parents[3]
BASELINE = "baseline"
ABLATION_RECORD = "ablation.json"
REFERENCE = "best_model_reference.json"  # next to best_model.json: `deft score` reads it
IMAGE_ROOTS = ("kpi/images", "images")  # the second is the one of NVIDIA's bank today
_RUN_NAME = re.compile(r"run_\d{8}_\d{6}(_\d+)?")
_LABEL = re.compile(r"iter([1-9]\d*)")


def iter_label(number: int) -> str:
    """`baseline` for 0, else `iter<number>`."""
    return BASELINE if number == 0 else f"iter{number}"


def iter_number(label: str) -> int:
    """Inverse of :func:`iter_label`; raises InputError for any other text."""
    if label == BASELINE:
        return 0
    match = _LABEL.fullmatch(label)
    if match is None:
        raise InputError(f"iteration label {label!r}: expected 'baseline' or 'iter<N>' with N from 1")
    return int(match.group(1))


def image_root(workspace: Path) -> Path:
    """Where the images of training, validation and KPI rows are: the first of IMAGE_ROOTS that holds anything."""
    places = [workspace / name for name in IMAGE_ROOTS]
    return next((place for place in places if place.is_dir() and any(place.iterdir())), places[0])


@dataclass(frozen=True)
class Workspace:
    """Input tree of one customer; `root` is absolute and resolved."""

    root: Path

    @classmethod
    def at(cls, path: str | Path) -> Workspace:
        root = Path(path).expanduser()
        if not root.is_dir():
            raise InputError(
                f"workspace {root}: no such folder; expected specs/, train/, kpi/ in it. "
                f"To make one: deft simulate --workspace {root}"
            )
        workspace = cls(root.resolve())
        for place in workspace.places:  # before anything in them is read: an error message would quote it
            workspace.inside(place, f"workspace {root}")
        return workspace

    @property
    def places(self) -> tuple[Path, ...]:
        """Every file and folder with a fixed name: none may be a link that leads out."""
        csvs = (self.training_csv, self.validation_csv, self.kpi_csv, self.acceptance_csv, self.pool_csv)
        folders = (self.images, self.backbone_dir, self.pool_dir, self.pregen_ng, self.pregen_ok, self.results)
        return (self.spec, *csvs, *folders, self.cache)

    spec = property(lambda self: self.root / "specs/baseline_spec.yaml")
    training_csv = property(lambda self: self.root / "train/base/training_set.csv")
    validation_csv = property(lambda self: self.root / "train/base/validation_set.csv")
    kpi_csv = property(lambda self: self.root / "kpi/testing_set.csv")
    acceptance_csv = property(lambda self: self.root / "kpi/acceptance_set.csv")
    acceptance_ledger = property(lambda self: self.results / "acceptance_openings.jsonl")
    images = property(lambda self: image_root(self.root))
    backbone_dir = property(lambda self: self.root / "augmentation/backbone")
    pool_dir = property(lambda self: self.root / "augmentation/mining_pool")
    pool_csv = property(lambda self: self.pool_dir / "mining_pool.csv")
    anomalygen_dir = property(lambda self: self.root / "augmentation/anomalygen")
    pregen_ng = property(lambda self: self.anomalygen_dir / "reconstructed_image")
    pregen_ok = property(lambda self: self.anomalygen_dir / "original_image")
    results = property(lambda self: self.root / "results")
    cache = property(lambda self: self.results / ".cache")

    def inside(self, path: str | Path, what: str) -> Path:
        """Resolve `path` (relative to the workspace) and refuse it when it leaves the workspace."""
        return safe_paths.inside(self.root, path, what)

    def brought(self, name: str | Path) -> Path:
        """Absolute path of a file that the user names: relative to the workspace where it is there, else to the working
        folder. The file need not exist."""
        path = Path(name).expanduser()
        return self.root / path if (self.root / path).is_file() else path.absolute()

    def runs(self) -> list[Path]:
        """Run directories, oldest first."""
        if not self.results.is_dir():
            return []
        return sorted(p for p in self.results.iterdir() if p.is_dir() and _RUN_NAME.fullmatch(p.name))


@dataclass(frozen=True)
class RunPaths:
    """Output tree of one run."""

    root: Path

    @classmethod
    def at(cls, path: str | Path) -> RunPaths:
        root = Path(path).expanduser()
        if not root.is_dir():
            raise InputError(f"run directory {root}: no such folder; expected <workspace>/results/run_<time>")
        return cls(root.resolve())

    state = property(lambda self: self.root / "deft_state.json")
    log = property(lambda self: self.root / "loop_log.jsonl")
    torn = property(lambda self: self.root / "loop_log.torn")
    lock = property(lambda self: self.root / ".lock")
    spec = property(lambda self: self.root / "baseline_spec.yaml")  # the user's spec as it was approved
    jobs = property(lambda self: self.root / "jobs")
    preflight = property(lambda self: self.root / "preflight.json")
    preflight_summary = property(lambda self: self.root / "preflight_summary.md")
    report = property(lambda self: self.root / "DEFT_Loop_Report.html")
    report_facts = property(lambda self: self.root / "report.json")
    narrative = property(lambda self: self.root / "narrative.json")
    best_model = property(lambda self: self.root / "best_model.json")
    reference = property(lambda self: self.root / REFERENCE)
    inference_spec = property(lambda self: self.root / "best_model_inference_spec.yaml")
    synth_pool = property(lambda self: self.root / "synth_pool")
    audit = property(lambda self: self.root / "audit")
    no_tokens = property(lambda self: self.root / "no_tokens.json")  # `deft align_token_usage` found no transcript
    verified = property(lambda self: self.root / "verified.json")  # which journal `deft verify` found sound
    seals = property(lambda self: self.root / "seals")  # signed heads of the journal's chain
    label_review = property(lambda self: self.root / "label_review.csv")
    noise = property(lambda self: self.root / BASELINE / "noise")

    def acceptance(self, opening: int) -> Path:
        """Scores of one opening of the sealed acceptance set."""
        return self.root / "acceptance" / f"opening_{opening}"

    def ablation(self, label: str, source: str) -> Path:
        """Where one ablation is trained and judged: an iteration without a source of rows."""
        return self.root / "ablation" / f"{label}_without_{source}"

    def ablations(self) -> list[Path]:
        """Records of every finished ablation, by iteration and source."""
        return sorted(self.ablation("*", "*").parent.glob(f"*/{ABLATION_RECORD}"))

    def folder(self, label: str) -> Path:
        return self.root / label

    def train(self, label: str) -> Path:
        return self.folder(label) / "train"

    def inference(self, label: str, kind: str) -> Path:
        """Inference folder of one checkpoint kind (`best_val` or `latest`)."""
        return self.folder(label) / "inference" / kind

    def evaluate(self, label: str) -> Path:
        return self.folder(label) / "evaluate"

    def rca(self, label: str) -> Path:
        return self.folder(label) / "rca_results"

    def routing(self, label: str) -> Path:
        return self.folder(label) / "routing_results"

    def anomalygen(self, label: str) -> Path:
        return self.folder(label) / "anomalygen"

    def mining(self, label: str) -> Path:
        return self.folder(label) / "mining_filter"

    def dataset(self, label: str) -> Path:
        return self.folder(label) / "dataset"

    def combined_csv(self, label: str) -> Path:
        return self.dataset(label) / f"train_combined_{label}.csv"

    def provenance_csv(self, label: str) -> Path:
        return self.dataset(label) / f"train_combined_{label}_provenance.csv"

    def iteration_report(self, label: str) -> Path:
        return self.folder(label) / "report.html"

    def iteration_summary(self, label: str) -> Path:
        return self.root / f"{label}_summary.md"

    def relative(self, path: Path) -> str:
        """`path` as text relative to the run directory (POSIX separators)."""
        return path.resolve().relative_to(self.root).as_posix()
