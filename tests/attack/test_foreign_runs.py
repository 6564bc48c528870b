"""A workspace that comes with a started run: its evaluator, environment and containers are nobody's choice here."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from attacks import Attacker
from deft_aoi.base.paths import RunPaths
from deft_aoi.executors.base import Mount, Place, Task
from deft_aoi.executors.containers import Wanted, check_wanted, wanted
from deft_aoi.loop import driver
from deft_aoi.preflight import approvals, preflight
from deft_aoi.record.run import load_run

KIND = "foreign runs"
TARGET = "FAR < 1% at recall = 100% and command: kpi/evil.py line_cost < 5"
IMAGE = "images.tao_toolkit.pyt"


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The attacker's machine; `here` makes it the victim's."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "attacker"))
    return monkeypatch


def begin(workspace: Path, target: str = TARGET) -> RunPaths:
    (workspace / "kpi/evil.py").write_text(f"open({str(workspace / 'trap')!r}, 'w')\nprint('{{\"line_cost\": 1}}')\n")
    asked = {"workspace": str(workspace), "max_iterations": 1, "num_epochs": 2, "kpi_target": target}
    paths = preflight.write(preflight.preflight(asked))
    preflight.start(paths)
    return paths


def test_an_evaluator_that_came_along_does_not_run(
    attacker: Attacker, workspace: Path, tmp_path: Path, elsewhere: pytest.MonkeyPatch
) -> None:
    paths = begin(workspace)
    driver.make_executor(load_run(paths.root))
    elsewhere.setenv("XDG_STATE_HOME", str(tmp_path / "victim"))
    attacker.refused(lambda: driver.make_executor(load_run(paths.root)))
    said = attacker.refused(lambda: driver.step(paths.root, wait=60))
    assert "kpi/evil.py" in said
    assert "--approve CODE" in said
    assert not (workspace / "trap").exists()
    preflight.start(paths)  # what `deft start --approve CODE` does after a person's yes
    driver.make_executor(load_run(paths.root))


def test_a_plan_of_this_skill_alone_goes_on_anywhere(
    workspace: Path, tmp_path: Path, elsewhere: pytest.MonkeyPatch
) -> None:
    paths = begin(workspace, "FAR < 1% at recall = 100%")
    elsewhere.setenv("XDG_STATE_HOME", str(tmp_path / "victim"))
    driver.make_executor(load_run(paths.root))


def test_another_platform_that_came_along_does_not_run(
    attacker: Attacker, workspace: Path, tmp_path: Path, elsewhere: pytest.MonkeyPatch
) -> None:
    """A Python environment inside the workspace would run whatever its `visual_changenet` is."""
    from deft_aoi.record.run import approval_digest

    paths = begin(workspace, "FAR < 1% at recall = 100%")
    elsewhere.setenv("XDG_STATE_HOME", str(tmp_path / "victim"))
    record, state = (json.loads(path.read_text()) for path in (paths.preflight, paths.state))
    for plan in (record["plan"], state["config"]["plan"]):
        plan |= {"platform": "virtualenv", "engine": "tao", "settings": {"venv": str(workspace / "evil")}}
    record["digest"] = state["config"]["approval"] = approval_digest(record)
    paths.preflight.write_text(json.dumps(record))
    paths.state.write_text(json.dumps(state))
    assert "evil" in attacker.refused(lambda: driver.step(paths.root, wait=60))


def test_a_summary_that_came_along_is_checked_in_full(
    attacker: Attacker, workspace: Path, tmp_path: Path, elsewhere: pytest.MonkeyPatch
) -> None:
    """Whoever made it may have changed rows and hashes alike; only what was checked here is believed."""
    from deft_aoi.base.files import sha256_file
    from deft_aoi.record.run import approval_digest

    paths = preflight.write(preflight.preflight({"workspace": str(workspace), "max_iterations": 1, "num_epochs": 2}))
    csv = workspace / "train/base/training_set.csv"
    rows = pd.read_csv(csv, dtype=str)
    rows.loc[0, "input_path"] = "../../../outside"
    rows.to_csv(csv, index=False)
    record = json.loads(paths.preflight.read_text())
    record["inputs"]["train/base/training_set.csv"] = sha256_file(csv)
    changed = attacker.refused(lambda: preflight.start(paths))
    assert "training_set.csv changed since the Summary was shown" in changed
    record["digest"] = approval_digest(record)
    record["approval_code"] = record["digest"][:10].upper()
    paths.preflight.write_text(json.dumps(record))
    assert "is outside the workspace" in attacker.refused(lambda: preflight.start(paths))


def test_a_code_belongs_to_what_was_shown(attacker: Attacker, workspace: Path) -> None:
    """Another plan under the code that a person typed: consistent in itself, and not what the code covers."""
    from deft_aoi.record.run import approval_digest

    paths = preflight.write(preflight.preflight({"workspace": str(workspace), "max_iterations": 1, "num_epochs": 2}))
    record = json.loads(paths.preflight.read_text())
    record["plan"]["max_iterations"] = 99
    record["digest"] = approval_digest(record)
    paths.preflight.write_text(json.dumps(record))
    assert "the plan changed since the Summary was shown" in attacker.refused(lambda: preflight.start(paths))


def test_a_forged_approval_note_is_no_path(attacker: Attacker, tmp_path: Path, elsewhere: pytest.MonkeyPatch) -> None:
    for digest in ("", "..", "../../x", "a/b", "a\0b", "0" * 64):
        attacker.attempt(lambda digest=digest: approvals.known(digest))
        assert not approvals.known(digest)


def docker_place(workspace: Path) -> Place:
    return Place("local-docker", {}, workspace.resolve(), {IMAGE: "nvcr.io/nvidia/tao:1"})


def test_a_container_gets_only_the_workspace(workspace: Path) -> None:
    task = Task("train", ("visual_changenet", "train"), workspace / "out", image=IMAGE)
    asked = wanted(task, workspace / "results/run_x/jobs/job", docker_place(workspace))
    root = workspace.resolve()
    assert {mount.source for mount in asked.mounts if not mount.read_only} == {root}
    assert all(mount.source.is_relative_to(root) for mount in asked.mounts)
    assert (asked.environment, asked.secrets) == ({}, ())
    assert "/var/run/docker.sock" not in json.dumps(asked.to_json())
    assert check_wanted(Wanted.from_json(asked.to_json()), docker_place(workspace)) == asked


def test_a_forged_handle_mounts_nothing(attacker: Attacker, workspace: Path, tmp_path: Path) -> None:
    """The handle is in the run directory and says what the container gets when its image has been pulled."""
    place = docker_place(workspace)
    task = Task("train", ("visual_changenet", "train"), workspace / "out", image=IMAGE)
    good = wanted(task, workspace / "results/run_x/jobs/job", place).to_json()
    mounts = [
        Mount(Path("/"), "/host", False),
        Mount(Path("/etc/passwd"), "/etc/passwd", False),
        Mount(Path("/root"), "/r"),
    ]
    mounts += [Mount(workspace / "../outside", "/x"), Mount(Path("/var/run/docker.sock"), "/var/run/docker.sock")]
    forged = [{**good, "mounts": [[str(m.source), m.target, m.read_only]]} for m in mounts]
    forged += [{**good, "image": "evil/image:1"}, {**good, "secrets": ["AWS_SECRET_ACCESS_KEY"]}]
    for record in forged:
        attacker.refused(lambda record=record: check_wanted(Wanted.from_json(record), place), what=str(record)[:80])


@pytest.mark.parametrize("project", ["../../../outside", "a/b", "-x", "..", "a\nb"])
def test_a_project_stays_in_its_folder(attacker: Attacker, workspace: Path, project: str) -> None:
    asked = {"workspace": str(workspace), "max_iterations": 1, "project": project}
    attacker.refused(lambda: preflight.preflight(asked), what=project)


@pytest.mark.parametrize("name", ["../evil.py", "/tmp/evil.py", "results/evil.py", "kpi/link.py", "augmentation/x.py"])
def test_an_evaluator_lies_in_the_workspace(attacker: Attacker, workspace: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "evil.py").write_text("print(1)")
    (workspace / "kpi/link.py").symlink_to(tmp_path / "evil.py")
    asked = {"workspace": str(workspace), "max_iterations": 1, "kpi_target": TARGET.replace("kpi/evil.py", name)}
    attacker.refused(lambda: preflight.preflight(asked), what=name)
