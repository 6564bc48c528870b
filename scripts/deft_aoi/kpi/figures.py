"""Pictures of one KPI analysis (matplotlib without a display)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from deft_aoi.fsio import atomic_write
from deft_aoi.kpi.sweep import OperatingPoint

PASS_COLOUR, DEFECT_COLOUR, LINE_COLOUR = "#3b78b8", "#d1603d", "#222222"


def confusion_matrix(path: Path, point: OperatingPoint, title: str) -> None:
    """2 x 2 counts with the share of each true class; rows are the truth, columns the decision."""
    counts = np.array([[point.tn, point.fp], [point.fn, point.tp]])
    share = counts / counts.sum(axis=1, keepdims=True)
    figure = Figure(figsize=(5.2, 4.4), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    names = (("correct pass", "false call"), ("escape", "caught"))
    for row in range(2):
        for column in range(2):
            text = f"{names[row][column]}\n{counts[row, column]:,}\n{share[row, column]:.2%}"
            shade = "white" if share[row, column] > 0.5 else LINE_COLOUR
            axes.text(column, row, text, ha="center", va="center", color=shade, fontsize=11)
    axes.set_xticks([0, 1], ["PASS", "NO_PASS"])
    axes.set_yticks([0, 1], ["PASS", "NO_PASS"])
    axes.set_xlabel("decision")
    axes.set_ylabel("truth")
    axes.set_title(f"{title}\nscore > {point.threshold:.6g}", fontsize=11)
    save(figure, path)


def score_distribution(
    path: Path, defect: NDArray[np.bool_], score: NDArray[np.float64], threshold: float, bins: int = 40
) -> None:
    """Histograms of PASS and defect scores (logarithmic counts) with the threshold."""
    edges = np.histogram_bin_edges(score, bins).tolist()
    figure = Figure(figsize=(8, 4.5), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    axes.hist(score[~defect], edges, color=PASS_COLOUR, alpha=0.7, label=f"PASS ({int((~defect).sum()):,})")
    axes.hist(score[defect], edges, color=DEFECT_COLOUR, alpha=0.7, label=f"defect ({int(defect.sum()):,})")
    axes.axvline(threshold, color=LINE_COLOUR, linestyle="--", label=f"recall 100 %: {threshold:.6g}")
    axes.set_yscale("log")
    axes.set_ylim(bottom=0.5)
    axes.set_xlabel("score (higher = more different from the golden)")
    axes.set_ylabel("rows")
    axes.legend()
    save(figure, path)


def save(figure: Figure, path: Path) -> None:
    """Write a PNG atomically, the same bytes for the same figure."""
    canvas = FigureCanvasAgg(figure)
    atomic_write(path, lambda stream: canvas.print_png(stream, metadata={"Software": None}))
