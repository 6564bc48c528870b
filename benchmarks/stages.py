"""CPU seconds, wall seconds and peak memory of the demo and of each of its commands, for one or several checkouts.

From the repository's folder:
  PYTHONPATH=scripts python benchmarks/stages.py --folder /tmp/stages [--root NAME=CHECKOUT ...] [--rounds N]
      [--demo-only]

Each round runs `deft demo` with empty caches, then, on a copy of a line that was simulated once, what the demo does as
single commands: Pre-Flight with empty caches and again with full ones, start, every step. The CPU seconds of a command
are those of all processes that it leaves behind as well: this script adopts them. Checkouts take turns, so that a busy
machine is as busy for one as for the other; every checkout keeps its caches to itself. Shown are medians, and the ratio
of each checkout to the first. Two yardsticks, both in CPU seconds: one product of two 4,096 x 4,096 matrices on one
thread, and the start of Python with the packages that every task needs.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
ADOPT = 36  # PR_SET_CHILD_SUBREAPER
DEMO = "demo, whole"
YARDSTICKS = {
    "product": "import numpy as n, time; a = n.ones((4096, 4096), 'f'); t = time.process_time(); a @ a; "
    "print(time.process_time() - t)",
    "start": "import cv2, pandas, pyarrow.parquet, time; print(time.process_time())",
}
START = (
    "import importlib.util, runpy, sys\nif sys.path[0] == '': del sys.path[0]\n"
    "package = importlib.util.find_spec('deft_aoi.cli').submodule_search_locations  # older checkouts have a module\n"
    "runpy.run_module('deft_aoi.cli.main' if package else 'deft_aoi.cli', run_name='__main__', alter_sys=True)"
)
#: What the measured command is started by: it adopts what the command leaves behind, and says what all of it took.
METER = f"""
import ctypes, json, os, resource, subprocess, sys, time
ctypes.CDLL(None).prctl({ADOPT}, 1, 0, 0, 0)
began = time.monotonic()
code = subprocess.call([sys.executable, "-c", sys.argv[2], *sys.argv[3:]])
wall = time.monotonic() - began
while True:
    try:
        os.wait()
    except ChildProcessError:
        break
used = resource.getrusage(resource.RUSAGE_CHILDREN)
cost = dict(code=code, cpu=used.ru_utime + used.ru_stime, wall=wall, peak_mb=used.ru_maxrss // 1024)
open(sys.argv[1], "w").write(json.dumps(cost))
"""


@dataclass(frozen=True)
class Cost:
    """What one command took: CPU and wall in seconds, the largest process in MB."""

    cpu: float
    wall: float
    peak_mb: int


def call(root: Path, environment: Mapping[str, str], note: Path, *words: str) -> tuple[int, Cost, str]:
    """(exit code, cost, stdout) of one `deft` command of a checkout."""
    command = [sys.executable, "-c", METER, str(note), START, *words]
    settings = {
        **os.environ,
        **environment,
        "PYTHONPATH": str(root / "scripts"),
        "DEFT_LAUNCHER": str(root / "scripts/deft"),
    }
    settings.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(command, env=settings, stdout=subprocess.PIPE, text=True, check=True)
    said = json.loads(note.read_text(encoding="utf-8"))
    return said["code"], Cost(said["cpu"], said["wall"], said["peak_mb"]), done.stdout


def own_caches(root: Path, folder: Path) -> dict[str, str]:
    """Variables for empty caches below `folder`, and bytecode that stays from round to round."""
    caches = {"HOME": str(folder / "home"), "XDG_CACHE_HOME": str(folder / "home/.cache")}
    return caches | {"PYTHONPYCACHEPREFIX": str(folder.parent / f"bytecode-{root.name}")}


def journal_of(workspace: Path) -> list[dict[str, Any]]:
    """Entries of the workspace's only run."""
    text = next((workspace / "results").glob("run_*/loop_log.jsonl")).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def fars_of(workspace: Path) -> list[float]:
    """FAR in percent of each model of the workspace's only run."""
    return [entry["facts"]["far_pct"] for entry in journal_of(workspace) if entry["stage"] == "evaluate"]


def whole_demo(root: Path, folder: Path) -> tuple[Cost, list[float]]:
    """(cost, FAR of each model in percent) of `deft demo` with empty caches."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    words = ("demo", "--workspace", str(folder / "demo"))
    code, cost, _ = call(root, own_caches(root, folder), folder / "cost.json", *words)
    if code:
        raise SystemExit(f"{root}: demo ended with {code}")
    return cost, fars_of(folder / "demo")


def one_round(root: Path, line: Path, folder: Path) -> tuple[dict[str, Cost], list[float]]:
    """(cost of each command by name, FAR of each model in percent) of one demo's commands with empty caches."""
    shutil.rmtree(folder, ignore_errors=True)
    workspace = folder / "workspace"
    shutil.copytree(line, workspace)
    caches = own_caches(root, folder)
    note = folder / "cost.json"
    asked = (
        "preflight",
        "--workspace",
        str(workspace),
        "--max-iterations",
        "2",
        "--kpi-target",
        "FAR < 1% at recall=100%",
    )
    costs: dict[str, Cost] = {}
    for name in ("preflight, cold", "preflight, warm"):
        code, costs[name], said = call(root, caches, note, *asked, "--json")
        if code:
            raise SystemExit(f"{root}: preflight ended with {code}")
    code_word = json.loads(said)["approval_code"]
    _, costs["start"], _ = call(root, caches, note, "start", "--workspace", str(workspace), "--approve", code_word)
    run = next((workspace / "results").glob("run_*"))
    code = 0
    while code == 0:
        code, cost, said = call(root, caches, note, "step", "--results-dir", str(run), "--wait", "3000")
        last = journal_of(workspace)[-1]
        costs[f"{last['iter']}/{last['stage']}"] = cost
    return costs, fars_of(workspace)


def measure_yardsticks(into: dict[str, list[float]], folder: Path) -> None:
    """Add one measurement of each; the first start of a folder compiles and does not count."""
    settings = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    settings |= {"PYTHONPYCACHEPREFIX": str(folder / "bytecode")}
    settings.pop("PYTHONDONTWRITEBYTECODE", None)
    for name, text in YARDSTICKS.items():
        for _ in range(1 if into[name] else 2):
            told = subprocess.run([sys.executable, "-c", text], check=True, env=settings, stdout=subprocess.PIPE)
        into[name].append(float(told.stdout))


def measured(roots: Mapping[str, Path], folder: Path, rounds: int, *, single: bool) -> dict[str, Any]:
    """Costs by checkout and command, FAR by checkout, yardsticks; `single`: the demo's commands one by one as well."""
    line = folder / "line"
    if single and not line.is_dir():
        words = (sys.executable, "-c", START, "simulate", "--workspace", str(line))
        subprocess.run(words, check=True, env=os.environ | {"PYTHONPATH": str(ROOT / "scripts")})
    costs: dict[str, dict[str, list[Cost]]] = {name: defaultdict(list) for name in roots}
    fars: dict[str, list[list[float]]] = defaultdict(list)
    yard: dict[str, list[float]] = defaultdict(list)
    for _ in range(rounds):
        measure_yardsticks(yard, folder)
        for name, root in roots.items():
            cost, figures = whole_demo(root, folder / name)
            costs[name][DEMO].append(cost)
            fars[name].append(figures)
        for name, root in roots.items() if single else ():
            for command, cost in one_round(root, line, folder / name)[0].items():
                costs[name][command].append(cost)
    return {"costs": costs, "fars": fars, "yardsticks": yard}


def table(costs: Mapping[str, Mapping[str, list[Cost]]]) -> list[str]:
    """Markdown: medians of CPU seconds, wall seconds and peak memory, with ratios to the first checkout."""
    heads = [f"{name}: CPU s, wall s, MB" for name in costs]
    rows = [["command", *heads], ["---"] * (len(heads) + 1)]
    first = next(iter(costs.values()))
    for command in first:
        cells, before = [command], None
        for found in costs.values():
            now = [
                statistics.median(getattr(cost, key) for cost in found[command]) for key in ("cpu", "wall", "peak_mb")
            ]
            ratios = "" if before is None else " (" + ", ".join(f"{a / b:.2f}" for a, b in zip(now, before)) + ")"
            cells.append(f"{now[0]:.1f}, {now[1]:.1f}, {now[2]:.0f}{ratios}")
            before = before or now
        rows.append(cells)
    return ["| " + " | ".join(row) + " |" for row in rows]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="scratch folder")
    parser.add_argument("--root", action="append", metavar="NAME=CHECKOUT", help="default: this=<this checkout>")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--demo-only", action="store_true", help="the whole demo, not its commands one by one")
    parser.add_argument("--json", type=Path, help="write every figure here")
    args = parser.parse_args()
    folder = args.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    named = dict(word.split("=", 1) for word in args.root or [f"this={ROOT}"])
    roots = {name: Path(root).absolute() for name, root in named.items()}
    found = measured(roots, folder, args.rounds, single=not args.demo_only)
    yard = (f"{name}: {statistics.median(seconds):.2f} s" for name, seconds in found["yardsticks"].items())
    print(*yard, sep=", ")
    print(*table(found["costs"]), sep="\n")
    for name, figures in found["fars"].items():
        print(f"{name}: FAR {figures}")
    if args.json:
        record = {name: {command: [vars(c) for c in some] for command, some in one.items()}
                  for name, one in found["costs"].items()}  # fmt: skip
        args.json.write_text(json.dumps({**found, "costs": record}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
