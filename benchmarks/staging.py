"""Staging of pre-generated pairs: all cores against one process, pair by pair, on PNG pictures of 512 x 512 pixels.

From the repository's folder:
  PYTHONPATH=scripts python benchmarks/staging.py [--pairs 1000] [--block 250] [--scratch DIR]
Blocks of pairs are staged in turn by a process on one core and by one on all cores, so that other work on the machine
slows both alike. Then the whole set is staged twice (same hashes?) and a file is changed (does it stop?).
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from deft_aoi.base.errors import HardStop
from deft_aoi.base.paths import RunPaths, Workspace
from deft_aoi.data.workspace_files import baseline_spec
from deft_aoi.spec.tree import Optics, dump_spec
from deft_aoi.synthetic.pregenerated import stage_pregen, verify_pregen

SIDE = 512
OPTICS = Optics(("SolderLight",), ".jpg", 224, 224)


def make_pairs(workspace: Workspace, first: int, count: int, tile: np.ndarray) -> None:
    """Pictures with the grain of a camera: a simulated part, enlarged, shifted and noisy."""
    for number in range(first, first + count):
        rng = np.random.default_rng(number)
        for folder in (workspace.pregen_ng, workspace.pregen_ok):
            folder.mkdir(parents=True, exist_ok=True)
            moved = np.roll(tile, tuple(int(n) for n in rng.integers(0, SIDE, 2)), (0, 1)).astype(np.int16)
            noisy = np.clip(moved + rng.integers(-6, 7, moved.shape), 0, 255).astype(np.uint8)
            cv2.imwrite(str(folder / f"PCB+bridge_{number:05d}.png"), noisy)


def part() -> np.ndarray:
    """One rendered part at 512 pixels."""
    from deft_aoi.simulate.board import make_site
    from deft_aoi.simulate.line import make_lot
    from deft_aoi.simulate.pair import golden_pictures

    pictures = golden_pictures(np.random.default_rng(0), make_site(0, 0, 3), make_lot(0, 0))
    return cv2.resize(next(iter(pictures.values())), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)


def fresh_run(workspace: Workspace, name: str) -> RunPaths:
    folder = workspace.results / name
    folder.mkdir(parents=True)
    return RunPaths.at(folder)


def seconds(root: Path, name: str, cores: int) -> float:
    """Seconds that a process of its own, on so many cores, takes to stage a workspace (its start left out)."""
    code = (
        "import os,sys,time; os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:int(sys.argv[3])])\n"
        "sys.path.insert(0, 'benchmarks'); import staging, pyarrow.parquet\n"
        "w = staging.Workspace.at(sys.argv[1]); paths = staging.fresh_run(w, sys.argv[2])\n"
        "begun = time.perf_counter()\n"
        "staging.stage_pregen(w, paths, staging.OPTICS); print(time.perf_counter() - begun)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(root), name, str(cores)], capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def hashes(paths: RunPaths) -> str:
    files = sorted(path for path in paths.synth_pool.rglob("*.jpg"))
    return hashlib.sha256(b"".join(hashlib.sha256(path.read_bytes()).digest() for path in files)).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--block", type=int, default=250)
    parser.add_argument("--scratch", type=Path)
    args = parser.parse_args()
    cores, tile = len(os.sched_getaffinity(0)), part()
    with tempfile.TemporaryDirectory(dir=args.scratch) as scratch:
        times: dict[int, list[float]] = {1: [], cores: []}
        for number, first in enumerate(range(0, args.pairs, args.block)):
            block = Workspace(Path(scratch).resolve() / f"block{number}")
            make_pairs(block, first, args.block, tile)
            dump_spec(block.spec, baseline_spec())
            for turn in (1, cores) if number % 2 else (cores, 1):
                times[turn].append(seconds(block.root, f"run_2026010{turn}_000000", turn))
        ratios = sorted(one / many for one, many in zip(times[1], times[cores]))
        shown = f"{args.pairs} pairs of {SIDE} x {SIDE} PNG in blocks of {args.block}, {cores} cores"
        print(f"{shown}, load {os.getloadavg()}")
        faster = sum(times[1]) / sum(times[cores])
        print(f"one core {sum(times[1]):.1f} s, all cores {sum(times[cores]):.1f} s: {faster:.2f} times as fast")
        print(f"by block: median {ratios[len(ratios) // 2]:.2f}, {ratios[0]:.2f} to {ratios[-1]:.2f}")
        whole = Workspace(Path(scratch).resolve() / "whole")
        make_pairs(whole, 0, args.pairs, tile)
        dump_spec(whole.spec, baseline_spec())
        runs = [fresh_run(whole, f"run_2026020{number}_000000") for number in (1, 2)]
        begun = time.perf_counter()
        for run in runs:
            stage_pregen(whole, run, OPTICS)
        print(f"staged twice in {time.perf_counter() - begun:.1f} s; same hashes: {hashes(runs[0]) == hashes(runs[1])}")
        (whole.pregen_ng / "PCB+bridge_00003.png").write_bytes((whole.pregen_ok / "PCB+bridge_00003.png").read_bytes())
        try:
            verify_pregen(whole, runs[0])
            print("a changed file was NOT noticed")
        except HardStop as stop:
            print(f"a changed file stops the run: {stop.code}")


if __name__ == "__main__":
    main()
