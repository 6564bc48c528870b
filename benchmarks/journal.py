"""Cost of one journal line and of `deft status`, Python's start included, at 10 and at 100,000 lines.

  PYTHONPATH=scripts python benchmarks/journal.py [--repeats 15]
Medians of alternating runs, compared with a bare `python -c pass`. Prints Markdown on stdout.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from deft_aoi.base.paths import SKILL_ROOT
from deft_aoi.record import journal, state

SIZES = (10, 100_000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        runs = {size: make_run(Path(scratch) / f"run_{size}", size) for size in SIZES}
        commands = {"bare Python": [sys.executable, "-c", "pass"]}
        for size, run in runs.items():
            commands[f"log_stage.py, {size:,} lines"] = append(run)
            commands[f"deft status, {size:,} lines"] = status(run)
        times: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(args.repeats):
            for name, command in commands.items():
                times[name].append(seconds(command))
    bare = statistics.median(times["bare Python"])
    print("| command | median | above bare Python | times bare Python |\n|---|---|---|---|")
    for name, found in times.items():
        median = statistics.median(found)
        print(f"| {name} | {1000 * median:.0f} ms | {1000 * (median - bare):+.0f} ms | {median / bare:.1f} |")


def make_run(folder: Path, lines: int) -> Path:
    """A run whose journal has `lines` lines: decisions after hard stops, the only endless legal history."""
    folder.mkdir()
    config = {"plan": {}, "approval": None}
    begun = state.initial(
        started_at="2026-01-01T00:00:00Z", kpi_target="FAR < 1%", results_dir=str(folder), max_iterations=3,
        config=config,
    )  # fmt: skip
    entries = [entry(number) for number in range(1, lines + 1)]
    (folder / "loop_log.jsonl").write_bytes(b"".join(journal.chain(entries)))
    state.save(folder / "deft_state.json", state.fold(begun, entries))
    return folder


def entry(number: int) -> journal.Entry:
    failed = number % 2 == 1
    return {
        "seq": number, "ts": "2026-01-01T00:00:00Z", "iter": "baseline", "stage": "train" if failed else "resolve",
        "status": "error" if failed else "ok", "summary": "the disk was full" if failed else "disk emptied",
        "duration_sec": 60, "context_tokens": 0, "artifacts": [], "facts": {"stage": "train"}, "prev": "",
    }  # fmt: skip


def append(run: Path) -> list[str]:
    """`resolve` and `train error` in turn; which of them is due is read from the journal's last line."""
    script = f"{sys.executable} {SKILL_ROOT}/scripts/log_stage.py --log-path {run}/loop_log.jsonl --iter-label baseline"
    rest = "--duration-sec 1 --summary benchmark"
    return ["sh", "-c", (
        f'if tail -n 1 {run}/loop_log.jsonl | grep -q \'"status": "error"\'; '
        f"then exec {script} --stage resolve --status ok {rest}; "
        f"else exec {script} --stage train --status error {rest}; fi"
    )]  # fmt: skip


def status(run: Path) -> list[str]:
    return [sys.executable, "-m", "deft_aoi.cli.main", "status", "--results-dir", str(run)]


def seconds(command: Sequence[str]) -> float:
    environment = os.environ | {"PYTHONPATH": str(SKILL_ROOT / "scripts")}
    started = time.perf_counter()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
