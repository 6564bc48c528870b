"""How often the claimed bounds hold on the simulated line, and how far a plain KPI figure is from the line.

From the repository's folder:
  PYTHONPATH=scripts python benchmarks/coverage.py [--boards 200] [--repeats 200] [--scores CSV]

A features model is trained by a loop on all rows of its own boards (the iteration's model, whatever the champion) and
scores held-back boards of the same line once. Bounds: for thresholds at which FAR on all held-back boards is 0.1, 0.5,
2 and 30 %, boards are drawn with replacement as an acceptance set, whose bound is the claim; it holds where the FAR of
all boards is not above it. KPI figure: some boards, drawn without replacement, set the threshold at recall 100 %; the
boards left over are the line, where that threshold is frozen. `--scores` takes the scored CSV of an earlier call and
skips simulation, training and scoring.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deft_aoi.base.paths import Workspace
from deft_aoi.kpi.bounds import Tally, upper_bound
from deft_aoi.kpi.scored import read_scored
from deft_aoi.kpi.sweep import operating_point, sweep
from deft_aoi.record.order import EVALUATE
from deft_aoi.record.run import load_run
from deft_aoi.simulate.workspace import simulate
from deft_aoi.spec.tree import dump_spec, load_spec, put
from loops import EVERYTHING, Arm, run_arm

RATES = (0.001, 0.005, 0.02, 0.3)
ACCEPTANCE = (10, 20, 60, 150)


@dataclass(frozen=True)
class Line:
    """A scored line: board, whether it is a defect, and score of every row, all (n,)."""

    code: NDArray[np.int64]
    defect: NDArray[np.bool_]
    score: NDArray[np.float64]

    def rows(self, boards: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(rows, number of the draw) of resampled boards, one board as often as it was drawn."""
        parts = [np.flatnonzero(self.code == board) for board in boards]
        return np.concatenate(parts), np.repeat(np.arange(len(parts)), [part.size for part in parts])


def score_line(folder: Path, boards: int, rows_per_board: int, seed: int) -> Path:
    """Simulate, train on every row of the line's own boards, score the held-back boards; returns the scored CSV."""
    root = folder / "line"
    simulate(root, seed=seed, boards=48, rows_per_board=rows_per_board, acceptance_boards=boards)
    workspace = Workspace.at(root)
    run_arm(root, Arm("everything", "random", EVERYTHING, 1), seed, workspace.cache)
    run = workspace.runs()[-1]
    spec = load_spec(run / "best_model_inference_spec.yaml")
    put(spec, "dataset.classify.infer_dataset.csv_path", str(workspace.acceptance_csv))
    put(spec, "dataset.classify.infer_dataset.images_dir", str(workspace.images))
    put(spec, "inference.checkpoint", load_run(run).facts("iter1", EVALUATE)["best_ckpt_path"])
    put(spec, "inference.results_dir", str(folder / "scores"))
    dump_spec(folder / "score.yaml", spec)
    command = [sys.executable, "-m", "deft_aoi.engine.visual_changenet", "inference", "-e", str(folder / "score.yaml")]
    subprocess.run(command, check=True)
    return folder / "scores/inference.csv"


def held(line: Line, rate: float, boards: int, repeats: int, generator: np.random.Generator) -> tuple[float, float]:
    """Shares of acceptance sets whose bound is not below the FAR of all boards: rows as independent, by board."""
    threshold = float(np.quantile(line.score[~line.defect], 1 - rate))
    truth = float((line.score[~line.defect] > threshold).mean())
    found = np.zeros(2)
    for _ in range(repeats):
        rows, draw = line.rows(generator.choice(int(line.code.max()) + 1, boards))
        good = ~line.defect[rows]
        called = good & (line.score[rows] > threshold)
        tally = Tally.of(np.bincount(draw[good], minlength=boards), np.bincount(draw[called], minlength=boards))
        found += [truth <= upper_bound(tally.events, tally.rows), truth <= tally.upper()]
    return float(found[0] / repeats), float(found[1] / repeats)


def frozen(line: Line, kpi_boards: int, repeats: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """(repeats, 3): FAR of a KPI set at recall 100 %, FAR and escapes of the boards left over at its threshold."""
    found = []
    for _ in range(repeats):
        order = generator.permutation(int(line.code.max()) + 1)
        kpi = np.isin(line.code, order[:kpi_boards])
        point = operating_point(sweep(line.defect[kpi], line.score[kpi]))
        called = line.score > point.threshold
        found.append((point.far, called[~kpi & ~line.defect].mean(), (~called)[~kpi & line.defect].mean()))
    return np.array(found)


def table(line: Line, kpi_boards: int, repeats: int, generator: np.random.Generator) -> str:
    lines = ["| FAR of the line | " + " | ".join(f"{boards} boards: rows, by board" for boards in ACCEPTANCE) + " |"]
    lines.append("|---" * (1 + len(ACCEPTANCE)) + "|")
    for rate in RATES:
        cells = [held(line, rate, boards, repeats, generator) for boards in ACCEPTANCE]
        lines.append(
            f"| {100 * rate:g} % | " + " | ".join(f"{100 * a:.0f} %, {100 * b:.0f} %" for a, b in cells) + " |"
        )
    kpi, far, escapes = 100 * frozen(line, kpi_boards, repeats, generator).T
    lines += [
        "",
        f"{repeats} splits, {kpi_boards} KPI boards: FAR {kpi.mean():.2f} % at recall 100 % on the KPI set. On the "
        f"other boards with that threshold: FAR {far.mean():.2f} % ({(far - kpi).mean():+.2f} points in the mean), and "
        f"{escapes.mean():.2f} % of defects escape; {np.mean(escapes > 0):.0%} of the splits lose some.",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--boards", type=int, default=200, help="held-back boards")
    parser.add_argument("--rows-per-board", type=int, default=40)
    parser.add_argument("--kpi-boards", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scores", type=Path, help="scored CSV of an earlier call")
    parser.add_argument("--keep", type=Path, help="copy the scored CSV here")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        csv = args.scores or score_line(Path(scratch), args.boards, args.rows_per_board, args.seed)
        scored = read_scored(csv)
        if args.keep:
            args.keep.write_bytes(csv.read_bytes())
    boards = scored.boards
    assert boards is not None
    line = Line(boards.code, scored.defect, scored.score)
    print(table(line, args.kpi_boards, args.repeats, np.random.default_rng(args.seed)))


if __name__ == "__main__":
    main()
