"""TAO's `visual_changenet train|inference|evaluate -e SPEC key=value ...`, answered by an engine of ours.

Exit code 0, or 1 with one line on stderr. Spec, CSVs, file names and status.json are those of TAO's classify task.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from deft_aoi.base.errors import DeftError
from deft_aoi.base.threads import calm_threads
from deft_aoi.engine.refusal import TaskError, fault
from deft_aoi.engine.status_json import StatusLog

ENGINE_TASKS = {"features": "deft_aoi.engine.features.tasks", "net": "deft_aoi.engine.net.tasks"}
TASKS = ("train", "inference", "evaluate")
_TITLE = "Visual ChangeNet"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="visual_changenet", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("-e", "--experiment_spec", dest="spec", type=Path, required=True, help="TAO experiment spec")
    parser.add_argument(
        "--engine",
        choices=("features", "net", "auto"),
        help="who trains (default: features); inference and evaluate ask the checkpoint",
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="spec keys to change, as train.num_epochs=5")
    args = parser.parse_intermixed_args(argv)
    calm_threads()
    try:
        run_task(args.task, args.spec, args.overrides, args.engine)
    except DeftError as error:
        print(f"visual_changenet {args.task}: {error}", file=sys.stderr)
        return TaskError.exit_code
    except OSError as error:
        print(f"visual_changenet {args.task}: {error.strerror or error}: {error.filename or ''}", file=sys.stderr)
        return TaskError.exit_code
    except Exception as error:  # the last net: one line and where it happened, the traceback for who asks
        print(f"visual_changenet {args.task}: {fault(error)}", file=sys.stderr)
        return TaskError.exit_code
    return 0


def run_task(task: str, spec_path: Path, overrides: Sequence[str], asked: str | None = None) -> None:
    """Run one task; its status.json ends with FAILURE and the reason when it raises."""
    from deft_aoi.engine.engine_choice import AUTO, FEATURES, NET, RESUME_FILE, choose, engine_of
    from deft_aoi.engine.task_spec import read_spec, results_folder
    from deft_aoi.spec.tree import get

    spec = read_spec(spec_path, overrides)
    folder = results_folder(spec, task)
    if task == "train":
        engine, _ = choose(asked or FEATURES)
    else:
        told = engine_of(Path(get(spec, f"{task}.checkpoint", "")))
        engine = told if asked in (None, AUTO) else asked
    cut_off = engine == NET and (folder / RESUME_FILE).is_file()
    if task == "train" and any(folder.glob("*.pth")) and not cut_off:
        raise TaskError(f"{folder} already holds checkpoints; TAO would resume them silently: use an empty folder")
    status = StatusLog(folder)
    status.write("STARTED", f"Starting {_TITLE} {task}.")
    try:
        engine_tasks = importlib.import_module(ENGINE_TASKS[engine])
        getattr(engine_tasks, task)(spec, spec_path, folder, status)
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
