"""What a machine without a network needs, in one file: packages, weights, and the list of container images.

The launcher takes the packages out of it (`setup_bundle.build_from_bundle`); the rest is done here.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import json
import shutil
import subprocess
import tarfile
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deft_aoi.base.errors import InputError
from deft_aoi.base.files import atomic_write, sha256_file
from deft_aoi.base.paths import SKILL_ROOT, Workspace
from deft_aoi.base.safe_paths import inside
from deft_aoi.base.versions import VERSION, images
from deft_aoi.cli import setup_bundle, setup_plan
from deft_aoi.cli.sbom import CONSTRAINTS, LOCK, pinned

_WORKSPACE = "workspace/"
_WEIGHTS = ("augmentation/backbone", "augmentation/encoder")
_DOCKER_SECONDS = 30


@dataclass(frozen=True)
class Bundle:
    """What a bundle holds: environment name, packages, hash of every file, images with their ids where known."""

    environment: str
    python: str
    packages: dict[str, str]
    files: dict[str, str]
    images: dict[str, dict[str, str]]
    skill: str = VERSION

    @property
    def weights(self) -> list[str]:
        return [name.removeprefix(_WORKSPACE) for name in self.files if name.startswith(_WORKSPACE)]

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "machine": self.python.partition(" on ")[2]}


def pack(output: Path, workspace: Workspace | None, optional: Sequence[str] = ()) -> Bundle:
    """Write the bundle of this interpreter's packages and the workspace's weights; returns what is in it.

    Raises InputError for a package that is missing or not of the pinned version: another machine would get another
    environment than the one that was tested.
    """
    try:
        plan = setup_plan.make_plan(Path(), test=False, optional=optional)
    except setup_plan.SetupError as error:
        raise InputError(str(error)) from error
    asked = setup_plan.requirements((SKILL_ROOT / "pyproject.toml").read_text("utf-8"), *optional)
    found = distributions(asked, set() if optional else setup_plan.left_out())  # optional parts bring those back
    files: dict[str, str] = {}
    made = Bundle(plan.env.name, setup_plan.interpreter(), {d.name: d.version for d in found}, files, wanted_images())

    def write(stream: IO[bytes]) -> None:
        with tarfile.open(fileobj=stream, mode="w") as opened:
            for name, path in [*package_files(found), *weight_files(workspace)]:
                data = path.read_bytes()
                files[name] = hashlib.sha256(data).hexdigest()
                _add(opened, name, data)
            _add(opened, setup_bundle.BUNDLE_RECORD, json.dumps(made.to_json(), indent=1).encode())

    output.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(output, write)
    return made


def _add(opened: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(data), 0o644
    opened.addfile(entry, io.BytesIO(data))


def distributions(wanted: Sequence[str], spared: Set[str] = frozenset()) -> list[importlib.metadata.Distribution]:
    """The installed packages that these requirements need, and what those need, by name; `spared` may be missing."""
    pins = pinned(LOCK) | pinned(CONSTRAINTS)
    found: dict[str, importlib.metadata.Distribution] = {}
    todo = [Requirement(text) for text in wanted]
    while todo:
        asked = todo.pop()
        name = canonicalize_name(asked.name)
        if name in found or (asked.marker and not asked.marker.evaluate({"extra": ""})):
            continue
        try:
            one = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            if name in spared:
                continue
            raise InputError(f"{name} is not installed here; bundle with the launcher's own environment") from None
        if name in pins and one.version.partition("+")[0] not in pins[name]:
            raise InputError(
                f"{name} {one.version} is installed here, pinned is {' or '.join(sorted(pins[name]))}; bundle with the "
                "launcher's own environment (leave DEFT_PYTHON unset)"
            )
        found[name] = one
        todo += [Requirement(text) for text in one.requires or ()]
    return [found[name] for name in sorted(found)]


def package_files(found: Sequence[importlib.metadata.Distribution]) -> Iterator[tuple[str, Path]]:
    """(name in the bundle, file) of everything that the packages have in site-packages, compiled files left out."""
    for one in found:
        for file in one.files or ():
            path = Path(str(one.locate_file(file)))
            if ".." not in file.parts and "__pycache__" not in file.parts and path.is_file():
                yield setup_bundle.BUNDLE_PART + file.as_posix(), path


def weight_files(workspace: Workspace | None) -> Iterator[tuple[str, Path]]:
    """(name in the bundle, file) of staged backbones and encoders."""
    if workspace is None:
        return
    for path in sorted(path for folder in _WEIGHTS for path in (workspace.root / folder).rglob("*")):
        if path.is_file():
            yield _WORKSPACE + path.relative_to(workspace.root).as_posix(), path


def wanted_images() -> dict[str, dict[str, str]]:
    """The container images that a run may start, each with its id where a Docker daemon here has it."""
    return {key: {"image": image, "id": image_id(image)} for key, image in images().items()}


def image_id(image: str) -> str:
    """Id of an image that is on this machine; empty where it is not, or no daemon answers."""
    if shutil.which("docker") is None:
        return ""
    command = ["docker", "image", "inspect", "--format", "{{.Id}}", image]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_DOCKER_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def read(path: Path) -> Bundle:
    """What a bundle says that it holds. Raises InputError for a file that is none."""
    try:
        with tarfile.open(path) as opened:
            record = json.loads((opened.extractfile(setup_bundle.BUNDLE_RECORD) or io.BytesIO(b"{}")).read())
        return Bundle(**{name: record[name] for name in Bundle.__dataclass_fields__})
    except (OSError, tarfile.TarError, KeyError, ValueError, TypeError) as error:
        raise InputError(
            f"{path}: no bundle of this skill ({type(error).__name__}: {error}); make one: deft bundle --output FILE"
        ) from error


def check(path: Path, record: Bundle) -> None:
    """Compare every file in the bundle with its hash. Raises InputError for the first that is missing or changed."""
    left = dict(record.files)
    with tarfile.open(path) as opened:
        for member in opened:
            if (expected := left.pop(member.name, None)) is None:
                continue
            source = opened.extractfile(member)
            if source is None or _digest(source) != expected:
                raise InputError(f"{path}: {member.name} is not the file that was packed; copy the bundle again")
    if left:
        raise InputError(f"{path}: {next(iter(left))} is missing; copy the bundle again")


def _digest(source: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while block := source.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def unpack(path: Path, record: Bundle, workspace: Workspace) -> list[str]:
    """Put the weights into the workspace, none over another file; returns their names. Call :func:`check` before."""
    with tarfile.open(path) as opened:
        for member in opened:
            if not member.name.startswith(_WORKSPACE) or member.name not in record.files:
                continue
            name = member.name.removeprefix(_WORKSPACE)
            target = inside(workspace.root, name, f"{path}: {member.name}")
            if target.is_file() and sha256_file(target) == record.files[member.name]:
                continue
            if target.exists():
                raise InputError(f"{target}: another file than the bundle's; move it aside and type it again")
            source = opened.extractfile(member)
            target.parent.mkdir(parents=True, exist_ok=True)
            if source is not None:
                atomic_write(target, lambda stream, source=source: shutil.copyfileobj(source, stream))  # type: ignore[misc]
    return record.weights


def missing_images(record: Bundle) -> list[str]:
    """Images of the list that no Docker daemon of this machine has."""
    return [one["image"] for one in record.images.values() if not image_id(one["image"])]
