"""`deft serve` behind its API: runs, live, review with its files, figures, comparison, approval, resolve, read only."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from deft_aoi.base.errors import InputError
from deft_aoi.base.paths import SKILL_ROOT
from deft_aoi.data.label_review import read_review
from deft_aoi.record.review_log import AlreadyDecided, ReviewLog
from deft_aoi.web.page import endpoints
from deft_aoi.web.site import make_site
from inside import deft
from loop_cli import begin
from page_runs import suspected
from real_loops import NEVER_MET, PLAN, approved_code
from report_run import RunMaker, baseline_only, whole_run
from served import Served, serving
from small_workspace import make_workspace


def decide(page: Served, item: dict[str, Any], chosen: str, status: int = 200, **more: str) -> Any:
    return page.post(
        "./decisions", {"item": item["key"], "chosen": chosen, "who": "Ada", "browser": "b"} | more, status
    )


def test_runs_facts_figures_and_comparison(tmp_path: Path) -> None:
    run = whole_run(tmp_path).finish()
    with serving(run) as page:
        (row,) = page.get("/runs")
        assert (row["status"], row["verdict"], [one["label"] for one in row["far"]]) == (
            "complete", "FAIL", ["baseline", "iter1", "iter2"],
        )  # fmt: skip
        facts = page.get(".")
        deft("report", "--results-dir", run)
        report = json.loads((run / "report.json").read_text())
        assert {name: facts[name] for name in report} == report
        model = page.get("./models/iter2")
        counts = {one["name"]: (one["n"], sum(one["steps"])) for one in model["slider"]["labels"]}
        assert counts["PASS"][0] == 120
        low, chosen = -1.0, model["threshold"]
        changed = page.get(f"./models/iter2/changed?threshold={low}")
        scores = pd.read_csv(run / "iter2/inference/best_val/inference.csv")["siamese_score"]
        assert (changed["count"], changed["to"]) == (int((scores <= chosen).sum()), "NO_PASS")
        groups = page.get("./models/iter2/groups?by=board&threshold=0.5")
        called = (scores > 0.5) & (pd.read_csv(run / "iter2/inference/best_val/inference.csv")["label"] == "PASS")
        assert sum(one["false_calls"] for one in groups) == int(called.sum())
        assert page.ask("GET", "./models/iter9")[0] == 400
        assert page.ask("GET", "./models/iter2/groups?by=weather")[0] == 400
        assert page.get("./models/iter2/rows/3/picture?kind=difference")[:4] == b"\x89PNG"
        assert page.ask("GET", "./models/iter2/rows/9999/picture")[0] == 404
        both = page.get(f"/compare?a={page.key}&b={page.key}")
        assert (both["rows"]["both"], both["rows"]["counts"]["changed"], both["plan"]) == (144, 0, [])
        assert page.ask("GET", f"/compare?a={page.key}&b=7.run")[0] == 404
        assert b"<html" in page.get("./report")


def test_two_runs_differ_row_by_row(tmp_path: Path) -> None:
    first = whole_run(tmp_path / "a", max_iterations=1).finish()
    second = whole_run(tmp_path / "b").finish()
    with serving(workspaces=[first.parents[1], second.parents[1]]) as page:
        a, b = f"0.{first.name}", f"1.{second.name}"
        rows = page.get(f"/compare?a={a}&b={b}")["rows"]
        assert rows["both"] == 144
        assert rows["counts"]["changed"] == len(rows["changed"])
        assert all(one["called_a"] != one["called_b"] for one in rows["changed"])


def test_a_decision_is_durable_seen_by_all_and_can_be_taken_back(tmp_path: Path) -> None:
    run = whole_run(tmp_path).finish()
    names = suspected(run, 6)
    with serving(run) as page:
        queue = page.get("./queue?browser=one")
        assert (queue["counts"], queue["left"], queue["labels"][0]) == ({"label": 6}, 6, "PASS")
        first, second = queue["items"][:2]
        assert (first["object_name"], first["judges"]) == (names[0], True)
        assert page.get("./queue?browser=two")["items"] == []  # all six are on the other screen
        decide(page, first, "bridge", note="solder between the pads")
        decide(page, second, second["label"])
        assert "already" not in decide(page, first, "PASS", 409)["error"]
        assert decide(page, queue["items"][2], "ok", 400)["error"].startswith("label 'ok'")
    found = read_review(run / "label_review.csv").set_index("object_name")
    assert found.loc[names[0], "verdict"] == "mislabeled"
    assert found.loc[names[0], "note"].startswith("is bridge; Ada, ")
    assert found.loc[names[1], "verdict"] == "confirmed"
    lines = [json.loads(line) for line in (run.parent / "review_decisions.jsonl").read_text().splitlines()]
    assert [(one["who"], one["chosen"]) for one in lines] == [("Ada", "bridge"), ("Ada", second["label"])]
    kpi = (run.parents[1] / "kpi/testing_set.csv").read_bytes()
    with serving(run) as page:  # another server goes on where this one ended
        assert page.get("./queue?browser=one")["left"] == 4
        assert page.post("./undo", {"who": "Ada"})["object_name"] == names[1]
        assert page.get("./queue?browser=one")["left"] == 5
        assert page.post("./undo", {"who": "Bob"}, 404)["error"] == "nothing of yours to take back"
        fixes = page.get("./fixes")
        assert (fixes["kpi"], [one["chosen"] for one in fixes["changes"]]) == (1, ["bridge"])
        assert "change KPI labels" in page.post("./fixes", {}, 400)["error"]
        assert (run.parents[1] / "kpi/testing_set.csv").read_bytes() == kpi
        (done,) = page.post("./fixes", {"kpi_words": "change KPI labels"})["written"]
    assert (done["set"], done["labels"], done["kept"]) == ("kpi", 1, "testing_set.csv.original")
    after = pd.read_csv(run.parents[1] / "kpi/testing_set.csv").set_index("object_name")["label"]
    assert after[names[0]] == "bridge"
    assert (run.parents[1] / "kpi/testing_set.csv.original").read_bytes() == kpi


def test_a_line_written_before_a_crash_is_applied_by_the_next_server(tmp_path: Path) -> None:
    run = whole_run(tmp_path).finish()
    suspected(run, 3)
    with serving(run) as page:
        first, second, _ = page.get("./queue")["items"]
    log = ReviewLog(run.parent)
    row = {
        "kind": "label",
        "run": run.name,
        "set": "kpi",
        **{k: first[k] for k in ("input_path", "object_name", "label")},
    }
    log.add(first["key"], row | {"golden_path": ""}, "bridge", "", "Ada")
    with pytest.raises(AlreadyDecided, match="Ada decided 'bridge'"):
        log.add(first["key"], row | {"golden_path": ""}, "PASS", "", "Bob")
    with open(log.path, "ab") as stream:
        stream.write(b'{"seq": 2, "item": "cut')  # the machine went away in the middle of a line
    with serving(run) as page:
        assert page.get("./queue")["left"] == 2
        assert read_review(run / "label_review.csv")["verdict"].tolist().count("mislabeled") == 1
        decide(page, second, "unsure")
    assert [one.chosen for one in log.lines()] == ["bridge", "unsure"]
    log.path.write_text("nonsense\n")
    with pytest.raises(InputError, match="line 1: damaged"):
        log.lines()


@pytest.mark.usefixtures("null_engine_here")
def test_a_waiting_plan_starts_by_the_code_that_a_person_types(tmp_path: Path) -> None:
    root = make_workspace(tmp_path / "ws", counts=(24, 24, 48, 60))
    shown = deft("preflight", "--workspace", root, *PLAN, *NEVER_MET, "--policy", "random").stdout
    with serving(workspaces=[root]) as page:
        (row,) = page.get("/runs")
        page = Served(page.port, row["key"])
        live = page.get("./live")
        assert (row["status"], live["status"], live["approval"]["summary"][:2]) == ("waiting", "waiting", "# ")
        assert "belongs to no Summary" in page.post("./approve", {"code": "nonsense"}, 400)["error"]
        page.post("./approve", {"code": approved_code(shown).lower()})
        live = page.get("./live")
        assert (live["status"], live["next"]) == ("in_progress", "baseline/train")


@pytest.mark.usefixtures("null_engine_here")
def test_a_hard_stop_is_resolved_in_words_and_look_refuses_every_write(tmp_path: Path) -> None:
    run = begin(tmp_path / "ws", policy="random")
    (tmp_path / "ws/null_engine.json").write_text('{"fail": "train"}')
    deft("step", "--results-dir", run, check=3)
    with serving(run, look=True) as page:
        stop = page.get("./live")["stopped"]
        assert (stop["code"], "deft resolve" in stop["remedy"]) == ("task_failed", True)
        for path, body in (
            ("./resolve", {"words": "again"}),
            ("./undo", {"who": "A"}),
            ("./fixes", {}),
            ("./feedback", {}),
        ):
            assert "--look" in page.post(path, body, 403)["error"]
        assert page.get("/about")["look"] is True
    (tmp_path / "ws/null_engine.json").unlink()
    with serving(run) as page:
        assert "words" in page.post("./resolve", {"words": "x"}, 400)["error"]
        page.post("./resolve", {"words": "the disk was full"})
        assert page.get("./live")["next"] == "baseline/train"
    assert "the disk was full" in (run / "loop_log.jsonl").read_text()


def test_the_map_names_what_training_has_nothing_like(tmp_path: Path) -> None:
    """Vectors that mining wrote; one defect type is absent from training, one lies far from its own."""
    root = make_workspace(tmp_path / "ws", counts=(40, 10, 30, 30))
    run = root / "results/run_20260302_090000"
    maker = RunMaker(tmp_path / "other")  # any started run will do
    maker.finish().rename((run.parent.mkdir(parents=True), run)[1])
    folder = run / "iter1/mining_filter"
    folder.mkdir(parents=True)
    embeddings(root).to_parquet(folder / "source_embeddings.parquet")
    with serving(run) as page:
        about = page.get("./map")
        assert about["rows"] == about["with_vector"] == 110
        assert about["vectors"] == "image embeddings"
        data = page.get("./map/points")
        x, y = (np.frombuffer(data, "<f4", 110, 440 * n) for n in (0, 1))
        assert np.isfinite([x, y]).all()
        assert float(np.abs(x).max()) <= 1.06
        alone = page.get("./map/uncovered")
        assert {one["label"] for one in alone["rows"]} == {"bridge"}  # DEFECTS[:2] alone are in training
        row = page.get("./map/rows/0")
        assert len(row["neighbours"]) == 5
        assert row["neighbours"][0]["similarity"] > 0.9
        assert page.ask("GET", "./map/rows/110")[0] == 404
        assert page.get("./map/rows/0/picture?kind=golden")[:4] == b"\x89PNG"
        made = page.post("./map/request", {"rows": [one["row"] for one in alone["rows"]]})
        assert "| bridge |" in made["text"]
        assert page.get(f"./map/find?text={row['object_name']}")[0] == 0
    assert len(pd.read_csv(run / "collection_request.csv")) == len(alone["rows"])


def embeddings(root: Path) -> pd.DataFrame:
    """One vector a picture: a direction for each label, and noise."""
    rng = np.random.default_rng(1)
    rows = []
    sets = {"kpi/images": ("train/base/training_set.csv", "train/base/validation_set.csv", "kpi/testing_set.csv"),
            "": ("augmentation/mining_pool/mining_pool.csv",)}  # fmt: skip
    for images, csvs in sets.items():
        for row in pd.concat([pd.read_csv(root / csv) for csv in csvs]).itertuples():
            middle = np.eye(8)[["PASS", "missing", "shift", "bridge"].index(row.label)] * 4
            for light in ("WhiteLight", "SolderLight"):
                at = "augmentation/mining_pool" if images == "" else images
                name = f"{root / at / row.input_path}/{row.object_name}_{light}.png"
                rows.append({"filepath": name, "embedding": (middle + rng.normal(0, 0.3, 8)).astype(np.float32)})
    return pd.DataFrame(rows)


def test_what_is_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="name what to show"):
        make_site([], None, [])
    with pytest.raises(InputError, match="expected a run directory"):
        make_site([], tmp_path, [])
    root = make_workspace(tmp_path / "ws", counts=(4, 4, 4, 4))
    with pytest.raises(InputError, match=r"no decisions\.csv"):
        make_site([root], None, [tmp_path])
    with serving(workspaces=[root]) as page:
        assert page.get("/runs") == []
        assert page.ask("GET", "/runs/0.run_x")[0] == 404


def test_every_address_that_writes_says_so() -> None:
    """A reader's server refuses what is marked; what is not marked is a GET."""
    site = make_site([SKILL_ROOT], None, [])
    assert [one.path for one in endpoints(site) if one.writes != (one.method != "GET")] == []


TAKES_SIGINT = (
    "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "runpy.run_module('deft_aoi.cli.main', run_name='__main__')"
)


def test_command_prints_its_address_and_ends_quietly(tmp_path: Path) -> None:
    """On Ctrl-C; e2e/test_signals.py ends it by SIGTERM. Whoever started the tests may have SIGINT ignored."""
    run = baseline_only(tmp_path).finish()
    command = [sys.executable, "-c", TAKES_SIGINT, "serve", "--results-dir", str(run), "--port", "0"]
    environment = {"PYTHONPATH": str(SKILL_ROOT / "scripts"), "PATH": ""}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as job:
        assert job.stdout is not None
        address = job.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:")
        assert "/?token=" in address
        job.send_signal(signal.SIGINT)
        assert (job.wait(20), job.stderr and job.stderr.read()) == (0, "deft serve: ended\n")
