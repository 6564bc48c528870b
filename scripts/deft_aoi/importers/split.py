"""How many parts each set gets, why, and which: whole units only, every label in every set where it can be."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from deft_aoi.base.errors import InputError
from deft_aoi.base.rows import PASS
from deft_aoi.data.pairs import Pair
from deft_aoi.data.workspace_files import SPLITS
from deft_aoi.importers.reading import Part
from deft_aoi.kpi.bounds import samples_needed, upper_bound
from deft_aoi.kpi.target import Contract

SHARES = (10, 15, 35, 40)
ACCEPTANCE = "acceptance"
_REST = {"train": 10, "validation": 15, "pool": 40}  # how what KPI and acceptance leave is shared
_KPI_PASS, _KPI_PASS_LEAST, _KPI_PASS_MOST = 0.4, 0.25, 0.6
_KPI_DEFECTS, _KPI_DEFECTS_LEAST = 0.4, 0.25
_ESCAPE = 0.05  # what the KPI set should be able to show of escapes
_UNITS = 4  # that a label needs to be in every set
MINE_ROWS = 200  # default of a plan's mine_rows
_ITERATIONS = 3  # that a small pool should last for

Shares = dict[str, dict[str, float]]  # set -> PASS or defect -> share of the parts


@dataclass(frozen=True)
class Row:
    """One line of the table that a person sees."""

    name: str
    units: int
    passes: int
    defects: int
    reason: str


@dataclass(frozen=True)
class Split:
    """`home`: set of each part; `rows` explains it; `warnings` say what is too small; `target` what can be proven;
    `mine_rows` is what an iteration can mine of a pool that is smaller than usual, None for any other."""

    home: dict[str, str]
    rows: tuple[Row, ...]
    warnings: tuple[str, ...]
    target: str
    mine_rows: int | None


def flat_shares(shares: Sequence[int]) -> Shares:
    """The same shares for good parts and defects, in the order of SPLITS."""
    return {name: {PASS: share, "defect": share} for name, share in zip(SPLITS, shares)}


def wanted_shares(n_pass: int, n_defect: int, limit: float | None, sealed: float) -> Shares:
    """Shares by purpose: KPI takes what its proof needs (within bounds), the rest is trained on, validated on, mined.

    `limit` is the FAR that the target asks for; without one KPI gets 40 % of the good parts. Of the defects it gets
    those that show escapes below 5 %, at least a quarter and at most 40 %.
    """
    kpi_pass = _KPI_PASS
    if limit:
        kpi_pass = min(max(samples_needed(limit) / max(n_pass, 1) * 1.05, _KPI_PASS_LEAST), _KPI_PASS_MOST)
    kpi_defect = min(max(samples_needed(_ESCAPE) / max(n_defect, 1), _KPI_DEFECTS_LEAST), _KPI_DEFECTS)
    left = {PASS: (1 - sealed) * (1 - kpi_pass), "defect": (1 - sealed) * (1 - kpi_defect)}
    total = sum(_REST.values())
    shares: Shares = {name: {kind: left[kind] * part / total for kind in left} for name, part in _REST.items()}
    shares["kpi"] = {PASS: (1 - sealed) * kpi_pass, "defect": (1 - sealed) * kpi_defect}
    if sealed:
        shares[ACCEPTANCE] = {PASS: sealed, "defect": sealed}
    return shares


def deal(parts: Sequence[Part | Pair], unit: Mapping[str, str], shares: Shares, seed: int) -> dict[str, str]:
    """Set of every part; a unit goes whole to one set.

    Units are grouped by their rarest label and ordered by a hash of name and seed; each goes to the set that is
    furthest below its share of the labels in it, a rare label weighing more. So every set sees every label that has
    enough units.
    """
    units: dict[str, list[Part | Pair]] = defaultdict(list)
    for part in parts:
        units[unit[part.name]].append(part)
    count = Counter(part.label for part in parts)
    groups: dict[str, list[str]] = defaultdict(list)
    for name, members in units.items():
        groups[min((part.label for part in members), key=lambda label: (count[label], label))].append(name)
    dealt: dict[str, Counter[str]] = {name: Counter() for name in shares}
    order = [name for name in (*SPLITS, ACCEPTANCE) if name in shares]
    home: dict[str, str] = {}

    def lacks(name: str, labels: Counter[str]) -> float:
        share = shares[name]
        return sum(n / count[label] * share[_kind(label)] / (2 * dealt[name][label] + n) for label, n in labels.items())

    for label in sorted(groups, key=lambda one: (count[one], one)):
        for name in sorted(groups[label], key=lambda one: hashlib.sha256(f"{seed}/{one}".encode()).digest()):
            labels = Counter(part.label for part in units[name])
            chosen = max(order, key=lambda one: lacks(one, labels))
            dealt[chosen].update(labels)
            home |= {part.name: chosen for part in units[name]}
    return home


def _kind(label: str) -> str:
    return PASS if label == PASS else "defect"


def explained(
    parts: Sequence[Part], unit: Mapping[str, str], by: str, *, target: Contract | None, sealed: float, seed: int
) -> Split:
    """Deal the parts and say why so. Raises InputError where a set would lack good parts or defects."""
    n_pass = sum(part.good for part in parts)
    limit = target.far.limit if target and target.far else None
    _check_enough(parts, unit, by, sealed)
    home = deal(parts, unit, wanted_shares(n_pass, len(parts) - n_pass, limit, sealed), seed)
    rows = tuple(_row(name, parts, home, unit) for name in (*SPLITS, *([ACCEPTANCE] if sealed else [])))
    for row in rows:
        if not row.passes or not row.defects:
            lacking = "good parts" if not row.passes else "defects"
            raise InputError(
                f"set {row.name} would get no {lacking}: too few {by}s hold them; collect more of "
                "them, or try another --seed"
            )
    by_name = {row.name: row for row in rows}
    mined = by_name["pool"].passes + by_name["pool"].defects
    each = max(1, mined // _ITERATIONS) if mined < MINE_ROWS else None
    warnings = _warnings(parts, unit, by, by_name, limit)
    if each is not None:
        warnings.append(
            f"the pool has {mined} rows, fewer than the {MINE_ROWS} that an iteration mines: --mine-rows {each} gives "
            f"{mined // each} iterations something to mine; more need a larger pool"
        )
    return Split(home, rows, tuple(warnings), proposed_target(by_name["kpi"].passes), each)


def _row(name: str, parts: Sequence[Part], home: Mapping[str, str], unit: Mapping[str, str]) -> Row:
    mine = [part for part in parts if home[part.name] == name]
    passes = sum(part.good for part in mine)
    defects = len(mine) - passes
    proof = (
        f"{passes:,} good parts can prove FAR < {_percent(upper_bound(0, passes))} %, {defects:,} defects without "
        + (f"an escape show escapes < {_percent(upper_bound(0, defects))} %")
    )
    reasons = {
        "train": "the first model; each iteration adds mined rows",
        "validation": "chooses the checkpoint",
        "kpi": f"judges: {proof}",
        "pool": f"mined: {len(mine):,} rows for {MINE_ROWS} an iteration",
        ACCEPTANCE: f"sealed, opened once at the end: {proof}",
    }
    return Row(name, len({unit[part.name] for part in mine}), passes, defects, reasons[name])


def _percent(rate: float) -> str:
    """Percent, rounded up to two digits: a bound may not be rounded down."""
    from math import ceil, floor, log10

    percent = 100 * rate
    step = 10.0 ** (floor(log10(percent)) - 1)
    return f"{ceil(percent / step - 1e-9) * step:.12g}"


def proposed_target(kpi_passes: int) -> str:
    """The strictest bound on false calls that the KPI set can prove at all, as `--kpi-target` takes it."""
    return f"FAR < {_percent(upper_bound(0, kpi_passes))}% at recall=100%"


def _check_enough(parts: Sequence[Part], unit: Mapping[str, str], by: str, sealed: float) -> None:
    needed = _UNITS + bool(sealed)
    for what, mine in (("defects", [p for p in parts if not p.good]), ("good parts", [p for p in parts if p.good])):
        found = len({unit[part.name] for part in mine})
        if found < needed:
            raise InputError(
                f"{len(mine)} {what} from {found} {by}s: too few, for {needed} sets need some each and no {by} may "
                f"be in two; collect {what} from at least {needed - found} more {by}s"
            )


def _warnings(
    parts: Sequence[Part], unit: Mapping[str, str], by: str, rows: Mapping[str, Row], limit: float | None
) -> list[str]:
    found = []
    units: dict[str, set[str]] = defaultdict(set)
    for part in parts:
        units[part.label].add(unit[part.name])
    rare = {label: len(names) for label, names in units.items() if len(names) < _UNITS}
    if rare:
        listed = ", ".join(f"{label} ({count})" for label, count in sorted(rare.items()))
        found.append(f"seen on fewer than {_UNITS} {by}s, so not in every set: {listed}; collect more of these")
    kpi = rows["kpi"]
    if limit and upper_bound(0, kpi.passes) > limit:
        found.append(
            f"the KPI set's {kpi.passes:,} good parts cannot prove FAR < {100 * limit:g} %: that needs "
            f"{samples_needed(limit):,}, so collect about {round(samples_needed(limit) / _KPI_PASS_MOST):,} good parts "
            "in all"
        )
    if kpi.defects < samples_needed(_ESCAPE):
        found.append(
            f"the KPI set's {kpi.defects} defects, none missed, only show escapes < "
            f"{_percent(upper_bound(0, kpi.defects))} %; {samples_needed(_ESCAPE)} would show < {100 * _ESCAPE:g} %"
        )
    return found
