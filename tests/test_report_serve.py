"""`deft serve`: three addresses, this machine's names only, always the newest page, nothing written."""

from __future__ import annotations

import http.client
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from deft_aoi.base.errors import InputError
from deft_aoi.base.paths import SKILL_ROOT
from deft_aoi.report.serve import make_server
from report_run import RunMaker, baseline_only

Served = tuple[RunMaker, int]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    maker = baseline_only(tmp_path)
    server = make_server(maker.finish(), "127.0.0.1", 0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield maker, server.server_address[1]
    server.shutdown()
    server.server_close()


def get(port: int, path: str, host: str | None = None) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path, headers={"Host": host or f"127.0.0.1:{port}"})
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def test_the_page_follows_the_journal_and_nothing_is_written(served: Served) -> None:
    maker, port = served
    before = sorted(maker.run.rglob("*"))
    status, page = get(port, "/report")
    assert (status, "IN PROGRESS" in page) == (200, True)
    assert sorted(maker.run.rglob("*")) == before
    _, version = get(port, "/version")
    facts = {"reason": "hard_stop", "best_label": "baseline"}
    maker.add("baseline", "loop_stop", "ended by a person", facts)
    maker.finish()
    assert get(port, "/version")[1] != version
    assert "IN PROGRESS" not in get(port, "/report")[1]
    assert 'src="/report"' in get(port, "/")[1]


@pytest.mark.parametrize(
    "path",
    ["/deft_state.json", "/../deft_state.json", "/report/../loop_log.jsonl", "/%2e%2e/etc/passwd", "//etc/passwd"],
)
def test_no_file_is_served(served: Served, path: str) -> None:
    assert get(served[1], path)[0] == 404


@pytest.mark.parametrize("host", ["evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "evil.example"])
def test_another_name_is_refused(served: Served, host: str) -> None:
    """A page elsewhere whose name is pointed at this address (DNS rebinding) gets nothing."""
    status, text = get(served[1], "/report", host.format(port=served[1]))
    assert (status, "DEFT" in text) == (421, False)
    assert get(served[1], "/version", f"localhost:{served[1]}")[0] == 200


def test_a_damaged_run_is_said_not_crashed(served: Served) -> None:
    maker, port = served
    (maker.run / "deft_state.json").write_text("{")
    status, text = get(port, "/report")
    assert (status, "deft verify" in text) == (503, True)


def test_a_taken_port_and_a_folder_without_a_run_are_refused(served: Served, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--port 0 takes a free one"):
        make_server(served[0].run, "127.0.0.1", served[1])
    with pytest.raises(InputError, match="expected a run directory"):
        make_server(tmp_path, "127.0.0.1", 0)


TAKES_SIGINT = (
    "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "runpy.run_module('deft_aoi.cli.main', run_name='__main__')"
)


def test_command_prints_its_address_and_ends_quietly(served: Served) -> None:
    """On Ctrl-C; e2e/test_signals.py ends it by SIGTERM. Whoever started the tests may have SIGINT ignored."""
    command = [sys.executable, "-c", TAKES_SIGINT, "serve", "--results-dir", str(served[0].run), "--port", "0"]
    environment = {"PYTHONPATH": str(SKILL_ROOT / "scripts"), "PATH": ""}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as job:
        assert job.stdout is not None
        port = int(job.stdout.readline().rsplit(":", 1)[1].strip(" /\n"))
        assert get(port, "/")[0] == 200
        job.send_signal(signal.SIGINT)
        assert (job.wait(20), job.stderr and job.stderr.read()) == (0, "deft serve: ended\n")
