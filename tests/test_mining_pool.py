"""stages.mining_pool: the rows of one iteration, while the pool grows and holds copies of rows that judge."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest

from deft_aoi.base.paths import RunPaths, Workspace
from deft_aoi.mining.select import Stock
from deft_aoi.stages import mining_choice
from deft_aoi.stages.mining import pool_scores
from deft_aoi.stages.mining_choice import Pool, kept_pool
from deft_aoi.stages.mining_pool import source_pool, without_copies
from small_workspace import LIGHTS, make_workspace

EXT = ".png"


@pytest.fixture
def run(tmp_path: Path) -> Any:
    workspace = Workspace.at(make_workspace(tmp_path / "w"))
    paths = RunPaths(workspace.results / "run_1")
    plan = SimpleNamespace(acceptance="off", synthetic="off", pool="on")
    spec = SimpleNamespace(lights=LIGHTS, ext=EXT)
    return SimpleNamespace(workspace=workspace, paths=paths, plan=plan, optics=spec)


def append(run: Any, rows: pd.DataFrame) -> None:
    csv = run.workspace.pool_csv
    old = pd.read_csv(csv, dtype=str, keep_default_na=False)
    pd.concat([old, rows], ignore_index=True).to_csv(csv, index=False)


def copied(run: Any, row: dict[str, str], name: str, quality: int | None) -> pd.DataFrame:
    """A KPI row put into the pool under another name; with `quality` its test images encoded again."""
    home = run.workspace.pool_dir / "images" / name
    for column, part in (("input_path", "test"), ("golden_path", "golden")):
        (home / part).mkdir(parents=True)
        for light in LIGHTS:
            source = run.workspace.images / row[column] / f"{row['object_name']}_{light}{EXT}"
            target = home / part / source.name
            if quality is None or part == "golden":
                target.write_bytes(source.read_bytes())
            else:
                data = cv2.imencode(".jpg", cv2.imread(str(source)), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
                cv2.imwrite(str(target), cv2.imdecode(data, cv2.IMREAD_COLOR))
    folders = {"input_path": f"images/{name}/test", "golden_path": f"images/{name}/golden"}
    return pd.DataFrame([{**row, "boardname": name, **folders}])


def pool_of(run: Any) -> Pool:
    rows = source_pool(run)
    looks = np.zeros((len(rows), 2), np.float32)
    content = [str(row) for row in range(len(rows))]
    stock = Stock(
        rows["label"].to_numpy(str), np.ones(len(rows), bool), rows["boardname"].to_numpy(str), looks,
        content.__getitem__, frozenset({"taken"}),
    )  # fmt: skip
    return Pool(rows, rows.head(0), stock, 2, {"kpi": 1}, np.arange(len(rows)).astype(np.int8) % 3)


def test_the_pool_of_an_iteration_stays_while_it_grows(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mining_choice, "target_rows", lambda run, label: source_pool(run).head(0))
    before = kept_pool(run, "iter1", lambda: pool_of(run))
    append(run, source_pool(run).tail(1).drop(columns="origin").assign(object_name="grown"))
    again = kept_pool(run, "iter1", lambda: pool_of(run))
    assert again.rows.equals(before.rows)
    assert (again.unreadable, again.barred, again.stock.taken) == (2, {"kpi": 1}, before.stock.taken)
    assert [again.stock.content(row) for row in (0, 3)] == ["0", "3"]
    assert again.to_score.tolist() == before.to_score.tolist() != list(range(len(before.rows)))
    assert len(kept_pool(run, "iter2", lambda: pool_of(run)).rows) == len(before.rows) + 1


def test_near_duplicates_of_rows_that_judge_are_barred(run: Any) -> None:
    kpi = pd.read_csv(run.workspace.kpi_csv, dtype=str, keep_default_na=False).to_dict("records")
    before = source_pool(run)
    assert without_copies(run, before)[1] == {}
    for number in range(4):  # any number of copies of one picture
        append(run, copied(run, kpi[0], f"again{number}", 96 + number))
    append(run, copied(run, kpi[1], "bytes", None))
    rows, barred = without_copies(run, source_pool(run))
    assert barred == {"kpi": 4}
    assert len(rows) == len(before) + 1, "equal bytes are leakage: the loop stops for them"
    assert list(rows.index) == list(range(len(rows)))


def test_scores_find_their_rows_whatever_the_pool_has_become(tmp_path: Path) -> None:
    csv = tmp_path / "inference.csv"
    csv.write_text("input_path,golden_path,object_name,siamese_score\na,g,two,0.2\na,g,one,0.1\n")
    rows = pd.DataFrame({"input_path": "a", "golden_path": "g", "object_name": ["one", "new", "two"]})
    scores = pool_scores(csv, rows)
    assert scores[[0, 2]].tolist() == [0.1, 0.2]
    assert pd.isna(scores[1])
