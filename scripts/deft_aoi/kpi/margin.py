"""How much room the scores leave at the threshold: what the threshold is, and how near the next defect is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NARROW = 0.05  # of the way from the middle PASS score to the middle defect score


@dataclass(frozen=True)
class Margin:
    """Scores at a threshold: `below` is the highest PASS score not above it (None: none is), `lowest` that of the
    defects above it, `gap` between threshold and `lowest`, `share` of the way between the two classes' medians."""

    threshold: float
    below: float | None
    lowest: float
    gap: float
    share: float
    escapes: int

    @property
    def narrow(self) -> bool:
        return self.share < NARROW

    def sentence(self) -> str:
        """What the threshold is and the gap to the lowest defect; a narrow one is called that."""
        if self.below == self.threshold:
            place = f"the highest PASS score below {'the next defect' if self.escapes else 'every defect'}"
        else:
            place = "below every PASS score" if self.below is None else "a defect's score"
        caught = "the lowest defect" if not self.escapes else "the lowest defect that is caught"
        text = f"The threshold {self.threshold} is {place}; {caught} scores {self.lowest}, {self.gap:.3g} above"
        if not self.narrow:
            return f"{text}."
        return (
            f"{text}: a narrow gap, {100 * self.share:.2g}% of the way between the middle scores of PASS rows and "
            "defects, so a small change of light, camera or part can make a defect like it escape."
        )


def margin(score: NDArray[np.float64], defect: NDArray[np.bool_], threshold: float) -> Margin | None:
    """None where no defect is above the threshold. `score` and `defect` have shape (n,)."""
    passes, defects = score[~defect], score[defect]
    caught = defects[defects > threshold]
    if not caught.size or not passes.size:
        return None
    apart = float(np.median(defects) - np.median(passes))
    kept = passes[passes <= threshold]
    gap = float(caught.min()) - threshold
    return Margin(
        threshold, float(kept.max()) if kept.size else None, float(caught.min()), gap,
        gap / apart if apart > 0 else 0.0, int((defects <= threshold).sum()),
    )  # fmt: skip
