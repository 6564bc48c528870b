"""What the name of a folder, or a word in a table, says of the pictures: good, bad, golden, or none of ours."""

from __future__ import annotations

import itertools
import re
from typing import Literal

from deft_aoi.base.names import good_words

Role = Literal["golden", "bad", "good", "ignored"]

_BAD = {
    "ng", "nok", "notok", "nio", "bad", "fail", "failed", "failure", "defect", "defects", "defective", "anomaly",
    "anomalies", "abnormal", "anomalous", "reject", "rejected", "rejects", "schlecht", "ausschuss", "fehler", "malo",
    "malos", "defecto", "defectos", "défaut", "défauts", "defaut", "mauvais", "rebut", "nonconforme", "difetto",
    "difetti", "scarto", "ruim",
    "不良", "不良品", "不合格", "缺陷", "缺陷品", "异常", "異常", "次品", "欠陥", "불량", "불량품", "결함",
}  # fmt: skip
_GOLDEN = {
    "golden", "goldens", "gold", "ref", "refs", "reference", "references", "referenz", "referenzen", "template",
    "templates", "temp", "master", "muster", "sollbild", "goldmuster", "referencia", "référence", "riferimento",
    "modelo",
    "参考", "参照", "标准", "標準", "模板", "基準", "黄金样本", "金样", "기준",
}  # fmt: skip
_IGNORED = {"groundtruth", "mask", "masks", "annotation", "annotations", "thumbs", "thumbnails", "macosx"}
_ORDER: tuple[tuple[Role, frozenset[str]], ...] = (
    ("ignored", frozenset(_IGNORED)),
    ("golden", frozenset(_GOLDEN)),
    ("bad", frozenset(_BAD)),
    ("good", frozenset(word for word in good_words() if len(word) > 1 or not word.isascii())),
)  # GOLDEN_OK is a golden, and "not ok" no OK
_BREAK = re.compile(r"[\W\d_]+")


def role_of(name: str) -> Role | None:
    """The role that a name states: as a whole without blanks and points (`n.i.O.`, `NOT_OK`), else by one of its words
    (`02_OK parts`); None for a name without any such word."""
    words = [word for word in _BREAK.split(name.casefold()) if word]
    whole = "".join(words)
    for role, known in _ORDER:
        if whole in known:
            return role
    pairs = {first + second for first, second in itertools.pairwise(words)}
    for role, known in _ORDER:
        if known & pairs or known & set(words):
            return role
    return None
