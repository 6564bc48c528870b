"""What a simulated line produces: which boards go to which split, which rows are exported, which of them are bad."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deft_aoi.simulate.board import PRODUCTS, make_site
from deft_aoi.simulate.defects import DEFECTS, can_have
from deft_aoi.simulate.line import LOTS

POSITIONS = 240  # of one product


@dataclass(frozen=True)
class Split:
    """One table of the workspace. Shares are of the boards; `rows` is relative to the rows per board."""

    name: str
    number: int
    share: float
    rows: float
    defect_share: float
    defects: tuple[str, ...]
    severity: tuple[float, float]
    lots: tuple[int, ...]
    products: tuple[int, ...]


_ALL_LOTS = tuple(range(LOTS))
_ALL_PRODUCTS = tuple(range(len(PRODUCTS)))
SPLITS = (
    # What an engineer has on the first day: one lot, one vendor each, the two defects that everybody has seen.
    Split("seed", 0, 1 / 12, 1.0, 0.10, ("missing", "bridge"), (0.5, 1.0), (0,), (0, 1)),
    Split("validation", 1, 1 / 6, 0.55, 0.15, DEFECTS, (0.0, 1.0), _ALL_LOTS, _ALL_PRODUCTS),
    Split("kpi", 2, 1 / 3, 1.0, 0.12, DEFECTS, (0.0, 1.0), _ALL_LOTS, _ALL_PRODUCTS),
    Split("pool", 3, 5 / 12, 1.32, 0.20, DEFECTS, (0.0, 1.0), _ALL_LOTS, _ALL_PRODUCTS),
)

# Boards of the same line that no other set knows; only as many as somebody asks for.
ACCEPTANCE = Split("acceptance", 4, 0.0, 1.0, 0.12, DEFECTS, (0.0, 1.0), _ALL_LOTS, _ALL_PRODUCTS)


@dataclass(frozen=True)
class RowPlan:
    """One exported position; `defect` is empty for PASS."""

    position: int
    defect: str = ""
    severity: float = 0.0


@dataclass(frozen=True)
class BoardPlan:
    """One board's export."""

    seed: int
    split: str
    serial: int
    product: int
    lot: int
    drift: tuple[float, float]  # lamp factors of the day: white, solder
    rows: tuple[RowPlan, ...]

    @property
    def name(self) -> str:
        """Serial number as printed on the board: product, lot letter, running number."""
        return f"{PRODUCTS[self.product]}-{'ABCDEFGH'[self.lot]}{self.serial:04d}"


def board_counts(boards: int) -> dict[str, int]:
    """Boards of each split: at least one each, the pool takes what is left."""
    counts = {split.name: max(1, round(boards * split.share)) for split in SPLITS[:-1]}
    return {**counts, SPLITS[-1].name: boards - sum(counts.values())}


def plan_boards(seed: int, boards: int, rows_per_board: int, acceptance: int = 0) -> tuple[BoardPlan, ...]:
    """Every board of the line, in the order of the splits; a pure function of its arguments.

    `acceptance` boards come on top, last, so that they change nothing of the others.
    """
    plans: list[BoardPlan] = []
    for split in SPLITS:
        plans += _plan_split(seed, split, board_counts(boards)[split.name], rows_per_board, len(plans))
    if acceptance:
        plans += _plan_split(seed, ACCEPTANCE, acceptance, rows_per_board, len(plans))
    return tuple(plans)


def _plan_split(seed: int, split: Split, boards: int, rows_per_board: int, first: int) -> list[BoardPlan]:
    rng = np.random.default_rng([seed, 3, split.number])
    rows = max(1, round(rows_per_board * split.rows))
    wanted = max(len(split.defects), round(boards * rows * split.defect_share))
    kinds = [split.defects[number % len(split.defects)] for number in range(wanted)]
    rng.shuffle(kinds)
    plans = []
    for number in range(boards):
        product = split.products[number % len(split.products)]
        plans.append(
            BoardPlan(
                seed=seed,
                split=split.name,
                serial=first + number + 1,
                product=product,
                lot=split.lots[number % len(split.lots)],
                drift=(float(rng.normal(1, 0.03)), float(rng.normal(1, 0.03))),
                rows=_plan_rows(rng, seed, product, rows, kinds[number::boards], split.severity),
            )
        )
    return plans


def _plan_rows(
    rng: np.random.Generator, seed: int, product: int, rows: int, kinds: list[str], severity: tuple[float, float]
) -> tuple[RowPlan, ...]:
    """Positions without repetition; each defect goes to the first free position that can show it."""
    free = [int(position) for position in rng.permutation(max(POSITIONS, 2 * rows))]
    chosen: list[RowPlan] = []
    for kind in kinds:
        place = next(position for position in free if can_have(make_site(seed, product, position), kind))
        free.remove(place)
        chosen.append(RowPlan(place, kind, round(float(rng.uniform(*severity)), 3)))
    chosen += [RowPlan(position) for position in free[: max(0, rows - len(chosen))]]
    return tuple(sorted(chosen, key=lambda row: row.position))
