#!/usr/bin/env python3
"""Run a command under a run's network policy.

Type deft_exec with the run's state, then -- and the command. Under an air gap, what installs, downloads or asks a
registry is refused (exit 2), containers pull nothing, and every program gets the offline variables. Else the exit code
is the command's own.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from deft_aoi.base.console import run_script


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="deft_exec.py", description=__doc__)
    parser.add_argument("--state", type=Path, required=True, help="deft_state.json of the run")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="the command, behind --")
    args = parser.parse_args(argv)
    from deft_aoi.base import air_gap
    from deft_aoi.base.errors import InputError
    from deft_aoi.record import bank_runs, state

    command = args.command[1:] if args.command[:1] == ["--"] else args.command
    if not command:
        raise InputError("no command; type: deft_exec --state S -- COMMAND")
    environment = dict(os.environ)
    if air_gap.declared() or bank_runs.network_mode(state.load(args.state.expanduser())) == bank_runs.AIR_GAP:
        if reason := air_gap.objection(command):
            raise InputError(f"air-gapped: {reason}")
        command, environment = air_gap.closed(command), environment | air_gap.OFFLINE
    try:
        return subprocess.run(command, env=environment, check=False).returncode
    except OSError as error:
        raise InputError(f"{command[0]}: {error.strerror}") from error


if __name__ == "__main__":
    sys.exit(run_script(main))
