"""Fuzz every reader for a while, one after the other, each round with another seed; ends at the first failure.

Usage: python benchmarks/fuzz.py [--seconds 180] [--examples 1500]
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TESTS = ROOT / "tests/attack/test_fuzz.py"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=180, help="for each reader")
    parser.add_argument("--examples", type=int, default=1500, help="of a round")
    args = parser.parse_args()
    environment = os.environ | {"DEFT_FUZZ_EXAMPLES": str(args.examples), "PYTHONPATH": f"{ROOT}/scripts:{ROOT}/tests"}
    environment.pop("CI", None)  # which makes hypothesis repeat itself
    print(f"{'reader':<34}{'rounds':>7}{'reads':>10}{'seconds':>9}")
    for name in re.findall(r"^def (test_\w+)", TESTS.read_text(), re.MULTILINE):
        started, rounds, reads = time.monotonic(), 0, 0
        while time.monotonic() - started < args.seconds:
            command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--hypothesis-seed={rounds}"]
            done = subprocess.run(
                [*command, f"{TESTS}::{name}"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
            )
            if done.returncode:
                print(done.stdout[-6000:])
                return 1
            found = re.search(r"^fuzz +(\d+)", done.stdout, re.MULTILINE)
            rounds, reads = rounds + 1, reads + (int(found[1]) if found else 0)
        print(f"{name.removeprefix('test_'):<34}{rounds:>7}{reads:>10,}{time.monotonic() - started:>9.0f}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
