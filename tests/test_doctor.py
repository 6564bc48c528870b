"""preflight.doctor: every finding of Pre-Flight in one group with one remedy; nothing is written; seconds."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest

from deft_aoi.base.errors import InputError, Refusals
from deft_aoi.base.paths import Workspace
from deft_aoi.base.rows import read_rows, write_rows
from deft_aoi.cli.main import main
from deft_aoi.preflight.doctor import CAUSES, examine
from deft_aoi.preflight.preflight import preflight
from small_workspace import make_workspace


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_workspace(tmp_path_factory.mktemp("line") / "ws", counts=(24, 24, 24, 24))


def break_much(root: Path) -> None:
    """One fault of each kind."""
    workspace = Workspace(root)
    kpi = workspace.kpi_csv
    kpi.write_text(kpi.read_text().replace(",", ";"))
    rows = read_rows(workspace.training_csv)
    rows.loc[1, "label"] = "OK"
    write_rows(workspace.training_csv, rows)
    held = read_rows(workspace.validation_csv)
    (root / "kpi/images" / held["input_path"][0] / f"{held['object_name'][0]}_WhiteLight.png").unlink()
    picture = root / "kpi/images" / held["input_path"][1] / f"{held['object_name'][1]}_WhiteLight.png"
    picture.write_bytes(picture.read_bytes()[:200])
    workspace.spec.write_text(workspace.spec.read_text() + "automl_policy: off\n")


def state(root: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in root.rglob("*")}


def test_all_that_preflight_refuses_is_there_by_cause_and_nothing_is_written(pristine: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(pristine, tmp_path / "ws"))
    break_much(root)
    before = state(root)
    groups = examine({"workspace": str(root)})
    assert state(root) == before
    said = {finding.text for group in groups for finding in group.findings}
    with pytest.raises(Refusals) as caught:
        preflight({"workspace": str(root), "max_iterations": 1})
    assert {text.partition(": ")[2] for text in caught.value.problems} <= said
    titles = [group.title for group in groups]
    assert len(set(titles)) == len(titles)
    by_title = {group.title: group for group in groups}
    assert f"fix-csv {Workspace(root).kpi_csv} --accept" in by_title["tables are not written as TAO reads them"].fix
    assert f"fix-csv {Workspace(root).training_csv} --accept" in by_title["labels"].fix
    assert {"images are not where the tables say", "pictures", "experiment spec"} <= set(titles)
    assert "other" not in titles
    assert all(group.fix for group in groups)
    assert [group.blocks == 0 for group in groups] == sorted(group.blocks == 0 for group in groups)


def test_the_command_says_causes_fixes_and_the_next_command(
    pristine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", "--workspace", str(pristine)]) == 0
    assert "nothing blocks a run" in capsys.readouterr().out
    root = Path(shutil.copytree(pristine, tmp_path / "ws"))
    break_much(root)
    assert main(["doctor", "--workspace", str(root), "--json"]) == 2
    told = json.loads(capsys.readouterr().out)
    assert told["blocks"] == sum(cause["blocks"] for cause in told["causes"])
    assert {cause["cause"] for cause in told["causes"]} <= {cause.title for cause in CAUSES}
    with pytest.raises(InputError, match="no such folder"):
        examine({"workspace": str(tmp_path / "nothing")})
    (root / "specs/baseline_spec.yaml").unlink()
    assert any(
        "no such experiment spec" in f.text for group in examine({"workspace": str(root)}) for f in group.findings
    )


def test_three_thousand_rows_take_seconds(tmp_path: Path) -> None:
    root = make_workspace(tmp_path / "ws", counts=(24, 24, 24, 24))
    workspace = Workspace(root)
    for csv, count in ((workspace.training_csv, 1500), (workspace.pool_csv, 1500)):
        rows = read_rows(csv)
        many = rows.loc[rows.index.repeat(-(-count // len(rows)))].reset_index(drop=True)
        many["object_name"] = [f"{name}x{number}" for number, name in enumerate(many["object_name"])]
        images = root / ("kpi/images" if csv == workspace.training_csv else "augmentation/mining_pool")
        for folder, old, new in zip(
            many["input_path"], rows["object_name"].repeat(-(-count // len(rows))), many["object_name"], strict=True
        ):
            for part in (folder, folder.replace("test", "golden")):
                for light in ("WhiteLight", "SolderLight"):
                    target = images / part / f"{new}_{light}.png"
                    target.hardlink_to(images / part / f"{old}_{light}.png")
        write_rows(csv, many)
    start, begun = time.process_time(), time.monotonic()
    examine({"workspace": str(root)})
    assert time.process_time() - start < 5
    assert time.monotonic() - begun < 60  # of a machine that does much else
