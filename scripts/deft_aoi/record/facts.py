"""What each stage leaves in the journal: one frozen record a stage, its JSON form and its schema in one place."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from deft_aoi.base.errors import InputError
from deft_aoi.base.safe_paths import shown

F = TypeVar("F", bound="Facts")


@dataclass(frozen=True)
class Facts:
    """Facts of one stage. Paths are absolute here; `record/locations.py` makes them relative on their way to disk."""

    STAGE: ClassVar[str] = ""

    def to_json(self) -> dict[str, Any]:
        return {entry.name: _plain(getattr(self, entry.name)) for entry in fields(self)}

    @classmethod
    def from_json(cls: type[F], record: Mapping[str, Any], where: str) -> F:
        """The record of a journal line; keys that this version does not know are left out.

        Raises InputError naming what is missing or of another kind.
        """
        kinds, values = _kinds(cls), {}
        for entry in fields(cls):
            if entry.name not in record:
                continue
            value, kind = record[entry.name], kinds[entry.name]
            if not _is_kind(value, kind):
                raise InputError(f"{where}: {entry.name} is {shown(value)}; expected {_words(kind)}")
            values[entry.name] = _typed(value, kind)
        try:
            return cls(**values)
        except TypeError as error:
            raise InputError(f"{where}: {str(error).partition('missing ')[2] or error}; see deft verify") from None


@dataclass(frozen=True)
class Trained(Facts):
    """Stage `train`. `checkpoints`: best_val and latest, relative to the run."""

    STAGE: ClassVar[str] = "train"

    checkpoints: Mapping[str, str]
    rows: int = 0
    defects: int = 0
    engine: str = ""
    seed: int | None = None
    epochs: int = 0
    val_loss: float | None = None
    spec: str = ""
    training_csv: Path | None = None
    init_from: Path | None = None
    trained_here: bool = True  # else: the user's own checkpoint, or one that another machine trained
    taken: tuple[Mapping[str, Any], ...] = ()  # files of scores that were taken in: name, rows, SHA-256
    scores_sha256: str = ""
    handed_out: Mapping[str, Any] = field(default_factory=dict)  # the export's record, with the hash of each file


@dataclass(frozen=True)
class Evaluated(Facts):
    """Stage `evaluate`: KPI figures of the better checkpoint, the verdict on them, and the best model so far.

    Rates are in percent; `threshold` is the exact score value. Counts and bounds are None in lines of 7.0.x.
    """

    STAGE: ClassVar[str] = "evaluate"

    best_ckpt_path: Path
    inference_csv: Path
    far_pct: float
    far_995_pct: float
    auroc: float
    best_ckpt_kind: str = "best_val"
    candidates: Mapping[str, Any] = field(default_factory=dict)  # figures of each checkpoint by its kind
    threshold: float | None = None
    false_calls: int | None = None
    misses: int | None = None
    n_pass: int | None = None
    n_defect: int | None = None
    by_board: Any = None
    measured: Any = None  # what the target's own commands say of the same scores
    metric_result: Mapping[str, Any] | None = None  # as the evaluator of a metric contract wrote it
    far_upper_pct: float | None = None
    verdict: str | None = None
    verdict_sentence: str | None = None
    met: bool = False
    gate: Mapping[str, Any] | None = None
    champion: bool = False
    champion_label: str | None = None
    classical: Mapping[str, float] | None = None
    noise_floor: Mapping[str, Any] | None = None  # at the baseline, where a second seed was asked for
    against_champion: Mapping[str, Any] | None = None  # in iterations

    def known_threshold(self) -> float:
        """The threshold; raises InputError where a line of 7.0.x has none."""
        if self.threshold is None:
            raise InputError(f"{self.inference_csv}: no threshold was recorded for these scores; start a new run")
        return self.threshold


@dataclass(frozen=True)
class Analysed(Facts):
    """Stage `rca`: gap analysis of the model `analysed`, and what holds its threshold down."""

    STAGE: ClassVar[str] = "rca"

    rca_gaps_parquet: Path
    analysed: str = "baseline"
    rca_dir: Path | None = None
    rca_source: str = "kpi"
    rca_threshold: float | None = None
    rca_target_defects: tuple[str, ...] = ()
    holders: tuple[Mapping[str, Any], ...] = ()  # labels that cost false calls, as rca/holders.py has them
    weak_rows: int = 0
    weak_by_label: Mapping[str, int] = field(default_factory=dict)
    causes: Mapping[str, Any] = field(default_factory=dict)
    by_light: Any = None
    by_board: Any = None
    by_component: Any = None
    doubtful_labels: int = 0


@dataclass(frozen=True)
class Routed(Facts):
    """Stage `routing`: which weak labels go where."""

    STAGE: ClassVar[str] = "routing"

    routing_mining_parquet: Path
    routing_anomalygen_parquet: Path | None = None
    mining_labels: tuple[str, ...] = ()
    anomalygen_labels: tuple[str, ...] = ()
    dropped_labels: tuple[str, ...] = ()
    coverage: tuple[Mapping[str, Any], ...] = ()
    forecast_rows: int = 0
    requests: tuple[Mapping[str, Any], ...] = ()  # what to collect, since the pool does not have it


@dataclass(frozen=True)
class Finetuned(Facts):
    """Stage `anomalygen_finetune`: the generator's own checkpoint."""

    STAGE: ClassVar[str] = "anomalygen_finetune"

    checkpoint_dir: Path
    step: int
    generator: str = ""
    dataset: Path | None = None
    examples: Mapping[str, int] = field(default_factory=dict)
    max_iter: int = 0


@dataclass(frozen=True)
class Generated(Facts):
    """Stage `anomalygen`: synthetic pairs by defect type; what applies depends on `mode`."""

    STAGE: ClassVar[str] = "anomalygen"

    mode: str
    pairs: int = 0
    generator: str = ""
    labels_not_made: tuple[str, ...] = ()
    requested: Mapping[str, int] = field(default_factory=dict)
    allocated: Mapping[str, int] = field(default_factory=dict)
    generated: Mapping[str, int] = field(default_factory=dict)
    by_side: Mapping[str, int] = field(default_factory=dict)  # patches: test or golden changed
    by_label: Mapping[str, int] = field(default_factory=dict)  # pairs that were made before
    checkpoint_dir: Path | None = None
    checkpoint_step: int | None = None
    rows_csv: Path | None = None
    sdg_csv: Path | None = None
    provenance_csv: Path | None = None
    dataset: Path | None = None
    realism: Mapping[str, Any] | None = None
    source_embeddings: Path | None = None
    source_images: int | None = None


@dataclass(frozen=True)
class Merged(Facts):
    """Stage `data_merge`: the rows that the next training reads."""

    STAGE: ClassVar[str] = "data_merge"

    combined_training_csv: Path
    provenance_csv: Path
    rows: int = 0
    provenance: Mapping[str, int] = field(default_factory=dict)
    synthetic_rows: int = 0
    synthetic_over_share: int = 0


@dataclass(frozen=True)
class Mined(Facts):
    """Stage `data_mining`: the pool rows taken, and why others were not."""

    STAGE: ClassVar[str] = "data_mining"

    mining_mined_parquet: Path
    mining_mined_count: int = 0


@dataclass(frozen=True)
class Accepted(Facts):
    """Stage `acceptance`: the frozen model on the sealed set. `opening` is 1 where nobody has opened it before."""

    STAGE: ClassVar[str] = "acceptance"

    opening: int
    model: str
    inference_csv: Path
    verdict: str
    far_pct: float
    escape_pct: float
    far_upper_pct: float
    escape_upper_pct: float
    false_calls: int
    misses: int
    n_pass: int
    n_defect: int
    kpi_far_pct: float
    gate: Mapping[str, Any]
    run: str
    checkpoint_sha256: str
    threshold: float
    csv_sha256: str
    boards: Mapping[str, Any] | None = None

    def shown(self) -> dict[str, Any]:
        """What the hand-off repeats."""
        rates = ("far_pct", "far_upper_pct", "escape_pct", "escape_upper_pct")
        return {name: getattr(self, name) for name in ("opening", *rates, "n_pass", "n_defect", "verdict")}


@dataclass(frozen=True)
class Stopped(Facts):
    """Stage `loop_stop`: why the loop ended, and the best model; no label where nothing was evaluated."""

    STAGE: ClassVar[str] = "loop_stop"

    reason: str
    best_label: str | None = None
    best_far_pct: float | None = None
    verdict: str | None = None
    acceptance: Mapping[str, Any] | None = None
    analysed: str | None = None
    rca_dir: Path | None = None


RECORDS: tuple[type[Facts], ...] = (
    Trained, Evaluated, Analysed, Routed, Finetuned, Generated, Mined, Merged, Accepted, Stopped,
)  # fmt: skip


def schema(kind: type[Facts]) -> dict[str, Any]:
    """JSON Schema of a stage's facts in the journal."""
    kinds = _kinds(kind)
    needed = [
        entry.name
        for entry in fields(kind)
        if kind.__dataclass_fields__[entry.name].default is _MISSING
        and kind.__dataclass_fields__[entry.name].default_factory is _MISSING
    ]
    return {"type": "object", "properties": {name: _schema(one) for name, one in kinds.items()}, "required": needed}


_MISSING = field().default
_JSON = {str: "string", Path: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}


def _kinds(kind: type[Facts]) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {entry.name: hints[entry.name] for entry in fields(kind)}


def _schema(kind: Any) -> dict[str, Any]:
    if kind is Any:
        return {}
    origin = typing.get_origin(kind)
    if origin in (types.UnionType, typing.Union):
        return {"anyOf": [_schema(one) for one in typing.get_args(kind)]}
    if origin is tuple:
        return {"type": "array", "items": _schema(typing.get_args(kind)[0])}
    if origin is Mapping:
        return {"type": "object", "additionalProperties": _schema(typing.get_args(kind)[1])}
    return {"type": _JSON[kind]}


def _is_kind(value: Any, kind: Any) -> bool:
    """Whether a JSON value is what a field's annotation says."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return True
    if origin in (types.UnionType, typing.Union):
        return any(_is_kind(value, one) for one in inner)
    if origin is tuple:
        return isinstance(value, (list, tuple)) and all(_is_kind(one, inner[0]) for one in value)
    if origin is Mapping:
        return isinstance(value, Mapping) and all(_is_kind(one, inner[1]) for one in value.values())
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind is Path:
        return isinstance(value, (str, Path))
    return type(value) is kind


def _typed(value: Any, kind: Any) -> Any:
    if value is None:
        return None
    if kind is Path or Path in typing.get_args(kind):
        return Path(value)
    return tuple(value) if typing.get_origin(kind) is tuple else value


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    return [_plain(one) for one in value] if isinstance(value, tuple) else value


def _words(kind: Any) -> str:
    return str(getattr(kind, "__name__", kind)).replace("pathlib.", "").replace("collections.abc.", "")
