"""What the launcher's environment is made of: names, versions and licences, as a CycloneDX bill of materials."""

from __future__ import annotations

import importlib.metadata
import json
import re
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any, cast

from deft_aoi.base.errors import InputError
from deft_aoi.base.files import sha256_file
from deft_aoi.base.paths import SKILL_ROOT

LOCK = SKILL_ROOT / "requirements.lock"
CONSTRAINTS = SKILL_ROOT / "constraints.txt"
TRUNK = SKILL_ROOT / "assets/trunk/efficientnet_lite0_trunk.onnx"
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)(?:\s*;\s*([^\\\n]+?))?\s*\\?$", re.MULTILINE)
UNKNOWN = "not installed here"


@dataclass(frozen=True)
class Package:
    """One pin; `base`: part of every environment, its files compared with their hashes."""

    name: str
    version: str
    marker: str
    base: bool
    licence: str


def packages() -> list[Package]:
    """Every pin of the skill, the base first. Licences are read from what is installed in the same version."""
    try:
        base = {(name, version) for name, version, _ in _pins(LOCK)}
        pins = _pins(CONSTRAINTS)
    except OSError as error:
        raise InputError(f"{error.filename}: {error.strerror}; install the skill again") from error
    found = [Package(n, v, marker, (n, v) in base, licence_of(n, v)) for n, v, marker in pins]
    return sorted(found, key=lambda package: (not package.base, package.name, package.version))


def pinned(path: Path) -> dict[str, set[str]]:
    """Versions of each pin by its name, as a package index spells it."""
    found: dict[str, set[str]] = {}
    for name, version, _ in _pins(path):
        found.setdefault(re.sub(r"[-_.]+", "-", name), set()).add(version)
    return found


def _pins(path: Path) -> list[tuple[str, str, str]]:
    return [(name.lower(), version, marker or "") for name, version, marker in _PIN.findall(path.read_text("utf-8"))]


def licence_of(name: str, version: str) -> str:
    """A licence expression, else the classifiers' words, else the first line of the licence field."""
    try:
        found = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return UNKNOWN
    if found.version.split("+")[0] != version:
        return UNKNOWN
    words = cast(Message, found.metadata)
    if expression := words.get("License-Expression"):
        return expression
    classifiers = [c.rpartition(" :: ")[2] for c in words.get_all("Classifier") or [] if c.startswith("License ::")]
    if told := ", ".join(dict.fromkeys(c for c in classifiers if c != "OSI Approved")):
        return told
    return (words.get("License") or "not stated").strip().splitlines()[0][:80]


def bill_of_materials(version: str, found: Iterable[Package]) -> dict[str, Any]:
    """CycloneDX 1.6; the same pins and installed licences give the same bytes."""
    components = [_component(package) for package in found]
    trunk = {
        "type": "machine-learning-model",
        "name": TRUNK.stem,
        "version": "1",
        "hashes": [{"alg": "SHA-256", "content": sha256_file(TRUNK)}],
        "licenses": [{"license": {"id": "Apache-2.0"}}],
    }
    subject = {"type": "application", "name": "tao-run-deft-aoi", "version": version, "bom-ref": "tao-run-deft-aoi"}
    subject["licenses"] = [{"license": {"id": "Apache-2.0"}}]  # type: ignore[assignment]
    parts = [*components, trunk]
    serial = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps([subject, parts], sort_keys=True))
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {"component": subject},
        "components": parts,
    }


def _component(package: Package) -> dict[str, Any]:
    purl = f"pkg:pypi/{package.name.replace('_', '-')}@{package.version}"
    made: dict[str, Any] = {
        "type": "library", "bom-ref": purl, "name": package.name, "version": package.version, "purl": purl,
        "scope": "required" if package.base else "optional",
    }  # fmt: skip
    if package.licence not in (UNKNOWN, "not stated"):
        made["licenses"] = [{"license": {"name": package.licence}}]
    if package.marker:
        made["properties"] = [{"name": "deft:marker", "value": package.marker}]
    return made
