"""`deft simulate`: make a workspace with a simulated inspection line in it."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path

from deft_aoi.base.console import next_line, print_json
from deft_aoi.base.errors import OK

HELP = """Simulate an inspection line: boards with chips, diodes, transistors and ICs, a golden per component, two
lights (WhiteLight, SolderLight), eight defects from subtle to plain, and what makes false calls: placement tolerance,
vendors, lamp and board drift, blur, glare, flux, dust, misregistration. Writes a complete workspace: training seed
(1/12 of the boards, 10 percent defects, only missing and bridge, one lot), validation (1/6 of the boards, 15 percent
defects), KPI set (1/3, 12 percent), mining pool (the rest, 20 percent), all of these with eight defects and every lot,
pre-generated NG/OK pairs and specs/baseline_spec.yaml. No board is in two of them. Same arguments, same bytes. 24
boards give 180, 200, 720 and 1,190 rows and 40 pairs."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--workspace", type=Path, required=True, help="folder to make; new, empty or an unused simulation"
    )
    parser.add_argument("--seed", type=int, default=0, help="another seed is another factory (default: 0)")
    parser.add_argument("--boards", type=int, default=24, help="boards over all splits, at least 6 (default: 24)")
    parser.add_argument(
        "--rows-per-board", type=int, default=90,
        help="components exported of a seed or KPI board, at least 30 (default: 90; validation x0.55, pool x1.32)",
    )  # fmt: skip
    parser.add_argument(
        "--acceptance-boards", type=int, default=0,
        help="further boards for a sealed kpi/acceptance_set.csv (default: 0, none)",
    )  # fmt: skip
    parser.add_argument(
        "--processes", type=int, help="worker processes (default: one per core); never changes the result"
    )
    parser.add_argument("--json", action="store_true", help="for programs")


def run(args: argparse.Namespace) -> int:
    from deft_aoi.simulate.workspace import simulate

    summary = simulate(
        args.workspace,
        seed=args.seed,
        boards=args.boards,
        rows_per_board=args.rows_per_board,
        acceptance_boards=args.acceptance_boards,
        processes=args.processes,
        progress=_show if sys.stderr.isatty() else None,
    )
    if args.json:
        print_json({**asdict(summary), "workspace": str(summary.workspace)})
        return OK
    for split, entry in summary.counts.items():
        labels = " ".join(f"{label} {count}" for label, count in entry["labels"].items())
        print(f"{split:<11}{entry['boards']:>4} boards {entry['rows']:>6} rows  {labels}")
    print(f"pairs      {summary.pairs} pre-generated NG/OK pairs")
    print(f"wrote {summary.workspace}: {summary.rows} rows in {summary.seconds:.1f} s")
    print(next_line("preflight", "--workspace", summary.workspace, "--max-iterations", "2"))
    return OK


def _show(done: int, total: int) -> None:
    print(f"\rrendering {done}/{total}", end="\n" if done == total else "", file=sys.stderr, flush=True)
