"""How the net engine trains: the numbers that TAO's spec has no word for, and the rows of every step. No torch."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

TURNS = 8
PASTE_NUMBERS = 8


@dataclass(frozen=True)
class Recipe:
    """One size of training.

    An epoch is `steps` balanced steps (`later_steps` from an earlier model), more where there are many rows; a step
    sees `images` x the spec's batch_size pairs.
    """

    net_width: int
    steps: int
    later_steps: int
    images: int
    rows_per_step: int
    lr: float = 1e-3
    later_lr: float = 7e-4
    weight_decay: float = 0.02
    shift: int = 3
    smoothing: float = 0.01
    pasted_share: float = 0.0  # of a batch: PASS rows where a piece of one image is copied to another place in it
    golden_share: float = 0.5  # of those: the golden is changed, not the test
    trunk_share: float = 0.02  # of the learning rate, for a staged backbone that is fine-tuned

    def epoch_steps(self, rows: int, *, later: bool) -> int:
        return max(self.later_steps if later else self.steps, rows // self.rows_per_step)


ON_GPU = Recipe(net_width=48, steps=150, later_steps=120, images=12, rows_per_step=40, pasted_share=1 / 4)
# No patches: in so short a training they cost more than they gave (benchmarks/results/net.md).
ON_CPU = Recipe(net_width=16, steps=40, later_steps=30, images=2, rows_per_step=40)


@dataclass(frozen=True)
class Draw:
    """Rows and augmentation of the steps of one epoch.

    `rows`, `turn` (steps, batch); `shift` (steps, batch, 2); `paste` (steps, pasted, PASTE_NUMBERS) in [0, 1): how
    augment.patched changes the last `pasted` rows of a batch.
    """

    rows: npt.NDArray[np.int64]
    turn: npt.NDArray[np.int64]
    shift: npt.NDArray[np.int64]
    paste: npt.NDArray[np.float32]


def defects_in_batch(batch: int, ratio: float) -> int:
    """Share `ratio` (fpratio_sampling) of a batch, at least one row of either class."""
    return min(max(1, round(batch * ratio)), batch - 1)


def pasted_in_batch(batch: int, defects: int, share: float) -> int:
    """Share `share` of a batch, at most half of its PASS rows."""
    return min(round(batch * share), (batch - defects) // 2)


def draw_epoch(
    defect: npt.NDArray[np.bool_], *, seed: int, epoch: int, steps: int, batch: int, defects: int, pasted: int,
    shift: int,
) -> Draw:  # fmt: skip
    """The same for every device and number of GPUs; the first `defects` of each batch are defects, the rest PASS.

    It depends on seed and epoch alone, so a resumed training draws what the unbroken one would have drawn.
    """
    rng = np.random.default_rng([seed, epoch])
    bad, good = np.flatnonzero(defect), np.flatnonzero(~defect)
    rows = np.concatenate(
        [bad[rng.integers(0, len(bad), (steps, defects))], good[rng.integers(0, len(good), (steps, batch - defects))]],
        axis=1,
    )
    turn = rng.integers(0, TURNS, (steps, batch))
    moved = rng.integers(-shift, shift + 1, (steps, batch, 2))
    return Draw(rows.astype(np.int64), turn, moved, rng.random((steps, pasted, PASTE_NUMBERS), np.float32))


def learning_rate(step: int, steps: int, peak: float) -> float:
    """One cycle (Smith and Topin, 2018): cosine up over the first 30 %, cosine down to nearly nothing."""
    rise = max(0.3 * steps, 1.0)
    low, end = peak / 25, peak / 250_000
    if step < rise:
        return low + (peak - low) * (1 - math.cos(math.pi * step / rise)) / 2
    return end + (peak - end) * (1 + math.cos(math.pi * (step - rise) / max(steps - rise, 1.0))) / 2
