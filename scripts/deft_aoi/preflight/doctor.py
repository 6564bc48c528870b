"""Everything that Pre-Flight would say of files and machine, by cause, each with what fixes it. Reads only."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deft_aoi.base.console import command_line
from deft_aoi.base.errors import DeftError, InputError
from deft_aoi.base.finding import BLOCK, NOTE, Finding
from deft_aoi.base.paths import Workspace
from deft_aoi.base.versions import images, platform
from deft_aoi.executors.base import Place, Probe
from deft_aoi.executors.platform_choice import make_executor
from deft_aoi.kpi.target import parse_target
from deft_aoi.preflight import check_data
from deft_aoi.preflight.check_workspace import all_checks
from deft_aoi.preflight.inputs import read_inputs
from deft_aoi.preflight.plan_values import DEFAULT_TARGET, make_plan, platform_settings
from deft_aoi.preflight.preflight import probed
from deft_aoi.record.order import SEALED
from deft_aoi.record.run import Plan

SECONDS = 2.5  # for opening pictures that no cache knows; what is left is for `deft audit`
_COMMAND = re.compile(r"\b(deft [a-z-]+(?: \S+)*? --accept)\b")


@dataclass(frozen=True)
class Cause:
    """One cause: what its findings have in common (`words`, a pattern of their text) and what fixes it."""

    title: str
    words: str
    fix: str


# The first that fits a finding has it. `{workspace}` and `{spec}` are filled in, `{deft ...}` becomes a command.
CAUSES = (
    Cause(
        "tables are not written as TAO reads them",
        r"--accept rewrites|not a readable UTF-8|quote cells|column .* missing|appears twice|no rows below|no such CSV",
        "deft fix-csv CSV --accept",
    ),
    Cause(
        "labels",
        r": label ",
        "write PASS or the defect's name into the rows named; deft fix-csv CSV --accept writes PASS",
    ),
    Cause(
        "images are not where the tables say",
        r"^(?!.*results_dir).*(?:is missing|leads out of|outside the workspace|a backslash|absolute path)",
        "do what the finding says, then run the doctor again",
    ),
    Cause(
        "cells that TAO reads as something else",
        r"for TAO, not text|blank, which TAO|object_name is empty",
        "rename the part or folder in the table and on disk",
    ),
    Cause("leaked rows", r"leakage", "remove the rows that the findings name from the table that they name"),
    Cause(
        "rows are in two sets, or twice in one",
        r"also in|repeated rows|another label|near-duplicates|two labels|boards have rows|boardname",
        "deft audit --workspace {workspace}",
    ),
    Cause(
        "pictures",
        r"unreadable image|more than 8 bits|orientation tag|not looked at",
        "deft audit --workspace {workspace}",
    ),
    Cause(
        "experiment spec",
        r"baseline_spec|ExperimentConfig|input_map|dataset\.classify|train\.|experiment spec|results_dir",
        "keep a copy, then edit {spec} as the findings say",
    ),
    Cause(
        "backbone and other weights",
        r"[Bb]ackbone|encoder|AnomalyGen|pre-generated",
        "deft stage_backbone --workspace {workspace}",
    ),
    Cause(
        "sizes of the sets", r"smaller than|expected PASS rows and defects|batch_size", "deft preflight --batch-size N"
    ),
    Cause(
        "platform: daemon, images, credentials",
        r"Docker|daemon|registry|credential|Kubernetes|SLURM|[Ii]mage \S+ is|pull",
        "deft list_tao_platforms --format text",
    ),
    Cause("this machine", r"file locks|disk|memory|GPU|num_gpus", "do what the finding says"),
    Cause("skill", r"reinstall|references", "install the skill again"),
    Cause("other", r"", "do what the finding says"),
)


@dataclass(frozen=True)
class Group:
    """All findings of one cause, those that block first."""

    title: str
    fix: str
    findings: tuple[Finding, ...]

    @property
    def blocks(self) -> int:
        return sum(finding.level == BLOCK for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        found = [{"level": one.level, "check": one.check, "text": one.text} for one in self.findings]
        return {"cause": self.title, "fix": self.fix, "blocks": self.blocks, "findings": found}


def examine(asked: Mapping[str, Any]) -> list[Group]:
    """Groups of what blocks a run, or should be known before it; those that block first.

    Raises InputError where there is no workspace at all.
    """
    workspace = Workspace.at(asked.get("workspace") or "~/workspace")
    inputs = read_inputs(workspace)
    found: list[Finding] = []
    try:
        plan, _ = make_plan({**asked, "max_iterations": asked.get("max_iterations") or 1}, inputs)
    except InputError as error:
        found.append(Finding(1, BLOCK, str(error)))
        plan = Plan(str(workspace.root), parse_target(DEFAULT_TARGET).text, 1)
    plan, _, probes = probed(plan, inputs.images)
    found += all_checks(inputs, plan, probes)
    with contextlib.suppress(DeftError):  # another finding says why the images cannot be determined
        sealed = plan.acceptance == SEALED
        found += check_data.findings_beside(inputs, sealed=sealed, engine=plan.engine, seconds=SECONDS, notes=True)
    known: dict[str, Finding] = {}
    for finding in found:
        if finding.level in (BLOCK, NOTE):
            known.setdefault(finding.text, finding)
    return grouped(list(known.values()), workspace)


def platform_probes(asked: Mapping[str, Any], workspace: Path) -> list[Probe]:
    """What a platform says of itself, for a `workspace` that need not be there: connection, images, GPU, disk, clock
    and write access, as far as it has them. Reads only."""
    where = platform(asked["platform"])
    place = Place(where.name, platform_settings(where, asked), workspace, images())
    return make_executor(place).probe()


def grouped(findings: Sequence[Finding], workspace: Workspace) -> list[Group]:
    """The findings by cause, in the order of CAUSES, those that block before the others."""
    parts: dict[Cause, list[Finding]] = {cause: [] for cause in CAUSES}
    for finding in findings:
        parts[next(cause for cause in CAUSES if re.search(cause.words, finding.text))].append(finding)
    groups = [
        Group(cause.title, _fix(cause, some, workspace), tuple(sorted(some, key=lambda one: one.level != BLOCK)))
        for cause, some in parts.items()
        if some
    ]
    return sorted(groups, key=lambda group: group.blocks == 0)


def _fix(cause: Cause, findings: Sequence[Finding], workspace: Workspace) -> str:
    """The command that the findings name, else the cause's own."""
    named = dict.fromkeys(match[1] for one in findings if (match := _COMMAND.search(one.text)))
    if named:
        return "; ".join(_typed(command) for command in named)
    return _typed(cause.fix.format(workspace=workspace.root, spec=workspace.spec))


def _typed(text: str) -> str:
    """A `deft` command as it can be typed here."""
    return text.replace("deft ", command_line() + " ", 1) if text.startswith("deft ") else text
