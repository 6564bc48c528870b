"""From a folder of pictures to a workspace: one reading of it, what is wrong with it, a split, and goldens for all."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from deft_aoi.base.rows import write_sheet
from deft_aoi.data.pairs import Pair, Skipped
from deft_aoi.data.workspace_files import new_workspace
from deft_aoi.importers.golden_check import Suspect, check_edited, check_goldens
from deft_aoi.importers.golden_files import save_library
from deft_aoi.importers.goldens import Library, Looks, build
from deft_aoi.importers.likeness import looks_of
from deft_aoi.importers.reading import Golden, Part, Reading
from deft_aoi.importers.sets import write_sets
from deft_aoi.importers.split import Split, explained
from deft_aoi.importers.units import Alike, Units, clean, find_units
from deft_aoi.kpi.target import Contract

FINDINGS = "findings.csv"
_TEACH = ("train", "pool")  # goldens are built from these sets only: a judged part may not be in its own golden


@dataclass(frozen=True)
class Wish:
    """How to split (`by` board, scene, or None for what is there), and whether suspected goldens are left out."""

    by: str | None = None
    target: Contract | None = None
    sealed: float | None = None
    seed: int = 0
    drop_suspects: bool = False


@dataclass(frozen=True)
class Proposal:
    """Everything that would be written, and everything that was noticed."""

    reading: Reading
    pairs: tuple[Pair, ...]
    golden_of: dict[str, Golden]
    goldens: tuple[Golden, ...]
    units: Units
    split: Split
    suspects: tuple[Suspect, ...]
    near: Alike
    without: dict[str, int]
    skipped: tuple[Skipped, ...]

    @property
    def part(self) -> dict[str, Part]:
        return {part.name: part for part in self.reading.parts}

    def golden_words(self) -> str:
        """How the parts get their goldens, as counts."""
        kinds = Counter(_kind(golden) for golden in self.golden_of.values())
        return ", ".join(f"{count:,} parts {kind}" for kind, count in kinds.most_common())


def _kind(golden: Golden) -> str:
    if not golden.made_from:
        return "with a given golden"
    return "with a median of good parts" if len(golden.made_from) > 1 else "with the nearest good part"


def propose(reading: Reading, wish: Wish, work: Path) -> Proposal:
    """Check, split and find goldens. Goldens that are built are written into `work`, nothing else is."""
    found = clean(reading.parts)
    looks = looks_of([*(p.files[0][1] for p in found.parts), *(g.files[0][1] for g in reading.goldens)])
    suspects = [*check_goldens(reading.goldens, found.parts, looks), *check_edited(found.parts, reading.goldens, looks)]
    given = _kept(reading.goldens, suspects) if wish.drop_suspects else list(reading.goldens)
    units = find_units(found, wish.by)
    parts, lacking = list(found.parts), []
    while True:  # a part without a golden takes no part, and the sets are dealt again without it
        split = explained(parts, units.unit, units.by, target=wish.target, sealed=wish.sealed, seed=wish.seed)
        golden_of, built = _goldens(parts, split, given, looks, work)
        out = [part for part in parts if part.name not in golden_of]
        if not out:
            break
        lacking += out
        parts = [part for part in parts if part.name in golden_of]
    pairs = tuple(_pair(part, golden_of[part.name]) for part in parts)
    without = dict(Counter(part.component for part in lacking))
    gone = [Skipped(part.files[0][1].name, "no golden, and no good part to build one from") for part in lacking]
    return Proposal(
        reading, pairs, golden_of, (*given, *built), units, split, tuple(suspects), units.near, without,
        (*reading.skipped, *found.skipped, *gone),
    )  # fmt: skip


def _kept(goldens: Sequence[Golden], suspects: Sequence[Suspect]) -> list[Golden]:
    out = {suspect.golden for suspect in suspects}
    return [golden for golden in goldens if golden not in out]


def _goldens(
    parts: Sequence[Part], split: Split, given: Sequence[Golden], looks: Looks, work: Path
) -> tuple[dict[str, Golden], list[Golden]]:
    """Golden of each part, and those that had to be built, one component after the other."""
    library = Library(given, looks)
    found: dict[str, Golden] = {}
    open_parts: dict[str, list[Part]] = defaultdict(list)
    for part in parts:
        golden = library.golden_of(part, looks[part.files[0][1]])
        if golden is not None:
            found[part.name] = golden
        else:
            open_parts[part.component].append(part)
    built: list[Golden] = []
    for number, component in enumerate(sorted(open_parts)):
        teachers = [p for p in parts if p.good and p.component == component and split.home[p.name] in _TEACH]
        made = build(component, teachers, looks, work, number)
        built += made
        own = Library(made, {**looks, **looks_of([one.files[0][1] for one in made if len(one.made_from) > 1])})
        for part in open_parts[component]:
            golden = own.golden_of(part, looks[part.files[0][1]])
            if golden is not None:
                found[part.name] = golden
    return found, built


def _pair(part: Part, golden: Golden) -> Pair:
    masters = dict(golden.files)
    return Pair(part.name, part.label, tuple((light, path, masters[light]) for light, path in part.files))


def findings_table(proposal: Proposal) -> pd.DataFrame:
    """One row for each thing that a person may want to look at."""
    rows = [
        *(("golden" if s.golden else "picture", s.picture.name, "", s.reason) for s in proposal.suspects),
        *(
            ("near-duplicate", one.name, other.name, f"likeness {likeness:.3f}; {one.label} and {other.label}")
            for one, other, likeness in proposal.near
        ),
        *(
            ("no golden", component or "(no component)", "", f"{count} parts left out: no golden, no good part for one")
            for component, count in proposal.without.items()
        ),
        *(("left out", entry.file, "", entry.reason) for entry in proposal.skipped),
    ]
    return pd.DataFrame(rows, columns=["what", "name", "other", "reason"])


def write(proposal: Proposal, workspace: Path, *, ext: str, size: int) -> Path:
    """Make the workspace; the folder `import` in it holds the findings and the source of every golden."""
    by_name = proposal.part
    names = [pair.name for pair in proposal.pairs]
    boards = {name: by_name[name].board for name in names}
    components = {name: by_name[name].component for name in names}
    with new_workspace(workspace) as stage:
        lights = proposal.reading.lights
        done = write_sets(
            stage, proposal.pairs, proposal.split.home, lights=lights, ext=ext, size=size, boards=boards,
            components=components,
        )  # fmt: skip
        save_library(stage.root, proposal.goldens, proposal.reading.naming, lights)
        sources = [(pair.name, proposal.golden_of[pair.name].key, proposal.golden_of[pair.name]) for pair in done.pairs]
        table = pd.DataFrame(
            [(name, key, golden.source, " ".join(golden.made_from)) for name, key, golden in sources],
            columns=["object_name", "golden", "source", "made_from"],
        )
        write_sheet(stage.root / "import" / "goldens.csv", table)
        write_sheet(stage.root / "import" / FINDINGS, findings_table(proposal))
    return workspace.expanduser().resolve()
