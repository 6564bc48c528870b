"""Full load: 100,000 rows, 12 lights, 300 boards, 40 labels, 50 iterations; 1,000 askers at once; 2,000 stages.

Usage: PYTHONPATH=scripts:tests python benchmarks/load.py [--rows N --iterations N --askers N --stages N]
Needs about 1.3 million directory entries and 1.5 GB below the system's temporary folder.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deft_aoi.base.paths import RunPaths
from deft_aoi.base.rows import check_images, check_labels, read_rows
from deft_aoi.cli.commands.status import standing
from deft_aoi.record import journal, state
from deft_aoi.report.render import render
from report_run import RunMaker, whole_run
from soaking import LIGHTS, add, ask, begun, large_table, resident_mb, stages

PICTURED = 400


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def rows(folder: Path, count: int) -> None:
    csv = large_table(folder / "images", count)
    table = read_rows(csv)
    files = [
        f"{csv.parent}/{b}/{n}_{light}.png"
        for light in LIGHTS
        for b, n in zip(table["input_path"], table["object_name"])
    ]
    bare = timed(lambda: [os.path.isfile(name) for name in files])
    reading = timed(lambda: read_rows(csv))
    labels = timed(lambda: check_labels(table, csv))
    checking = timed(lambda: check_images(table, csv, csv.parent, LIGHTS, ".png", root=folder.resolve()))
    print(f"rows: {count:,} x {len(LIGHTS)} lights, {len(files):,} images; os.path.isfile on each {bare:.1f} s")
    print(f"  read {reading:.1f} s, labels {labels:.1f} s, images {checking:.1f} s, {checking / bare:.1f} of that")


def report(folder: Path, count: int, iterations: int) -> None:
    import pandas as pd

    class Large(RunMaker):
        def _kpi_rows(self) -> pd.DataFrame:
            few = super()._kpi_rows()
            many = pd.concat([few] * (count // len(few)), ignore_index=True)
            return many.assign(boardname=[f"board{n % 300:03d}" for n in range(len(many))])

        def _write_workspace(self) -> None:
            everything, self.rows = self.rows, self.rows.head(PICTURED)
            super()._write_workspace()
            self.rows = everything

    options: dict[str, Any] = {"defects": tuple(f"defect {n}" for n in range(40)), "max_iterations": iterations}
    made = whole_run(folder, make=Large, n_pass=PICTURED * 4 // 5, n_defect=PICTURED // 5, **options)
    run = made.finish()
    paths = RunPaths(run)
    csvs = sorted(run.glob("*/inference/*/inference.csv"))
    reading = timed(lambda: [pd.read_csv(csv) for csv in csvs])
    drawing = timed(lambda: render(run))
    size = (run / "DEFT_Loop_Report.html").stat().st_size / 1e6
    asking = timed(lambda: standing(paths))
    folding = timed(lambda: state.fold(state.load(paths.state), journal.read(paths.log)))
    print(f"report: {iterations} iterations, {count:,} KPI rows, 40 labels, 300 boards: {drawing:.1f} s, {size:.2f} MB")
    print(f"  pandas reads its CSVs once in {reading:.1f} s; status {1e3 * asking:.0f} ms, fold {1e3 * folding:.0f} ms")
    print(f"  memory now {resident_mb():.0f} MB")


def askers(folder: Path, count: int) -> None:
    paths = begun(folder / "run_20260101_000000")
    order, lines = stages(), 350
    for label, stage in itertools.islice(order, lines):
        add(paths, label, stage)
    alone = timed(lambda: ask(paths, 1))
    writer = os.fork()
    if writer == 0:
        for label, stage in itertools.islice(order, 200):
            add(paths, label, stage)
        os._exit(0)
    failed: list[str] = []
    together = timed(lambda: failed.extend(ask(paths, count)))
    code = os.waitstatus_to_exitcode(os.waitpid(writer, 0)[1])
    entries = journal.read(paths.log)
    whole = [entry["seq"] for entry in entries] == list(range(1, lines + 201))
    print(
        f"askers: {count:,} at once next to a writer: {len(failed)} failed, {together:.1f} s, one {1e3 * alone:.0f} ms"
    )
    print(f"  writer's exit {code}; journal {len(entries)} lines, whole: {whole}")


def soak(folder: Path, count: int) -> None:
    paths = begun(folder / "run_20260101_000001")
    order, seen = stages(), []
    started = time.perf_counter()
    for number in range(1, count + 1):
        add(paths, *next(order))
        standing(paths)
        if number in (count // 10, count // 2, count):
            seen.append(f"{resident_mb():.1f} MB after {number:,}")
    each = 1e3 * (time.perf_counter() - started) / count
    print(f"soak: {count:,} stages with a status each, {each:.1f} ms each; memory {', '.join(seen)}")
    assert len(journal.read(paths.log)) == count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--iterations", type=int, default=50)
    parser.add_argument("--askers", type=int, default=1000)
    parser.add_argument("--stages", type=int, default=2000)
    args = parser.parse_args()
    for work in (
        lambda folder: soak(folder, args.stages),
        lambda folder: askers(folder, args.askers),
        lambda folder: rows(folder, args.rows),
        lambda folder: report(folder, args.rows, args.iterations),
    ):
        with tempfile.TemporaryDirectory() as scratch:
            work(Path(scratch))
            sys.stdout.flush()


if __name__ == "__main__":
    main()
