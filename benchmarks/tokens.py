"""Token alignment of a million transcript lines: peak memory and time, compared with only parsing the same lines.

  PYTHONPATH=scripts python benchmarks/tokens.py [--lines 1000000]
Each arm is a process of its own. One answer in three lines; each answer is streamed as two records, and a tenth of them
are in a second session again. Prints Markdown on stdout.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

START = datetime(2026, 1, 1, tzinfo=timezone.utc)
STAGES = 42  # six iterations
DAY = timedelta(hours=20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--arm", choices=("align", "parse"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.arm:
        print(json.dumps(measured(args.arm, args.folder)))
        return
    print("| lines | arm | messages | seconds | peak memory |\n|---|---|---|---|---|")
    for lines in (args.lines // 10, args.lines):
        with tempfile.TemporaryDirectory() as scratch:
            write(Path(scratch), lines)
            for arm in ("parse", "align"):
                command = [sys.executable, __file__, "--arm", arm, "--folder", scratch]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                found = json.loads(done.stdout)
                figures = f"{found['messages']:,} | {found['seconds']:.1f} | {found['peak_mb']:.0f} MB"
                print(f"| {lines:,} | {arm} | {figures} |")


def write(folder: Path, lines: int) -> None:
    """Two sessions of `lines` lines together; a tool result of 300 characters between two records of an answer."""
    answers = lines // 3
    with open(folder / "a.jsonl", "w") as first, open(folder / "b.jsonl", "w") as second:
        for number in range(answers):
            stamp = (START + DAY * (number / answers)).isoformat()
            usage = {"input_tokens": 3, "cache_read_input_tokens": number % 90_000, "cache_creation_input_tokens": 40}
            for output in (1, 250):
                message = {"id": f"m{number}", "model": "m", "usage": {**usage, "output_tokens": output}}
                line = {"type": "assistant", "requestId": f"r{number}", "timestamp": stamp, "message": message}
                first.write(json.dumps(line) + "\n")
            if number % 10 == 0:
                second.write(json.dumps(line) + "\n")
            else:
                first.write(json.dumps({"type": "user", "timestamp": stamp, "content": "x" * 300}) + "\n")


def measured(arm: str, folder: Path) -> dict[str, float]:
    """Messages, seconds and the peak memory of this process."""
    paths = sorted(folder.glob("*.jsonl"))
    begun = time.perf_counter()
    if arm == "parse":
        count = 0
        for path in paths:
            with open(path, "rb") as stream:
                count += sum(json.loads(line)["type"] == "assistant" for line in stream)
    else:
        from deft_aoi.agent.tokens import align

        ends = [START + DAY * ((number + 1) / STAGES) for number in range(STAGES)]
        entries = [{"seq": n, "ts": end.isoformat(), "duration_sec": 1800} for n, end in enumerate(ends, 1)]
        count = align(paths, entries).messages
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"messages": count, "seconds": time.perf_counter() - begun, "peak_mb": peak}


if __name__ == "__main__":
    main()
