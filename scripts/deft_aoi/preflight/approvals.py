"""What was checked and who said yes on this machine: notes outside the workspace, by the digest of a Summary.

The approval code in a run directory proves that plan and inputs are those of the Summary. It does not prove that a
person here ever saw it: a workspace may come with a run that somebody else started, evaluator, Python environment and
container images included. So `deft start` also leaves a note, and such a run asks for it. Nor does the code prove that
the checks were made: Pre-Flight leaves a note too, and `deft start` checks everything again where there is none.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from deft_aoi.base.errors import InputError
from deft_aoi.executors.platform_choice import LOCAL
from deft_aoi.record.run import Plan, Run

APPROVED, CHECKED = "approved", "checked"


def folder(kind: str) -> Path:
    """Notes of one kind in this user's state folder."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
    return Path(state) / "deft-aoi" / kind


def remember(digest: str, kind: str = APPROVED) -> None:
    """Note that the Summary of this digest was approved or checked here; a home that cannot be written remembers
    nothing."""
    with contextlib.suppress(OSError):
        folder(kind).mkdir(parents=True, exist_ok=True, mode=0o700)
        (folder(kind) / digest).touch(mode=0o600)


def known(digest: str, kind: str = APPROVED) -> bool:
    return digest.isalnum() and (folder(kind) / digest).is_file()


def foreign_code(plan: Plan) -> list[str]:
    """What a plan executes next to this skill, for people."""
    found = [f"the evaluator {bound.file}" for bound in plan.target.commands]
    if plan.target.evaluator is not None and plan.target.evaluator.kind == "command":
        found.append(f"the evaluator {plan.target.evaluator.path}")
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
