"""spec.older_keys: a key that TAO no longer knows names its successor and value; lights keep the order of the YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from deft_aoi.base.errors import Refusals
from deft_aoi.data.workspace_files import baseline_spec
from deft_aoi.preflight.preflight import preflight
from deft_aoi.preflight.summary import remarks
from deft_aoi.spec.tree import optics, put, read_spec
from small_workspace import make_workspace


def problems(tmp_path: Path, **values: Any) -> list[str]:
    spec = baseline_spec()
    for key, value in values.items():
        put(spec, key.replace("__", "."), value)
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))
    return read_spec(tmp_path / "spec.yaml")[1]


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("dataset__classify__output_shape", [128, 256], "image_width: 256 and dataset.classify.image_height: 128"),
        ("dataset__classify__output_shape", [3, 96, 96], "image_width: 96 and dataset.classify.image_height: 96"),
        ("dataset__output_shape", [100, 100], "image_width: 100 and dataset.classify.image_height: 100"),
        ("dataset__classify__image_size", 64, "image_width: 64 and dataset.classify.image_height: 64"),
        ("train__val_interval", 2, "write train.validation_interval: 2"),
        ("train__classify__checkpoint_interval", 5, "Write train.checkpoint_interval: 5"),
        ("train__max_epochs", 30, "write train.num_epochs: 30"),
        ("train__random_seed", 7, "write train.seed: 7"),
        ("dataset__batch_size", 8, "Write dataset.classify.batch_size: 8"),
        ("train__num_epoch", 12, "Write train.num_epochs: 12"),
        ("train__optim__learning_rate", 0.1, "write train.optim.lr: 0.1"),
        ("dataset__classify__num_workers", 3, "write dataset.classify.workers: 3"),
        ("train__frobnicate", 1, "remove it, if nothing of it is needed"),
    ],
)
def test_the_successor_and_its_value_are_named(tmp_path: Path, key: str, value: Any, says: str) -> None:
    found = problems(tmp_path, **{key: value})
    assert len(found) == 1
    assert key.replace("__", ".") in found[0]
    assert says in found[0]


def test_the_summary_shows_size_and_lights_in_the_order_of_the_yaml(tmp_path: Path) -> None:
    root = make_workspace(tmp_path / "ws", counts=(16, 16, 16, 16))
    path = root / "specs/baseline_spec.yaml"
    spec = yaml.safe_load(path.read_text())
    spec["dataset"]["classify"]["input_map"] = {"SolderLight": 1, "WhiteLight": 0}
    path.write_text(yaml.safe_dump(spec, sort_keys=False))
    assert optics(spec, path).lights == ("SolderLight", "WhiteLight")
    result = preflight({"workspace": str(root), "max_iterations": 1, "kpi_target": "FAR < 5% at recall = 100%"})
    assert any("lights SolderLight, WhiteLight, 48 x 48 pixels" in line for line in remarks(result))
    notes = [finding.text for finding in result.findings if finding.level == "note"]
    assert any("TAO goes by the lines: SolderLight, WhiteLight" in text for text in notes)


def test_an_old_spec_is_refused_with_every_successor_at_once(tmp_path: Path) -> None:
    root = make_workspace(tmp_path / "ws", counts=(16, 16, 16, 16))
    path = root / "specs/baseline_spec.yaml"
    spec = yaml.safe_load(path.read_text())
    classify = spec["dataset"]["classify"]
    classify["output_shape"] = [classify.pop("image_height"), classify.pop("image_width")]
    spec["train"]["val_interval"] = 1
    path.write_text(yaml.safe_dump(spec, sort_keys=False))
    with pytest.raises(Refusals) as caught:
        preflight({"workspace": str(root), "max_iterations": 1})
    found = [text for text in caught.value.problems if "ExperimentConfig" in text]
    assert len(found) == 2
    assert "image_width: 48" in found[0] + found[1]
