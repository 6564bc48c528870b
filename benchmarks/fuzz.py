"""Fuzz every reader for a while, each round with another seed; a failure is printed and ends that reader.

Usage: python benchmarks/fuzz.py [--seconds 180] [--examples 1500] [--at-once 1] [--first-seed 0]
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TESTS = ROOT / "tests/attack/test_fuzz.py"


def fuzz(reader: str, args: argparse.Namespace) -> bool:
    """Rounds of one reader (a test's name) until its time is over; False where one failed."""
    environment = os.environ | {"DEFT_FUZZ_EXAMPLES": str(args.examples), "PYTHONPATH": f"{ROOT}/scripts:{ROOT}/tests"}
    environment.pop("CI", None)  # which makes hypothesis repeat itself
    started, rounds, reads = time.monotonic(), 0, 0
    while time.monotonic() - started < args.seconds:
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        command += [f"--hypothesis-seed={args.first_seed + rounds}", f"{TESTS}::{reader}"]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            print(done.stdout[-6000:], done.stderr[-2000:], flush=True)
            return False
        found = re.search(r"^fuzz +(\d+)", done.stdout, re.MULTILINE)
        rounds, reads = rounds + 1, reads + (int(found[1]) if found else 0)
    print(f"{reader.removeprefix('test_'):<34}{rounds:>7}{reads:>10,}{time.monotonic() - started:>9.0f}", flush=True)
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=180, help="for each reader")
    parser.add_argument("--examples", type=int, default=1500, help="of a round")
    parser.add_argument("--at-once", type=int, default=1, help="readers side by side")
    parser.add_argument("--first-seed", type=int, default=0, help="of the first round; later ones count up")
    args = parser.parse_args()
    print(f"{'reader':<34}{'rounds':>7}{'reads':>10}{'seconds':>9}", flush=True)
    readers = re.findall(r"^def (test_\w+)", TESTS.read_text(), re.MULTILINE)
    with ThreadPoolExecutor(args.at_once) as pool:
        passed = list(pool.map(lambda reader: fuzz(reader, args), readers))
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
