"""Readings by the names of folders and files: OK / NG / GOLDEN in many words, MVTec and VisA layouts, pairs by name."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from deft_aoi.base.errors import InputError
from deft_aoi.base.rows import PASS
from deft_aoi.data.pairs import label_from_name
from deft_aoi.importers.naming import find_lights, split_light
from deft_aoi.importers.reading import DEFECT, Reading, Shot, label_of, make_reading
from deft_aoi.importers.tree import Picture, Tree
from deft_aoi.importers.words import Role, role_of

FOLDERS, PAIRS, MVTEC, VISA = "folders", "pairs", "mvtec", "visa"
_INSPECTED, _MASTERS = ("test",), ("golden", "temp", "template", "ref", "reference", "master")
_SAME = 0.9  # share of inspected names that a folder of goldens has too
_WORD_SHARE = 0.9
_STRONGEST: tuple[Role, ...] = ("ignored", "golden", "bad", "good")


@dataclass(frozen=True)
class Asked:
    """What the caller says of the folder: a reading, folders by role, a table, lights."""

    kind: str | None = None
    good: tuple[str, ...] = ()
    bad: tuple[str, ...] = ()
    golden: tuple[str, ...] = ()
    labels: str | None = None
    lights: tuple[str, ...] = ()

    def roles(self) -> dict[str, Role]:
        """Role of each folder that was named, by its path below the root or its last name."""
        named: dict[str, Role] = {}
        for role, folders in (("good", self.good), ("bad", self.bad), ("golden", self.golden)):
            named |= {folder.strip("/"): role for folder in folders}  # type: ignore[misc]
        return named


@dataclass(frozen=True)
class Placed:
    """A picture with its role; `rest`: folders below the one that states the role, `above`: those above it."""

    picture: Picture
    role: Role
    home: str
    above: tuple[str, ...]
    rest: tuple[str, ...] = field(default=())


def place(tree: Tree, asked: Asked) -> tuple[list[Placed], list[Picture]]:
    """Pictures whose folder, or first word of the name, states a role; and those that state none."""
    named = asked.roles()
    unknown = [name for name in named if not any(_holds(picture, name) for picture in tree.pictures)]
    if unknown:
        raise InputError(f"{tree.root}: no pictures in a folder {unknown[0]!r}; expected the name of a folder in it")
    placed, rest = [], []
    for picture in tree.pictures:
        found = _placed(picture, named)
        if found is None:
            rest.append(picture)
        elif found.role != "ignored":
            placed.append(found)
    if not placed:  # one flat folder: OK_0001.png, NG_0002.png
        words = [(picture, role_of(picture.stem)) for picture in rest]
        told = [Placed(picture, role, role, picture.folders) for picture, role in words if role]
        if len(told) >= _WORD_SHARE * len(rest):
            return told, [picture for picture, role in words if not role]
    return placed, rest


def _holds(picture: Picture, name: str) -> bool:
    return name in picture.folders or "/".join(picture.folders).startswith(name)


def _placed(picture: Picture, named: Mapping[str, Role]) -> Placed | None:
    folders = picture.folders
    for depth in range(len(folders), 0, -1):
        role = named.get("/".join(folders[:depth])) or named.get(folders[depth - 1])
        if role:
            return Placed(picture, role, "/".join(folders[:depth]), folders[: depth - 1], folders[depth:])
    roles = [role_of(folder) for folder in folders]
    for wanted in _STRONGEST:
        if wanted in roles:
            depth = roles.index(wanted)
            return Placed(picture, wanted, "/".join(folders[: depth + 1]), folders[:depth], folders[depth + 1 :])
    return None


def read_mvtec(tree: Tree, asked: Asked) -> Reading | None:
    """`[category/]train/good` and `[category/]test/<defect>`; the category is the component."""
    if asked.roles():
        return None
    shots, categories = [], set()
    good_homes, bad_homes = 0, 0
    for picture in tree.pictures:
        folders = [folder.casefold() for folder in picture.folders]
        step = next((name for name in ("train", "test", "validation") if name in folders), None)
        if step is None or folders.index(step) + 1 >= len(folders) or "ground_truth" in folders:
            continue
        at = folders.index(step)
        kind, category = folders[at + 1], "/".join(picture.folders[:at])
        good = kind == "good"
        good_homes, bad_homes = good_homes + (good and step == "train"), bad_homes + (step == "test" and not good)
        categories.add(category)
        key = "/".join((*picture.folders, picture.stem))
        label = PASS if good else kind.replace("_", " ")
        shots.append(Shot(key, "", picture.path, label, component=category.replace("/", "_")))
    if not good_homes or not bad_homes:
        return None
    says = f"MVTec layout: train/good and test/<defect> of {len(categories)} categories, masks left out"
    return make_reading(MVTEC, says, shots, (), asked.lights, tree.skipped)


def read_visa(tree: Tree, asked: Asked, labels: Mapping[str, str]) -> Reading | None:
    """`<category>/Data/Images/{Normal,Anomaly}`; `labels` are those of image_anno.csv, by path below the root."""
    shots, categories = [], set()
    for picture in tree.pictures:
        at = next(
            (n for n in range(len(picture.folders) - 2) if picture.folders[n : n + 2] == ("Data", "Images")), None
        )
        if at is None:
            continue
        role = role_of(picture.folders[at + 2])
        if role not in ("good", "bad"):
            continue
        category = "_".join(picture.folders[:at])
        label = PASS if role == "good" else labels.get(picture.relative, DEFECT)
        categories.add(category)
        key = "/".join((*picture.folders, picture.stem))
        shots.append(Shot(key, "", picture.path, label, component=category))
    if not shots or asked.roles():
        return None
    says = f"VisA layout: Data/Images/Normal and Anomaly of {len(categories)} categories, masks left out"
    return make_reading(VISA, says, shots, (), asked.lights, tree.skipped)


def read_by_role(tree: Tree, asked: Asked) -> Reading | None:
    """Folders by word, or pairs: which picture is the golden of which follows from words, then from equal names.

    Raises InputError where a folder of good pictures could as well be that of the goldens.
    """
    placed, rest = place(tree, asked)
    if not placed:
        return None
    if rest and len(rest) > _SAME / 10 * len(tree.pictures):
        unknown = Counter("/".join(picture.folders) or "." for picture in rest)
        name, times = unknown.most_common(1)[0]
        raise InputError(
            f"{tree.root}: {times} pictures in {name!r}, whose name says neither good, bad nor golden; type "
            f"what it is: --good {name}, --bad {name} or --golden {name} (a name that is left out stays out)"
        )
    suffixed = _by_suffix(placed, tree, asked)
    if suffixed is not None:
        return suffixed
    lights = asked.lights or find_lights([("/".join(p.picture.folders), p.picture.stem) for p in placed])
    kind, masters = _which_goldens(tree, placed, asked, lights)
    shots, goldens = [], []
    for one in placed:
        name, light = split_light(one.picture.stem, lights) if lights else (one.picture.stem, None)
        if one.home in masters:
            goldens.append(Shot("/".join((*one.above, *one.rest, name)), light or "", one.picture.path, PASS))
            continue
        key = "/".join((*one.above, *(one.rest if one.role == "good" else ()), name))
        shots.append(
            Shot(key, light or "", one.picture.path, _label(one, name), name if kind == PAIRS else "", role=one.role)
        )
    count = Counter(one.role if one.home not in masters else "golden" for one in placed)
    says = ", ".join(f"{count[role]:,} {word} pictures" for role, word in _WORDS if count[role])
    homes = sorted({one.home for one in placed})
    return make_reading(
        kind, f"{says} in {', '.join(homes[:6])}" + (", ..." if len(homes) > 6 else ""), shots, goldens, lights,
        tree.skipped, _flags(asked),
    )  # fmt: skip


_WORDS: tuple[tuple[Role, str], ...] = (("good", "good"), ("bad", "bad"), ("golden", "golden"))


def _flags(asked: Asked) -> list[str]:
    """The folders that the caller named, as flags again."""
    named = (("--good", asked.good), ("--bad", asked.bad), ("--golden", asked.golden))
    return [word for flag, names in named for name in names for word in (flag, name)]


def _label(one: Placed, name: str) -> str:
    """PASS for a good part; a bad one has its subfolder's name, or the one in its own (`PCB+bridge_00001`)."""
    if one.role == "good":
        return PASS
    kinds = [folder for folder in one.rest if role_of(folder) is None]
    return label_of(kinds[0]) if kinds else label_from_name(name) or DEFECT


def _which_goldens(tree: Tree, placed: Sequence[Placed], asked: Asked, lights: Sequence[str]) -> tuple[str, set[str]]:
    """(reading, folders of goldens)."""
    masters = {one.home for one in placed if one.role == "golden"}
    names: dict[str, set[str]] = defaultdict(set)
    for one in placed:
        names[one.home].add(split_light(one.picture.stem, lights)[0])
    if masters:
        inspected = set().union(*(found for home, found in names.items() if home not in masters), set())
        given = set().union(*(names[home] for home in masters))
        paired = asked.kind != FOLDERS and len(inspected & given) >= _SAME * max(1, len(inspected))
        return (PAIRS if paired or asked.kind == PAIRS else FOLDERS), masters
    good = sorted({one.home for one in placed if one.role == "good"})
    others = {home: set().union(*(names[h] for h in names if h != home), set()) for home in good}
    same = [home for home in good if others[home] and len(others[home] & names[home]) >= _SAME * len(others[home])]
    if not same or asked.kind == FOLDERS or (asked.good and asked.kind is None):
        if asked.kind == PAIRS:
            raise InputError(f"{tree.root}: read as pairs, no folder has the names of the others; expected equal names")
        return FOLDERS, set()
    home = same[0]
    bad = sorted({one.home for one in placed if one.role == "bad"})
    told = len(good) > 1 or all(label_from_name(split_light(one.picture.stem, lights)[0]) for one in placed)
    if asked.kind == PAIRS or told:
        return PAIRS, {home}
    raise InputError(
        f"{tree.root}: {home} and {bad[0] if bad else 'the other folder'} hold the same names, so the pictures of "
        f"{home} may be goldens of the others or good parts; type --as pairs (goldens) or --as folders (good parts)"
    )


def _by_suffix(placed: Sequence[Placed], tree: Tree, asked: Asked) -> Reading | None:
    """`x_test.png` next to `x_golden.png` (or `_temp`, `_template`, `_ref`), role by folder."""
    if asked.kind == FOLDERS:
        return None
    shots, goldens = [], []
    for one in placed:
        name, _, ending = one.picture.stem.rpartition("_")
        key = "/".join((*one.above, *one.rest, name))
        if name and ending.casefold() in _INSPECTED:
            shots.append(Shot(key, "", one.picture.path, _label(one, name), golden=key, role=one.role))
        elif name and ending.casefold() in _MASTERS:
            goldens.append(Shot(key, "", one.picture.path, PASS))
    if len(shots) + len(goldens) < _SAME * len(placed) or not shots or not goldens:
        return None
    says = f"{len(shots):,} pictures with a golden of the same name and another ending next to them"
    return make_reading(PAIRS, says, shots, goldens, asked.lights, tree.skipped, _flags(asked))
