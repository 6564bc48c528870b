"""Many stages without their heavy work, and many askers next to them: what the load tests and benchmarks share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from deft_aoi.base.paths import RunPaths, iter_label
from deft_aoi.base.rows import write_rows
from deft_aoi.cli.commands.status import as_text
from deft_aoi.loop.standing import standing
from deft_aoi.record import journal, state
from deft_aoi.record.order import BASELINE_ORDER, ITERATION_ORDER

FOREVER = 1_000_000
LIGHTS = tuple(f"L{n:02d}" for n in range(12))


def begun(folder: Path) -> RunPaths:
    """A run whose journal is empty."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = RunPaths(folder)
    plan = {"approval": "code"}
    state.save(
        paths.state,
        state.initial(
            started_at="2026-01-01T00:00:00Z", kpi_target="FAR < 0.1% at recall = 100%", results_dir=str(folder),
            max_iterations=FOREVER, config=plan,
        ),
    )  # fmt: skip
    return paths


def stages() -> Iterator[tuple[str, str]]:
    """(label, stage) in the order of a loop that never ends."""
    yield from (("baseline", stage) for stage in BASELINE_ORDER)
    number = 0
    while True:
        number += 1
        yield from ((iter_label(number), stage) for stage in ITERATION_ORDER)


def add(paths: RunPaths, label: str, stage: str) -> None:
    """What the driver does at the end of a stage: one line, one snapshot."""
    facts = {"met": False, "champion": False, "far_pct": 1.0, "far_995_pct": 1.0, "auroc": 0.9, "threshold": 0.5}
    journal.append(
        paths.log, iter_label=label, stage=stage, status="ok", summary=f"{stage} of {label}", duration_sec=43,
        facts=facts if stage == "evaluate" else {"rows": 1}, max_iterations=FOREVER,
    )  # fmt: skip
    state.refresh(paths.state, paths.log)


def resident_mb() -> float:
    """Memory of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def ask(paths: RunPaths, count: int) -> list[str]:
    """`count` answers of `deft status`, each from a process of its own, all at once; what each that failed said."""
    failed = paths.root / "failed"
    failed.mkdir(exist_ok=True)
    children = []
    for number in range(count):
        child = os.fork()
        if child == 0:
            try:
                facts = standing(paths)
                assert facts["entries"] >= len(facts["last"])
                assert as_text(facts)
                os._exit(0)
            except BaseException as error:
                (failed / str(number)).write_text(f"{type(error).__name__}: {error}")
                os._exit(1)
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    said = [path.read_text() for path in sorted(failed.iterdir())]
    return said or [f"exit {code}" for code in codes if code]


def large_table(root: Path, rows: int, boards: int = 300, labels: int = 40) -> Path:
    """A CSV with one image that is linked under every name it asks for; returns the CSV."""
    seed = root / "one.png"
    root.mkdir(parents=True, exist_ok=True)
    seed.write_bytes(b"an image")
    names = [(f"B{n % boards:03d}", f"C{n // boards:04d}") for n in range(rows)]
    for board in {board for board, _ in names}:
        (root / board).mkdir()
    (root / "golden").mkdir()
    golden = {f"golden/{name}_{light}.png" for _, name in names for light in LIGHTS}
    for path in (*(f"{board}/{name}_{light}.png" for board, name in names for light in LIGHTS), *golden):
        try:
            os.link(seed, root / path)
        except OSError:  # a file system has a limit for the links of one file
            seed = root / path
            seed.write_bytes(b"an image")
    table = pd.DataFrame(
        {
            "input_path": [board for board, _ in names],
            "golden_path": "golden",
            "label": ["PASS" if n % 3 else f"defect {n % labels}" for n in range(rows)],
            "object_name": [name for _, name in names],
        }
    )
    write_rows(root / "rows.csv", table)
    return root / "rows.csv"
