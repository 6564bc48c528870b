"""What a path from outside may be: the one place that keeps every read and write inside the workspace.

"From outside" is each path that is in a CSV, a spec, a manifest, a state or a journal. A path is refused where its
text hides something (control, bidirectional or invisible characters, look-alikes of `/` and `.`), where it is longer
than the system allows, and where it leaves the workspace by `..`, as an absolute path or through a symbolic link.
"""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deft_aoi.base.csv_text import line_of
from deft_aoi.base.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

MAX_PATH, MAX_NAME = 4096, 255  # bytes, Linux
WORKSPACE_VARIABLE = "DEFT_WORKSPACE"  # tells an engine's process which folder its images may not leave
OUTPUT = "results_dir"  # ends every key that names a place to write to
# Where TAO's containers mount data: a spec written for them names these, and no file of this host.
TEMPLATE_RESULTS = "/results"  # the placeholder of NVIDIA's spec template; each task gets its own folder
CONTAINER_ROOTS = ("/data/", "/model/", "/workspace/")
# Slashes that are none, and a full stop's twin, which compatibility normalisation leaves as they are.
_LOOKALIKES = frozenset("∕⁄⧸⧵╱╲⟋⟍﹨․‥…")
_SHOWN = 80


def text_problem(text: str) -> str | None:
    """None where `text` may be part of a path, else what is wrong with it, in words."""
    if text.isascii() and text.isprintable() and "\\" not in text and len(text) <= MAX_NAME:
        return None
    for character in text:
        kind = unicodedata.category(character)
        if kind in ("Cc", "Cf", "Cs", "Zl", "Zp"):
            return f"character U+{ord(character):04X} does not show, or changes how the text is shown"
        if character in _LOOKALIKES or (ord(character) > 127 and set(_plain(character)) & set("./\\:")):
            return f"character U+{ord(character):04X} looks like a slash or a full stop"
    if "\\" in text:
        return "a backslash; write folders with /"
    if len(os.fsencode(text)) > MAX_PATH or any(len(os.fsencode(part)) > MAX_NAME for part in text.split("/")):
        return f"longer than the system allows ({MAX_PATH} bytes, {MAX_NAME} for one name)"
    return None


def _plain(character: str) -> str:
    return unicodedata.normalize("NFKC", character)


def shown(text: object) -> str:
    """`text` for a message: quoted, every character that does not show escaped, cut where it is long."""
    quoted = ascii(text) if not str(text).isprintable() else repr(text)
    return quoted if len(quoted) <= _SHOWN else f"{quoted[: _SHOWN - 12]}... ({len(str(text))} characters)"


def printable(text: str) -> str:
    """`text` as a terminal may show it: control and bidirectional characters escaped, line breaks and tabs kept."""
    if text.isascii() and all(" " <= c <= "~" or c in "\n\t" for c in text):
        return text
    return "".join(
        c if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Zl", "Zp") else _escaped(c) for c in text
    )


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def inside(root: Path, path: str | Path, what: str, advice: str = "move it inside") -> Path:
    """`path` (absolute, or relative to `root`) with every link followed. Raises InputError where it leaves `root`.

    `root` must itself be resolved, so that a workspace that is reached through a link stays usable. `advice` is
    what the message tells to do about a path outside.
    """
    if problem := text_problem(str(path)):
        raise InputError(f"{what}: {shown(str(path))}: {problem}")
    full = real(root / Path(path))
    if full is None or not full.is_relative_to(root):
        via = "" if full is None or not _lexically_inside(root, path) else f" (a link to {full})"
        raise InputError(f"{what}: {path} is outside the workspace {root}{via}; {advice}")
    return full


def real(path: Path) -> Path | None:
    """The path with every link followed; None for links in a circle."""
    try:
        return Path(os.path.realpath(path))
    except (OSError, ValueError):
        return None


def _lexically_inside(root: Path, path: str | Path) -> bool:
    return Path(os.path.normpath(root / Path(path))).is_relative_to(root)


def check_cells(rows: pd.DataFrame, csv: Path, base: Path, root: Path) -> None:
    """Refuse rows whose folders or object name lead elsewhere, with the line of the first.

    `base` is the folder that the paths are relative to, `root` the workspace, resolved. Each distinct text is looked at
    once: 100,000 rows of 300 boards cost 300 look-ups.
    """
    for column in ("input_path", "golden_path"):
        _refuse(rows, csv, column, {text: _folder_problem(text, base, root) for text in rows[column].unique()})
    _refuse(rows, csv, "object_name", {text: name_problem(text) for text in rows["object_name"].unique()})


def _refuse(rows: pd.DataFrame, csv: Path, column: str, problems: dict[str, str | None]) -> None:
    bad = {text: problem for text, problem in problems.items() if problem is not None}
    if not bad:
        return
    wrong = rows[column].isin(bad).to_numpy()
    row = int(wrong.argmax())
    text = rows[column].iloc[row]
    remedy = f": deft fix-csv {csv} --accept" if "\\" in text else ""
    found = f"{csv}, line {line_of(csv, row)}: {column} {shown(text)}: {bad[text]} ({int(wrong.sum())} such rows)"
    raise InputError(found + remedy)


def _folder_problem(text: str, base: Path, root: Path) -> str | None:
    if problem := text_problem(text):
        return problem
    if text.strip().startswith("/"):
        return "an absolute path; write it relative to the images folder"
    full = real(base / text.strip())
    if full is None or not full.is_relative_to(root):
        return f"is outside the workspace {root}; move the images inside"
    return None


def name_problem(text: str) -> str | None:
    """What is wrong with an object's name: it is part of a file name, so it holds no folder."""
    return text_problem(text) or ("a folder in a file's name" if "/" in text else None)


def check_files(files: Iterable[str], root: Path) -> tuple[set[str], set[str]]:
    """(absent, outside) of distinct image files: one look-up each, links followed only where there are any."""
    absent: set[str] = set()
    outside: set[str] = set()
    text = str(root)
    for name in files:
        try:
            found = os.lstat(name)
        except (OSError, ValueError):
            absent.add(name)
            continue
        if stat.S_ISREG(found.st_mode):
            continue
        if not stat.S_ISLNK(found.st_mode) or not os.path.isfile(name):
            absent.add(name)
        elif not _below(os.path.realpath(name), text):
            outside.add(name)
    return absent, outside


def _below(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip("/") + "/")


@lru_cache(maxsize=65536)
def _real_folder(folder: str) -> str:
    return os.path.realpath(folder)


def leaves_workspace(name: str) -> bool:
    """Whether an image file is, all links followed, outside the workspace that this process works for.

    False where no workspace is named: an engine that a person calls by hand reads what that person names.
    """
    root = os.environ.get(WORKSPACE_VARIABLE)
    return bool(root) and leaves(name, str(root))


def leaves(name: str, root: str) -> bool:
    """Whether a file is, all links followed, outside `root` (resolved)."""
    folder, _, last = name.rpartition("/")
    if os.path.islink(name):
        return not _below(os.path.realpath(name), root)
    return last in ("", ".", "..") or not _below(_real_folder(folder), root)


def check_spec_paths(spec: Any, root: Path, where: str) -> None:
    """Refuse a spec that names a file or folder outside the workspace, by the key that names it."""
    for problem in spec_path_problems(spec, root, where):
        raise InputError(problem)


def spec_path_problems(spec: Any, root: Path, where: str, key: str = "") -> Iterator[str]:
    """Every path of a spec that leads out of the workspace, by the key that names it and with what to do.

    Paths of TAO's containers, `${key}` references and the template's `results_dir: /results` are left alone; the loop
    replaces what it uses of them.
    """
    if key == "results_dir" and spec == TEMPLATE_RESULTS:
        return
    if isinstance(spec, dict):
        for name, value in spec.items():
            yield from spec_path_problems(value, root, where, f"{key}.{name}" if key else str(name))
    elif isinstance(spec, list):
        for value in spec:
            yield from spec_path_problems(value, root, where, key)
    elif isinstance(spec, str) and key.rpartition(".")[2].endswith(("_path", "_dir", "_file", "dirpath", "checkpoint")):
        container = spec.startswith(CONTAINER_ROOTS) and not key.endswith(OUTPUT)
        if "${" not in spec and not (container and ".." not in spec):
            output = {"advice": f"remove the key, or set it to {root / 'results'}"} if key.endswith(OUTPUT) else {}
            try:
                inside(root, spec, f"{where}: {key}", **output)
            except InputError as error:
                yield str(error)


def check_facts(facts: dict[str, Any], root: Path, where: str) -> dict[str, Any]:
    """`facts` of a journal or state, refused where a path among them is outside the workspace."""
    for name, value in facts.items():
        if isinstance(value, str) and (value.startswith("/") or value.startswith("../") or "/../" in value):
            inside(root, value, f"{where}: {name}")
        elif isinstance(value, dict):
            check_facts(value, root, where)
    return facts


def workspace_of(run_dir: Path) -> Path:
    """The workspace of a run directory by its place, `<workspace>/results/<run>`; the run itself in any other place."""
    return run_dir.parent.parent if run_dir.parent.name == "results" else run_dir
