"""`deft score --serve`: the decisions of `deft score --images`, one part a request, for programs of the line."""

from __future__ import annotations

import base64
import binascii
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from deft_aoi.base.errors import InputError
from deft_aoi.base.rows import PASS
from deft_aoi.base.safe_paths import shown, text_problem
from deft_aoi.base.threads import cores
from deft_aoi.engine.engine_choice import TAO
from deft_aoi.kpi.reuse import NO_PASS, REVIEW
from deft_aoi.loop.part_decisions import Decision, Line, decide_part
from deft_aoi.loop.score import load_model
from deft_aoi.loop.score_folder import golden_home, open_line
from deft_aoi.web.loopback import Call, Endpoint, Schema

MAX_BYTES = 64 << 20  # of a request: a few lights of a large part, in base64
_LEFT_OUT = ("heat", "taken", "stamp")  # what only a folder's decisions have
_TEXT: Schema = {"type": "string"}
DECISION: Schema = {
    "type": "object",
    "properties": {
        **dict.fromkeys(("part", "component", "board", "golden", "golden_source", "problem"), _TEXT),
        "score": {"type": ["number", "null"]},
        "threshold": {"type": "number"},
        "by_threshold": {"enum": [PASS, NO_PASS, ""]},
        "decision": {"enum": [PASS, NO_PASS, REVIEW]},
        "heat_png": {"description": "base64; empty for PASS, and where nobody asked", "type": "string"},
    },
    "required": [*(name for name in Decision.__dataclass_fields__ if name not in _LEFT_OUT), "heat_png"],
    "additionalProperties": False,
}
PART: Schema = {
    "type": "object",
    "properties": {
        "part": {"description": "its name, as a file of it would be called, without light and extension", **_TEXT},
        "pictures": {
            "description": "the file of each light, in base64",
            "type": "object",
            "additionalProperties": _TEXT,
            "minProperties": 1,
        },
        "heat": {"type": "boolean"},
    },
    "required": ["part", "pictures"],
    "additionalProperties": False,
}
_ASKED: dict[str, Schema] = {"part": _TEXT, "heat": {"enum": ["0", "1"]}}


class Service:
    """A model that answers.

    Parts are decided by as many threads as there are cores, always the same: each keeps work space of its own, so that
    memory stays as it is however many clients ask.
    """

    def __init__(self, line: Line, facts: dict[str, Any]) -> None:
        self._line, self._facts = line, facts
        self._workers = ThreadPoolExecutor(cores())

    def endpoints(self) -> list[Endpoint]:
        sent: Schema = {"type": "string", "format": "binary"}
        return [
            Endpoint("GET", "/api/model", lambda call: self._facts, "which model answers, and by which limits"),
            Endpoint(
                "POST", "/api/decide", self._decide, "decide a part from its pictures under every light", body=PART,
                answer=DECISION, max_bytes=MAX_BYTES,
            ),
            Endpoint(
                "POST", "/api/picture", self._picture, "decide a part of a model with one light: the body is the file",
                body=sent, answer=DECISION, query=_ASKED, raw=True, max_bytes=MAX_BYTES,
            ),
        ]  # fmt: skip

    def _decide(self, call: Call) -> dict[str, Any]:
        try:
            pictures = {light: base64.b64decode(text, validate=True) for light, text in call.body["pictures"].items()}
        except (binascii.Error, ValueError):
            raise InputError("pictures: not base64") from None
        if unknown := sorted(set(pictures) - set(self._line.view.lights)):
            raise InputError(f"pictures: light {shown(unknown[0])}; expected {', '.join(self._line.view.lights)}")
        return self._answer(call.body["part"], pictures, heat=call.body.get("heat", False))

    def _picture(self, call: Call) -> dict[str, Any]:
        lights = self._line.view.lights
        if len(lights) > 1:
            raise InputError(f"the model has the lights {', '.join(lights)}; send them together to /api/decide")
        heat = call.query.get("heat", "0") == "1"
        return self._answer(call.query.get("part", ""), {lights[0]: call.body}, heat=heat)

    def _answer(self, part: str, pictures: dict[str, bytes], *, heat: bool) -> dict[str, Any]:
        if not part or text_problem(part):
            raise InputError(f"part {shown(part)}: expected its name, as SN1042_R12")
        decision, png = self._workers.submit(decide_part, part, pictures, self._line).result()
        told = {name: value for name, value in asdict(decision).items() if name not in _LEFT_OUT}
        return {**told, "heat_png": base64.b64encode(png).decode("ascii") if heat else ""}


def open_service(model_file: Path, goldens: Path | None, review_share: float) -> Service:
    """Load a model for :func:`Service`. Raises InputError where it cannot be run in this process."""
    model = load_model(model_file)
    if model.get("engine") == TAO:
        raise InputError(f"{model_file}: a TAO model runs on its platform; score folders with it: deft score --images")
    line = open_line(model_file, model, golden_home(model_file, goldens), [], model_file.parent, review_share)
    facts = {
        "engine": model["engine"], "checkpoint_sha256": model.get("checkpoint_sha256"),
        "lights": list(line.view.lights),
        "threshold": line.threshold, "review": list(line.band) if line.band else None,
        "goldens": len(line.goldens.goldens),
    }  # fmt: skip
    return Service(line, facts)
