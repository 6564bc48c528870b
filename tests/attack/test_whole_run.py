"""A whole run without a network, with secrets in the environment and in .env: where do they turn up?"""

from __future__ import annotations

import http.client
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from attacks import KPI, Attacker, copy_of, set_cells
from deft_aoi.base.paths import SKILL_ROOT
from deft_aoi.report.serve import make_server
from small_workspace import make_workspace

KIND = "secrets"
CANARIES = {
    "NGC_KEY": "nvapi-CANARYenvNGCaaaaaaaaaaaa",
    "HF_TOKEN": "hf_CANARYenvHFbbbbbbbbbbbbbbbb",
}
IN_FILE = {"NGC_KEY": "nvapi-CANARYfileNGCcccccccccc", "HF_TOKEN": "hf_CANARYfileHFdddddddddddd"}
ALL = [*CANARIES.values(), *IN_FILE.values()]


def network_less() -> list[str]:
    """The words that start a command in a network namespace without routes; skips where this user may not."""
    words = ["unshare", "-n"] if os.geteuid() == 0 else ["unshare", "-rn"]
    if shutil.which("unshare") is None:
        pytest.skip("no unshare (util-linux) on this system")
    tried = subprocess.run([*words, "true"], capture_output=True, check=False)
    if tried.returncode:
        pytest.skip("this user may make no network namespace")
    return words


class Watch(threading.Thread):
    """Reads the argument list of every process of this user until told to stop."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.over, self.seen, self.leaks = threading.Event(), set[str](), set[str]()

    def run(self) -> None:
        while not self.over.is_set():
            for entry in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    line = entry.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
                except OSError:
                    continue
                if "deft_aoi" in line:
                    self.seen.add(line)
                if any(canary in line for canary in ALL):
                    self.leaks.add(line)
            time.sleep(0.02)


class Finished:
    """A run that went through every stage, and all that it said."""

    def __init__(self, root: Path) -> None:
        self.workspace = make_workspace(root / "ws", counts=(24, 24, 32, 40))
        lines = [f'export {name}="{value}"\n' for name, value in IN_FILE.items()]
        (self.workspace / ".env").write_text("".join(lines))
        self.offline, self.said = network_less(), ""
        self.watch = Watch()
        self.watch.start()
        more = ["--max-iterations", "1", "--mine-rows", "8", "--num-epochs", "2", "--policy", "knn"]
        more += ["--kpi-target", "FAR <= 0% at recall = 100%"]
        shown = self.deft("preflight", "--workspace", str(self.workspace), *more)
        code = re.search(r"--approve (\w+)", shown)
        assert code, shown
        self.deft("start", "--workspace", str(self.workspace), "--approve", code[1])
        self.run = next((self.workspace / "results").glob("run_*"))
        self.last = self.deft("run", "--results-dir", str(self.run), codes=(0, 10))
        self.deft("status", "--results-dir", str(self.run))
        self.deft("verify", "--results-dir", str(self.run))
        self.deft("report", "--results-dir", str(self.run))
        self.watch.over.set()
        self.watch.join()

    def deft(self, *words: str, codes: tuple[int, ...] = (0,)) -> str:
        environment = os.environ | CANARIES | {"PYTHONPATH": str(SKILL_ROOT / "scripts")}
        environment.pop("DEFT_DEBUG", None)
        command = [*self.offline, sys.executable, "-m", "deft_aoi.cli.main", *words]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        self.said += done.stdout + done.stderr
        assert done.returncode in codes, done.stdout + done.stderr
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return Finished(tmp_path_factory.mktemp("whole"))


def test_the_loop_needs_no_network(attacker: Attacker, finished: Finished) -> None:
    probe = "import socket; socket.create_connection(('192.0.2.1', 80), 2)"
    blocked = subprocess.run([*finished.offline, sys.executable, "-c", probe], capture_output=True, check=False)
    assert b"unreachable" in blocked.stderr, "the namespace has a way out: the test would show nothing"
    attacker.note("harmless")
    assert (finished.run / "best_model.json").is_file()


def test_no_secret_is_anywhere(attacker: Attacker, finished: Finished) -> None:
    """Every file of the workspace (run, logs, jobs, cache, report), everything printed, every argument list."""
    files = [path for path in finished.workspace.rglob("*") if path.is_file() and path.name != ".env"]
    assert len(files) > 60
    hits = [path for path in files if any(canary.encode() in path.read_bytes() for canary in ALL)]
    attacker.found("leaked", hits, len(files))
    attacker.found("leaked", [canary for canary in ALL if canary in finished.said], len(ALL))
    assert len(finished.watch.seen) > 5, "jobs and commands were seen"
    attacker.found("leaked", finished.watch.leaks, len(finished.watch.seen))


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


def test_errors_tell_no_secret(attacker: Attacker, finished: Finished, tmp_path: Path) -> None:
    broken = copy_of(finished.workspace, tmp_path / "broken")
    shutil.rmtree(broken / "results")
    set_cells(broken / KPI, input_path="../../x", golden_path="../../x")
    environment = os.environ | CANARIES | {"PYTHONPATH": str(SKILL_ROOT / "scripts"), "DEFT_DEBUG": "1"}
    for words in (["--workspace", str(broken)], ["--workspace", str(broken / ".env")]):
        command = [sys.executable, "-m", "deft_aoi.cli.main", "preflight", *words, "--max-iterations", "1"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        attacker.found("leaked", [canary for canary in ALL if canary in done.stdout + done.stderr], len(ALL))


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


@pytest.fixture
def port(finished: Finished) -> Iterator[int]:
    server = make_server(finished.run, "127.0.0.1", 0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


REQUESTS = [
    "/deft_state.json", "/loop_log.jsonl", "/jobs/", "/.env", "/../.env", "/../../.env", "/%2e%2e/%2e%2e/.env",
    "/report/../loop_log.jsonl", "/report%2f..%2floop_log.jsonl", "//etc/passwd", "/etc/passwd",
    "/report?file=/etc/passwd",
    "/report/", "/index.html", "/\\..\\.env", "/report\x00", "http://evil.example/report", "/results", "*",
    "/" + "a" * 5000,
]  # fmt: skip


def test_the_server_gives_nothing_but_the_report(attacker: Attacker, port: int) -> None:
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
    asked = [f"GET /report HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n" for host in hosts]
    asked += [
        "GET /report HTTP/1.1\r\nConnection: close\r\n\r\n",
        "GET /report HTTP/1.0\r\n\r\n",
        "\x16\x03\x01\r\n\r\n",
    ]
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND"):
        asked.append(f"{method} /report HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n")
    for text in asked:
        answer = raw(port, text)
        shown = b"DEFT" in answer or b"iframe" in answer
        attacker.note("leaked" if shown else "refused")
        assert not shown, (text, answer[:200])


def test_the_server_outlives_callers_that_hang_and_bad_files(attacker: Attacker, finished: Finished, port: int) -> None:
    attacker.kind = "server"
    hanging = [socket.create_connection(("127.0.0.1", port)) for _ in range(50)]
    for one in hanging:
        one.sendall(b"GET /report HT")
    assert get(port, "/version")[0] == 200
    for one in hanging:
        one.close()
    state = finished.run / "deft_state.json"
    whole = state.read_bytes()
    try:
        for damage in (b"[]", b"{}", b'{"iterations": {"x": 1}}', b'{"config": 3, "iterations": 4}', b"[" * 99_999):
            state.write_bytes(damage)
            status, text = get(port, "/report")
            attacker.note("crashed" if status not in (200, 500, 503) else "refused")
            assert status in (200, 500, 503)
            assert "Traceback" not in text
    finally:
        state.write_bytes(whole)
    assert get(port, "/report")[0] == 200


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
    connection.request("GET", path, headers={"Host": f"127.0.0.1:{port}"})
    answer = connection.getresponse()
    return answer.status, answer.read().decode()
