"""A whole run without a network, with secrets in the environment and in .env: where do they turn up?"""

from __future__ import annotations

import http.client
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from attacks import KPI, Attacker, set_cells
from deft_aoi.web.loopback import make_server, open_door
from deft_aoi.web.page import page_app
from deft_aoi.web.site import make_site
from inside import deft
from real_loops import CANARIES, IN_FILE, SECRETS, Loop
from report_run import baseline_only

KIND = "secrets"
TOKEN = "a-token-of-this-test"


def test_the_loop_needs_no_network(attacker: Attacker, pregen_loop: Loop) -> None:
    if not pregen_loop.offline:
        pytest.skip("this user may make no network namespace (unshare of util-linux)")
    probe = "import socket; socket.create_connection(('192.0.2.1', 80), 2)"
    blocked = subprocess.run([*pregen_loop.offline, sys.executable, "-c", probe], capture_output=True, check=False)
    assert b"unreachable" in blocked.stderr, "the namespace has a way out: the test would show nothing"
    attacker.note("harmless")
    assert (pregen_loop.path / "best_model.json").is_file()


def test_no_secret_is_anywhere(attacker: Attacker, pregen_loop: Loop) -> None:
    """Every file of the workspace (run, logs, jobs, cache, report), everything printed, every argument list."""
    files = [path for path in pregen_loop.workspace.rglob("*") if path.is_file() and path.name != ".env"]
    assert len(files) > 60
    assert sum(path.name == ".env" for path in pregen_loop.workspace.iterdir()) == 1
    hits = [path for path in files if any(secret.encode() in path.read_bytes() for secret in SECRETS)]
    attacker.found("leaked", hits, len(files))
    attacker.found("leaked", [secret for secret in SECRETS if secret in pregen_loop.printed], len(SECRETS))
    assert pregen_loop.seen > 5, "jobs and commands were seen"
    attacker.found("leaked", pregen_loop.leaks, pregen_loop.seen)


def test_no_job_inherits_a_secret(attacker: Attacker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from deft_aoi.executors.base import LOG, Task
    from deft_aoi.executors.local import LocalExecutor

    for name, value in CANARIES.items():
        monkeypatch.setenv(name, value)

    class Shows(LocalExecutor):
        def command(self, task: Task) -> list[str]:
            return [sys.executable, "-c", "import os; print(dict(os.environ))"]

    executor = Shows(tmp_path / "cache", workspace=tmp_path)
    executor.submit(Task("job", ("x",), tmp_path / "out"), tmp_path / "job")
    while executor.poll(tmp_path / "job").kind == "running":
        time.sleep(0.05)
    said = (tmp_path / "job" / LOG).read_text()
    assert "DEFT_WORKSPACE" in said
    attacker.found("leaked", [name for name in CANARIES.values() if name in said], len(CANARIES))


def test_errors_tell_no_secret(attacker: Attacker, workspace: Path) -> None:
    (workspace / ".env").write_text("".join(f'export {name}="{value}"\n' for name, value in IN_FILE.items()))
    set_cells(workspace / KPI, input_path="../../x", golden_path="../../x")
    for words in (["--workspace", workspace], ["--workspace", workspace / ".env"]):
        done = deft("preflight", *words, "--max-iterations", "1", check=2, env=CANARIES | {"DEFT_DEBUG": "1"})
        assert "Traceback" in done.stderr
        attacker.found("leaked", [secret for secret in SECRETS if secret in done.stdout + done.stderr], len(SECRETS))


def test_an_unforeseen_fault_is_one_line(attacker: Attacker, capsys: pytest.CaptureFixture[str]) -> None:
    from deft_aoi.base.console import guarded
    from deft_aoi.base.errors import FAULT

    def fails() -> int:
        raise RuntimeError("nobody\nforesaw \x1b[31mthis")

    assert guarded("deft x", fails) == FAULT
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    attacker.found("leaked", [word for word in ("Traceback", "\x1b") if word in said], 2)


# --- the server ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return baseline_only(tmp_path_factory.mktemp("served")).finish()


@pytest.fixture
def port(run: Path) -> Iterator[int]:
    door = open_door("127.0.0.1", 0, token=TOKEN)
    server = make_server(page_app(make_site([], run, []), door))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [door.socket]}, daemon=True)
    thread.start()
    yield door.socket.getsockname()[1]
    server.should_exit = True
    thread.join(20)


REQUESTS = [
    "/deft_state.json", "/loop_log.jsonl", "/jobs/", "/.env", "/../.env", "/../../.env", "/%2e%2e/%2e%2e/.env",
    "/report/../loop_log.jsonl", "/report%2f..%2floop_log.jsonl", "//etc/passwd", "/etc/passwd",
    "/report?file=/etc/passwd", "/static/../../specs/versions.yaml", "/static/%2e%2e/report/report.css", "/static/",
    f"/api/runs/..%2f..?token={TOKEN}", f"/api/runs/0.run_20260302_090000%2f..?token={TOKEN}",
    "/report/", "/index.html", "/\\..\\.env", "/report\x00", "http://evil.example/report", "/results", "*",
    "/" + "a" * 5000,
]  # fmt: skip


def test_the_server_gives_no_file(attacker: Attacker, port: int) -> None:
    attacker.kind = "server"
    for path in REQUESTS:
        answer = raw(port, f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n")
        refused = answer.split(b" ")[1:2] in ([b"404"], [b"400"], [b"414"]) or answer == b""
        attacker.note("refused" if refused else "leaked")
        assert refused, (path, answer[:200])
        assert b"seq" not in answer


def test_the_server_answers_to_its_own_names_and_methods(attacker: Attacker, port: int) -> None:
    attacker.kind = "server"
    hosts = [
        "evil.example",
        f"evil.example:{port}",
        "127.0.0.1",
        "127.0.0.1:1",
        f"[::1]:{port}",
        "",
        f"127.0.0.1:{port}.evil.example",
    ]
    asked = [
        f"GET /api/runs HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\n\r\n"
        for host in hosts
    ]
    asked += [
        f"GET /api/runs HTTP/1.1\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\n\r\n",
        f"GET /api/runs HTTP/1.0\r\nAuthorization: Bearer {TOKEN}\r\n\r\n",
        "\x16\x03\x01\r\n\r\n",
    ]
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND"):
        asked.append(f"{method} /api/runs HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n")
    for text in asked:
        answer = raw(port, text)
        shown = b"run_2026" in answer
        attacker.note("leaked" if shown else "refused")
        assert not shown, (text, answer[:200])


def test_the_server_outlives_callers_that_hang_and_bad_files(attacker: Attacker, run: Path, port: int) -> None:
    attacker.kind = "server"
    hanging = [socket.create_connection(("127.0.0.1", port)) for _ in range(50)]
    for one in hanging:
        one.sendall(b"GET /api/runs HT")
    assert get(port, "/api/about")[0] == 200
    for one in hanging:
        one.close()
    state = run / "deft_state.json"
    whole = state.read_bytes()
    try:
        for damage in (b"[]", b"{}", b'{"iterations": {"x": 1}}', b'{"config": 3, "iterations": 4}', b"[" * 99_999):
            state.write_bytes(damage)
            for path in ("", "/0.run_20260302_090000", "/0.run_20260302_090000/live", "/0.run_20260302_090000/queue"):
                status, text = get(port, f"/api/runs{path}")
                attacker.note("crashed" if status not in (200, 400, 500, 503) else "refused")
                assert status in (200, 400, 500, 503)
                assert "Traceback" not in text
    finally:
        state.write_bytes(whole)
    assert get(port, "/api/runs/0.run_20260302_090000")[0] == 200


def raw(port: int, text: str) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 20) as line:
        line.sendall(text.encode("latin1"))
        parts = []
        try:
            while part := line.recv(65536):
                parts.append(part)
        except ConnectionError:
            pass
    return b"".join(parts)


def get(port: int, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path, headers={"Host": f"127.0.0.1:{port}", "Authorization": f"Bearer {TOKEN}"})
    answer = connection.getresponse()
    return answer.status, answer.read().decode()
