"""The patches that the net engine puts into PASS rows in training. Skipped where torch is not installed."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deft_aoi.base.rows import read_rows
from deft_aoi.engine.net.pixels import pixel_table
from deft_aoi.engine.net.recipe import ON_GPU, draw_epoch, pasted_in_batch
from deft_aoi.spec.tree import load_spec, optics
from small_workspace import make_workspace

TORCH = importlib.util.find_spec("torch") is not None
needs_torch = pytest.mark.skipif(not TORCH, reason="torch is not installed (pip install '.[net]')")


def test_patches_go_into_pass_rows_alone_and_into_half_of_them_at_most() -> None:
    assert pasted_in_batch(192, 38, 1 / 4) == 48
    assert pasted_in_batch(32, 6, 1 / 12) == 3
    assert pasted_in_batch(8, 7, 0.5) == 0
    assert pasted_in_batch(10, 2, 0.9) == 4


# Centre, half height and width (the largest), a box, from 12 rows further down, and into which of the two images.
PATCH = [0.5, 0.5, 1.0, 1.0, 0.0, 0.25, 0.0]
IN_TEST, IN_GOLDEN = [*PATCH, 0.6], [*PATCH, 0.4]


@needs_torch
def test_a_patch_from_elsewhere_is_a_defect_and_one_that_looks_the_same_is_none() -> None:
    import torch

    from deft_aoi.engine.net.augment import patched

    flat, halves = torch.full((1, 2, 48, 48), 90), torch.full((1, 2, 48, 48), 90)
    halves[:, :, 30:] = 200  # twelve rows below the centre the image is another
    test = torch.cat([halves, flat, halves]).to(torch.uint8)
    batch = patched(test, test.clone(), torch.tensor([IN_TEST, IN_TEST]), 0.5)
    assert (batch.golden == test).all()
    assert (batch.test[:2] == test[:2]).all()
    assert batch.defect.tolist() == [False, True]
    assert batch.unclear.tolist() == [False, False]
    changed = (batch.test[2] != test[2]).all(0).nonzero()
    assert changed.min(0).values.tolist() == [18, 17]
    assert changed.max(0).values.tolist() == [29, 31]


@needs_torch
def test_a_patch_goes_into_the_test_or_into_the_golden_with_a_piece_of_the_image_that_gets_it() -> None:
    import torch

    from deft_aoi.engine.net.augment import patched

    test, golden = torch.full((3, 1, 48, 48), 90), torch.full((3, 1, 48, 48), 100)
    test[:, :, 30:], golden[:, :, 30:] = 200, 210
    test, golden = test.to(torch.uint8), golden.to(torch.uint8)
    batch = patched(test, golden, torch.tensor([IN_TEST, IN_GOLDEN]), 0.5)
    assert batch.defect.tolist() == [True, True]
    assert (batch.golden[:2] == golden[:2]).all()
    assert (batch.test[[0, 2]] == test[[0, 2]]).all()
    assert batch.test[1][batch.test[1] != test[1]].unique().tolist() == [200]
    assert batch.golden[2][batch.golden[2] != golden[2]].unique().tolist() == [210]
    assert ((batch.test[1] != test[1]) == (batch.golden[2] != golden[2])).all()
    one_sided = patched(test, golden, torch.tensor([IN_TEST, IN_GOLDEN]), 0.0)
    assert (one_sided.golden == golden).all()


def test_half_of_the_patches_are_drawn_for_the_golden() -> None:
    share = ON_GPU.golden_share
    how: dict[str, Any] = {"steps": 50, "batch": 192, "defects": 38, "pasted": 48, "shift": 3}
    drawn = draw_epoch(np.arange(50) < 5, seed=1, epoch=0, **how)
    assert share == 0.5
    assert 0.45 < float((drawn.paste[..., 7] < share).mean()) < 0.55


@needs_torch
def test_a_faint_patch_teaches_nothing() -> None:
    import torch

    from deft_aoi.engine.net.augment import patched

    test = torch.zeros((1, 1, 48, 48), dtype=torch.uint8)
    test[:, :, 30:] = 20  # of 255: less than anyone calls a defect, more than noise
    batch = patched(test, test.clone(), torch.tensor([IN_GOLDEN]), 0.5)
    assert batch.defect.tolist() == [False]
    assert batch.unclear.tolist() == [True]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_workspace(tmp_path_factory.mktemp("patches") / "ws")


def job_with_patches(workspace: Path, folder: Path, *, steps: int) -> Any:
    from deft_aoi.engine.net.facts import NetFacts
    from deft_aoi.engine.net.recipe import ON_CPU
    from deft_aoi.engine.net.training import Job

    spec, csv = workspace / "specs/baseline_spec.yaml", workspace / "train/base/training_set.csv"
    view, rows = optics(load_spec(spec), spec), read_rows(csv)
    table = pixel_table(rows, workspace / "kpi/images", view, 1, "rows")
    defect = (rows["label"] != "PASS").to_numpy()
    recipe = replace(ON_CPU, steps=steps, pasted_share=1 / 6)
    facts = NetFacts.of(view, 1, recipe.net_width)
    return Job(folder, table, defect, facts, recipe, 1, 32, 0.2, (1.0, 10.0), 0, None, "test")


@needs_torch
def test_a_step_is_told_which_rows_show_a_patch(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from deft_aoi.engine.net import augment, training

    seen, told = [], []

    def patched(*given: Any) -> Any:
        seen.append(augment.patched(*given))
        return seen[-1]

    def loss(logits: Any, target: Any, **more: Any) -> Any:
        told.append(target)
        return real(logits, target, **more)

    real = training.functional.binary_cross_entropy_with_logits
    monkeypatch.setattr(training, "patched", patched)
    monkeypatch.setattr(training.functional, "binary_cross_entropy_with_logits", loss)
    training.Trainer(job_with_patches(workspace, tmp_path, steps=8)).run_epoch(0)
    assert len(told) == 8
    for target, batch in zip(told, seen, strict=True):
        assert (target > 0.5).tolist() == [True] * 6 + [False] * 21 + batch.defect.tolist()
    assert 5 <= sum(int(batch.defect.sum()) for batch in seen) <= 35


def stop(_: Any, progress: Any) -> tuple[Any, bool]:
    return progress, True


@needs_torch
def test_two_processes_train_with_patches(workspace: Path, tmp_path: Path) -> None:
    from deft_aoi.engine.net import training
    from deft_aoi.engine.net.net_checkpoint import load_resume

    job = job_with_patches(workspace, tmp_path, steps=1)
    assert job.pasted == 5  # three rows are one process's, two the other's
    training.spread(job, stop, 2)
    state = load_resume(tmp_path, "test")
    assert state
    assert state[1].epochs_done == 1
    assert all(np.isfinite(value).all() for value in state[0].values())


@needs_torch
@pytest.mark.parametrize("world", [1, 2, 3])
def test_every_process_changes_its_own_rows_as_one_process_would(world: int) -> None:
    from deft_aoi.engine.net.batches import shares

    batch, pasted = 32, 3
    seen = {}
    for rank in range(world):
        mine, last = shares(batch, pasted, rank, world)
        own, numbers = list(range(batch))[mine], list(range(pasted))[last]
        seen |= dict(zip(own[len(own) - len(numbers) :], numbers, strict=True))
    assert seen == {29: 0, 30: 1, 31: 2}
