"""What Pre-Flight found, as one record, and the approval code that covers it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deft_aoi.base.finding import Finding
from deft_aoi.base.versions import VERSION
from deft_aoi.preflight import check_data
from deft_aoi.record.run import Plan, approval_digest
from deft_aoi.stages.trained_model import TrainedModel

VERSION_OF_RECORD = 2  # of preflight.json; 1: the approval covered the place of the workspace too
_CODE_LENGTH = 10


def code_covers(plan: Plan, inputs: Mapping[str, str], images: Mapping[str, str]) -> dict[str, Any]:
    """What an approval code is the digest of: plan, hashes of the inputs, image pins, the skill's version."""
    return {
        "version": VERSION_OF_RECORD, "plan": plan.to_json(), "inputs": dict(inputs), "images": dict(images),
        "versions": {"skill": VERSION},
    }  # fmt: skip


def code_of(digest: str) -> str:
    """What a person types to approve the Summary of this digest."""
    return digest[:_CODE_LENGTH].upper()


@dataclass(frozen=True)
class Preflight:
    """What Pre-Flight found: the plan with the source of each value, findings, data counts and the approval code."""

    plan: Plan
    sources: Mapping[str, str]
    findings: tuple[Finding, ...]
    dataset: Mapping[str, Mapping[str, Any]]
    inputs: Mapping[str, str]
    images: Mapping[str, str]
    where: str  # heavy work runs, for people
    seen: check_data.Examined  # every set's images
    model: TrainedModel

    def record(self) -> dict[str, Any]:
        """What the approval code covers."""
        return code_covers(self.plan, self.inputs, self.images)

    @property
    def digest(self) -> str:
        return approval_digest(self.record())

    @property
    def code(self) -> str:
        return code_of(self.digest)
