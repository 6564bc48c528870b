"""Pictures of one KPI analysis (matplotlib without a display), each as PNG and as SVG."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from numpy.typing import NDArray

from deft_aoi.base.files import atomic_write
from deft_aoi.kpi.sweep import OperatingPoint, Sweep

PASS_COLOUR, DEFECT_COLOUR, LINE_COLOUR = "#3b78b8", "#d1603d", "#222222"
_POINTS = 1500  # of a curve; more cannot be seen


def confusion_matrix(path: Path, point: OperatingPoint, title: str) -> None:
    """2 x 2 counts with the share of each true class; rows are the truth, columns the decision."""
    counts = np.array([[point.tn, point.fp], [point.fn, point.tp]])
    share = counts / counts.sum(axis=1, keepdims=True)
    figure, axes = _canvas(5.2, 4.6)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    names = (("correct pass", "false call"), ("escape", "caught"))
    for row in range(2):
        for column in range(2):
            text = f"{counts[row, column]:,}\n{100 * share[row, column]:.4g} %\n{names[row][column]}"
            colour = "white" if share[row, column] > 0.5 else "black"
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=11)
    axes.set_xticks((0, 1), ("PASS", "NO_PASS"))
    axes.set_yticks((0, 1), ("PASS", "defect"))
    axes.set_xlabel("decision")
    axes.set_ylabel("truth")
    axes.set_title(f"{title}\nscore > {point.threshold:.6g}", fontsize=11)
    save(figure, path)


def score_distribution(
    path: Path, defect: NDArray[np.bool_], score: NDArray[np.float64], threshold: float, bins: int = 40
) -> None:
    """Histograms of PASS and defect scores (logarithmic counts) with the threshold."""
    edges = np.histogram_bin_edges(score, bins)
    figure, axes = _canvas(8, 4.5)
    for name, mine, colour in (("PASS", ~defect, PASS_COLOUR), ("defect", defect, DEFECT_COLOUR)):
        counts, _ = np.histogram(score[mine], edges)
        axes.stairs(counts, edges, fill=True, color=colour, alpha=0.7, label=f"{name} ({int(mine.sum()):,})")
    axes.axvline(threshold, color=LINE_COLOUR, linestyle="--", label=f"recall 100 %: {threshold:.6g}")
    axes.set_yscale("log")
    axes.set_ylim(bottom=0.5)
    axes.set_xlabel("score (higher = more different from the golden)")
    axes.set_ylabel("rows")
    axes.legend()
    save(figure, path)


def roc_curve(path: Path, swept: Sweep, area: float, full: OperatingPoint) -> None:
    """Recall against FAR over all thresholds, with the threshold of recall 100 %."""
    figure, axes = _canvas(5.6, 5)
    some = _thinned(swept.far.size)
    axes.plot(100 * swept.far[some], 100 * swept.recall[some], color=PASS_COLOUR, drawstyle="steps-pre")
    axes.plot([0, 100], [0, 100], color="#bbbbbb", linewidth=0.8, linestyle=":")
    axes.plot(100 * full.far, 100, "o", color=DEFECT_COLOUR, label=f"recall 100 %: FAR {100 * full.far:.4g} %")
    axes.set_xlabel("FAR: PASS rows called NO_PASS (%)")
    axes.set_ylabel("recall: defects caught (%)")
    axes.set_title(f"ROC, area {area:.6f}", fontsize=11)
    axes.legend(loc="lower right")
    save(figure, path)


def far_against_recall(path: Path, swept: Sweep, full: OperatingPoint) -> None:
    """The lowest FAR at each recall from 90 % up: what the last defects cost."""
    figure, axes = _canvas(6.4, 4.5)
    high = np.flatnonzero(swept.recall >= 0.9 - 1e-12)
    some = high[_thinned(high.size)]
    axes.plot(100 * swept.recall[some], 100 * swept.far[some], color=PASS_COLOUR, drawstyle="steps-post")
    axes.plot(100, 100 * full.far, "o", color=DEFECT_COLOUR, label=f"recall 100 %: FAR {100 * full.far:.4g} %")
    axes.set_xlim(90, 100.2)
    axes.set_ylim(0, max(100 * full.far, 0.1) * 1.15)
    axes.set_xlabel("recall: defects caught (%)")
    axes.set_ylabel("FAR: PASS rows called NO_PASS (%)")
    axes.legend(loc="upper left")
    save(figure, path)


def save(figure: Figure, path: Path) -> None:
    """Write `<path>.png` and `<path>.svg` atomically, the same bytes for the same figure."""
    raster, vector = FigureCanvasAgg(figure), FigureCanvasSVG(figure)
    name = path.name
    packed = {"metadata": {"Software": None}, "pil_kwargs": {"compress_level": 1}}  # a plot is small at any level
    atomic_write(path.with_name(f"{name}.png"), lambda stream: raster.print_png(stream, **packed))
    with mpl.rc_context({"svg.hashsalt": "deft", "svg.fonttype": "none"}):
        atomic_write(
            path.with_name(f"{name}.svg"),
            lambda stream: vector.print_svg(stream, metadata={"Date": None, "Creator": None}),
        )


def _canvas(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), dpi=120)
    axes = figure.add_axes((0.13, 0.13, 0.84, 0.74))
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _thinned(size: int) -> NDArray[np.intp]:
    """Indices of at most `_POINTS` of `size` points, both ends kept."""
    return np.arange(size) if size <= _POINTS else np.unique(np.linspace(0, size - 1, _POINTS).astype(int))
