"""Who said yes, and where: a run that executes more than this skill needs a yes that was given on this machine.

The approval code in a run directory proves that plan and inputs are those of the Summary. It does not prove that a
person here ever saw it: a workspace may come with a run that somebody else started, evaluator, Python environment and
container images included. So `deft start` also leaves a note outside the workspace, and such a run asks for it.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from deft_aoi.base.errors import InputError
from deft_aoi.executors.platform_choice import LOCAL
from deft_aoi.kpi.target import parse_target
from deft_aoi.record.run import Plan, Run


def folder() -> Path:
    """`approved` in this user's state folder."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
    return Path(state) / "deft-aoi/approved"


def remember(digest: str) -> None:
    """Note that a person approved the Summary of this digest here; a home that cannot be written remembers nothing."""
    with contextlib.suppress(OSError):
        folder().mkdir(parents=True, exist_ok=True, mode=0o700)
        (folder() / digest).touch(mode=0o600)


def known(digest: str) -> bool:
    return digest.isalnum() and (folder() / digest).is_file()


def foreign_code(plan: Plan) -> list[str]:
    """What a plan executes beside this skill, for people."""
    found = [f"the evaluator {bound.file}" for bound in parse_target(plan.kpi_target).commands]
    if plan.platform != LOCAL:
        named = ", ".join(f"{key}={value}" for key, value in plan.settings.items() if value)
        found.append(f"platform {plan.platform}" + (f" ({named})" if named else ""))
    return found


def require(run: Run) -> None:
    """Raise InputError where the run executes foreign code and nobody approved it on this machine."""
    foreign = foreign_code(run.plan)
    digest = str(run.state["config"].get("approval") or "")
    if foreign and not known(digest):
        raise InputError(
            f"{run.paths.root}: runs {' and '.join(foreign)}, and nobody on this machine has approved that. Show "
            f"{run.paths.preflight_summary} to a person; after a yes: deft start --workspace {run.workspace.root} "
            "--approve CODE"
        )
