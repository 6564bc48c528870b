"""The set-up's download for pip: what is chosen, checked, counted, and when pip has to fetch by itself."""

from __future__ import annotations

import base64
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deft_aoi.cli import bootstrap, setup_fetch, setup_index, setup_steps
from deft_aoi.cli.setup_install import build_with_pip, build_with_uv
from deft_aoi.cli.setup_plan import Plan, StepError
from package_index import Index, lock, served, wheel

UV = shutil.which("uv", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
THING = wheel("thing", "1.0", code="x = 1\n")
OTHER = wheel("other_thing", "2.5", code="y = '" + "y" * 300_000 + "'\n")


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    """An index with both packages, which is the only one that pip's settings name."""
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_")) or name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_RETRIES", "0")
    with served(Index(dict([THING, OTHER]))) as made:
        monkeypatch.setenv("PIP_INDEX_URL", made.url)
        yield made


def plan(tmp_path: Path, text: str) -> Plan:
    (tmp_path / "home").mkdir(exist_ok=True)
    (tmp_path / "lock").write_text(text)
    return Plan(tmp_path / "home", tmp_path / "home/env-x", (), tmp_path / "none", 0, hashes=tmp_path / "lock")


def build(wanted: Plan) -> None:
    with bootstrap.only_one(wanted.lock) as descriptor:
        build_with_pip(wanted, descriptor)


def fetched(wanted: Plan) -> tuple[int | None, list[str]]:
    wheels = wanted.home / "wheels"
    size = setup_fetch.fetch(wanted, setup_index.find_pip(wanted.home), wheels)
    return size, sorted(path.name for path in wheels.glob("*"))


def test_each_file_is_fetched_once_and_pip_asks_nobody(index: Index, tmp_path: Path) -> None:
    wanted = plan(tmp_path, lock(THING, OTHER) + lock(wheel("never", "1"), marker=" ; sys_platform == 'win32'"))
    build(wanted)
    code = "import thing, other_thing; print(thing.x)"
    assert subprocess.run([wanted.python, "-c", code], capture_output=True, check=True).stdout == b"1\n"
    files = [line for line in index.asked if line.startswith("GET /files/")]
    assert sorted(files) == sorted(f"GET /files/{name}" for name, _ in (THING, OTHER))
    assert "did not work" not in wanted.log.read_text()
    assert not list(wanted.packages.glob("pip*")), "an environment needs no pip of its own"


def test_the_best_wheel_for_this_machine_is_chosen(index: Index, tmp_path: Path) -> None:
    here = wheel("thing", "1.0", code="x = 2\n", tag="py3-none-linux_" + os.uname().machine)
    foreign = wheel("thing", "1.0", code="x = 3\n", tag="cp39-cp39-win_amd64")
    unlocked = wheel("thing", "1.0", code="x = 4\n", tag="py310-none-any")
    index.wheels |= dict([here, foreign, unlocked])
    text = lock(here).rstrip("\n") + " \\\n" + "".join(lock(one).split("\n", 1)[1] for one in (foreign,))
    assert fetched(plan(tmp_path, text))[1] == [here[0]]


@pytest.mark.skipif(os.uname().sysname != "Linux", reason="the wheel of this test is for Linux")
def test_a_folder_of_wheels_comes_before_the_index(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / THING[0]).write_bytes(THING[1])
    (tmp_path / "wheels" / OTHER[0]).write_bytes(b"built here, not what the lock means")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    size, names = fetched(plan(tmp_path, lock(THING, OTHER)))
    assert names == sorted([THING[0], OTHER[0]])
    assert size
    assert size > 300_000
    assert [line for line in index.asked if line.startswith("GET /files/")] == [f"GET /files/{OTHER[0]}"]


def test_other_bytes_than_the_locks_end_the_set_up(index: Index, tmp_path: Path) -> None:
    """Also where the page says no hash, so that it shows only after the download."""
    index.hashes = False
    index.wheels[THING[0]] = wheel("thing", "1.0", code="raise SystemExit('ran')\n")[1]
    wanted = plan(tmp_path, lock(THING, OTHER))
    with pytest.raises(StepError) as caught:
        build(wanted)
    assert "this skill was not made with" in setup_steps.explain(caught.value, wanted.log)
    assert "has another hash than the lock's" in wanted.log.read_text()


def test_a_host_is_looked_up_once(index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, real = [], socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda *words, **more: asked.append(words[0]) or real(*words, **more))
    assert fetched(plan(tmp_path, lock(THING, OTHER)))[0]
    assert (asked, len(index.asked)) == (["127.0.0.1"], 6)


def test_a_download_that_is_cut_short_is_begun_again(index: Index, tmp_path: Path) -> None:
    index.cut = {f"/files/{OTHER[0]}"}
    assert fetched(plan(tmp_path, lock(THING, OTHER)))[1] == sorted([THING[0], OTHER[0]])
    assert index.asked.count(f"GET /files/{OTHER[0]}") == 2


def test_where_it_cannot_fetch_pip_does(index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(url: str, method: str = "GET") -> None:
        raise OSError(f"{method} is not for us")

    monkeypatch.setattr(setup_index, "opened", refuse)
    wanted = plan(tmp_path, lock(THING))
    build(wanted)
    assert (wanted.packages / "thing.py").is_file()
    assert "is not for us); pip fetches them" in wanted.log.read_text()


def test_an_index_that_is_not_there_is_given_up_at_once(tmp_path: Path, index: Index) -> None:
    index.wheels.clear()
    assert fetched(plan(tmp_path, lock(THING, OTHER))) == (None, [])


def test_user_and_password_go_to_the_indexs_own_server_only(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.password = "Basic " + base64.b64encode(b"me:p@ss").decode()
    monkeypatch.setenv("PIP_INDEX_URL", index.url.replace("//", "//me:p%40ss@"))
    assert fetched(plan(tmp_path, lock(THING)))[1] == [THING[0]]
    page = "<a href=\"/files/a-1-py3-none-any.whl\">a</a> <A HREF='https://elsewhere.test/b-1-py3-none-any.whl'>b</A>"
    found = [link.url for link in setup_index.links(page, "https://me:x@index.test/simple/a/")]
    assert found == [
        "https://me:x@index.test/files/a-1-py3-none-any.whl",
        "https://elsewhere.test/b-1-py3-none-any.whl",
    ]


@pytest.mark.parametrize("terminal", [False, True])
def test_bytes_are_shown_while_they_come(
    index: Index,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    terminal: bool,
) -> None:
    index.pause_s = 0.003
    monkeypatch.setattr(setup_steps, "EVERY_S", 0.2)
    monkeypatch.setattr(setup_steps.sys.stderr, "isatty", lambda: terminal)
    monkeypatch.setenv("COLUMNS", "100")
    fetched(plan(tmp_path, lock(THING, OTHER)))
    said = capsys.readouterr().err
    bar = r"\[#+\.+\]" if terminal else ":"
    assert re.search(rf"deft: downloading packages ?{bar} 0\.[12] of 0\.3 MB \(\d s\)", said), said


@pytest.mark.skipif(UV is None, reason="uv is not installed")
def test_uv_installs_the_same_and_its_bytes_are_shown(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    index.pause_s = 0.003
    monkeypatch.setattr(setup_steps, "EVERY_S", 0.2)
    monkeypatch.setenv("UV_DEFAULT_INDEX", index.url)
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    wanted = plan(tmp_path, lock(THING, OTHER))
    with bootstrap.only_one(wanted.lock) as descriptor:
        build_with_uv(wanted, descriptor, str(UV))
    assert {path.name for path in wanted.packages.glob("*.py")} >= {"thing.py", "other_thing.py"}
    said = capsys.readouterr().err
    assert re.search(r"deft: installing packages with uv: 0\.[12] of 0\.3 MB \(\d s\)", said), said
