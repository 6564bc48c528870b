"""How many parts each set gets, why, and which: whole units only, every label in every set where it can be."""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from deft_aoi.base.errors import InputError
from deft_aoi.base.rows import PASS
from deft_aoi.data.pairs import Pair
from deft_aoi.data.workspace_files import SPLITS
from deft_aoi.importers.reading import Part
from deft_aoi.kpi.bounds import Tally, clean, smallest
from deft_aoi.kpi.provable import Size, provable
from deft_aoi.kpi.target import PROVEN_ESCAPES, Contract, parse_target

SHARES = (10, 15, 35, 40)
ACCEPTANCE = "acceptance"
_SEALED, _SEALED_MOST = 0.25, 0.4  # share of the boards that prove the verdict
_SEALED_BOARDS = 16  # with fewer boards than this every one is needed to learn from
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
    """`home`: set of each part; `rows` explains it; `warnings` say what is too small; `target` is the strictest that
    can be proven, `proof` what is known of the one that was asked for; `mine_rows` is what an iteration can mine of
    a pool that is smaller than usual, None for any other."""

    home: dict[str, str]
    rows: tuple[Row, ...]
    warnings: tuple[str, ...]
    target: str
    proof: tuple[str, ...]
    mine_rows: int | None


def flat_shares(shares: Sequence[int]) -> Shares:
    """The same shares for good parts and defects, in the order of SPLITS."""
    return {name: {PASS: share, "defect": share} for name, share in zip(SPLITS, shares)}


def wanted_shares(sealed: float) -> Shares:
    """The sealed share first, of good parts and defects alike; the rest as :data:`SHARES` says."""
    rest = {name: (1 - sealed) * share / sum(SHARES) for name, share in zip(SPLITS, SHARES)}
    if sealed:
        rest[ACCEPTANCE] = sealed
    return {name: {PASS: share, "defect": share} for name, share in rest.items()}


def sealed_share(parts: Sequence[Part], unit: Mapping[str, str], by: str, limit: float | None) -> float:
    """Share of the boards to seal: a quarter, or what the proof of FAR < `limit` needs, up to 40 %. None where boards
    are unknown (nothing can be proven) or few."""
    good = [part for part in parts if part.good]
    boards = len({unit[part.name] for part in good})
    if by != "board" or boards < _SEALED_BOARDS:
        return 0.0
    if limit is None:
        return _SEALED
    per_board = max(1, round(len(good) / boards))
    needed = smallest(lambda count: clean(count, per_board).upper() <= limit, 1) or boards
    return min(max(1.1 * needed / boards, _SEALED), _SEALED_MOST)


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
    parts: Sequence[Part], unit: Mapping[str, str], by: str, *, target: Contract | None, sealed: float | None, seed: int
) -> Split:
    """Deal the parts and say why so; `sealed` None: as :func:`sealed_share` has it.

    Raises InputError where a set would lack good parts or defects.
    """
    limit = target.far.limit if target and target.far else None
    share = sealed_share(parts, unit, by, limit) if sealed is None else sealed
    _check_enough(parts, unit, by, share)
    home = deal(parts, unit, wanted_shares(share), seed)
    sets = {
        name: [part for part in parts if home[part.name] == name]
        for name in (*SPLITS, *([ACCEPTANCE] if share else []))
    }
    for name, mine in sets.items():
        if len({part.good for part in mine}) < 2:
            lacking = "good parts" if not any(part.good for part in mine) else "defects"
            raise InputError(
                f"set {name} would get no {lacking}: too few {by}s hold them; collect more of them, or try "
                "another --seed"
            )
    proving = sets[ACCEPTANCE if share else "kpi"]
    proposed = proposed_target(proving, unit)
    each = max(1, len(sets["pool"]) // _ITERATIONS) if len(sets["pool"]) < MINE_ROWS else None
    sizes = [_size(sets["kpi"], unit, by), _size(sets[ACCEPTANCE], unit, by) if share else None]
    return Split(
        home,
        tuple(_row(name, mine, unit, by) for name, mine in sets.items()),
        tuple(_warnings(parts, unit, by, len(sets["pool"]), each)),
        proposed,
        tuple(provable(target or parse_target(proposed), sizes[0] or Size(0, 0, 0), sizes[1])),
        each,
    )


def _size(mine: Sequence[Part], unit: Mapping[str, str], by: str) -> Size:
    boards = len({unit[part.name] for part in mine}) if by == "board" else 0
    passes = sum(part.good for part in mine)
    return Size(passes, len(mine) - passes, boards)


def _row(name: str, mine: Sequence[Part], unit: Mapping[str, str], by: str) -> Row:
    passes = sum(part.good for part in mine)
    defects = len(mine) - passes
    units = len({unit[part.name] for part in mine})
    chance = f"with {defects:,} defects the next one escapes with a chance of about 1 in {defects + 1:,}"
    reasons = {
        "train": "the first model; each iteration adds mined rows",
        "validation": "chooses the checkpoint",
        "kpi": f"chooses threshold and model; {chance}",
        "pool": f"mined: {len(mine):,} rows, usually {MINE_ROWS} an iteration",
        ACCEPTANCE: f"sealed, opened once at the end; without an error it proves {_proof(mine, unit)}",
    }
    return Row(name, units, passes, defects, reasons[name])


def _clean_bounds(mine: Sequence[Part], unit: Mapping[str, str]) -> tuple[float, float]:
    """(FAR, escapes) that a set proves when nothing on it goes wrong, as fractions."""
    found = []
    for good in (True, False):
        rows = list(Counter(unit[part.name] for part in mine if part.good == good).values())
        found.append(Tally.of(rows, [0] * len(rows)).upper())
    return found[0], found[1]


def _proof(mine: Sequence[Part], unit: Mapping[str, str]) -> str:
    far, escape = _clean_bounds(mine, unit)
    return f"FAR < {_percent(far)} % and escapes < {_percent(escape)} %"


def _percent(rate: float) -> str:
    """Percent, rounded up to two digits: a bound may not be rounded down."""
    percent = 100 * rate
    step = 10.0 ** (math.floor(math.log10(percent)) - 1)
    return f"{math.ceil(percent / step - 1e-9) * step:.12g}"


def proposed_target(mine: Sequence[Part], unit: Mapping[str, str]) -> str:
    """The strictest target that a set of these parts can prove, as `--kpi-target` takes it."""
    far, escape = _clean_bounds(mine, unit)
    text = f"FAR < {_percent(far)}% at recall=100%"
    return text if escape <= PROVEN_ESCAPES else f"{text} and escape <= {_percent(escape)}%"


def _check_enough(parts: Sequence[Part], unit: Mapping[str, str], by: str, sealed: float) -> None:
    needed = _UNITS + bool(sealed)
    for what, mine in (("defects", [p for p in parts if not p.good]), ("good parts", [p for p in parts if p.good])):
        found = len({unit[part.name] for part in mine})
        if found < needed:
            raise InputError(
                f"{len(mine)} {what} from {found} {by}s: too few, for {needed} sets need some each and no {by} may "
                f"be in two; collect {what} from at least {needed - found} more {by}s"
            )


def _warnings(parts: Sequence[Part], unit: Mapping[str, str], by: str, pool: int, each: int | None) -> list[str]:
    found = []
    units: dict[str, set[str]] = defaultdict(set)
    for part in parts:
        units[part.label].add(unit[part.name])
    rare = {label: len(names) for label, names in units.items() if len(names) < _UNITS}
    if rare:
        listed = ", ".join(f"{label} ({count})" for label, count in sorted(rare.items()))
        found.append(f"seen on fewer than {_UNITS} {by}s, so not in every set: {listed}; collect more of these")
    if each is not None:
        found.append(
            f"the pool has {pool} rows, fewer than the {MINE_ROWS} that an iteration mines: --mine-rows {each} gives "
            f"{pool // each} iterations something to mine; more need a larger pool"
        )
    return found
