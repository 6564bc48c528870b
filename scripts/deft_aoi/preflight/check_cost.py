"""What a rented machine will cost: hours times the price that the user gives."""

from __future__ import annotations

import re

from deft_aoi.base.finding import BLOCK, NOTE, Finding
from deft_aoi.preflight.inputs import Inputs
from deft_aoi.preflight.time_budget import hours_of, size_of
from deft_aoi.record.run import Plan

_PRICE = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z$€£]*)")


def cost_findings(plan: Plan, inputs: Inputs) -> list[Finding]:
    """(8) A note with the product; nothing where no price was given."""
    given = plan.settings.get("price", "")
    if not given:
        return []
    match = _PRICE.fullmatch(given.strip())
    if match is None:
        return [
            Finding(8, BLOCK, "no price of an hour", where=f"--set price={given}", expected="as 2.49 or '2.49 USD'")
        ]
    hours, basis = hours_of(plan, size_of(inputs))
    total = f"{hours * float(match[1]):.2f} {match[2]}".strip()
    text = (
        f"about {hours:.1f} h ({basis}, without start and transfers) at {given} an hour: {total}; this skill neither "
        "starts nor stops the machine, which costs until you stop it"
    )
    return [Finding(8, NOTE, text, where="cost")]
