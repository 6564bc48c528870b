"""CPU seconds, wall seconds and peak memory of each command of the demo, job by job, for one or several checkouts.

From the repository's folder:
  PYTHONPATH=scripts python benchmarks/stages.py --folder /tmp/stages [--root NAME=CHECKOUT ...] [--rounds N]

Simulates the demo's line once, copies it for every round and checkout, and types what `deft demo` does as single
commands: Pre-Flight with empty caches and again with full ones, start, every step. The CPU seconds of a command are
those of all processes that it leaves behind as well: this script adopts them. Checkouts take turns, so that a busy
machine is as busy for one as for the other; every checkout keeps its caches to itself. Two yardsticks, both in CPU
seconds: one product of two 4,096 x 4,096 matrices on one thread, and the start of Python with the packages that every
task needs.
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

ROOT = Path(__file__).resolve().parents[1]
ADOPT = 36  # PR_SET_CHILD_SUBREAPER
YARDSTICKS = {
    "product": "import numpy as n, time; a = n.ones((4096, 4096), 'f'); t = time.process_time(); a @ a; "
    "print(time.process_time() - t)",
    "start": "import cv2, pandas, pyarrow.parquet, time; print(time.process_time())",
}
START = (
    "import runpy, sys\nif sys.path[0] == '': del sys.path[0]\n"
    "runpy.run_module('deft_aoi.cli.main', run_name='__main__', alter_sys=True)"
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


def one_round(root: Path, line: Path, folder: Path) -> tuple[dict[str, Cost], list[float]]:
    """(cost of each command by name, FAR of each model in percent) of one demo with empty caches."""
    shutil.rmtree(folder, ignore_errors=True)
    workspace = folder / "workspace"
    shutil.copytree(line, workspace)
    caches = {"HOME": str(folder / "home"), "XDG_CACHE_HOME": str(folder / "home/.cache")}
    caches |= {"PYTHONPYCACHEPREFIX": str(folder.parent / f"bytecode-{root.name}")}
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
        lines = [json.loads(text) for text in (run / "loop_log.jsonl").read_text(encoding="utf-8").splitlines()]
        costs[f"{lines[-1]['iter']}/{lines[-1]['stage']}"] = cost
    fars = [entry["facts"]["far_pct"] for entry in lines if entry["stage"] == "evaluate"]
    return costs, fars


def measure_yardsticks(into: dict[str, list[float]], folder: Path) -> None:
    """Add one measurement of each; the first start of a folder compiles and does not count."""
    settings = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    settings |= {"PYTHONPYCACHEPREFIX": str(folder / "bytecode")}
    settings.pop("PYTHONDONTWRITEBYTECODE", None)
    for name, text in YARDSTICKS.items():
        for _ in range(1 if into[name] else 2):
            told = subprocess.run([sys.executable, "-c", text], check=True, env=settings, stdout=subprocess.PIPE)
        into[name].append(float(told.stdout))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="scratch folder")
    parser.add_argument("--root", action="append", metavar="NAME=CHECKOUT", help="default: this=<this checkout>")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write every figure here")
    args = parser.parse_args()
    folder = args.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    roots = dict(word.split("=", 1) for word in args.root or [f"this={ROOT}"])
    line = folder / "line"
    if not line.is_dir():
        words = (sys.executable, "-c", START, "simulate", "--workspace", str(line))
        subprocess.run(words, check=True, env=os.environ | {"PYTHONPATH": str(ROOT / "scripts")})
    found: dict[str, dict[str, list[Cost]]] = {name: defaultdict(list) for name in roots}
    fars: dict[str, list[list[float]]] = defaultdict(list)
    yard: dict[str, list[float]] = defaultdict(list)
    for _ in range(args.rounds):
        measure_yardsticks(yard, folder)
        for name, root in roots.items():
            costs, figures = one_round(Path(root).absolute(), line, folder / name)
            fars[name].append(figures)
            for command, cost in costs.items():
                found[name][command].append(cost)
    print(*(f"{name}: {statistics.median(seconds):.2f} s" for name, seconds in yard.items()), sep=", ")
    print("| command | " + " | ".join(f"{name}: CPU s, wall s, MB" for name in roots) + " |")
    print("|---|" + "---|" * len(roots))
    for command in next(iter(found.values())):
        cells = []
        for name in roots:
            some = found[name][command]
            cpu, wall, peak = (statistics.median(getattr(c, key) for c in some) for key in ("cpu", "wall", "peak_mb"))
            cells.append(f"{cpu:.1f}, {wall:.1f}, {peak:.0f}")
        print(f"| {command} | " + " | ".join(cells) + " |")
    for name in roots:
        total = statistics.median(
            sum(found[name][command][n].cpu for command in found[name] if command != "preflight, warm")
            for n in range(args.rounds)
        )
        print(f"{name}: {total:.1f} CPU seconds but for the warm Pre-Flight; FAR {fars[name]}")
    if args.json:
        record = {name: {command: [vars(c) for c in some] for command, some in found[name].items()} for name in roots}
        args.json.write_text(json.dumps({"yardsticks_s": yard, "costs": record, "far_pct": fars}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
