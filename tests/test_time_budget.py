"""Hours become iterations: by platform and size of the data, and only where an estimate can be made."""

from __future__ import annotations

from pathlib import Path

import pytest

import inside
from deft_aoi.base.errors import REFUSED, InputError
from deft_aoi.preflight.time_budget import MOST, Size, fit
from deft_aoi.record.run import Plan
from small_workspace import make_workspace

NVIDIA = Size(200, 600, 1000, 1)


def plan(**values: object) -> Plan:
    return Plan.from_json({"workspace": "", "kpi_target": "", "max_iterations": 1, "mine_rows": 20, **values})


def test_nvidias_iteration_of_200_rows_takes_their_time() -> None:
    found = fit(6.5, plan(platform="local-docker", engine="tao", synthetic="inference_only"), NVIDIA, gpu=False)
    assert found.iterations == 9  # they report ten iterations in 6.5 h
    assert found.baseline == pytest.approx(13.0)
    assert found.iteration == pytest.approx(39, abs=1)  # theirs: 33 with 200 rows; training grows with its rows
    assert "RTX 6000 Ada" in found.sentence(6.5)


def test_more_rows_and_fewer_gpus_leave_fewer_iterations() -> None:
    def iterations(size: Size, gpus: int) -> int:
        return fit(3, plan(platform="slurm", engine="tao", num_gpus=gpus), size, gpu=False).iterations

    assert iterations(Size(2000, 600, 1000, 1), 1) == 1
    assert iterations(NVIDIA, 1) < iterations(NVIDIA, 4) <= MOST


def test_the_embedded_engines_are_fast_and_capped() -> None:
    found = fit(2, plan(), Size(180, 720, 1370, 2), gpu=False)
    assert found.iterations == MOST
    assert f"{MOST}, the most that is proposed, at under 1 min each" in found.sentence(2)


@pytest.mark.parametrize(("hours", "values"), [(0, {}), (float("nan"), {}), (2, {"platform": "elsewhere"})])
def test_no_estimate_is_made_up(hours: float, values: dict[str, object]) -> None:
    with pytest.raises(InputError, match="--hours"):
        fit(hours, plan(**values), NVIDIA, gpu=False)


def test_the_summary_says_where_the_number_comes_from(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "ws", counts=(24, 24, 48, 60))
    said = inside.deft("preflight", "--workspace", workspace, "--hours", "2").stdout
    assert (
        f"| max_iterations | {MOST} | estimated from 2 h: {MOST}, the most that is proposed, at under 1 min each, "
        in said
    )
    both = ("--hours", "2", "--max-iterations", "3")
    refused = inside.deft("preflight", "--workspace", workspace, *both, check=REFUSED)
    assert "pass one of them" in refused.stderr
