"""Makes the environment that `scripts/deft` runs in, once, in a cache folder outside the skill.

Standard library only and nothing of our own but the `setup_` modules: the launcher runs this file with `python -I`
before anything is installed, and looks into all of them when it asks whether an environment is up to date.
An environment is built in place under a lock and marked complete by its last write, so what a kill leaves behind is
seen by the next call and built again; a complete one is never changed.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import fcntl
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

if __name__ == "__main__":  # `-I` leaves our own folder out
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    sys.dont_write_bytecode = True  # the skill's folder stays as it was installed

from deft_aoi.cli.setup_bundle import build_from_bundle
from deft_aoi.cli.setup_install import build_with_pip, build_with_uv
from deft_aoi.cli.setup_plan import Plan, SetupError, StepError, interpreter, make_plan, say
from deft_aoi.cli.setup_steps import DISK_FULL, explain, run_step
from deft_aoi.cli.setup_trim import trim

# What brings native code: if these load, the rest does.
PROBE = "import cv2, faiss, matplotlib, numpy, onnxruntime, pandas, pyarrow.csv, pyarrow.parquet, scipy"


@contextlib.contextmanager
def only_one(path: Path) -> Iterator[int]:
    """Hold the lock file's exclusive lock; yields its descriptor, which children inherit.

    Inherited, because a killed set-up can leave its installer running: the next call then waits for that one too.
    """
    with open(path, "ab") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another call is making the environment; waiting for it")
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield stream.fileno()


def build(plan: Plan, lock: int) -> None:
    """Build `plan.env` from nothing and mark it complete."""
    free_mb = shutil.disk_usage(plan.home).free >> 20
    if free_mb < plan.needed_mb:
        raise SetupError(
            f"{plan.home}: {free_mb} MB free, the environment needs up to {plan.needed_mb} MB while it is made; "
            "free some space or set DEFT_HOME to a folder on another disk"
        )
    plan.log.write_text("", encoding="utf-8")
    source = f"from {plan.bundle}" if plan.bundle else "a download of about 270 MB, once"
    say(f"first use: making the environment in {plan.env} ({source})")
    uv = shutil.which("uv")
    try:
        if plan.bundle:
            build_from_bundle(plan, lock, plan.bundle)
        elif uv is None or not try_uv(plan, lock, uv):
            build_with_pip(plan, lock)
        trim(plan.packages)
        run_step(plan, lock, "checking", [plan.python, "-c", PROBE], {"PYTHONPYCACHEPREFIX": str(plan.env / "pycache")})
    except (StepError, SetupError) as error:
        shutil.rmtree(plan.env, ignore_errors=True)  # a full disk gets its space back
        if isinstance(error, SetupError):
            raise
        raise SetupError(f"could not make the environment: {explain(error, plan.log)}") from None
    finally:
        shutil.rmtree(plan.scratch, ignore_errors=True)
    with open(plan.marker, "w", encoding="utf-8") as stream:
        stream.write("\n".join(plan.requirements) + "\n")
        stream.flush()
        os.fsync(stream.fileno())


def try_uv(plan: Plan, lock: int, uv: str) -> bool:
    """False, with the folder cleared, when uv fails: its settings for mirrors and certificates are not pip's."""
    try:
        build_with_uv(plan, lock, uv)
    except StepError as error:
        if re.search(DISK_FULL, "\n".join(error.output)):
            raise
        say(f"uv did not manage ({error}); trying pip")
        shutil.rmtree(plan.env, ignore_errors=True)
        return False
    return True


def ensure(plan: Plan, ready: Path, *, air_gapped: bool = False) -> None:
    """Have a complete environment and a note for the launcher that says where it is.

    Raises SetupError where it cannot be made, and where it would have to be downloaded under an air gap.
    """
    if air_gapped and plan.bundle is None and not plan.complete:
        raise SetupError(
            f"air-gapped: {plan.env} ({interpreter()}) is not here and nothing is installed; bring it: on a machine "
            "with a network type deft bundle --output FILE, here deft bundle --unpack FILE (or set DEFT_PYTHON)"
        )
    ready.parent.mkdir(parents=True, exist_ok=True)
    if not plan.complete:
        with only_one(plan.lock) as lock:
            if not plan.complete:
                if plan.env.exists():
                    say("an earlier set-up was broken off; starting it again")
                    shutil.rmtree(plan.env)
                shutil.rmtree(plan.scratch, ignore_errors=True)
                start = time.monotonic()
                build(plan, lock)
                say(f"environment ready after {time.monotonic() - start:.0f} s")
    note = ready.with_name(f"{ready.name}.{os.getpid()}.tmp")
    note.write_text(f"{plan.env}\n", encoding="utf-8")
    note.replace(ready)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Make the environment of scripts/deft.")
    parser.add_argument("--home", type=Path, required=True, help="cache folder")
    parser.add_argument("--ready", type=Path, required=True, help="note to write: path of the environment")
    parser.add_argument("--test", action="store_true", help="with what `deft test` needs")
    parser.add_argument("--extras", default="", help="optional parts, as in DEFT_EXTRAS")
    parser.add_argument("--bundle", type=Path, help="take the packages from this file of `deft bundle`")
    parser.add_argument("--air-gapped", action="store_true", help="download nothing")
    args = parser.parse_args(argv)
    optional = sorted(set(args.extras.replace(",", " ").split()))
    try:
        plan = make_plan(args.home.absolute(), test=args.test, optional=optional, bundle=args.bundle)
        ensure(plan, args.ready.absolute(), air_gapped=args.air_gapped)
    except SetupError as error:
        say(str(error))
        return 2
    except OSError as error:
        where = "on a disk with file locks" if error.errno in (errno.ENOLCK, errno.ENOSYS) else "you can write to"
        say(f"{error.filename or args.home}: {error.strerror or error}; set DEFT_HOME to a folder {where}")
        return 2
    except KeyboardInterrupt:
        say("interrupted; the next call starts the set-up again")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
