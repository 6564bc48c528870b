"""The batch script for every way to start a command on the nodes, as bash reads it."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from deft_aoi.base.errors import InputError
from deft_aoi.executors.base import ANOMALYGEN, TAO_PYT, Place, Task
from deft_aoi.executors.containers import Wanted, wanted
from deft_aoi.executors.slurm.slurm_script import batch_script, image_for

IMAGE = "nvcr.io/nvidia/tao/tao-toolkit:7.0.1-pyt"


@pytest.fixture
def asked(tmp_path: Path) -> Wanted:
    (tmp_path / "kpi/images").mkdir(parents=True)
    place = Place("slurm", {}, tmp_path, {TAO_PYT: IMAGE}, "tao")
    task = Task("train", ("visual_changenet", "train", "-e", "/a b/spec.yaml"), tmp_path, image=TAO_PYT, gpus=2)
    return wanted(task, tmp_path / "run/jobs/job", place)


def script(asked: Wanted, **settings: str) -> str:
    """The script, after bash has found no fault in its grammar."""
    text = batch_script(asked, Path("/w/run/jobs/job"), settings, air_gapped=False)
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)
    return text


def test_pyxis_gets_image_mounts_and_folder(asked: Wanted, tmp_path: Path) -> None:
    text = script(asked, container="pyxis")
    assert "#SBATCH --gres=gpu:2\n" in text
    assert "#SBATCH --no-requeue\n" in text
    assert "--container-image=nvcr.io#nvidia/tao/tao-toolkit:7.0.1-pyt" in text
    mounts = f"--container-mounts={tmp_path}:{tmp_path},{tmp_path}/kpi/images:/data/datasets/NV_PCB_Siamese/images:ro"
    assert mounts in text
    assert f"--container-workdir={tmp_path}/run/jobs/job" in text
    assert "visual_changenet train -e '/a b/spec.yaml'\n" in text


def test_apptainer_binds_and_sees_the_gpus(asked: Wanted, tmp_path: Path) -> None:
    text = script(asked, container="apptainer", images="/images", gres="gpu:a100")
    assert "#SBATCH --gres=gpu:a100:2\n" in text
    assert "apptainer exec --no-home --nv --bind " in text
    assert "/images/nvcr.io_nvidia_tao_tao-toolkit_7.0.1-pyt.sif visual_changenet train" in text
    assert "--nv" not in script(replace(asked, gpus=0), container="apptainer")
    assert "docker://nvcr.io/nvidia" in script(asked, container="apptainer")


def test_several_nodes_start_one_launcher_each_that_know_of_each_other(asked: Wanted) -> None:
    text = script(replace(asked, nodes=2), container="none", partition="gpu", memory="64G", time="4:00:00")
    for line in (
        "#SBATCH --nodes=2", "#SBATCH --ntasks-per-node=1", "#SBATCH --partition=gpu", "#SBATCH --mem=64G",
        "#SBATCH --time=4:00:00",
    ):  # fmt: skip
        assert f"{line}\n" in text
    assert "WORLD_SIZE=2\n" in text
    assert "export NUM_GPU_PER_NODE=2\n" in text
    assert """srun --kill-on-bad-exit=1 bash -c 'export NODE_RANK="$SLURM_NODEID";""" in text


def test_secrets_are_named_and_an_air_gap_needs_files(asked: Wanted) -> None:
    text = script(replace(asked, secrets=ANOMALYGEN.secrets, environment=ANOMALYGEN.environment), container="pyxis")
    assert "export HF_HUB_DISABLE_XET=1\n" in text
    assert "--container-env=HF_HUB_DISABLE_XET,HF_TOKEN" in text
    with pytest.raises(InputError, match=r"pass --set images=FOLDER \(.sqsh\)"):
        image_for(IMAGE, {}, ".sqsh", air_gapped=True)
    with pytest.raises(InputError, match="expected one of pyxis, apptainer, none"):
        script(asked, container="podman")
