"""Throughput of `deft score --images` next to plain decoding of the same files, and a kill in the middle.

    python benchmarks/score_folder.py --model R/best_model.json --images DIR [--copies 10000]

The folder's pictures are linked under new names until there are `--copies`. The scoring is killed (SIGKILL) when half
of the parts are decided, and called again: it has to end with every part once.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from deft_aoi.data.pairs import cores
from deft_aoi.engine.images import decode

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "scripts")}


def many(images: Path, target: Path, copies: int) -> list[Path]:
    """Hard links to the pictures under folders of their own."""
    sources = sorted(path for path in images.rglob("*.*") if path.is_file())
    made = []
    for number, path in zip(range(copies), itertools.cycle(sources)):
        folder = target / f"{number // len(sources):04d}"
        folder.mkdir(parents=True, exist_ok=True)
        made.append(folder / path.name)
        os.link(path, made[-1])
    return made


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.is_file() else 0


def cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--copies", type=int, default=10_000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.images.parent) as work:
        files = many(args.images, Path(work) / "in", args.copies)
        began, used = time.monotonic(), time.process_time()
        with ThreadPoolExecutor(cores()) as workers:
            assert all(one is not None for one in workers.map(lambda path: decode(path.read_bytes()), files))
        wall, spent = time.monotonic() - began, time.process_time() - used
        each = 1000 * spent / len(files)
        print(f"plain decode of {len(files):,} files: {len(files) / wall:,.0f} a second, {each:.2f} ms CPU each")
        out = Path(work) / "out"
        words = [sys.executable, "-m", "deft_aoi.cli.main", "score", "--model", str(args.model), "--json"]
        words += ["--images", f"{work}/in", "--output-dir", str(out)]
        first = subprocess.Popen(words, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while lines(out / "decisions.jsonl") < len(files) / 2:
            assert first.poll() is None
            time.sleep(0.2)
        first.send_signal(signal.SIGKILL)
        first.wait()
        there = lines(out / "decisions.jsonl")
        before = cpu()
        second = subprocess.run(words, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
        result, spent = json.loads(second.stdout), cpu() - before
        parts = [json.loads(text)["part"] for text in (out / "decisions.jsonl").read_text().splitlines()]
        print(f"killed after {there:,} parts; the second call decided {result['fresh']:,} of {result['parts']:,}")
        print(f"parts in decisions.jsonl: {len(parts):,}, distinct {len(set(parts)):,}")
        rate, each = result["fresh"] / result["seconds"], 1000 * spent / result["fresh"]
        print(f"deft score: {rate:.1f} parts a second on {cores()} cores, {each:.1f} ms CPU each")


if __name__ == "__main__":
    main()
