"""A server of the page in this process, and requests to it."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deft_aoi.web.loopback import make_server, open_door
from deft_aoi.web.page import page_app
from deft_aoi.web.site import make_site

TOKEN = "token-of-the-tests"


@dataclass(frozen=True)
class Served:
    """`key` of the run that the server was started for."""

    port: int
    key: str = ""

    def address(self, *route: str) -> str:
        return f"http://127.0.0.1:{self.port}/?token={TOKEN}#/" + "/".join(route)

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and answer; `path` below /api, or below the run where it begins with `.`."""
        path = f"/api/runs/{self.key}{path[1:]}" if path.startswith(".") else f"/api{path}"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        headers = {"Host": f"127.0.0.1:{self.port}", "Authorization": f"Bearer {TOKEN}"}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        kind = answer.headers.get("Content-Type", "")
        return answer.status, json.loads(data) if "json" in kind else data

    def get(self, path: str) -> Any:
        status, found = self.ask("GET", path)
        assert status == 200, found
        return found

    def post(self, path: str, body: Any, status: int = 200) -> Any:
        found = self.ask("POST", path, body)
        assert found[0] == status, found
        return found[1]


@contextmanager
def serving(
    run: Path | None = None, *, workspaces: list[Path] | None = None, scored: list[Path] | None = None,
    look: bool = False, port: int = 0,
) -> Iterator[Served]:  # fmt: skip
    site = make_site(workspaces or [], run, scored or [])
    door = open_door("127.0.0.1", port, look=look, token=TOKEN)
    server = make_server(page_app(site, door))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [door.socket]}, daemon=True)
    thread.start()
    try:
        yield Served(door.socket.getsockname()[1], f"0.{run.name}" if run else "")
    finally:
        server.should_exit = True
        thread.join(20)
