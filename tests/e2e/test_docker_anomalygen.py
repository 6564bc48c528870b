"""Inline AnomalyGen through a real Docker daemon: an image whose two scripts are the reference generator.

One run meets every trouble in turn: wrong masks, masks without a place, a killed container, a silent drop; each stops
with a message that says what to do, and after a person's word the same run goes on.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml

from anomaly_world import GROUND, make_set, write
from docker_daemon import Daemon, host_image, own_daemon
from loop_cli import entries
from null_engine import HOLD
from real_loops import begun
from small_workspace import make_workspace
from stand_in import deft, files, program, resolve, step

IMAGE = "deft-test/anomalygen:1"
SCRIPTS = "/workspace/paidf-anomalygen/scripts/utilities"
# Waits while the workspace holds a file of that name, as AnomalyGen takes its time over a picture.
HOLDS = f'while [ -e "$workspace/{HOLD}" ]; do sleep 0.1; done\n'
WAITS = (
    """for word in "$@"; do case "$word" in */results/*) workspace="${word%%/results/*}";; esac; done
"""
    + HOLDS
)
# The reference generator knows no validation mode: the same call without it makes a case for each mask of this set.
VALIDATES = """
kept=(); while [ $# -gt 0 ]; do if [ "$1" = --mode ]; then shift; else kept+=("$1"); fi; shift; done
set -- "${kept[@]}"
"""
# What AnomalyGen's configuration and training leave behind, without learning anything.
CONFIG = """import sys
words = dict(zip(sys.argv[1::2], sys.argv[2::2]))
open(words["--output"], "w").write(f"max_iter: {words['--max-iter']}\\n")
"""
TRAINS = """home="$IMAGINAIRE_OUTPUT_ROOT/anomaly_gen/pcb/reference"
mkdir -p "$home/checkpoints/model"
read -r _ step < "$2"
echo "max_iter: $step" > "$home/ag_config.yaml"
printf -v name 'iter_%09d.pt' "$step"
echo weights > "$home/checkpoints/model/$name"
echo "$name" > "$home/checkpoints/latest_checkpoint.txt"
"""


def script(name: str) -> str:
    first, *rest = program(name).splitlines(keepends=True)
    return first + WAITS + "".join(line for line in rest if HOLD not in line)


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with own_daemon() as started:
        texts = {f"/usr/bin/{name}": program(name, null=True) for name in ("visual_changenet", "embedding")}
        texts |= {f"{SCRIPTS}/{name}": script(name) for name in ("prep_testcase.sh", "run_sdg.sh")}
        texts[f"{SCRIPTS}/prep_testcase.sh"] = VALIDATES.join(texts[f"{SCRIPTS}/prep_testcase.sh"].split("\n", 1))
        texts[f"{SCRIPTS}/generate_config.py"] = CONFIG
        texts[f"{SCRIPTS}/launch_training.sh"] = "#!/usr/bin/env bash\nworkspace=${2%%/results/*}\n" + HOLDS + TRAINS
        texts["/usr/bin/python3"] = f'#!/usr/bin/env bash\nexec {os.path.realpath(sys.executable)} "$@"\n'
        texts["/etc/profile"] = f"export ANOMALYGEN_SCRIPTS={SCRIPTS}\n"  # NVIDIA's image sets it too
        host_image(started, IMAGE, files(), texts)
        yield started


@pytest.fixture(autouse=True)
def our_image(monkeypatch: pytest.MonkeyPatch, null_engine_here: None) -> None:
    """Models are the null engine's here, in containers and on this machine; generated pairs are real."""
    for name in ("TAO_PYT_IMAGE", "TAO_DS_IMAGE", "AG_IMAGE"):
        monkeypatch.setenv(name, IMAGE)


def begin(root: Path, *more: str, checkpoint: bool = True) -> Path:
    """A started run of one iteration; the data set places its masks by `cad`."""
    make_workspace(root, counts=(24, 24, 48, 60))
    spec = yaml.safe_load((root / "specs/baseline_spec.yaml").read_text())
    spec["dataset"]["classify"] |= {"input_map": {"SolderLight": 0}, "num_input": 1}
    (root / "specs/baseline_spec.yaml").write_text(yaml.safe_dump(spec))
    home = root / "augmentation/anomalygen"
    make_set(home / "datasets/pcb", dependency="cad")
    if checkpoint:
        slot = home / "checkpoints/pcb/nvidia/Cosmos-AnomalyGen-PCB-2B"
        slot.mkdir(parents=True)
        (slot / "ag_config.yaml").write_text("{}\n")
        (slot / "iter_000014000.pt").write_bytes(b"weights")
    else:
        for path in (home / "datasets/pcb/IC/mask").rglob("*.png"):  # as AnomalyGen's training wants them called
            path.rename(path.with_name(f"{path.stem}_mask.png"))
    (home / "base_checkpoints/nvidia/Cosmos-Predict2-2B-Text2Image").mkdir(parents=True)
    more += ("--max-iterations", "1", "--platform", "local-docker", "--screen", "off")
    more += ("--set", "gpus=0", "--synthetic", "inference_only", "--num-sdg", "8")
    return begun(root, *more, "--anomalygen-label", "bridge", "--anomalygen-label", "missing")


def test_every_trouble_has_its_message_and_the_run_goes_on_to_its_pairs(daemon: Daemon, tmp_path: Path) -> None:
    root = tmp_path / "ws"
    run = begin(root)
    home = root / "augmentation/anomalygen/datasets/pcb"
    client = daemon.client()
    while "routing]" not in step(run):
        pass

    # Wrong masks: flattened to white. No container is started for them.
    make_set(home, dependency="cad", ground=(255, 255, 255))
    said = step(run, check=3)
    assert "HARD STOP anomalygen_masks at iter1/anomalygen" in said
    assert "a mask flattened to black and white gives no place for any defect" in said
    assert not list(run.glob("jobs/iter1-anomalygen-*"))
    resolve(run)

    # Masks too large for most of the boards: a shortfall, before anything is generated.
    make_set(home, dependency="cad", box=(28, 20))
    small = np.zeros((64, 64, 3), np.uint8)
    small[24:40, 24:40] = GROUND[::-1]
    for number in (1, 2, 3):
        write(home / f"IC/cad_mask/c{number}.png", small)
    said = step(run, check=3)
    assert "HARD STOP allocation_shortfall" in said
    assert re.search(r"placed \d of 8 masks \(IC\+", said)
    assert "so nothing was generated" in said
    assert "--min-allocation" in said
    assert not list(run.glob("jobs/iter1-anomalygen-run_sdg*"))
    resolve(run)

    # The container is killed while it generates.
    make_set(home, dependency="cad")
    sdg = run / "jobs/iter1-anomalygen-run_sdg"
    (root / HOLD).touch()
    assert "prep_testcase running for" in step(run, check=75, wait="1")
    (root / HOLD).unlink()
    while not (run / "iter1/anomalygen/testcase.jsonl").is_file():
        pass
    (root / HOLD).touch()
    assert "run_sdg running for" in step(run, check=75, wait="3")
    client.containers.list()[0].kill()
    said = step(run, check=3)
    assert "HARD STOP task_failed at iter1/anomalygen" in said
    assert "run_sdg failed (exit 137)" in said
    assert "killed by SIGKILL" in said
    (root / HOLD).unlink()
    resolve(run)

    # A picture that cannot be read is dropped without a word; the counts tell.
    for path in (home / "IC/anomaly_image/missing").iterdir():
        path.write_bytes(b"torn")
    said = step(run, check=3)
    assert "HARD STOP silent_drop" in said
    assert "made 4 of 8 pairs (IC+missing 4)" in said or "(IC+missing 0 of 4)" in said
    assert "left out" in (sdg / "output.log").read_text()
    resolve(run)

    # All fixed: pairs come, with the container that the contract asks for.
    make_set(home, dependency="cad")
    assert "SDG: 8 requested, 8 allocated, 8 generated" in step(run)
    asked = json.loads((sdg / "handle.json").read_text())["container"]
    assert (asked["host_ipc"], asked["shm"], asked["workdir"]) == (True, "16g", "/workspace/paidf-anomalygen")
    assert asked["user"] == "0:0"
    assert asked["environment"]["HF_HUB_DISABLE_XET"] == "1"
    assert "/etc/passwd" in [target for _, target, _ in asked["mounts"]]
    view = run / "iter1/anomalygen_input/checkpoint_view"
    assert asked["command"][asked["command"].index("--checkpoint_dir") + 1] == str(view)
    assert (view / "checkpoints/model/iter_000014000.pt").read_bytes() == b"weights"
    facts = entries(run)[-1]["facts"]
    assert facts["requested"] == facts["allocated"] == facts["generated"] == {"IC+bridge": 4, "IC+missing": 4}
    rows = pd.read_csv(run / "iter1/anomalygen/sdg_rows.csv", dtype=str)
    for row in rows.itertuples():
        pictures = [cv2.imread(str(root / f"{folder}/{row.object_name}_SolderLight.png"))
                    for folder in (row.input_path, row.golden_path)]  # fmt: skip
        assert (pictures[0] != pictures[1]).any()
    deft("run", "--results-dir", str(run))
    assert entries(run)[-1]["stage"] == "loop_stop"
    assert deft("verify", "--results-dir", str(run)).startswith("verified: ")
    assert client.containers.list(all=True) == []


def test_a_data_set_without_a_checkpoint_is_fine_tuned_once_and_generated_from(daemon: Daemon, tmp_path: Path) -> None:
    root = tmp_path / "ws"
    run = begin(root, "--anomalygen-max-iter", "6", checkpoint=False)
    summary = (run / "preflight_summary.md").read_text()
    assert "anomalygen_finetune | on | no checkpoint, but base models and a data set" in summary
    assert "6 steps on 1 GPU" in summary
    client = daemon.client()
    while "routing]" not in step(run):
        pass

    # Killed while it learns: the loop stops, and goes on after a person's word.
    out, job = run / "iter1/anomalygen_finetune", run / "jobs/iter1-anomalygen_finetune-launch_training"
    (root / HOLD).touch()
    assert "prep_validation running for" in step(run, check=75, wait="1")
    (root / HOLD).unlink()
    while not (out / "cases/validation.jsonl").is_file():
        pass
    (root / HOLD).touch()
    waited = step(run, check=75, wait="15")
    assert "launch_training running for" in waited, waited
    client.containers.list()[0].kill()
    said = step(run, check=3)
    assert "HARD STOP task_failed at iter1/anomalygen_finetune" in said
    assert "launch_training failed (exit 137)" in said
    (root / HOLD).unlink()
    resolve(run)

    assert "generator fine-tuned on 6 real defects of 2 types" in step(run)
    line = entries(run)[-1]
    assert line["stage"] == "anomalygen_finetune"
    asked = json.loads((job / "handle.json").read_text())["container"]
    assert (asked["host_ipc"], asked["shm"], asked["workdir"]) == (True, "16g", "/workspace/paidf-anomalygen")
    assert asked["environment"]["IMAGINAIRE_OUTPUT_ROOT"] == str(out / "results")
    checkpoint = Path(line["facts"]["checkpoint_dir"])
    assert (checkpoint / "checkpoints/model/iter_000000006.pt").is_file()

    assert "SDG: 8 requested, 8 allocated, 8 generated" in step(run)
    command = json.loads((run / "jobs/iter1-anomalygen-run_sdg/handle.json").read_text())["container"]["command"]
    assert command[command.index("--checkpoint_dir") + 1] == str(checkpoint)
    assert command[command.index("--step") + 1] == "6"
    deft("run", "--results-dir", str(run))
    assert deft("verify", "--results-dir", str(run)).startswith("verified: ")
    assert client.containers.list(all=True) == []
