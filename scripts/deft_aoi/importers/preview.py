"""What a proposal looks like: the text to read, and a picture of three pairs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from deft_aoi.base.paths import Workspace
from deft_aoi.base.rows import PASS
from deft_aoi.data.pairs import Pair
from deft_aoi.importers.deeppcb import LIGHT, Job, cut_board
from deft_aoi.importers.deeppcb_windows import defect_windows, read_boards
from deft_aoi.importers.door import Proposal
from deft_aoi.importers.split import ACCEPTANCE
from deft_aoi.rca.contact_sheet import contact_sheet

_EXAMPLES = 3
_LISTED = 4


def write_preview(proposal: Proposal, path: Path) -> None:
    """A PNG with a good part and two defects, each with its golden and the difference."""
    contact_sheet([_sample(pair, proposal) for pair in examples(proposal.pairs)], path)


def examples(pairs: Sequence[Pair]) -> list[Pair]:
    """One good part, then defects of different kinds; pairs from the middle of the list, where nothing is special."""
    by_label: dict[str, list[Pair]] = {}
    for pair in pairs:
        by_label.setdefault(pair.label, []).append(pair)
    labels = sorted(by_label, key=lambda label: (label != PASS, -len(by_label[label]), label))
    chosen = [by_label[label][len(by_label[label]) // 2] for label in labels[:_EXAMPLES]]
    rest = [pair for pair in pairs if pair not in chosen]
    return [*chosen, *rest[: _EXAMPLES - len(chosen)]]


def _sample(pair: Pair, proposal: Proposal) -> pd.DataFrame:
    part, golden = proposal.part[pair.name], proposal.golden_of[pair.name]
    return pd.DataFrame(
        [
            {
                "filepath": str(test), "golden_filepath": str(master), "label": pair.label, "object_name": pair.name,
                "boardname": part.board, "light": light, "cause": "golden", "evidence": golden.source,
            }
            for light, test, master in pair.files
        ]
    )  # fmt: skip


def write_deeppcb_preview(root: Path, path: Path, work: Path) -> None:
    """The first defect of three boards, as the import cuts them."""
    stage = Workspace(work / "windows")
    samples = []
    for board in read_boards(root)[:_EXAMPLES]:
        window = defect_windows(board, 96, np.random.default_rng(0))[:1]
        for row in cut_board(Job(board, "kpi", tuple(window), (), 0), stage, 96, ".png") or []:
            name = f"{row['object_name']}_{LIGHT}.png"
            files = [str(stage.images / row[column] / name) for column in ("input_path", "golden_path")]
            samples.append(pd.DataFrame([{**row, "filepath": files[0], "golden_filepath": files[1], "light": LIGHT}]))
    contact_sheet(samples, path)


def text(proposal: Proposal) -> str:
    """What is seen, what is proposed and why, what to look at first."""
    reading, split = proposal.reading, proposal.split
    labels = ", ".join(f"{label} {count:,}" for label, count in reading.labels().items())
    lines = [
        f"{reading.kind}: {reading.says}",
        f"{len(reading.parts):,} parts: {labels}",
        f"lights: {', '.join(reading.lights)}; component: {_component(proposal)}; split by {proposal.units.by}, "
        f"{proposal.units.reason}",
        f"{'set':<12}{proposal.units.by + 's':>8}{'good':>8}{'defects':>9}  why",
    ]
    lines += [f"{row.name:<12}{row.units:>8,}{row.passes:>8,}{row.defects:>9,}  {row.reason}" for row in split.rows]
    lines.append(f"goldens: {proposal.golden_words()}")
    lines += _noticed(proposal)
    lines += [f"too small: {warning}" for warning in split.warnings]
    sealed = any(row.name == ACCEPTANCE for row in split.rows)
    strictest = "the strictest target that the sealed set can prove" if sealed else "a target for a set of this size"
    lines.append(f"{strictest}: {split.target}")
    lines += split.proof
    return "\n".join(lines)


def _component(proposal: Proposal) -> str:
    found = {part.component for part in proposal.reading.parts if part.component}
    return f"{len(found)} of them" if found else "not named"


def _noticed(proposal: Proposal) -> list[str]:
    """One line for each kind of finding, with the first few of it."""
    goldens = [f"{s.picture.name} {s.reason}" for s in proposal.suspects if s.golden]
    pictures = [f"{s.picture.name} {s.reason}" for s in proposal.suspects if not s.golden]
    across = [f"{one.name} and {other.name}" for one, other, _ in proposal.near if one.label != other.label]
    within = [f"{one.name} and {other.name}" for one, other, _ in proposal.near if one.label == other.label]
    without = [f"{component or 'parts without component'} ({count})" for component, count in proposal.without.items()]
    left = [f"{entry.file} ({entry.reason})" for entry in proposal.skipped]
    kinds = (
        ("goldens to look at", goldens), ("pictures to look at", pictures), ("good and bad of one scene", across),
        ("near-duplicates", within), ("without golden, left out", without), ("pictures left out", left),
    )  # fmt: skip
    return [
        f"{what}: {len(found)}: {'; '.join(found[:_LISTED])}{'; ...' if len(found) > _LISTED else ''}"
        for what, found in kinds
        if found
    ]
