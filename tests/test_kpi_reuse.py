"""kpi.reuse: decisions, the band for a person, drift; and deft score on scores that are there already."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy import stats

from deft_aoi.base.errors import InputError
from deft_aoi.kpi.analyze import swept_of
from deft_aoi.kpi.reuse import decide, drift, reference_of, review_band, unseen_components
from deft_aoi.kpi.scored import Scored, read_scored
from deft_aoi.kpi.sweep import operating_point
from deft_aoi.loop.score import score

HEADER = ["input_path", "golden_path", "label", "object_name", "comp_type_1", "siamese_score"]


def kpi(path: Path, n: int = 4000, seed: int = 1, shift: float = 0.0, types: tuple[str, ...] = ("R", "C")) -> Scored:
    generator = np.random.default_rng(seed)
    label = np.where(generator.random(n) < 0.1, "short", "PASS")
    value = generator.normal(size=n) + 4 * (label == "short") + shift
    rows = pd.DataFrame({
        "input_path": "in", "golden_path": "gold", "label": label, "object_name": [f"C{i}" for i in range(n)],
        "comp_type_1": [types[i % len(types)] for i in range(n)], "siamese_score": 1 / (1 + np.exp(-value)),
    })  # fmt: skip
    rows[HEADER].to_csv(path, index=False)
    return read_scored(path)


def reference(tmp_path: Path) -> tuple[Scored, dict[str, object], float]:
    scored = kpi(tmp_path / "kpi.csv")
    threshold = operating_point(swept_of(scored)).threshold
    return scored, json.loads(json.dumps(reference_of(scored, threshold))), threshold


def test_the_band_holds_the_asked_share_of_pass_rows_around_the_threshold(tmp_path: Path) -> None:
    scored, known, threshold = reference(tmp_path)
    passes = np.sort(scored.score[~scored.defect])
    for share in (0.01, 0.02, 0.05):
        low, high = review_band(known, share)
        inside = ((passes >= low) & (passes <= high)).mean()
        assert inside == pytest.approx(share, abs=0.004)
        assert ((passes >= low) & (passes <= threshold)).mean() == pytest.approx(share / 2, abs=0.003)
        assert high >= scored.score[scored.defect].min()


def test_weaker_defects_of_a_new_design_go_to_a_person(tmp_path: Path) -> None:
    _, known, threshold = reference(tmp_path)
    levels, quantiles = np.array(known["pass_levels"]), np.array(known["pass_quantiles"])
    at = float(np.interp(threshold, quantiles, levels))
    weaker = np.interp(at - np.array([0.001, 0.005, 0.009]), levels, quantiles)  # below 0.1 to 0.9 % of the PASS rows
    assert decide(weaker, threshold, None).tolist() == ["PASS"] * 3, "escapes without a band"
    assert decide(weaker, threshold, review_band(known)).tolist() == ["REVIEW"] * 3
    beyond = np.interp([at - 0.02], levels, quantiles)
    assert decide(beyond, threshold, review_band(known)).tolist() == ["PASS"]


def test_decisions_follow_threshold_and_band() -> None:
    got = decide(np.array([0.1, 0.28, 0.3, 0.35, 0.36, 0.9]), 0.3, (0.28, 0.35))
    assert got.tolist() == ["PASS", "REVIEW", "REVIEW", "REVIEW", "NO_PASS", "NO_PASS"]
    assert decide(np.array([0.3, 0.31]), 0.3, None).tolist() == ["PASS", "NO_PASS"]


def test_drift_is_scipys_distance_and_warns_only_when_there_is_some(tmp_path: Path) -> None:
    scored, known, threshold = reference(tmp_path)
    calm = kpi(tmp_path / "calm.csv", n=1000, seed=9)
    found = drift(calm.score, known)
    assert found is not None
    low = [one.score[one.score <= threshold] for one in (calm, scored)]
    passes = scored.score[~scored.defect & (scored.score <= threshold)]
    assert found.distance == pytest.approx(stats.ks_2samp(low[0], passes).statistic, abs=0.01)
    assert found.warning is None
    moved = drift(kpi(tmp_path / "moved.csv", n=1000, seed=9, shift=0.6).score, known)
    assert moved is not None
    assert moved.warning is not None
    assert "drift up" in moved.warning
    assert drift(calm.score[:5], known) is None


def test_small_samples_of_the_same_line_seldom_warn(tmp_path: Path) -> None:
    _, known, _ = reference(tmp_path)
    warned = [drift(kpi(tmp_path / "x.csv", n=120, seed=100 + n).score, known) for n in range(60)]
    assert sum(one is not None and one.warning is not None for one in warned) <= 3


def test_unseen_component_types_are_named(tmp_path: Path) -> None:
    _, known, _ = reference(tmp_path)
    assert unseen_components(kpi(tmp_path / "same.csv", n=200), known) is None
    text = unseen_components(kpi(tmp_path / "new.csv", n=200, types=("R", "BGA")), known)
    assert text is not None
    assert "100 rows are of 1 component types" in text
    assert "BGA" in text


def model(tmp_path: Path) -> Path:
    _, known, threshold = reference(tmp_path)
    path = tmp_path / "best_model.json"
    path.write_text(json.dumps({"checkpoint": "gone.pth", "threshold": threshold, "training_spec": "gone.yaml"}))
    (tmp_path / "best_model_reference.json").write_text(json.dumps(known))
    return path


def test_scores_that_are_there_are_only_decided(tmp_path: Path) -> None:
    path = model(tmp_path)
    kpi(tmp_path / "new.csv", n=500, seed=4)
    result = score(path, tmp_path / "new.csv", tmp_path / "out")
    assert sum(result.decisions.values()) == 500
    assert result.decisions["REVIEW"] >= 1
    assert result.warnings == ()
    assert result.labelled is not None
    rows = pd.read_csv(tmp_path / "out/decisions.csv")
    assert rows["decision"].value_counts().to_dict() == {k: v for k, v in result.decisions.items() if v}
    drifted = score(path, kpi(tmp_path / "moved.csv", n=500, shift=0.8).csv, tmp_path / "out2")
    assert any("drift up" in text for text in drifted.warnings)


def test_unlabelled_rows_and_a_model_without_reference(tmp_path: Path) -> None:
    path = model(tmp_path)
    kpi(tmp_path / "new.csv", n=300, seed=4)
    rows = pd.read_csv(tmp_path / "new.csv").drop(columns=["label"])
    rows.to_csv(tmp_path / "bare.csv", index=False)
    assert score(path, tmp_path / "bare.csv", tmp_path / "out").labelled is None
    (tmp_path / "best_model_reference.json").unlink()
    result = score(path, tmp_path / "bare.csv", tmp_path / "out")
    assert (result.band, result.decisions["REVIEW"]) == (None, 0)
    assert "no drift check" in result.warnings[0]


def test_what_cannot_be_scored_is_refused(tmp_path: Path) -> None:
    path = model(tmp_path)
    (tmp_path / "rows.csv").write_text("input_path,golden_path,object_name\nin,gold,C1\n")
    with pytest.raises(InputError, match=r"gone.pth: checkpoint of .* is gone"):
        score(path, tmp_path / "rows.csv", tmp_path / "out", images_dir=tmp_path)
    with pytest.raises(InputError, match="expected a fraction"):
        score(path, tmp_path / "rows.csv", tmp_path / "out", review_share=2)
    (tmp_path / "best_model.json").write_text('{"threshold": 0.5, "checkpoint": "x", "training_spec": "y"}')
    with pytest.raises(InputError, match="belongs to another model"):
        score(path, kpi(tmp_path / "new.csv", n=100).csv, tmp_path / "out")
    (tmp_path / "best_model.json").write_text("{}")
    with pytest.raises(InputError, match=r"expected best_model\.json of a finished run"):
        score(path, tmp_path / "rows.csv", tmp_path / "out")


def of(passes: np.ndarray, defects: np.ndarray) -> dict[str, object]:
    label = np.array(["PASS"] * passes.size + ["short"] * defects.size, dtype=object)
    values = np.concatenate([passes, defects])
    scored = Scored(Path("kpi.csv"), label, label != "PASS", values, pa.table({"label": label.astype(str)}))
    return reference_of(scored, float(passes[passes < defects.min()].max()))


def test_rows_that_jump_over_the_threshold_are_seen_though_the_rest_is_as_before() -> None:
    generator = np.random.default_rng(0)
    known = of(generator.beta(1, 20, 3000), generator.beta(20, 1, 50))
    usual = drift(generator.beta(1, 20, 3000), known)
    assert usual is not None
    assert usual.warning is None
    jumped = drift(np.concatenate([generator.beta(1, 20, 1500), 0.5 + 0.4 * generator.random(1500)]), known)
    assert jumped is not None
    assert jumped.warning is not None
    assert "50% of the rows are called NO_PASS" in jumped.warning


@pytest.mark.parametrize("share", [0.05, 0.12, 0.5])
def test_tied_scores_are_no_drift(share: float) -> None:
    generator = np.random.default_rng(0)

    def tied() -> np.ndarray:
        found = generator.beta(1, 20, 3000)
        return np.where(generator.random(3000) < share, 0.0, found)

    known = of(tied(), generator.beta(20, 1, 50))
    assert [one for one in (drift(tied(), known) for _ in range(20)) if one is None or one.warning] == []
    more = drift(np.where(generator.random(3000) < share + 0.2, 0.0, generator.beta(1, 20, 3000)), known)
    assert more is not None
    assert more.warning is not None
