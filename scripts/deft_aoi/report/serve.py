"""Show the report of a running loop in a browser, rendered anew whenever the journal has grown; nothing is written."""

from __future__ import annotations

import contextlib
import threading
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path

from deft_aoi.base.errors import DeftError, InputError
from deft_aoi.report.render import page_text
from deft_aoi.report.source import open_run

# The report itself allows no connection anywhere; this frame around it asks whether there is a newer one.
FRAME = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>DEFT report, live</title>
<style>html, body, iframe { margin: 0; border: 0; width: 100%; height: 100%; display: block; }</style></head>
<body><iframe id="report" src="/report" title="DEFT report"></iframe><script>
let seen = null;
setInterval(async () => {
  const now = await fetch("/version").then((answer) => (answer.ok ? answer.text() : seen), () => seen);
  const frame = document.getElementById("report");
  if (seen !== null && now !== seen) {
    const place = frame.contentWindow.scrollY;
    frame.addEventListener("load", () => frame.contentWindow.scrollTo(0, place), { once: true });
    frame.contentWindow.location.reload();
  }
  seen = now;
}, 1500);
</script></body></html>
"""
_FRAME_POLICY = (
    "default-src 'none'; frame-src 'self'; connect-src 'self'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
)
_NAMES = ("localhost",)


class Report:
    """The page of one run, kept until the files that it is made of change."""

    def __init__(self, run_dir: Path) -> None:
        self.paths = open_run(run_dir).paths
        self.lock = threading.Lock()
        self.version, self.text = "", ""

    def now(self) -> str:
        """A text that changes with journal, state and narrative."""
        files = (self.paths.log, self.paths.state, self.paths.narrative)
        stamps = [path.stat() if path.is_file() else None for path in files]
        return "-".join("0" if stamp is None else f"{stamp.st_mtime_ns:x}.{stamp.st_size:x}" for stamp in stamps)

    def page(self) -> str:
        """The page as it is now; raises DeftError where the run cannot be read."""
        with self.lock:
            version = self.now()
            if version != self.version:
                self.text, self.version = page_text(self.paths.root), version
            return self.text


class Handler(BaseHTTPRequestHandler):
    """Three addresses and no files: `/` (the frame), `/report` (the page), `/version`."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "deft", ""
    timeout = 30  # seconds: a caller that says nothing does not keep a thread

    def __init__(self, report: Report, names: frozenset[str], *args: object) -> None:
        self.report, self.names = report, names
        super().__init__(*args)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        # A page of another site may point its own name at this address: only the names that we serve are answered.
        if self.headers.get("Host", "").lower() not in self.names:
            return self._answer(HTTPStatus.MISDIRECTED_REQUEST, "text/plain", "this server does not have that name\n")
        try:
            if self.path == "/":
                return self._answer(HTTPStatus.OK, "text/html", FRAME, policy=_FRAME_POLICY)
            if self.path == "/report":
                return self._answer(HTTPStatus.OK, "text/html", self.report.page())
            if self.path == "/version":
                return self._answer(HTTPStatus.OK, "text/plain", self.report.now())
        except DeftError as error:
            return self._answer(HTTPStatus.SERVICE_UNAVAILABLE, "text/plain", f"{error}\n")
        except Exception as error:  # one bad file must neither end the server nor show its insides
            fault = f"{type(error).__name__}; type: deft verify, then deft report\n"
            return self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, "text/plain", fault)
        return self._answer(HTTPStatus.NOT_FOUND, "text/plain", "nothing here: /, /report and /version\n")

    def _answer(self, status: HTTPStatus, kind: str, text: str, *, policy: str | None = None) -> None:
        data = text.encode("utf-8")
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        if policy:
            self.send_header("Content-Security-Policy", policy)
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # a browser that went away
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet: a page that asks every second would fill the terminal."""


def make_server(run_dir: Path, bind: str, port: int) -> ThreadingHTTPServer:
    """A server for one run on `bind`:`port` (0 takes a free one), answering to the names of that address only.

    Raises InputError where the folder is no run or the address cannot be had.
    """
    report = Report(run_dir)
    try:
        server = ThreadingHTTPServer((bind, port), BaseHTTPRequestHandler)
    except OSError as error:
        raise InputError(f"--bind {bind} --port {port}: {error.strerror}; --port 0 takes a free one") from error
    real = server.server_address[1]
    names = frozenset(f"{name}:{real}" for name in (bind, *_NAMES)) | (
        {f"127.0.0.1:{real}"} if loopback(bind) else set()
    )
    server.RequestHandlerClass = partial(Handler, report, names)
    server.daemon_threads = True
    return server


def loopback(bind: str) -> bool:
    """Whether an address reaches this machine only."""
    try:
        return ip_address(bind).is_loopback
    except ValueError:
        return bind == "localhost"
