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
class Analysed(Facts):
    """Stage `rca`: gap analysis of the model `analysed`, and what holds its threshold down."""

    STAGE: ClassVar[str] = "rca"

    rca_gaps_parquet: Path
    analysed: str = "baseline"
    rca_dir: Path | None = None
    rca_source: str = "kpi"
    rca_threshold: float | None = None
    rca_target_defects: tuple[str, ...] = ()
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


RECORDS: tuple[type[Facts], ...] = (Trained, Analysed, Routed, Finetuned, Mined, Merged)


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
