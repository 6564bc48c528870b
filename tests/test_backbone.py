"""stage_backbone.py: from a file, from the hub's cache, from a hub on loopback, and without any of them."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from deft_aoi.base.errors import InputError
from deft_aoi.weights.backbone import stage_backbone

SCRIPT = Path(__file__).resolve().parents[1] / "scripts/stage_backbone.py"
USUAL = {"repo_id": "nvidia/C-RADIOv2-B", "filename": "model.safetensors", "stage_name": "c.safetensors"}
CHUNK = 10 << 20  # what huggingface_hub writes at a time
WEIGHTS = os.urandom(2 * CHUNK + 1)
TOKEN = "hf_right"


class Hub(ThreadingHTTPServer):
    """A hub of one repository: wants a token, keeps a log of requests, goes silent after `cut` bytes."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.cut: int | None = None
        self.killed = threading.Event()
        self.promised = hashlib.sha256(WEIGHTS).hexdigest()
        self.log: list[tuple[str, str]] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        hub, wanted = self.server, self.headers.get("Range", "")
        hub.log.append((self.command, wanted))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.refuse(401, "")
        if self.path != "/nvidia/C-RADIOv2-B/resolve/main/model.safetensors":
            return self.refuse(404, "EntryNotFound" if "/C-RADIOv2-B/" in self.path else "RepoNotFound")
        start = int(found[1]) if (found := re.match(r"bytes=(\d+)-", wanted)) else 0
        self.send_response(206 if start else 200)
        self.send_header("ETag", f'"{hub.promised}"')
        self.send_header("X-Repo-Commit", "c0ffee")
        self.send_header("Content-Length", str(len(WEIGHTS) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(WEIGHTS) - 1}/{len(WEIGHTS)}")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(WEIGHTS[start : None if hub.cut is None else start + hub.cut])
            self.wfile.flush()
            if hub.cut is not None:
                hub.killed.wait(30)
        return None

    def refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()


@pytest.fixture
def hub() -> Iterator[Hub]:
    server = Hub()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def ask(hub: Hub, tmp_path: Path, *arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """stage_backbone.py with a workspace, an empty hub cache and this hub."""
    (tmp_path / "w").mkdir(exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "AIR_"))}
    environment |= {"HF_HOME": str(tmp_path / "hf"), "HF_ENDPOINT": hub.address, **variables}
    command = [sys.executable, SCRIPT, "--workspace", tmp_path / "w", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def staged(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "w/augmentation/backbone").glob("*"))


def test_first_download_with_a_token_from_the_workspaces_env(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    (tmp_path / "w/.env").write_text(f'export HF_TOKEN="{TOKEN}"\n')
    done = ask(hub, tmp_path)
    assert done.returncode == 0, done.stderr
    target = tmp_path / "w/augmentation/backbone/c_radio_v2_b.safetensors"
    assert done.stdout == f"{target}\n"
    assert done.stderr == f"sha256 {hub.promised}\n"
    assert target.read_bytes() == WEIGHTS
    asked = len(hub.log)
    assert ask(hub, tmp_path).returncode == 0
    assert len(hub.log) == asked, "what is staged is not asked for again"


def test_a_killed_download_goes_on_where_it_stopped(hub: Hub, tmp_path: Path) -> None:
    hub.cut = CHUNK + 1
    process = start(hub, tmp_path)
    wait_for_size(tmp_path, CHUNK)
    process.kill()
    process.wait()
    hub.killed.set()
    (part,) = staged(tmp_path)
    assert part.endswith(".part"), "nothing half written is taken for weights"
    hub.cut, first = None, len(hub.log)
    done = ask(hub, tmp_path, HF_TOKEN=TOKEN)
    assert done.returncode == 0, done.stderr
    assert [wanted for command, wanted in hub.log[first:] if wanted] == [f"bytes={CHUNK}-"]
    assert (tmp_path / "w/augmentation/backbone/c_radio_v2_b.safetensors").read_bytes() == WEIGHTS
    assert staged(tmp_path) == ["c_radio_v2_b.safetensors"]


def start(hub: Hub, tmp_path: Path) -> subprocess.Popen[bytes]:
    (tmp_path / "w").mkdir(exist_ok=True)
    environment = os.environ | {"HF_HOME": str(tmp_path / "hf"), "HF_ENDPOINT": hub.address, "HF_TOKEN": TOKEN}
    return subprocess.Popen([sys.executable, SCRIPT, "--workspace", tmp_path / "w"], env=environment)


def wait_for_size(tmp_path: Path, size: int) -> None:
    deadline = time.monotonic() + 30
    while not any(p.stat().st_size >= size for p in (tmp_path / "w").rglob(".*.part")):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("token", "arguments", "message"),
    [
        ("hf_wrong", (), "the hub refuses (401; HF_TOKEN was sent)"),
        ("", (), "the hub refuses (401; no HF_TOKEN was found)"),
        (TOKEN, ("--repo-id", "nvidia/other"), "the hub refuses (404; HF_TOKEN was sent); check the name"),
        (TOKEN, ("--filename", "other.bin"), "the repository has no such file"),
    ],
)
def test_a_refusal_is_one_line_without_the_token(
    hub: Hub, tmp_path: Path, token: str, arguments: tuple[str, ...], message: str
) -> None:
    done = ask(hub, tmp_path, *arguments, HF_TOKEN=token)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert message in done.stderr
    assert "hf_" not in done.stderr
    assert staged(tmp_path) == []


def test_other_bytes_than_promised_are_thrown_away(hub: Hub, tmp_path: Path) -> None:
    hub.promised = "0" * 64
    done = ask(hub, tmp_path, HF_TOKEN=TOKEN)
    assert done.returncode == 2
    assert "differs from the hub's checksum" in done.stderr
    assert not [path for path in (tmp_path / "w").rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("arguments", "variables"),
    [((), {"HF_HUB_OFFLINE": "1"}), ((), {"AIR_GAPPED": "1"}), (("--network", "airgap"), {})],
)
def test_an_air_gap_asks_no_hub(
    hub: Hub, tmp_path: Path, arguments: tuple[str, ...], variables: dict[str, str]
) -> None:
    done = ask(hub, tmp_path, *arguments, HF_TOKEN=TOKEN, **variables)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "nothing is downloaded here" in done.stderr
    assert hub.log == []
    snapshot = tmp_path / "hf/hub/models--nvidia--C-RADIOv2-B/snapshots/abc/model.safetensors"
    snapshot.parent.mkdir(parents=True)
    snapshot.write_bytes(b"weights")
    assert ask(hub, tmp_path, *arguments, **variables).returncode == 0
    assert hub.log == []


def test_a_hub_out_of_reach_is_named(hub: Hub, tmp_path: Path) -> None:
    done = ask(hub, tmp_path, HF_ENDPOINT="http://127.0.0.1:9", HF_TOKEN=TOKEN)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "cannot be reached" in done.stderr


def test_a_damaged_cache_is_refused(tmp_path: Path) -> None:
    blob = tmp_path / "hf/hub/models--nvidia--C-RADIOv2-B/blobs" / ("a" * 64)
    blob.parent.mkdir(parents=True)
    blob.write_bytes(b"other bytes")
    snapshot = blob.parents[1] / "snapshots/abc/model.safetensors"
    snapshot.parent.mkdir(parents=True)
    snapshot.symlink_to(blob)
    done = run(tmp_path / "hf", "--dest", tmp_path / "b")
    assert done.returncode == 2
    assert "not the bytes that the hub's cache promises" in done.stderr


def run(home: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, SCRIPT, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_a_local_file_is_copied_and_stays_unless_forced(tmp_path: Path) -> None:
    source = tmp_path / "w.bin"
    source.write_bytes(b"one")
    staged = stage_backbone(tmp_path / "b", source=source, **USUAL)
    assert staged.read_bytes() == b"one"
    source.write_bytes(b"two")
    assert stage_backbone(tmp_path / "b", source=source, **USUAL).read_bytes() == b"one"
    assert stage_backbone(tmp_path / "b", source=source, force=True, **USUAL).read_bytes() == b"two"


@pytest.mark.parametrize("name", ["weights.bin", "../c.pth", "a/b.pth"])
def test_a_stage_name_that_the_loop_would_not_find_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="--stage-name"):
        stage_backbone(tmp_path, source=tmp_path / "w", **{**USUAL, "stage_name": name})


def test_an_empty_source_is_refused_and_nothing_is_staged(tmp_path: Path) -> None:
    (tmp_path / "w").touch()
    with pytest.raises(InputError, match="no such weights file, or empty"):
        stage_backbone(tmp_path / "b", source=tmp_path / "w", **USUAL)
    assert not (tmp_path / "b").exists()


def test_script_takes_the_hub_cache_and_prints_the_path_last(tmp_path: Path) -> None:
    snapshot = tmp_path / "hf/hub/models--nvidia--C-RADIOv2-B/snapshots/abc/model.safetensors"
    snapshot.parent.mkdir(parents=True)
    snapshot.write_bytes(b"weights")
    (tmp_path / "w").mkdir()
    done = run(tmp_path / "hf", "--workspace", tmp_path / "w")
    staged = tmp_path / "w/augmentation/backbone/c_radio_v2_b.safetensors"
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(staged)
    assert staged.read_bytes() == b"weights"


def test_script_without_any_source_says_what_to_do(tmp_path: Path) -> None:
    done = run(tmp_path / "hf", "--dest", tmp_path / "b")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "--source FILE" in done.stderr
    assert not (tmp_path / "b").exists()
