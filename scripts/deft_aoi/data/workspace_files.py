"""The shared writer of a workspace: built next to its place, moved there when it is whole."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from deft_aoi.base.errors import InputError
from deft_aoi.base.files import whole_folder
from deft_aoi.base.paths import Workspace
from deft_aoi.base.rows import COLUMNS, PASS, normalise_label, pad_columns, write_rows
from deft_aoi.spec.tree import Spec, dump_spec

SPLITS = ("train", "validation", "kpi", "pool")


@contextlib.contextmanager
def new_workspace(path: Path) -> Iterator[Workspace]:
    """A workspace to fill under `<path>.partial`; renamed to `path` when the block ends well, removed when it fails.

    Raises InputError where `path` exists and is not an empty folder: nothing that is there is ever mixed or replaced.
    """
    target = path.expanduser().absolute()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"workspace {target}: already there and not empty; choose a new folder or move it away")
    with whole_folder(target) as partial:
        yield Workspace(partial)


def baseline_spec(
    *, lights: Sequence[str] = ("SolderLight",), ext: str = ".jpg", size: int = 224, num_epochs: int = 10,
    batch_size: int = 16,
) -> Spec:  # fmt: skip
    """A small TAO classify spec for a fresh workspace: C-RADIOv2-B, learnable difference, cross-entropy.

    Paths are relative to the workspace; every task writes them again as absolute ones. `size` is the side in pixels.
    """
    home = Workspace(Path())
    tables = dict(
        zip(
            ("train_dataset", "validation_dataset", "test_dataset", "infer_dataset"),
            (home.training_csv, home.validation_csv, home.kpi_csv, home.kpi_csv),
        )
    )
    classify: dict[str, Any] = {
        name: {"csv_path": csv.as_posix(), "images_dir": home.images.as_posix()} for name, csv in tables.items()
    }
    classify |= {
        "image_ext": ext, "image_width": size, "image_height": size, "batch_size": batch_size, "workers": 4,
        "num_classes": 2, "num_input": len(lights), "num_golden": 1, "concat_type": "linear",
        "input_map": {light: position for position, light in enumerate(lights)},
        "grid_map": {"x": len(lights), "y": 1}, "fpratio_sampling": 0.2,
        "augmentation_config": {
            "rgb_input_mean": [0.485, 0.456, 0.406], "rgb_input_std": [0.229, 0.224, 0.225], "augment": True,
            "random_flip": {"enable": True, "vflip_probability": 0.5, "hflip_probability": 0.5},
        },
    }  # fmt: skip
    return {
        "task": "classify",
        "model": {
            "backbone": {
                "type": "c_radio_v2_vit_base_patch16_224",
                "pretrained_backbone_path": (home.backbone_dir / "c_radio_v2_b.safetensors").as_posix(),
                "freeze_backbone": False,
            },
            "decode_head": {"feature_strides": [4, 8, 16, 32]},
            "classify": {
                "difference_module": "learnable", "learnable_difference_modules": 4, "train_margin_euclid": 2.0,
                "eval_margin": 0.5, "embedding_vectors": 5, "embed_dec": 30,
            },
        },
        "dataset": {"classify": classify},
        "train": {
            "num_epochs": num_epochs, "checkpoint_interval": 1, "validation_interval": 1, "num_gpus": 1,
            "num_nodes": 1, "seed": 1234, "pretrained_model_path": None,
            "classify": {"loss": "ce", "cls_weight": [1.0, 10.0]},
            "optim": {
                "optim": "adamw", "lr": 5.0e-5, "policy": "linear", "momentum": 0.9, "weight_decay": 0.01,
                "monitor_name": "val_loss",
            },
            "tensorboard": {"enabled": True, "infrequent_logging_frequency": 1},
        },
        "evaluate": {"num_gpus": 1},
        "inference": {"num_gpus": 1},
    }  # fmt: skip


def write_workspace(workspace: Workspace, tables: Mapping[str, pd.DataFrame], spec: Spec) -> None:
    """Write the four CSVs (keys of SPLITS), the spec and the empty folders that a user fills later."""
    homes = dict(zip(SPLITS, (workspace.training_csv, workspace.validation_csv, workspace.kpi_csv, workspace.pool_csv)))
    for name, path in homes.items():
        rows = pad_columns(tables[name])
        rows["label"] = rows["label"].map(normalise_label)
        write_rows(path, rows)
    dump_spec(workspace.spec, spec)
    for folder in (workspace.backbone_dir, workspace.results, workspace.images, workspace.pool_dir / "images"):
        folder.mkdir(parents=True, exist_ok=True)


def check_tables(tables: Mapping[str, pd.DataFrame]) -> None:
    """Refuse a workspace that the loop could not start from: each split needs PASS rows and defects."""
    for name in SPLITS:
        labels = tables[name]["label"] if not tables[name].empty else pd.Series([], dtype=str)
        passes = int((labels == PASS).sum())
        if passes == 0 or passes == len(labels):
            lacking = "PASS rows" if passes == 0 else "defects"
            raise InputError(
                f"split {name}: no {lacking} among its {len(labels)} rows; more images are needed, "
                "or other shares (--shares)"
            )


def count_labels(tables: Mapping[str, pd.DataFrame]) -> dict[str, dict[str, int]]:
    """Rows by label for each split, PASS first, then by name."""
    return {
        name: {
            str(label): int(count)
            for label, count in sorted(
                rows["label"].value_counts().items(), key=lambda item: (item[0] != PASS, item[0])
            )
        }
        for name, rows in tables.items()
    }


def rows_frame(rows: Sequence[Mapping[str, str]]) -> pd.DataFrame:
    """Rows with any of the 14 columns as a full table (empty text where absent)."""
    return pd.DataFrame([[row.get(name, "") for name in COLUMNS] for row in rows], columns=list(COLUMNS), dtype=str)
