"""Grammars of the names that go into file names, commands, prompts and pages: labels, lights, projects, images.

The words that people write for a good part are here, and only here.
"""

from __future__ import annotations

import functools
import re
import unicodedata

from deft_aoi.base.errors import InputError
from deft_aoi.base.safe_paths import shown, text_problem

PASS = "PASS"
# Words for a good part: letters and digits only, as `_plain` makes them of any spelling.
_GOOD_WORDS = (
    "pass passed passes passing ok okay okey good g p gd accept accepted acceptable approved normal clean golden "
    "conform conforming conformant conformance compliant correct defectfree nodefect nodefects nondefect nondefective "
    "notdefective withoutdefect nofault faultfree noerror noissue nofinding noanomaly anomalyfree nonanomalous "
    "negative goodpart goodparts goodsample goodproduct goodunit okpart mpass "
    "falsecall falsealarm overkill pseudodefect pseudofehler "
    "io inordnung gut gutteil bestanden fehlerfrei "
    "bon bonne bons conforme conformes sansdefaut bueno buenos buena buoni correcto aprobado aceptado "
    "sindefecto buono bom boa aprovado goed "
    "goedgekeurd dobry dobra iyi gecti uygun đạt lulus baik bagus годен годный годная хороший норма "
    "良品 合格 合格品 正常 良 良好 好 好品 好件 通过 通過 无缺陷 無缺陷 可 양품 정상 합격 ผ่าน"
)
# A label that names nothing: what spreadsheets and data bases write into an empty cell, and flags.
_NOTHING = frozenset(("na", "nan", "null", "nil", "none", "nat", "0", "1", "true", "false", "yes", "no", "y", "n"))
_PART = re.compile(r"[a-zA-Z]+|[^\W\d_a-zA-Z]+")  # of one script, without digits
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


def means_good(label: str) -> bool:
    """Whether a label is a word for a good part in any spelling: `PASS` itself, `OK 1`, `PASS(合格)`."""
    if _plain(label) in good_words():
        return True
    parts = [_plain(part) for part in _PART.findall(unicodedata.normalize("NFKC", label))]
    return bool(parts) and all(part in good_words() and len(part) > 1 for part in parts)


@functools.cache
def good_words() -> frozenset[str]:
    """Every word for a good part, as letters and digits in lower case."""
    return frozenset(map(_plain, _GOOD_WORDS.split()))


def names_nothing(label: str) -> bool:
    """Whether a label that is not empty says that there is none (`NA`, `null`, `-`), or is a flag (`0`, `true`)."""
    plain = _plain(label)
    return plain in _NOTHING or (not plain and bool(label.strip()))


def _plain(label: str) -> str:
    """Full width brought to half, accents dropped, lower case, letters and digits only: `I. O.` is `io`."""
    text = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", label).casefold())
    return unicodedata.normalize("NFC", "".join(c for c in text if c.isalnum() or unicodedata.category(c) == "Mc"))


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
    """`name`, refused where it is no container image: it goes to a container runtime."""
    if _IMAGE.fullmatch(name) or (_IMAGE_FILE.fullmatch(name) and ".." not in name):
        return name
    raise InputError(f"{where} {shown(name)}: no container image; expected registry/name:tag, or a .sif file")
