"""How often the claimed bounds hold, and how optimistic a plain KPI figure is, on the simulated line.

From the repository's folder:
  PYTHONPATH=scripts python benchmarks/coverage.py [--boards 200] [--repeats 200] [--scores CSV]

A features model is trained once by a loop on its own boards and scores held-back boards of the same line once. Each
repeat then draws, without replacement, some of these boards as the KPI set, which sets the threshold (recall 100 %).
The boards left over are the line: what the frozen threshold does on all of them is the truth. From the line, boards
are drawn with replacement as an acceptance set, whose bounds are the claim. A claim holds where the truth is not above
it. `--scores` takes the scored CSV of an earlier call and skips simulation, training and scoring.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deft_aoi.base.paths import Workspace
from deft_aoi.kpi.boards import board_counts, board_record
from deft_aoi.kpi.bounds import upper_bound
from deft_aoi.kpi.scored import Groups, read_scored
from deft_aoi.kpi.sweep import far_at_recall, operating_point, sweep
from deft_aoi.simulate.workspace import simulate
from deft_aoi.spec.tree import dump_spec, load_spec, put
from loops import EVERYTHING, Arm, run_arm

DRAWS = 1000
CLAIMS = ("FAR, rows", "FAR, boards", "escapes, rows", "escapes, boards")


@dataclass(frozen=True)
class Repeat:
    """One split. Rates are fractions; `claims` in the order of CLAIMS, from the acceptance set and from the KPI set."""

    truth: tuple[float, float]
    claims: tuple[float, ...]
    kpi_claims: tuple[float, ...]
    kpi_far: float
    honest_far: float


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
    put(spec, "inference.checkpoint", json.loads((run / "best_model.json").read_text())["checkpoint"])
    put(spec, "inference.results_dir", str(folder / "scores"))
    dump_spec(folder / "score.yaml", spec)
    command = [sys.executable, "-m", "deft_aoi.engine.visual_changenet", "inference", "-e", str(folder / "score.yaml")]
    subprocess.run(command, check=True)
    return folder / "scores/inference.csv"


def one_repeat(
    code: NDArray[np.int64], defect: NDArray[np.bool_], score: NDArray[np.float64], kpi_boards: int, drawn: int,
    generator: np.random.Generator,
) -> Repeat:  # fmt: skip
    order = generator.permutation(int(code.max()) + 1)
    kpi = np.isin(code, order[:kpi_boards])
    point = operating_point(sweep(defect[kpi], score[kpi]))
    line, called = ~kpi, score > point.threshold
    truth = float(called[line & ~defect].mean()), float((~called)[line & defect].mean())
    chosen = generator.choice(order[kpi_boards:], drawn)
    rows = [np.flatnonzero(code == board) for board in chosen]
    sample, boards = np.concatenate(rows), np.repeat(np.arange(drawn), [part.size for part in rows])
    own = np.unique(code[kpi], return_inverse=True)[1]
    return Repeat(
        truth,
        claims(boards, defect[sample], score[sample], point.threshold),
        claims(own, defect[kpi], score[kpi], point.threshold),
        point.far,
        far_at_recall(defect[line], score[line]),
    )


def claims(
    board: NDArray[np.int64], defect: NDArray[np.bool_], score: NDArray[np.float64], threshold: float
) -> tuple[float, ...]:
    groups = Groups("boardname", board, tuple(map(str, range(int(board.max()) + 1))))
    counts = board_counts(groups, defect, score, threshold)
    by_board = board_record(counts, draws=DRAWS)
    rows = [
        upper_bound(int(events.sum()), int(trials.sum()))
        for events, trials in ((counts.false_calls, counts.n_pass), (counts.misses, counts.n_defect))
    ]
    return rows[0], by_board["far_upper"], rows[1], by_board["escape_upper"]


def table(found: list[Repeat], kpi_boards: int, drawn: int) -> str:
    lines = [f"| bound (one-sided 95 %) | held, {drawn} acceptance boards | held, the KPI set's own |", "|---|---|---|"]
    for number, name in enumerate(CLAIMS):
        share = [
            100 * np.mean([r.truth[number // 2] <= claim(r)[number] for r in found])
            for claim in (lambda r: r.claims, lambda r: r.kpi_claims)
        ]
        lines.append(f"| {name} | {share[0]:.1f} % | {share[1]:.1f} % |")
    far, honest = (100 * np.array([getattr(r, name) for r in found]) for name in ("kpi_far", "honest_far"))
    escape = 100 * np.array([r.truth[1] for r in found])
    lines += [
        "",
        f"{len(found)} repeats, {kpi_boards} KPI boards. The KPI set says: FAR {far.mean():.2f} % at recall 100 %.",
        f"On the line, with that threshold: {escape.mean():.2f} % of defects escape ({np.mean(escape > 0):.0%} of "
        f"repeats lose some), FAR {100 * np.mean([r.truth[0] for r in found]):.2f} %.",
        f"FAR at recall 100 % of the line itself: {honest.mean():.2f} %: the KPI set is optimistic by "
        f"{(honest - far).mean():.2f} points on average, in {np.mean(honest > far):.0%} of repeats.",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--boards", type=int, default=200, help="held-back boards")
    parser.add_argument("--rows-per-board", type=int, default=40)
    parser.add_argument("--kpi-boards", type=int, default=60)
    parser.add_argument("--acceptance-boards", type=int, default=60)
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
    generator = np.random.default_rng(args.seed)
    found = [
        one_repeat(boards.code, scored.defect, scored.score, args.kpi_boards, args.acceptance_boards, generator)
        for _ in range(args.repeats)
    ]
    print(table(found, args.kpi_boards, args.acceptance_boards))


if __name__ == "__main__":
    main()
