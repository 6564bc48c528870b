"""scripts/deft and the environment that it makes."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from deft_aoi.base.versions import VERSION
from deft_aoi.cli import setup_index, setup_plan, setup_steps
from package_index import Index, served

ROOT = Path(__file__).resolve().parents[1]
LAUNCHER = ROOT / "scripts/deft"
ANSWER = f"deft {VERSION}\n"


def call(*words: str | Path, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command; a variable set to the empty string is taken out of the environment."""
    environment = {k: v for k, v in (os.environ | variables).items() if v}
    return subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def copy_of_the_skill(folder: Path) -> Path:
    """The launcher, our package and the files about dependencies in a folder of their own; returns the launcher."""
    shutil.copytree(ROOT / "scripts", folder / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "constraints.txt", "requirements.lock", "left-out.txt"):
        shutil.copy(ROOT / name, folder / name)
    return folder / "scripts/deft"


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_runs_from_any_folder_through_relative_and_absolute_links(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "there").symlink_to(LAUNCHER)
    (tmp_path / "bin/deft").symlink_to("../there")
    for words in ([tmp_path / "bin/deft"], ["sh", tmp_path / "bin/deft"], ["deft"]):
        done = call(*words, "--version", cwd=tmp_path, PATH=f"{tmp_path / 'bin'}:{os.environ['PATH']}")
        assert (done.returncode, done.stdout, done.stderr) == (0, ANSWER, "")


def test_a_read_only_skill_in_a_folder_with_blanks_runs_and_stays_as_it_was(tmp_path: Path) -> None:
    skill = tmp_path / "my skills/deft skill"
    launcher = copy_of_the_skill(skill)
    before = tree(skill)
    for path in [skill, *skill.rglob("*")]:
        path.chmod(path.stat().st_mode & ~0o222)
    try:
        done = call(launcher, "--version", cwd=tmp_path, PYTHONDONTWRITEBYTECODE="")
        assert (done.returncode, done.stdout) == (0, ANSWER)
        assert tree(skill) == before
    finally:
        for path in [skill, *skill.rglob("*")]:
            path.chmod(path.stat().st_mode | 0o200)


def test_modules_in_the_callers_folder_hide_nothing(tmp_path: Path) -> None:
    (tmp_path / "deft_aoi").mkdir()
    for name in ("deft_aoi/__init__.py", "argparse.py", "json.py"):
        (tmp_path / name).write_text("raise SystemExit('wrong module')\n")
    done = call(LAUNCHER, "--version", cwd=tmp_path, PYTHONPATH="")
    assert (done.returncode, done.stdout) == (0, ANSWER)


def test_exit_codes_and_arguments_pass_through(tmp_path: Path) -> None:
    done = call(LAUNCHER, "status", "--results-dir", "a folder", "--no such option", cwd=tmp_path)
    assert done.returncode == 2
    assert "unrecognized arguments: --no such option\n" in done.stderr


def test_deft_python_is_used_as_it_is(tmp_path: Path) -> None:
    home = tmp_path / "home"
    done = call(LAUNCHER, "--version", cwd=tmp_path, DEFT_PYTHON=sys.executable, DEFT_HOME=str(home))
    assert (done.returncode, done.stdout, done.stderr) == (0, ANSWER, "")
    assert not home.exists()


@pytest.mark.parametrize("python", ["/bin/false", "/no/such/python"])
def test_a_deft_python_that_does_not_work_is_refused(tmp_path: Path, python: str) -> None:
    done = call(LAUNCHER, "--version", cwd=tmp_path, DEFT_PYTHON=python)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"deft: DEFT_PYTHON={python}: not a working Python >= 3.10")
    assert done.stderr.count("\n") == 1


def path_without(folder: Path, *python: Path) -> str:
    """A PATH with the few tools that the launcher calls and, when given, one Python."""
    folder.mkdir()
    for name in ("sh", "cat", "cksum", "dirname", "readlink", "tr", "uname"):
        (folder / name).symlink_to(str(shutil.which(name)))
    for path in python:
        (folder / "python3").symlink_to(path)
    return str(folder)


def test_without_any_python_it_says_what_to_install(tmp_path: Path) -> None:
    done = call(
        LAUNCHER,
        "--version",
        cwd=tmp_path,
        DEFT_PYTHON="",
        DEFT_HOME=str(tmp_path),
        PATH=path_without(tmp_path / "bin"),
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"deft: no Python >= 3\.10 found; .*\n", done.stderr)


def no_index(tmp_path: Path) -> dict[str, str]:
    """Settings under which the launcher finds this Python, no uv, and an index that does not answer."""
    return {
        "DEFT_PYTHON": "",
        "DEFT_HOME": str(tmp_path / "home"),
        "PATH": path_without(tmp_path / "bin", Path(sys.executable)),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
        "PIP_FIND_LINKS": "",
        "PIP_RETRIES": "1",
    }


def test_an_index_out_of_reach_is_one_clear_line_and_leaves_no_half_environment(tmp_path: Path) -> None:
    launcher = copy_of_the_skill(tmp_path / "skill")
    project = tmp_path / "skill/pyproject.toml"
    project.write_text(
        re.sub(r"(\ndependencies = \[\n).*?\n\]", r'\1    "numpy",\n]', project.read_text(), flags=re.DOTALL)
    )
    done = call(launcher, "--version", cwd=tmp_path, **no_index(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert "first use: making the environment" in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("deft: could not make the environment: the package index cannot be reached; ")
    assert "DEFT_PYTHON" in last
    assert not [path for path in (tmp_path / "home").glob("env-*") if path.is_dir()]


def test_a_home_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    settings = no_index(tmp_path)
    (tmp_path / "home").write_text("a file, not a folder")
    done = call(LAUNCHER, "--version", cwd=tmp_path, **settings)
    assert done.returncode == 2
    assert re.fullmatch(r"deft: .*home.*; set DEFT_HOME to a folder you can write to\n", done.stderr)


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs /proc to find the set-up's processes")
def test_a_killed_set_up_is_repaired_and_two_first_calls_do_not_collide(tmp_path: Path) -> None:
    home = tmp_path / "home"
    environment = os.environ | {"DEFT_HOME": str(home)}
    environment.pop("DEFT_PYTHON")

    def first_call() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [LAUNCHER, "--version"],
            cwd=tmp_path,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    killed = first_call()
    while killed.poll() is None and not list(home.glob("env-*/lib")):
        time.sleep(0.02)
    if killed.poll() is None:
        os.kill(children(killed.pid)[0], signal.SIGKILL)  # the bootstrap alone: its installer runs on
    _, talk = killed.communicate(timeout=120)
    if "cannot be reached" in talk or "certificate" in talk:
        pytest.skip("the package index cannot be reached")
    assert killed.returncode != 0
    assert not list(home.glob("env-*/.complete"))

    both = [first_call(), first_call()]
    answers = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], answers
    assert [answer for answer, _ in answers] == [ANSWER, ANSWER]
    talk = "".join(error for _, error in answers)
    assert talk.count("broken off") == 1
    assert talk.count("environment ready") == 1
    assert len(list(home.glob("env-*/.complete"))) == 1
    assert call(LAUNCHER, "--version", cwd=tmp_path, DEFT_PYTHON="", DEFT_HOME=str(home)).stderr == ""


def test_requirements_read_line_by_line_are_those_that_toml_holds() -> None:
    tomllib = pytest.importorskip("tomllib")
    text = (ROOT / "pyproject.toml").read_text()
    project = tomllib.loads(text)["project"]
    assert list(setup_plan.requirements(text)) == project["dependencies"]
    for name, extra in project["optional-dependencies"].items():
        assert list(setup_plan.requirements(text, name)) == project["dependencies"] + extra
    assert {*project["optional-dependencies"]} == {"test", *setup_plan.OPTIONAL}


def test_every_requirement_is_pinned_and_no_host_is_named() -> None:
    pins = (ROOT / "constraints.txt").read_text()
    names = {line.split("==")[0].lower() for line in pins.splitlines() if line and not line.startswith("#")}
    wanted = setup_plan.requirements((ROOT / "pyproject.toml").read_text(), "test", *setup_plan.OPTIONAL)
    assert {re.split(r"[<>=;\[ ]", item)[0].lower() for item in wanted} <= names
    assert not re.search(r"://|@|--", pins)


def test_the_base_is_pinned_with_hashes_to_the_same_versions() -> None:
    """`requirements.lock` is the base of constraints.txt, each file by its hash; AGENTS.md says how both are made."""
    text = (ROOT / "requirements.lock").read_text()
    locked = dict(re.findall(r"^([A-Za-z0-9._-]+)==([^ \n]+(?: ; [^\\\n]+)?)", text, re.MULTILINE))
    pins = {line.strip() for line in (ROOT / "constraints.txt").read_text().splitlines()}
    entries = re.findall(r"^(\S+==[^\\\n]+?) \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", text, re.MULTILINE)
    assert len(entries) == len(re.findall(r"^\S", text, re.MULTILINE))
    versions = {re.split(r" ;", pin)[0] for pin in pins}
    assert {entry[0].split(" ;")[0] for entry in entries} <= versions
    wanted = setup_plan.requirements((ROOT / "pyproject.toml").read_text())
    assert {re.split(r"[<>=;\[ ]", item)[0].lower() for item in wanted} <= {name.lower() for name in locked}
    assert not re.search(r"://|@|--(?!hash=)", text)


def test_a_file_with_another_hash_is_not_installed(tmp_path: Path) -> None:
    """A wheel that somebody exchanged on a mirror: set-up ends with one line, and no environment is left."""
    launcher = copy_of_the_skill(tmp_path / "skill")
    wheel = tmp_path / "files/charset_normalizer-9.9-py3-none-any.whl"
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as made:
        made.writestr("evil.py", "raise SystemExit('ran')\n")
        made.writestr(
            "charset_normalizer-9.9.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: charset-normalizer\nVersion: 9.9\n",
        )
        made.writestr(
            "charset_normalizer-9.9.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        made.writestr("charset_normalizer-9.9.dist-info/RECORD", "")
    (tmp_path / "skill/requirements.lock").write_text(f"charset-normalizer==9.9 \\\n    --hash=sha256:{'0' * 64}\n")
    settings = no_index(tmp_path) | {"PIP_FIND_LINKS": str(wheel.parent), "PIP_NO_INDEX": "1", "UV_OFFLINE": "1"}
    done = call(launcher, "--version", cwd=tmp_path, **settings)
    assert (done.returncode, done.stdout) == (2, "")
    assert "a file that this skill was not made with" in done.stderr.splitlines()[-1], done.stderr
    assert not [path for path in (tmp_path / "home").glob("env-*") if path.is_dir()]


def test_the_environments_name_changes_with_what_is_in_it(tmp_path: Path) -> None:
    plain, test = (setup_plan.make_plan(tmp_path, test=flag).env.name for flag in (False, True))
    assert plain != test
    assert test.endswith("-test")
    assert plain == setup_plan.make_plan(tmp_path / "elsewhere", test=False).env.name
    assert setup_plan.make_plan(tmp_path, test=True, optional=("net",)).env.name.endswith("-test-net")


def test_an_unknown_optional_part_is_refused(tmp_path: Path) -> None:
    done = call(LAUNCHER, "--version", cwd=tmp_path, DEFT_PYTHON="", DEFT_HOME=str(tmp_path / "h"), DEFT_EXTRAS="../x")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "expected some of net, backbones, kubernetes" in done.stderr


@pytest.mark.parametrize(
    ("output", "cause"),
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "disk is full"),
        ("WARNING: Retrying after connection broken by 'NewConnectionError(...)'", "index cannot be reached"),
        ("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed\nMax retries exceeded", "certificate"),
        ("ERROR: No matching distribution found for onnxruntime==1.32.0", "no ready-made file"),
        ("Illegal instruction", "Illegal instruction"),
    ],
)
def test_a_failed_step_is_explained(tmp_path: Path, output: str, cause: str) -> None:
    line = setup_steps.explain(setup_plan.StepError(output.splitlines()), tmp_path / "env.log")
    assert cause in line
    assert "DEFT_PYTHON" in line
    assert "\n" not in line


def test_pip_settings_come_from_the_environment_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pip.conf").write_text("[global]\nindex-url = http://127.0.0.1:1/from-file\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    monkeypatch.delenv("PIP_INDEX_URL", raising=False)
    assert setup_index.pip_setting("index-url") == "http://127.0.0.1:1/from-file"
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/from-variable")
    assert setup_index.pip_setting("index-url") == "http://127.0.0.1:1/from-variable"


@pytest.fixture
def wheel() -> bytes:
    return b"these bytes are not pip"


@pytest.fixture
def index(wheel: bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package index on this machine that wants a password and has one file."""
    password = "Basic " + base64.b64encode(b"me:p@ss").decode()
    with served(Index({setup_index.PIP_WHEEL: wheel}, hashes=False, password=password)) as made:
        monkeypatch.setenv("PIP_INDEX_URL", f"http://me:p%40ss@127.0.0.1:{made.port}/simple/")
        yield


@pytest.mark.usefixtures("index")
def test_pip_is_fetched_from_the_users_index_and_kept(
    tmp_path: Path, wheel: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup_index, "PIP_SHA256", hashlib.sha256(wheel).hexdigest())
    path = setup_index.fetch_pip(tmp_path)
    assert path.read_bytes() == wheel
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    assert setup_index.fetch_pip(tmp_path) == path


@pytest.mark.usefixtures("index")
def test_a_pip_with_other_bytes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(setup_plan.SetupError, match="not the file expected"):
        setup_index.fetch_pip(tmp_path)
    assert not list(tmp_path.iterdir())


def test_deft_test_names_what_an_interpreter_lacks(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare"], check=True)
    done = call(LAUNCHER, "test", cwd=tmp_path, DEFT_PYTHON=str(tmp_path / "bare/bin/python"), PYTHONPATH="")
    assert done.returncode == 2
    assert re.fullmatch(r"deft test: .*: no ruff, mypy, pytest, hypothesis, xdist, pytest_timeout; .*\n", done.stderr)


def test_deft_test_hands_its_arguments_to_pytest(tmp_path: Path) -> None:
    done = call(LAUNCHER, "test", "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert "arguments go to pytest" in " ".join(done.stdout.split())
