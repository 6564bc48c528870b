"""The air gap: what it forbids, which tasks learn of it, the launcher, the bundle."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from deft_aoi.base import air_gap
from deft_aoi.cli import bootstrap, bundle, setup_bundle, setup_plan
from deft_aoi.executors.base import Place, Task
from deft_aoi.executors.containers import wanted
from deft_aoi.executors.platform_choice import make_executor
from inside import deft, script

ROOT = Path(__file__).resolve().parents[1]
HOOK = ROOT / "hooks/gate.py"


@pytest.mark.parametrize(
    "line",
    [
        "pip install x", "python3 -m pip install x", "/opt/bin/python3.11 -m pip download x", "uv pip install x",
        "apt-get install git", "conda install x", "npm ci", "npx skills add x", "docker pull x", "podman login nvcr.io",
        "docker image pull x", "hf download a/b", "ngc registry model download-version x",
        "docker run --env=HF_HUB_OFFLINE=0 x", "HF_HUB_OFFLINE=0 python3 train.py",
    ],
)  # fmt: skip
def test_what_installs_downloads_or_undoes_it_is_refused(line: str) -> None:
    words = line.split()
    assert air_gap.objection(words if "=" not in words[0] else ["env", *words])


@pytest.mark.parametrize(
    "line", ["pip list", "docker run x", "docker load -i x.tar", "python3 -m http.server", "ls", ""]
)
def test_what_needs_no_network_is_let_through(line: str) -> None:
    assert air_gap.objection(line.split()) is None


def test_a_container_is_closed() -> None:
    found = air_gap.closed(["docker", "run", "--rm", "--pull=always", "image", "true"])
    assert found[:3] == ["docker", "run", "--pull=never"]
    assert "--env=HF_HUB_OFFLINE=1" in found
    assert "--pull=always" not in found
    assert air_gap.closed(["ls", "run"]) == ["ls", "run"]


def test_every_platform_tells_its_tasks(tmp_path: Path) -> None:
    for platform, settings in (("local", {}), ("virtualenv", {"venv": str(Path(sys.executable).parent)})):
        place = Place(platform, settings, tmp_path, {}, "tao", air_gapped=True)
        executor = make_executor(place)
        told = getattr(executor, "remote", executor).environment()
        assert air_gap.OFFLINE.items() <= told.items(), platform
    job, place = tmp_path / "job", Place("slurm", {}, tmp_path, {"k": "i"}, air_gapped=True)
    asked = wanted(Task("t", ("x",), tmp_path / "o", image="k"), job, place)
    assert air_gap.OFFLINE.items() <= dict(asked.environment).items()


def fire(line: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    event = {"cwd": str(cwd), "tool_name": "Bash", "tool_input": {"command": line}}
    return subprocess.run(
        [sys.executable, HOOK], input=json.dumps(event), capture_output=True, text=True, check=False,
        env={k: v for k, v in os.environ.items() if k != "AIR_GAPPED"} | environment,
    )  # fmt: skip


@pytest.mark.parametrize(
    "state", [{"config": {"plan": {"network": "airgap"}}}, {"execution_policy": {"network_mode": "airgap"}}]
)
def test_the_hook_refuses_installs_and_pulls(tmp_path: Path, state: dict[str, object]) -> None:
    run = tmp_path / "results/run_20260101_000000"
    run.mkdir(parents=True)
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs/baseline_spec.yaml").write_text("task: classify\n")
    assert fire("pip install x", tmp_path).returncode == 0
    (run / "deft_state.json").write_text(json.dumps(state))
    for line in (
        f"cd {tmp_path}; pip install x",
        "docker pull x",
        "sudo python3 -m pip install x",
        "env UV_OFFLINE=0 x",
    ):
        done = fire(line, tmp_path)
        assert (done.returncode, "air-gapped: " in done.stderr) == (2, True), line
    assert fire("ls; pip list; docker load -i x.tar", tmp_path).returncode == 0
    assert "docker run may pull; add --pull=never" in fire("docker run --rm x", tmp_path).stderr
    assert "may pull" not in fire("docker run --pull never x; docker start c1", tmp_path).stderr
    elsewhere = tmp_path.parent
    assert fire("pip install x", elsewhere).returncode == 0
    assert fire("pip install x", elsewhere, AIR_GAPPED="1").returncode == 2


def test_a_command_runs_under_the_policy_of_the_state(tmp_path: Path) -> None:
    state = {
        "started_at": "x", "kpi_target": "FAR < 1%", "max_iterations": 1, "config": {}, "iterations": {},
        "execution_policy": {"network_mode": "airgap"},
    }  # fmt: skip
    path = tmp_path / "deft_state.json"
    path.write_text(json.dumps(state))
    refused = script("deft_exec", "--state", path, "--", "pip", "install", "x")
    assert (refused.returncode, "deft_exec: air-gapped: pip install" in refused.stderr) == (2, True)
    seen = f"import os, pathlib; pathlib.Path({str(tmp_path / 'seen')!r}).write_text(os.environ['HF_HUB_OFFLINE'])"
    assert script("deft_exec", "--state", path, "--", sys.executable, "-c", seen).returncode == 0
    assert (tmp_path / "seen").read_text() == "1"
    assert script("deft_exec", "--state", path, "--", sys.executable, "-c", "raise SystemExit(7)").returncode == 7


# --- launcher and bundle ---------------------------------------------------------------------------------------------


def launch(home: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if k not in ("DEFT_PYTHON", "AIR_GAPPED", "PYTHONPATH")}
    return subprocess.run(
        [str(ROOT / "scripts/deft"), *words], capture_output=True, text=True, check=False, timeout=60,
        env=kept | {"DEFT_HOME": str(home)} | environment,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "environment"),
    [
        (("doctor",), {"AIR_GAPPED": "1"}),
        (("preflight", "--network", "airgap"), {}),
        (("preflight", "--network=airgap"), {}),
    ],
)
def test_the_launcher_installs_nothing_and_names_what_to_bring(
    tmp_path: Path, words: tuple[str, ...], environment: dict[str, str]
) -> None:
    done = launch(tmp_path / "home", *words, **environment)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "is not here and nothing is installed; bring it: on a machine with a network type deft bundle" in done.stderr
    assert not list((tmp_path / "home").glob("env-*/"))


def made_bundle(path: Path, packed: dict[str, bytes], **more: object) -> Path:
    """A bundle by hand, of packages that are no packages."""
    record = {
        "environment": setup_plan.make_plan(path.parent, test=False).env.name, "python": setup_plan.interpreter(),
        "machine": "", "packages": {}, "images": {}, "skill": "0",
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in packed.items()}, **more,
    }  # fmt: skip
    with tarfile.open(path, "w") as opened:
        for name, data in {**packed, setup_bundle.BUNDLE_RECORD: json.dumps(record).encode()}.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            opened.addfile(entry, io.BytesIO(data))
    return path


def unpacked(tmp_path: Path, bundle_file: Path) -> Path:
    """site-packages of an environment that was made from a bundle."""
    plan = setup_plan.make_plan(tmp_path, test=False, bundle=bundle_file)
    with bootstrap.only_one(plan.lock) as lock:
        setup_bundle.build_from_bundle(plan, lock, bundle_file)
    return next((plan.env / "lib").glob("python*/site-packages"))


def test_the_environment_comes_out_of_a_bundle_file_by_file(tmp_path: Path) -> None:
    made = made_bundle(tmp_path / "b.tar", {"environment/thing/a.py": b"x = 1\n", "workspace/w.pth": b"w"})
    home = unpacked(tmp_path, made)
    assert (home / "thing/a.py").read_text() == "x = 1\n"
    assert not (home / "w.pth").exists()


@pytest.mark.parametrize(
    ("files", "more", "says"),
    [
        (
            {"environment/a.py": b"x"},
            {"environment": "env-other"},
            "holds env-other .*; this skill and Python need env-",
        ),
        ({"environment/a.py": b"x"}, {"files": {"environment/a.py": "0" * 64}}, "a.py is not the file that was packed"),
        ({}, {"files": {"environment/b.py": "0" * 64}}, "environment/b.py is missing"),
        ({"environment/../../x.py": b"x"}, {}, "is no plain file of the environment"),
    ],
)
def test_a_bundle_that_is_not_whole_is_refused(
    tmp_path: Path, files: dict[str, bytes], more: dict[str, object], says: str
) -> None:
    with pytest.raises(setup_plan.SetupError, match=says):
        unpacked(tmp_path, made_bundle(tmp_path / "b.tar", files, **more))


def test_weights_arrive_in_the_workspace_and_are_checked(tmp_path: Path) -> None:
    weights = {"workspace/augmentation/backbone/c.safetensors": b"w" * 10}
    images = {"images.tao_toolkit.pyt": {"image": "nvcr.io/nvidia/tao/none:0", "id": ""}}
    made = made_bundle(tmp_path / "b.tar", weights, images=images)
    (tmp_path / "ws").mkdir()
    said = deft("bundle", "--unpack", made, "--workspace", tmp_path / "ws").stdout
    assert "1 files, each as it was packed" in said
    assert "image not here: nvcr.io/nvidia/tao/none:0 (docker load -i FILE)" in said
    staged = tmp_path / "ws/augmentation/backbone/c.safetensors"
    assert staged.read_bytes() == b"w" * 10
    staged.write_text("mine")
    assert "another file than the bundle's" in deft(
        "bundle", "--unpack", made, "--workspace", tmp_path / "ws", check=2
    ).stderr  # fmt: skip
    (tmp_path / "no.tar").write_text("no")
    assert "no bundle of this skill" in deft("bundle", "--check", tmp_path / "no.tar", check=2).stderr


def test_what_is_packed_is_the_pinned_closure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {one.name.lower() for one in bundle.distributions(["PyYAML>=6", "jinja2>=3.1"])}
    assert found == {"pyyaml", "jinja2", "markupsafe"}
    assert bundle.distributions(["not-installed-here"], {"not-installed-here"}) == []
    monkeypatch.setattr(bundle, "distributions", lambda *_: [])
    monkeypatch.delenv("DEFT_EXTRAS", raising=False)
    (tmp_path / "ws/augmentation/encoder").mkdir(parents=True)
    (tmp_path / "ws/augmentation/encoder/siglip.onnx").write_text("e")
    deft("bundle", "--output", tmp_path / "b.tar", "--workspace", tmp_path / "ws")
    record = bundle.read(tmp_path / "b.tar")
    bundle.check(tmp_path / "b.tar", record)
    assert record.weights == ["augmentation/encoder/siglip.onnx"]
    assert record.environment == setup_plan.make_plan(tmp_path, test=False).env.name
    assert set(record.images) == {
        "images.tao_toolkit.pyt", "images.tao_toolkit.data_services", "images.metropolis_sdg.paidf_anomalygen",
    }  # fmt: skip
