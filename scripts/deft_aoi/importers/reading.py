"""What one reading of a folder of pictures gives: parts, goldens, and how names tell boards and components."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from deft_aoi.base.errors import InputError
from deft_aoi.base.names import label_problem
from deft_aoi.base.rows import PASS
from deft_aoi.base.safe_paths import name_problem, shown
from deft_aoi.data.pairs import Skipped
from deft_aoi.importers.naming import Naming, find_naming
from deft_aoi.importers.words import role_of

DEFAULT_LIGHT = "SolderLight"
_HALF = 0.5
DEFECT = "defect"  # label of a bad part whose kind nobody states
Files = tuple[tuple[str, Path], ...]


@dataclass(frozen=True)
class Shot:
    """One picture as a reading found it: `key` (folder and stem without light) and `role` tell its part; `light` is
    empty where its name has none."""

    key: str
    light: str
    path: Path
    label: str
    golden: str = ""
    board: str = ""
    component: str = ""
    role: str = ""

    @property
    def part(self) -> tuple[str, str]:
        return self.key, self.role


@dataclass(frozen=True)
class Part:
    """One inspected component: `files` has (light, picture) in the order of the lights; `golden` is the key of the
    golden that the source names for it, `key` the name that board and component are read from."""

    name: str
    label: str
    files: Files
    key: str
    golden: str = ""
    board: str = ""
    component: str = ""

    @property
    def good(self) -> bool:
        return self.label == PASS


@dataclass(frozen=True)
class Golden:
    """A picture of how a component should look; `source` says where it is from, `made_from` of which parts."""

    key: str
    files: Files
    component: str = ""
    source: str = "given"
    made_from: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reading:
    """One way to read a folder. `kind` is the word for --as, `says` what was seen in a sentence."""

    kind: str
    says: str
    parts: tuple[Part, ...]
    goldens: tuple[Golden, ...]
    lights: tuple[str, ...]
    naming: Naming = field(default_factory=Naming)
    skipped: tuple[Skipped, ...] = ()
    flags: tuple[str, ...] = field(default=())

    def labels(self) -> dict[str, int]:
        """Parts by label, PASS first."""
        count = Counter(part.label for part in self.parts)
        return dict(sorted(count.items(), key=lambda item: (item[0] != PASS, item[0])))


def label_of(word: str) -> str:
    """A label as a table or a folder states it: every word for good is PASS, a bare word for bad is `defect`."""
    role = role_of(word)
    if role == "good":
        return PASS
    cleaned = " ".join(word.strip().lower().split())
    return DEFECT if role == "bad" and len(cleaned.split()) == 1 else cleaned


def make_reading(
    kind: str, says: str, shots: Sequence[Shot], goldens: Sequence[Shot], lights: Sequence[str],
    skipped: Sequence[Skipped] = (), flags: Sequence[str] = (),
) -> Reading:  # fmt: skip
    """Put the lights of each part together, name parts, and find boards and components in the names."""
    named = tuple(lights) or (DEFAULT_LIGHT,)
    unlit = [shot for shot in (*shots, *goldens) if lights and not shot.light]
    parts, incomplete = _by_part([shot for shot in shots if shot.light or not lights], named)
    masters, without = _by_part([shot for shot in goldens if shot.light or not lights], named)
    short = _short_names(list(parts))
    keys = [key for key, _ in parts]
    naming = find_naming(keys, frozenset(key.rpartition("/")[2] for key, _ in masters))
    made, refused = [], []
    for (key, role), found in parts.items():
        first, name = found[0], short[key, role]
        if problem := name_problem(name) or label_problem(first.label):
            refused.append(Skipped(first.path.name, f"{shown(first.label)}: {problem}"))
            continue
        board, component = first.board or naming.board_of(key), first.component or naming.component_of(key)
        made.append(Part(name, first.label, _files(found, named), key, first.golden, board, component))
    components = frozenset(part.component for part in made if part.component)
    given = tuple(
        Golden(key, _files(found, named), found[0].component or _component(key, naming, components), f"given: {key}")
        for (key, _), found in masters.items()
    )
    dark = [Skipped(shot.path.name, f"ends in no light of {', '.join(named)}") for shot in unlit]
    gone = (*skipped, *dark, *incomplete, *without, *refused)
    reading = Reading(kind, says, tuple(made), given, named, naming, gone, tuple(flags))
    _check(reading, len({shot.part for shot in shots}))
    return reading


def _files(shots: Sequence[Shot], lights: Sequence[str]) -> Files:
    by_light = {shot.light or lights[0]: shot.path for shot in shots}
    return tuple((light, by_light[light]) for light in lights)


def _by_part(shots: Sequence[Shot], lights: Sequence[str]) -> tuple[dict[tuple[str, str], list[Shot]], list[Skipped]]:
    """Shots by (key, role) of their part where every light is there, and the pictures of the others."""
    found: dict[tuple[str, str], list[Shot]] = {}
    for shot in shots:
        found.setdefault(shot.part, []).append(shot)
    skipped = []
    for part, some in list(found.items()):
        lacking = [light for light in lights if light not in {shot.light or lights[0] for shot in some}]
        if lacking:
            skipped += [Skipped(shot.path.name, f"no picture under light {', '.join(lacking)}") for shot in some]
            del found[part]
    return found, skipped


def _short_names(parts: Sequence[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """The shortest of these that names one part only: its file's name, that with its role, that with its folders."""
    ways = [
        {(key, role): key.rpartition("/")[2] for key, role in parts},
        {(key, role): f"{role}_{key.rpartition('/')[2]}" for key, role in parts},
        {(key, role): "_".join(filter(None, (role, *key.split("/")))) for key, role in parts},
    ]
    counts = [Counter(way.values()) for way in ways]
    return {
        part: next((way[part] for way, count in zip(ways, counts) if count[way[part]] == 1), ways[-1][part])
        for part in parts
    }


def _component(key: str, naming: Naming, components: frozenset[str]) -> str:
    """Component of a golden: its whole name, or the one field that is a component."""
    name = key.rpartition("/")[2]
    if name in components:
        return name
    found = [word for word in naming.fields(key) if word in components]
    return found[0] if len(set(found)) == 1 else ""


def _check(reading: Reading, asked: int) -> None:
    """Refuse a reading that no model can be made from."""
    if len(reading.parts) < _HALF * asked:
        first = reading.skipped[0]
        raise InputError(
            f"read as {reading.kind}, {asked - len(reading.parts)} of {asked} parts are unusable, the first "
            f"{first.file}: {first.reason}; lights that belong together are named by --light, as --light WhiteLight"
        )
    count = reading.labels()
    good = count.get(PASS, 0)
    if good and len(count) > 1:
        return
    lacking, kept = ("good parts", "--good FOLDER") if not good else ("defects", "--bad FOLDER")
    raise InputError(
        f"read as {reading.kind}: {len(reading.parts)} parts and no {lacking} among them; collect some, or name their "
        f"folder with {kept}"
    )


def with_parts(reading: Reading, parts: Sequence[Part], skipped: Sequence[Skipped]) -> Reading:
    """The reading with these parts only, and the reasons for those that were left out."""
    return replace(reading, parts=tuple(parts), skipped=(*reading.skipped, *skipped))
