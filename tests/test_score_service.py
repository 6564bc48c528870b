"""deft score --serve: the answers of deft score --images, one part a request, as its published schema says."""

from __future__ import annotations

import base64
import csv
import http.client
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import jsonschema
import numpy as np
import pytest

from deft_aoi.base.errors import InputError
from deft_aoi.base.files import atomic_write_json
from deft_aoi.base.paths import SKILL_ROOT
from deft_aoi.loop.score_folder import open_station
from deft_aoi.web.score_service import open_service
from line_model import imported_model, new_pictures

TOKEN = "t-secret"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return imported_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def port(model: Path) -> Iterator[int]:
    """A service as a station starts it."""
    words = [sys.executable, "-m", "deft_aoi.cli.main", "score", "--model", str(model), "--serve", "--port", "0"]
    environment = {**os.environ, "PYTHONPATH": str(SKILL_ROOT / "scripts"), "DEFT_SCORE_TOKEN": TOKEN}
    server = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment)
    assert server.stdout is not None
    first = server.stdout.readline()
    assert TOKEN not in first
    yield int(re.search(r":(\d+)/", first)[1])
    server.send_signal(signal.SIGTERM)
    assert server.wait(20) == 128 + signal.SIGTERM


def ask(port: int, method: str, path: str, body: bytes | None = None, token: str = TOKEN) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request(method, path, body, {"Authorization": f"Bearer {token}"})
    answer = connection.getresponse()
    found = json.loads(answer.read())
    connection.close()
    return answer.status, found


def told(part: str, path: Path, **more: Any) -> bytes:
    picture = base64.b64encode(path.read_bytes()).decode()
    return json.dumps({"part": part, "pictures": {"SolderLight": picture}, **more}).encode()


def test_answers_are_those_of_the_command(model: Path, port: int, tmp_path: Path) -> None:
    images = new_pictures(tmp_path / "today")
    (images / "SN301_R1.png").write_bytes(b"cut off")
    open_station(model, images, tmp_path / "out", review_share=0.02).decide_new()
    with open(tmp_path / "out/decisions.csv", newline="", encoding="utf-8") as stream:
        rows = {row["part"]: row for row in csv.DictReader(stream)}
    schema = ask(port, "GET", "/api/openapi.json", token="")[1]
    answer = schema["paths"]["/api/decide"]["post"]["responses"]["200"]["content"]["application/json"]["schema"]

    def both(part: str) -> list[dict[str, Any]]:
        path = images / f"{part}.png"
        return [
            ask(port, "POST", "/api/decide", told(part, path, heat=True))[1],
            ask(port, "POST", f"/api/picture?part={part}&heat=1", path.read_bytes())[1],
        ]

    with ThreadPoolExecutor(4) as clients:
        found = dict(zip(rows, clients.map(both, rows)))
    for part, (one, other) in found.items():
        row = rows[part]
        assert one["problem"].replace("SolderLight", f"{part}.png") == row["problem"]
        assert other == one
        jsonschema.validate(one, answer)
        for name in ("component", "board", "golden", "golden_source", "decision", "by_threshold"):
            assert one[name] == row[name], part
        assert one["score"] == (float(row["score"]) if row["score"] else None)
        heat = cv2.imdecode(np.frombuffer(base64.b64decode(one["heat_png"]), np.uint8), 1) if one["heat_png"] else None
        if row["heat"]:
            np.testing.assert_array_equal(heat, cv2.imread(str(tmp_path / "out" / row["heat"])))
        else:
            assert heat is None


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/api/decide", b"{", 400, "the body is no JSON"),
        ("/api/decide", b'{"part": "a"}', 400, "'pictures' is a required property"),
        ("/api/decide", b'{"part": "a", "pictures": {"SolderLight": "-"}}', 400, "not base64"),
        ("/api/decide", b'{"part": "a", "pictures": {"Dark": "QQ=="}}', 400, "light 'Dark'; expected SolderLight"),
        ("/api/picture", b"x", 400, "part '': expected its name, as SN1042_R12"),
    ],
)
def test_what_cannot_be_answered_is_refused(port: int, path: str, body: bytes, status: int, words: str) -> None:
    found = ask(port, "POST", path, body)
    assert found[0] == status
    assert words in found[1]["error"]


def test_only_who_has_the_token_is_answered(port: int) -> None:
    assert ask(port, "GET", "/api/model", token="other")[0] == 401
    status, facts = ask(port, "GET", "/api/model")
    assert status == 200
    assert facts["engine"] == "features"
    assert facts["lights"] == ["SolderLight"]


def test_a_tao_model_is_refused(model: Path, tmp_path: Path) -> None:
    atomic_write_json(tmp_path / "best_model.json", {**json.loads(model.read_text()), "engine": "tao"})
    with pytest.raises(InputError, match=r"runs on its platform.*--images"):
        open_service(tmp_path / "best_model.json", None, 0.02)
