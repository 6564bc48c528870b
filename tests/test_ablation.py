"""`deft ablate`: both arms side by side on the run's executor, nothing of the run touched, the spread in the words."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from deft_aoi.base.errors import COMPLETE, InputError
from deft_aoi.base.paths import RunPaths
from deft_aoi.loop import ablation, driver, verify
from deft_aoi.preflight import preflight
from small_workspace import make_workspace


@pytest.fixture(autouse=True, scope="module")
def null_engine(null_engine_in_module: None) -> None:
    """Models are the null engine's here; what generates pairs is real."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunPaths:
    root = make_workspace(tmp_path_factory.mktemp("ablation") / "w", counts=(40, 24, 48, 60))
    asked = {"workspace": str(root), "max_iterations": 1, "mine_rows": 12, "num_epochs": 2, "batch_size": 8,
             "synthetic": "inference_only", "num_sdg": 9, "kpi_target": "FAR <= 0% at recall = 100%"}  # fmt: skip
    paths = preflight.write(preflight.preflight(asked))
    preflight.start(paths)
    assert driver.drive(paths.root, lambda line: None, report=False) == COMPLETE
    return paths


def contents(root: Path) -> dict[str, str]:
    """Every file of a run but the lock and the ablations."""
    files = [path for path in root.rglob("*") if path.is_file() and "ablation" not in path.parts]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files if path.name != ".lock"}


def test_both_arms_are_trained_for_every_seed_and_the_run_stays_as_it_is(finished: RunPaths) -> None:
    before, said = contents(finished.root), []
    record = ablation.ablate(finished.root, "synthetic", 3, said.append)
    assert contents(finished.root) == before
    assert record["rows"] == {"with": 61, "without": 52}, "40 seed rows, 12 mined, 9 synthetic"
    assert [(point["arm"], point["seed"]) for point in record["points"]] == [
        (arm, 7 + number) for number in range(3) for arm in ("with", "without")
    ]
    assert len(said) == 6
    for point in record["points"]:
        scores = finished.root / point["scores"]
        assert hashlib.sha256(scores.read_bytes()).hexdigest() == point["sha256"]
    gaps = record["difference"]["per_seed"]
    assert record["difference"]["mean"] == pytest.approx(sum(gaps) / 3)
    assert record["sentence"] in (finished.root / record["table"]).read_text()
    assert not verify.verify(finished), "the run's own audit knows nothing against it"
    again: list[str] = []
    assert ablation.ablate(finished.root, "synthetic", 3, again.append) == record
    assert not again, "a finished ablation is read, not repeated"


def test_the_other_arm_lacks_its_rows_and_nothing_else(finished: RunPaths) -> None:
    from deft_aoi.record.run import load_run

    run = load_run(finished.root)
    for source, left in (("synthetic", 52), ("mined", 49)):
        cut = ablation.make_cut(run, source)
        assert sum(cut.kept) == left
        both, less = cut.arm("with", 5), cut.arm("without", 5)
        assert set(less.index) == {n for n in both.index if cut.kept[n]}
        gone = both.drop(less.index)
        assert set(gone["project"] == "synthetic") == {source == "synthetic"}


@pytest.mark.parametrize(
    ("gaps", "says"),
    [
        ([2.0, 2.5, 1.5], "the synthetic rows help"),
        ([-2.0, -2.5, -1.5], "the synthetic rows hurt"),
        ([-2.0, 3.0, 1.0], "no difference that these seeds could tell from chance"),
    ],
)
def test_the_words_follow_the_interval(gaps: list[float], says: str) -> None:
    assert says in ablation.sentence("synthetic", gaps)


def test_the_interval_is_students(finished: RunPaths) -> None:
    found = ablation.spread([1.0, 2.0, 3.0])
    assert (found["mean"], found["deviation"]) == (2.0, 1.0)
    assert found["high"] - found["mean"] == pytest.approx(4.302653 / 3**0.5, rel=1e-5)


@pytest.mark.parametrize(
    ("source", "seeds", "says"), [("magic", 3, "expected synthetic or mined"), ("mined", 2, "3 or more")]
)
def test_refusals(finished: RunPaths, source: str, seeds: int, says: str) -> None:
    with pytest.raises(InputError, match=says):
        ablation.ablate(finished.root, source, seeds, lambda line: None)
    assert json.loads((finished.root / "deft_state.json").read_text())["version"] == 2
