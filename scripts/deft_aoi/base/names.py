"""Grammars of the names that go into file names, commands, prompts and pages: labels, lights, projects, images."""

from __future__ import annotations

import re

from deft_aoi.base.errors import InputError
from deft_aoi.base.safe_paths import shown, text_problem

MAX_LABEL = 100
# A letter or digit of any script first: no `-option`, no `=formula`, no `.hidden`; then what factories write.
_LABEL = re.compile(r"\w[\w .+&()#@%,:;'*-]*")
_LIGHT = re.compile(r"\w[\w .+@#-]{0,63}")
_EXT = re.compile(r"\.[A-Za-z0-9]{1,8}")
_PROJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
# registry[:port]/path/name[:tag][@sha256:digest]: never an option, a blank or a variable.
_IMAGE = re.compile(
    r"(?:[a-zA-Z0-9][a-zA-Z0-9.-]*(?::\d{1,5})?/)?[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*"
    r"(?::[\w][\w.-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
)
# Apptainer takes a file instead of an image's name.
_IMAGE_FILE = re.compile(r"/?[\w.+-]+(?:/[\w.+-]+)*\.(?:sif|sqsh)")


def label_problem(label: str) -> str | None:
    """None for the name of a defect (or PASS), else what is wrong with it."""
    if problem := text_problem(label):
        return problem
    if len(label) > MAX_LABEL:
        return f"longer than {MAX_LABEL} characters"
    if _LABEL.fullmatch(label.strip()) is None:
        return "a label begins with a letter or digit and holds letters, digits, blanks and . + - & ( ) # @ % , : ; ' *"
    return None


def check_lights(lights: list[str], ext: str, where: str) -> None:
    """Raise InputError where a light or the extension could not be part of a file name."""
    for light in lights:
        if _LIGHT.fullmatch(light) is None or text_problem(light):
            raise InputError(f"{where}: light {shown(light)}; expected letters, digits and . + - @ # as in SolderLight")
    if _EXT.fullmatch(ext) is None:
        raise InputError(f"{where}: dataset.classify.image_ext is {shown(ext)}; expected a dot and letters, as '.jpg'")


def check_project(name: str, where: str = "--project") -> str:
    """`name`, refused where it could not be the name of a folder on every system."""
    if _PROJECT.fullmatch(name) is None or ".." in name:
        raise InputError(f"{where} {shown(name)}: expected letters, digits and . _ - with a letter or digit first")
    return name


def check_image(name: str, where: str) -> str:
    """`name`, refused where it is no container image: what stands there is handed to a container runtime."""
    if _IMAGE.fullmatch(name) or (_IMAGE_FILE.fullmatch(name) and ".." not in name):
        return name
    raise InputError(f"{where} {shown(name)}: no container image; expected registry/name:tag, or a .sif file")
