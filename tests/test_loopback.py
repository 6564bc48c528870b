"""An app on loopback: who is answered, what is refused, and what its schema says. A real server, real requests."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from deft_aoi.base.errors import HardStop, InputError
from deft_aoi.web.loopback import (
    SCHEMA_PATH,
    Call,
    Conflict,
    Door,
    Endpoint,
    NotFound,
    loopback,
    make_app,
    make_server,
    open_door,
)

TOKEN = "t-secret"


def fail(error: Exception) -> Any:
    def act(call: Call) -> Any:
        raise error

    return act


WORD = {"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]}
ENDPOINTS = [
    Endpoint(
        "GET", "/api/echo/{name}", lambda call: {"name": call.path["name"], "n": call.whole("n", 1, 0, 9)}, "echo"
    ),
    Endpoint("POST", "/api/word", lambda call: call.body, "a word", body=WORD, answer=WORD, writes=True),
    Endpoint("POST", "/api/bytes", lambda call: len(call.body), "bytes", body={}, raw=True, max_bytes=10),
    Endpoint("GET", "/api/absent", fail(NotFound("no such run")), "404"),
    Endpoint("GET", "/api/busy", fail(Conflict("another step works on it")), "409"),
    Endpoint("GET", "/api/stop", fail(HardStop("code", "message", remedy="do this")), "503"),
    Endpoint("GET", "/api/crash", fail(KeyError("/home/somebody/secret")), "500"),
]


@contextmanager
def served(door: Door, page: Path | None = None) -> Iterator[int]:
    server = make_server(make_app(door, "test", ENDPOINTS, page=page))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [door.socket]}, daemon=True)
    thread.start()
    yield door.socket.getsockname()[1]
    server.should_exit = True
    thread.join(10)
    assert not thread.is_alive()


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    page = tmp_path_factory.mktemp("page") / "index.html"
    page.write_text('<script type="importmap">{}</script><script src="/static/app.js"></script>')
    (page.parent / "app.js").write_text("1;")
    with served(open_door("127.0.0.1", 0, token=TOKEN), page) as found:
        yield found


def ask(
    port: int, method: str, path: str, body: bytes | None = None, token: str | None = TOKEN, **headers: str
) -> tuple[int, Any, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    named = {"Host": f"127.0.0.1:{port}", **({"Authorization": f"Bearer {token}"} if token else {}), **headers}
    connection.request(method, path, body, named)
    answer = connection.getresponse()
    data, kind = answer.read(), answer.headers.get("Content-Type", "")
    connection.close()
    names = {name.lower(): value for name, value in answer.headers.items()}
    return answer.status, json.loads(data) if "json" in kind else data.decode(), names


def test_json_in_and_out(port: int) -> None:
    assert ask(port, "GET", "/api/echo/a%2Fb?n=3")[0] == 404  # a name is one part of the path
    assert ask(port, "GET", "/api/echo/ab?n=3")[:2] == (200, {"name": "ab", "n": 3})
    assert ask(port, "POST", "/api/word", b'{"word": "w"}')[:2] == (200, {"word": "w"})
    assert ask(port, "POST", "/api/bytes", b"12345")[:2] == (200, 5)


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/api/absent", 404, "no such run"),
        ("/api/busy", 409, "works on it"),
        ("/api/stop", 503, "message"),
        ("/api/nothing", 404, SCHEMA_PATH),
        ("/api/echo/a?n=x", 400, "whole number from 0 to 9"),
        ("/api/crash", 500, "KeyError"),
        ("/static/../loopback.py", 404, SCHEMA_PATH),
        ("/static/%2e%2e/%2e%2e/etc/passwd", 404, SCHEMA_PATH),
    ],
)
def test_faults_are_json_and_show_no_insides(port: int, path: str, status: int, said: str) -> None:
    found, answer, _ = ask(port, "GET", path)
    assert (found, said in answer["error"]) == (status, True)
    assert "somebody" not in answer["error"]


@pytest.mark.parametrize(
    ("body", "said"),
    [(b"{", "no JSON"), (b'{"word": 1}', "word: 1"), (b"{}", "required"), (b" " * 2_000_000, "larger")],
)
def test_a_body_that_does_not_fit_is_refused(port: int, body: bytes, said: str) -> None:
    status, answer, _ = ask(port, "POST", "/api/word", body)
    assert (status, said in answer["error"]) == (400, True)


def test_the_token_is_asked_for_and_a_write_takes_it_from_the_header_only(port: int) -> None:
    assert ask(port, "GET", "/api/echo/a", token=None)[0] == 401
    assert ask(port, "GET", "/api/echo/a", token="other")[0] == 401
    assert ask(port, "GET", f"/api/echo/a?token={TOKEN}", token=None)[0] == 200
    assert ask(port, "POST", f"/api/word?token={TOKEN}", b'{"word": "w"}', token=None)[0] == 401


@pytest.mark.parametrize("host", ["evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "evil.example", ""])
def test_another_name_is_refused(port: int, host: str) -> None:
    """A page elsewhere whose name is pointed at this address (DNS rebinding) gets nothing."""
    assert ask(port, "GET", "/api/echo/a", Host=host.format(port=port))[0] == 421
    assert ask(port, "GET", "/api/echo/a", Host=f"localhost:{port}")[0] == 200


def test_a_page_of_another_site_is_refused(port: int) -> None:
    assert ask(port, "POST", "/api/word", b'{"word": "w"}', Origin="http://evil.example")[0] == 403
    assert ask(port, "POST", "/api/word", b'{"word": "w"}', Origin="null")[0] == 403
    assert ask(port, "POST", "/api/word", b'{"word": "w"}', Origin=f"http://127.0.0.1:{port}")[0] == 200


def test_the_page_needs_no_token_and_allows_its_own_scripts_only(port: int) -> None:
    status, text, headers = ask(port, "GET", "/", token=None)
    assert (status, "importmap" in text) == (200, True)
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self' 'sha256-" in policy
    assert "unsafe" not in policy
    assert headers["referrer-policy"] == "no-referrer"
    assert ask(port, "GET", "/static/app.js", token=None)[:2] == (200, "1;")


def test_looking_refuses_what_writes() -> None:
    with served(open_door("127.0.0.1", 0, look=True, token=TOKEN)) as port:
        status, answer, _ = ask(port, "POST", "/api/word", b'{"word": "w"}')
        assert (status, "--look" in answer["error"]) == (403, True)
        assert ask(port, "POST", "/api/bytes", b"1")[0] == 200


def test_the_schema_is_published(port: int) -> None:
    status, schema, _ = ask(port, "GET", SCHEMA_PATH, token=None)
    assert (status, schema["openapi"]) == (200, "3.1.0")
    assert schema["paths"]["/api/word"]["post"]["requestBody"]["content"]["application/json"]["schema"] == WORD
    assert schema["paths"]["/api/echo/{name}"]["get"]["parameters"][0]["in"] == "path"


def test_addresses(tmp_path: Path) -> None:
    door = open_door("127.0.0.1", 0)
    port = door.socket.getsockname()[1]
    assert door.address == f"http://127.0.0.1:{port}/?token={door.token}"
    assert len(door.token) >= 20
    with pytest.raises(InputError, match="--port 0 takes a free one"):
        open_door("127.0.0.1", port)
    door.socket.close()
    with pytest.raises(InputError, match="--name HOST"):
        open_door("0.0.0.0", 0)
    assert [loopback(name) for name in ("127.0.0.1", "::1", "localhost", "192.0.2.1")] == [True, True, True, False]
