"""Print the sequence number that the next journal line will get."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from deft_aoi.base.console import run_script
from deft_aoi.record.journal import next_seq


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--log-path", type=Path, required=True, help="loop_log.jsonl of the run")
    print(next_seq(parser.parse_args(argv).log_path))
    return 0


if __name__ == "__main__":
    sys.exit(run_script(main))
