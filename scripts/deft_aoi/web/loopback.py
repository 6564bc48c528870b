"""A web app for this machine: one token, known host names, a strict content policy, JSON in and out.

An app is a list of :class:`Endpoint`. What they publish, check and refuse is the same for every app that is built here:
the page of `deft serve` and the scoring service. Handlers are plain functions; they run in a thread pool.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import os
import re
import secrets
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonschema import Draft202012Validator

from deft_aoi.base.errors import DeftError, HardStop, InputError
from deft_aoi.base.safe_paths import printable
from deft_aoi.base.versions import VERSION

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

JSON_BYTES = 1 << 20  # of a request's body where an endpoint names no other limit
TOKEN_VARIABLE, _TOKEN_LEAST = "DEFT_SERVE_TOKEN", 16
SCHEMA_PATH = "/api/openapi.json"
_POLICY = (
    "default-src 'none'; script-src 'self'{scripts}; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_END_SECONDS = 3  # for requests that are under way when the server ends
_IDLE_SECONDS = 30
_PARAMETER = re.compile(r"{(\w+)(?::\w+)?}")

Schema = Mapping[str, Any]


class NotFound(InputError):
    """What the address names is not there: status 404."""


class Conflict(InputError):
    """Somebody else was faster, or works on it now: status 409."""


@dataclass(frozen=True)
class Call:
    """One request: parts of the path, the query, and the body: parsed JSON, or bytes where the endpoint is `raw`."""

    path: Mapping[str, str]
    query: Mapping[str, str]
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def whole(self, name: str, default: int, low: int, high: int) -> int:
        """A whole number of the query. Raises InputError outside `low` to `high`."""
        text = self.query.get(name, str(default))
        if not re.fullmatch(r"-?\d{1,12}", text) or not low <= int(text) <= high:
            raise InputError(f"{name}={text[:40]!r}: expected a whole number from {low} to {high}")
        return int(text)


@dataclass(frozen=True)
class Endpoint:
    """One address. `act` returns what becomes JSON, or a Response.

    `body` is the JSON schema of what is sent, `answer` of what comes back, `query` of each parameter. An endpoint that
    `writes` is refused in an app that only looks. `open` needs no token: nothing of a customer's may be behind it.
    """

    method: str
    path: str
    act: Callable[[Call], Any]
    summary: str
    body: Schema | None = None
    answer: Schema | None = None
    query: Mapping[str, Schema] = field(default_factory=dict)
    writes: bool = False
    raw: bool = False
    open: bool = False
    max_bytes: int = JSON_BYTES


@dataclass(frozen=True)
class Door:
    """Where an app listens and whom it answers: a bound socket, `host:port` names, the token, and whether it only
    looks."""

    socket: socket.socket
    names: frozenset[str]
    token: str
    look: bool = False

    @property
    def address(self) -> str:
        """What a person opens."""
        host, port = self.socket.getsockname()[:2]
        return f"http://{_bracketed(host)}:{port}/?token={self.token}"


def open_door(bind: str, port: int, *, names: Sequence[str] = (), look: bool = False, token: str | None = None) -> Door:
    """Listen on `bind`:`port` (0 takes a free one), under the names of that address and `names`.

    Raises InputError where the address cannot be had, or where it is every address and nobody named one.
    """
    if not names and bind in ("", "0.0.0.0", "::"):
        raise InputError(f"--bind {bind}: every address of this machine; name the one that browsers use by --name HOST")
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((bind, port))
        listening.listen(128)
    except (OSError, OverflowError) as error:
        listening.close()
        why = getattr(error, "strerror", None) or error
        raise InputError(f"--bind {bind} --port {port}: {why}; --port 0 takes a free one") from error
    real = listening.getsockname()[1]
    hosts = {_bracketed(bind), "localhost", *names} | ({"127.0.0.1"} if loopback(bind) else set())
    known = {f"{host.lower()}:{real}" for host in hosts} | ({host.lower() for host in hosts} if real == 80 else set())
    return Door(listening, frozenset(known), token or secrets.token_urlsafe(18), look)


def fixed_token() -> str | None:
    """`$DEFT_SERVE_TOKEN`, for a bookmark that outlives a restart; None: a new one each time. Raises InputError where
    it is too short to be a secret."""
    token = os.environ.get(TOKEN_VARIABLE) or None
    if token is not None and len(token) < _TOKEN_LEAST:
        raise InputError(f"{TOKEN_VARIABLE}: {len(token)} characters; expected at least {_TOKEN_LEAST}")
    return token


def loopback(bind: str) -> bool:
    """Whether an address reaches this machine only."""
    try:
        return ip_address(bind).is_loopback
    except ValueError:
        return bind == "localhost"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def make_app(door: Door, title: str, endpoints: Sequence[Endpoint], *, page: Path | None = None) -> ASGIApp:
    """The app behind a door. `page` is an HTML file served at `/`, and its folder at `/static`; both need no token,
    since they are the same for everybody."""
    from starlette.applications import Starlette
    from starlette.responses import FileResponse
    from starlette.routing import BaseRoute, Mount, Route
    from starlette.staticfiles import StaticFiles

    schema = openapi(title, endpoints)
    published = Endpoint("GET", SCHEMA_PATH, lambda call: schema, "this schema", open=True)
    routes: list[BaseRoute] = [
        Route(one.path, _handler(one, door), methods=[one.method]) for one in (*endpoints, published)
    ]
    scripts = ""
    if page is not None:
        scripts = _inline_hashes(page.read_text(encoding="utf-8"))
        routes += [
            Route("/", lambda request: FileResponse(page)),
            Mount("/static", StaticFiles(directory=page.parent)),
        ]
    return Guard(Starlette(routes=routes, exception_handlers={404: _absent, 405: _absent}), door, scripts)


def run(app: ASGIApp, door: Door) -> None:
    """Answer until SIGTERM or SIGINT; requests under way are finished, then the signal takes its usual course."""
    make_server(app).run(sockets=[door.socket])


def make_server(app: ASGIApp) -> Any:
    """A uvicorn server of the app, not yet running; `should_exit` ends it from another thread."""
    import uvicorn

    quiet = logging.getLogger("uvicorn")  # what a handler raises is answered; a request cut at the end is no news
    quiet.addHandler(logging.NullHandler())
    quiet.propagate = False
    config = uvicorn.Config(
        app, log_config=None, access_log=False, ws="none", lifespan="off", server_header=False,
        timeout_graceful_shutdown=_END_SECONDS, timeout_keep_alive=_IDLE_SECONDS,
    )  # fmt: skip
    return uvicorn.Server(config)


class Guard:
    """What every request passes first: host name, same origin, token; and the headers that every answer carries."""

    def __init__(self, app: ASGIApp, door: Door, scripts: str) -> None:
        self.app, self.door = app, door
        self.headers = {**_HEADERS, "Content-Security-Policy": _POLICY.format(scripts=scripts)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                known = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *((n.encode(), v.encode()) for n, v in self.headers.items() if n.lower().encode() not in known),
                ]
            await send(message)

        if scope["type"] != "http":
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        # A page of another site may point its own name at this address: only the names that we serve are answered.
        origin = headers.get("origin")
        ours = self.door.names
        app = self.app
        if headers.get("host", "").lower() not in ours:
            app = _fault(421, "this server does not have that name")
        elif origin is not None and origin.lower().partition("://")[2] not in ours:
            app = _fault(403, "a page of another site may not ask here")
        await app(scope, receive, answer)


def _handler(one: Endpoint, door: Door) -> Callable[[Request], Any]:
    from starlette.concurrency import run_in_threadpool

    checks = Draft202012Validator(one.body) if one.body is not None and not one.raw else None

    async def handle(request: Request) -> Response:
        if not one.open and not _has_token(request, door.token):
            return _fault(401, "the token is missing or wrong; open the address that the command printed")
        if one.writes and door.look:
            return _fault(403, "this server only looks (--look); start it without --look to decide here")
        try:
            data = await _read(request, one.max_bytes)
            body = data if one.raw else _parsed(data, checks)
            call = Call(request.path_params, request.query_params, body, request.headers)
            return _answered(await run_in_threadpool(one.act, call))
        except DeftError as error:
            return _refused(error)
        except Exception as error:  # one bad file must neither end the server nor show its insides
            return _fault(500, f"{type(error).__name__}; type: deft verify")

    return handle


def _has_token(request: Request, token: str) -> bool:
    """In the header; for reading (pictures, links) in the address too."""
    given = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
    if not given and request.method in ("GET", "HEAD"):
        given = request.query_params.get("token", "")
    return hmac.compare_digest(given.encode(), token.encode())


async def _read(request: Request, most: int) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise InputError(f"the body is larger than {most:,} bytes")
        parts.append(part)
    return b"".join(parts)


def _parsed(data: bytes, checks: Draft202012Validator | None) -> Any:
    """The body as JSON that fits the endpoint's schema; None where it takes none."""
    if checks is None:
        return None
    try:
        body = json.loads(data)
    except ValueError:
        raise InputError("the body is no JSON") from None
    if problem := next(iter(checks.iter_errors(body)), None):
        place = "/".join(map(str, problem.path)) or "the body"
        raise InputError(f"{place}: {problem.message[:200]}")
    return body


def _answered(value: Any) -> Response:
    from starlette.responses import JSONResponse, Response

    return value if isinstance(value, Response) else JSONResponse(value)


def _refused(error: DeftError) -> Response:
    status = 503
    if isinstance(error, InputError):
        status = 404 if isinstance(error, NotFound) else 409 if isinstance(error, Conflict) else 400
    more: dict[str, str] = {}
    if isinstance(error, HardStop):
        more = {"code": error.code, "evidence": error.evidence, "remedy": error.remedy}
    return _fault(status, " ".join(str(error).split()), **more)


def _fault(status: int, message: str, **more: str) -> Response:
    from starlette.responses import JSONResponse

    return JSONResponse({"error": printable(message), **more}, status)


async def _absent(request: Request, error: Exception) -> Response:
    return _fault(getattr(error, "status_code", 404), f"nothing here; the addresses are in {SCHEMA_PATH}")


def _inline_hashes(html: str) -> str:
    """CSP sources of the inline scripts of our own page (its import map)."""
    texts = re.findall(r"<script(?![^>]*\bsrc=)[^>]*>(.*?)</script>", html, re.DOTALL)
    digests = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts)
    return "".join(f" 'sha256-{digest}'" for digest in digests)


FAULT: Schema = {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]}


def openapi(title: str, endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """OpenAPI 3.1 of the endpoints."""
    paths: dict[str, dict[str, Any]] = {}
    for one in endpoints:
        operation: dict[str, Any] = {
            "summary": one.summary,
            "parameters": [
                *({"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
                  for name in _PARAMETER.findall(one.path)),
                *({"name": name, "in": "query", "schema": dict(schema)} for name, schema in one.query.items()),
            ],
            "responses": {
                "200": {"description": "done", **({"content": _content(one.answer)} if one.answer else {})},
                "default": {"description": "refused", "content": _content(FAULT)},
            },
        }  # fmt: skip
        if one.body is not None:
            kind = "application/octet-stream" if one.raw else "application/json"
            operation["requestBody"] = {"required": True, "content": {kind: {"schema": dict(one.body)}}}
        if one.open:
            operation["security"] = []
        if one.writes:
            operation["x-writes"] = True
        paths.setdefault(_PARAMETER.sub(r"{\1}", one.path), {})[one.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": VERSION},
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
        "security": [{"token": []}],
        "paths": paths,
    }


def _content(schema: Schema) -> dict[str, Any]:
    return {"application/json": {"schema": dict(schema)}}
