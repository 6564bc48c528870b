"""A pool that is too large to be looked at whole: what Pre-Flight says beforehand, and that whole rows are opened."""

from __future__ import annotations

import re
import shutil

import pandas as pd
import pytest

from deft_aoi.base.paths import Workspace
from deft_aoi.preflight import check_data
from deft_aoi.preflight.inputs import Inputs, read_inputs
from small_workspace import LIGHTS, make_workspace

OTHERS = (60 + 32 + 40) * 2 * len(LIGHTS)  # images of the sets that are opened before the pool
SEEN = 10
COPY = 5


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """A pool whose row COPY has the pictures of the first KPI row."""
    home = Workspace.at(make_workspace(tmp_path_factory.mktemp("line") / "ws"))
    kpi, pool = pd.read_csv(home.kpi_csv).iloc[0], pd.read_csv(home.pool_csv).iloc[COPY]
    for light in LIGHTS:
        source = home.images / kpi["input_path"] / f"{kpi['object_name']}_{light}.png"
        shutil.copyfile(source, home.pool_dir / pool["input_path"] / f"{pool['object_name']}_{light}.png")
    return read_inputs(home)


def test_a_limit_on_images_never_falls_between_the_lights_of_a_row(inputs: Inputs) -> None:
    seen = check_data.examine(inputs, limit=OTHERS + SEEN * len(LIGHTS))
    notes = [finding.text for finding in check_data.findings(seen, "features")]
    assert f"{80 - SEEN} rows were not looked at for copies and damage; deft audit looks at all" in notes
    copies = seen.audit.shared[seen.audit.shared["kind"] == "content"]
    assert [(row.first_set, row.second_set, row.second_line) for row in copies.itertuples()] == [
        ("kpi", "pool", COPY + 2)
    ]


def test_a_large_pool_is_announced_with_its_parts_and_its_time(
    inputs: Inputs, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    check_data.announce(inputs)
    assert capfd.readouterr().err == ""
    monkeypatch.setattr(check_data, "NEW_FILES", 50)
    check_data.announce(inputs)
    said = capfd.readouterr().err
    assert said.startswith("pool: 80 rows. Their files are looked up, at most 50 images are opened and 80 labels ")
    assert re.search(r"about \d+ min, less where an earlier call kept its numbers\n$", said)
