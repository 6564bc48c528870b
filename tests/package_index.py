"""A package index on loopback with wheels of a few bytes."""

from __future__ import annotations

import hashlib
import io
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ANY = "py3-none-any"


def wheel(name: str, version: str, *, code: str = "", tag: str = ANY) -> tuple[str, bytes]:
    """(file name, bytes) of a wheel with one module."""
    folder, made = f"{name}-{version}.dist-info", io.BytesIO()
    with zipfile.ZipFile(made, "w") as packed:
        packed.writestr(f"{name}.py", code)
        packed.writestr(f"{folder}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        packed.writestr(f"{folder}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n")
        packed.writestr(f"{folder}/RECORD", f"{name}.py,,\n{folder}/METADATA,,\n{folder}/WHEEL,,\n{folder}/RECORD,,\n")
    return f"{name}-{version}-{tag}.whl", made.getvalue()


def lock(*wheels: tuple[str, bytes], marker: str = "") -> str:
    """Lines of a requirements.lock, one entry for each of the wheels."""
    text = ""
    for name, data in wheels:
        project, version = name.split("-")[:2]
        text += f"{project}=={version}{marker} \\\n    --hash=sha256:{hashlib.sha256(data).hexdigest()}\n"
    return text


@dataclass
class Index:
    """What is served, what was asked for, and who may ask (an Authorization header; empty: anybody)."""

    wheels: dict[str, bytes] = field(default_factory=dict)
    hashes: bool = True  # whether pages say them
    password: str = ""
    pause_s: float = 0.0  # before each kilobyte
    cut: set[str] = field(default_factory=set)  # addresses whose next answer ends halfway
    asked: list[str] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/simple/"

    def answer(self, path: str) -> bytes | None:
        if path.startswith("/files/"):
            return self.wheels.get(path.removeprefix("/files/"))
        project = path.removeprefix("/simple/").strip("/")
        rows = []
        for name, data in self.wheels.items():
            if name.split("-")[0].replace("_", "-") == project:
                digest = f"#sha256={hashlib.sha256(data).hexdigest()}" if self.hashes else ""
                rows.append(f'<a href="../../files/{name}{digest}">{name}</a><br/>')
        return "\n".join(rows).encode() or None


class _Handler(BaseHTTPRequestHandler):
    index: Index

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        index = self.index
        index.asked.append(f"{self.command} {self.path}")
        body = index.answer(self.path)
        if index.password and self.headers["Authorization"] != index.password:
            status, body = 401, b""
        else:
            status, body = (404, b"") if body is None else (200, body)
        self.send_response(status)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            if self.path in index.cut:
                index.cut.remove(self.path)
                body = body[: len(body) // 2]
            for start in range(0, len(body), 1024):
                time.sleep(index.pause_s if self.path.startswith("/files/") else 0)
                self.wfile.write(body[start : start + 1024])


@contextmanager
def served(index: Index) -> Iterator[Index]:
    handler = type("Handler", (_Handler,), {"index": index})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        index.port = server.server_port
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield index
        server.shutdown()
