"""data.import_pairs: two or three folders become a workspace that the loop can start from."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from deft_aoi.base.errors import InputError
from deft_aoi.base.paths import Workspace
from deft_aoi.base.rows import check_images, read_pool, read_rows
from deft_aoi.data.workspace_files import SPLITS
from deft_aoi.importers.pair_folders import PairsSummary, import_pairs
from deft_aoi.spec.tree import load_spec, optics
from pair_images import image

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"


def folders(root: Path, defects: int = 16, passes: int = 20) -> dict[str, Path]:
    for number in range(defects):
        name = f"PCB+{('bridge', 'missing')[number % 2]}_{number:05d}.png"
        image(root / "ng" / name, number)
        image(root / "ok" / name, number + 500)
    for number in range(passes):
        image(root / "good" / f"R{number}.png", number + 900)
        image(root / "ok" / f"R{number}.png", number + 900)
    return {"ng": root / "ng", "ok": root / "ok", "passes": root / "good"}


def homes(summary: PairsSummary) -> dict[str, str]:
    """Split of every object name."""
    w = Workspace(summary.workspace)
    csvs = dict(zip(SPLITS, (w.training_csv, w.validation_csv, w.kpi_csv, w.pool_csv), strict=True))
    return {name: split for split, csv in csvs.items() for name in read_rows(csv)["object_name"]}


def test_workspace_is_complete_and_every_split_has_both_classes(tmp_path: Path) -> None:
    summary = import_pairs(**folders(tmp_path), workspace=tmp_path / "w")
    workspace = Workspace.at(tmp_path / "w")
    assert optics(load_spec(workspace.spec), workspace.spec).ext == ".jpg"
    for csv in (workspace.training_csv, workspace.validation_csv, workspace.kpi_csv):
        check_images(read_rows(csv), csv, workspace.images, ["SolderLight"], ".jpg")
    pool = read_pool(workspace.pool_csv, workspace.root, ["SolderLight"], ".jpg")
    check_images(pool, workspace.pool_csv, workspace.root, ["SolderLight"], ".jpg")
    assert all(set(labels) == {"PASS", "bridge", "missing"} for labels in summary.labels.values())
    assert sum(sum(labels.values()) for labels in summary.labels.values()) == len(homes(summary)) == 36
    assert sum(summary.labels["pool"].values()) > sum(summary.labels["train"].values())


def test_split_depends_on_names_and_seed_only(tmp_path: Path) -> None:
    given = folders(tmp_path)
    first = homes(import_pairs(**given, workspace=tmp_path / "a"))
    assert homes(import_pairs(**given, workspace=tmp_path / "b")) == first
    assert homes(import_pairs(**given, workspace=tmp_path / "c", seed=1)) != first


def test_labels_csv_wins_names_boards_and_shares_goldens(tmp_path: Path) -> None:
    lines = ["image,label,golden,board"]
    for number in range(40):
        image(tmp_path / "ng" / f"part{number:02d}.png", number)
        lines.append(f"part{number:02d}.png,{('PASS', 'Shift')[number % 2]},master.png,B{number // 4}")
    image(tmp_path / "ok/master.png", 7)
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    summary = import_pairs(tmp_path / "ng", tmp_path / "ok", tmp_path / "w", labels=tmp_path / "labels.csv")
    assert summary.boards == 10
    by_board: dict[int, set[str]] = {}
    for name, split in homes(summary).items():
        by_board.setdefault(int(name.removeprefix("part")) // 4, set()).add(split)
    assert all(len(splits) == 1 for splits in by_board.values())
    assert set(read_rows(Workspace(tmp_path / "w").kpi_csv)["label"]) == {"PASS", "shift"}


def test_unusable_files_are_listed_and_the_rest_goes_on(tmp_path: Path) -> None:
    given = folders(tmp_path)
    (tmp_path / "ng/PCB+bridge_90000.png").write_bytes(b"broken")
    image(tmp_path / "ok/PCB+bridge_90000.png", 1)
    image(tmp_path / "ng/nolabel.png", 2)
    image(tmp_path / "ok/nolabel.png", 2)
    image(tmp_path / "good/R99.png", 3)
    summary = import_pairs(**given, workspace=tmp_path / "w")
    assert {entry.file for entry in summary.skipped} == {"PCB+bridge_90000.png", "nolabel.png", "R99.png"}
    assert len(homes(summary)) == 36


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("image,label\nPCB+bridge_00000.png,N/A\n", r"line 2: .*expected a file name and PASS or"),
        ("image,label\n\n\nPCB+bridge_00000.png,null\n", r"line 4: "),
        ("image,label\nPCB+bridge_00000.png,\n", r"line 2"),
        ("image,label\nPCB+bridge_00000.png,a\nPCB+bridge_00000,b\n", r"line 3: .* already has the label 'a'"),
        ("image,label\nelsewhere.png,short\n", r"1 images are in no folder, the first 'elsewhere'"),
        ("file,label\nx,y\n", r"column image missing"),
    ],
)
def test_a_bad_labels_csv_is_refused(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "l.csv").write_text(text)
    with pytest.raises(InputError, match=says):
        import_pairs(**folders(tmp_path, 2, 2), workspace=tmp_path / "w", labels=tmp_path / "l.csv")
    assert not (tmp_path / "w").exists()


def test_without_pass_images_it_says_what_to_pass(tmp_path: Path) -> None:
    given = folders(tmp_path) | {"passes": None}
    with pytest.raises(InputError, match=r"no PASS rows: .*--pass DIR"):
        import_pairs(**given, workspace=tmp_path / "w")


def test_too_few_images_name_the_split_that_lacks(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"split \w+: no (defects|PASS rows) among its"):
        import_pairs(**folders(tmp_path, 2, 9), workspace=tmp_path / "w")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["good", "ng", "ok"]


def test_a_name_in_both_folders_is_refused(tmp_path: Path) -> None:
    given = folders(tmp_path)
    image(tmp_path / "good/PCB+bridge_00000.png", 1)
    with pytest.raises(InputError, match="also in the NG folder"):
        import_pairs(**given, workspace=tmp_path / "w")


def test_command(tmp_path: Path) -> None:
    folders(tmp_path)
    command = [
        sys.executable,
        "-m",
        "deft_aoi.cli.main",
        "import-pairs",
        "--ng",
        "ng",
        "--ok",
        "ok",
        "--workspace",
        "w",
    ]
    environment = {"PYTHONPATH": str(SCRIPTS)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    command += ["--pass", "good", "--shares", "1,1,1,1", "--size", "64"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2] == f"wrote {tmp_path / 'w'}: 36 boards"
