"""TAO's `visual_changenet train|inference|evaluate -e SPEC key=value ...`, answered by the features engine.

Exit code 0, or 1 with one line on stderr. Spec, CSVs, file names and status.json are those of TAO's classify task.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from deft_aoi.engine.refusal import TaskError
from deft_aoi.engine.status import StatusLog
from deft_aoi.errors import DeftError

TASKS = ("train", "inference", "evaluate")
_TITLE = "Visual ChangeNet"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="visual_changenet", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("-e", "--experiment_spec", dest="spec", type=Path, required=True, help="TAO experiment spec")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="spec keys to change, as train.num_epochs=5")
    args = parser.parse_intermixed_args(argv)
    # One thread in matrix products: their order of summation must not depend on the machine's load.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        run_task(args.task, args.spec, args.overrides)
    except DeftError as error:
        print(f"visual_changenet {args.task}: {error}", file=sys.stderr)
        return TaskError.exit_code
    except OSError as error:
        print(f"visual_changenet {args.task}: {error.strerror or error}: {error.filename or ''}", file=sys.stderr)
        return TaskError.exit_code
    return 0


def run_task(task: str, spec_path: Path, overrides: Sequence[str]) -> None:
    """Run one task; its status.json ends with FAILURE and the reason when it raises."""
    from deft_aoi.engine.spec import read_spec, results_folder

    spec = read_spec(spec_path, overrides)
    folder = results_folder(spec, task)
    if task == "train" and any(folder.glob("*.pth")):
        raise TaskError(f"{folder} already holds checkpoints; TAO would resume them silently: use an empty folder")
    status = StatusLog(folder)
    status.write("STARTED", f"Starting {_TITLE} {task}.")
    try:
        from deft_aoi.engine import tasks

        getattr(tasks, task)(spec, spec_path, folder, status)
    except DeftError as error:
        status.write("FAILURE", str(error))
        raise
    except Exception as error:
        status.write("FAILURE", f"{type(error).__name__}: {error}")
        raise
    status.write("RUNNING", f"{task.capitalize()} finished successfully.")


def console() -> None:
    sys.exit(main())


if __name__ == "__main__":
    sys.exit(main())
