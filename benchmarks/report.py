"""How long the report of a long run takes and how large it is.

Usage: python benchmarks/report.py [--iterations 30] [--rows 100000]

Writes a run of that size to a temporary folder (scores drawn, pictures of a few parts real), renders it three times and
prints the median, compared with the time that reading the same inference CSVs once with pandas takes.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from deft_aoi.report.render import render
from report_run import RunMaker, whole_run

PICTURED = 400  # parts with images on disk; the page shows the few that matter


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--iterations", type=int, default=30)
    parser.add_argument("--rows", type=int, default=100_000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        maker = long_run(Path(folder), args.iterations, args.rows)
        run = maker.finish()
        csvs = sorted(run.glob("*/inference/*/inference.csv"))
        reading = median(lambda: [pd.read_csv(csv) for csv in csvs])
        rendering = median(lambda: render(run))
        size = (run / "DEFT_Loop_Report.html").stat().st_size
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{args.iterations} iterations, {args.rows:,} KPI rows: {len(csvs)} inference CSVs")
    print(f"pandas reads them once: {reading:.2f} s")
    print(f"report: {rendering:.2f} s, {rendering / reading:.2f} of that; {size / 1e6:.2f} MB; peak {peak:.0f} MB")


def long_run(root: Path, iterations: int, rows: int) -> RunMaker:
    """A run of many iterations whose KPI set repeats the pictures of `PICTURED` parts."""

    class Large(RunMaker):
        def _kpi_rows(self) -> pd.DataFrame:
            few = super()._kpi_rows()
            return pd.concat([few] * (rows // len(few)), ignore_index=True)

        def _write_workspace(self) -> None:
            everything, self.rows = self.rows, self.rows.head(PICTURED)
            super()._write_workspace()
            self.rows = everything

    return whole_run(root, make=Large, n_pass=PICTURED * 4 // 5, n_defect=PICTURED // 5, max_iterations=iterations)


def median(work: Callable[[], object], times: int = 3) -> float:
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


if __name__ == "__main__":
    main()
