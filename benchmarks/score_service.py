"""The scoring service under clients that ask without a pause: latency, errors, memory, and whether answers are right.

    python benchmarks/score_service.py --model R/best_model.json --images DIR [--clients 16] [--seconds 120]

The answers are compared with those of `deft score --images` on the same folder. Clients and server share this machine.
"""

from __future__ import annotations

import argparse
import csv
import http.client
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
COMMAND = [sys.executable, "-m", "deft_aoi.cli.main", "score"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "scripts"), "DEFT_SCORE_TOKEN": "benchmark"}


def memory(process: int) -> float:
    """Resident MiB."""
    text = Path(f"/proc/{process}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", text)[1]) / 1024


class Client(threading.Thread):
    """Asks for one part after the other until the end."""

    def __init__(
        self, port: int, parts: list[tuple[str, bytes]], wanted: dict[str, tuple[str, str]], end: float
    ) -> None:
        super().__init__()
        self.port, self.parts, self.wanted, self.end = port, parts, wanted, end
        self.seconds: list[float] = []
        self.wrong = 0

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        for part, data in itertools.cycle(self.parts):
            if time.monotonic() > self.end:
                break
            began = time.monotonic()
            headers = {"Authorization": "Bearer benchmark"}
            connection.request("POST", f"/api/picture?part={part}", data, headers)
            answer = connection.getresponse()
            found = json.loads(answer.read())
            self.seconds.append(time.monotonic() - began)
            score = "" if found.get("score") is None else repr(found["score"])
            self.wrong += answer.status != 200 or (found["decision"], score) != self.wanted[part]
        connection.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=120)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        words = [*COMMAND, "--model", str(args.model), "--images", str(args.images), "--output-dir", f"{work}/out"]
        subprocess.run(words, check=True, env=ENVIRONMENT, stdout=subprocess.DEVNULL)
        with open(f"{work}/out/decisions.csv", newline="", encoding="utf-8") as stream:
            wanted = {row["part"]: (row["decision"], row["score"]) for row in csv.DictReader(stream)}
    files = {path.relative_to(args.images).with_suffix("").as_posix(): path for path in args.images.rglob("*.*")}
    parts = [(part, files[part].read_bytes()) for part in wanted]
    words = [*COMMAND, "--model", str(args.model), "--serve", "--port", "0"]
    server = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)
    assert server.stdout is not None
    port = int(re.search(r":(\d+)/", server.stdout.readline())[1])
    began = time.monotonic()
    end = began + args.seconds
    clients = [Client(port, parts[number :: args.clients] or parts, wanted, end) for number in range(args.clients)]
    for client in clients:
        client.start()
    kept = []
    while any(client.is_alive() for client in clients):
        kept.append(memory(server.pid))
        time.sleep(args.seconds / 24)
    server.send_signal(signal.SIGTERM)
    server.wait()
    seconds = np.concatenate([client.seconds for client in clients])
    rate = seconds.size / args.seconds
    print(f"{args.clients} clients, {args.seconds:g} s: {seconds.size:,} answers, {rate:.1f} a second")
    print(f"wrong or refused: {sum(client.wrong for client in clients)}")
    print("| p50 | p90 | p99 | largest |\n|---|---|---|---|")
    shown = [*np.quantile(seconds, [0.5, 0.9, 0.99]), seconds.max()]
    print("| " + " | ".join(f"{1000 * value:.0f} ms" for value in shown) + " |")
    print(f"resident memory (MiB), every {args.seconds / 24:g} s: {', '.join(f'{value:.0f}' for value in kept)}")


if __name__ == "__main__":
    main()
