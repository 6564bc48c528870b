"""DEFT_Loop_Report.html: one file, safe, complete at any moment, the same bytes for the same run."""

from __future__ import annotations

import html.parser
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from deft_aoi.base.errors import InputError
from deft_aoi.base.paths import SKILL_ROOT
from deft_aoi.engine.difference import heat, registered
from deft_aoi.report import gallery
from deft_aoi.report.render import render, render_iteration
from report_run import RunMaker, baseline_only, whole_run

EVIL = "<script>alert(1)</script>"
VOID = {"meta", "img", "br", "input", "link", "hr", "wbr"}


class Page(html.parser.HTMLParser):
    """Tags with attributes, text, and whether every tag was closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.goes_on = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.goes_on = tag == "wbr"  # a place where a name may break is no blank
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            if self.goes_on:
                self.words[-1] += data
            else:
                self.words.append(data)
        self.goes_on = False

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attrs for tag, attrs in self.tags if tag == name]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return whole_run(tmp_path_factory.mktemp("finished")).finish()


def test_whole_page(finished: Path) -> None:
    path = render(finished)
    page = Page(path.read_text())
    assert path == finished / "DEFT_Loop_Report.html"
    assert page.open == []
    assert "COMPLETE" in page.text
    assert "pp from target" in page.text
    assert "NOT MET" not in page.text.upper()
    for section in ("verdict", "iterations", "scores", "pictures", "data", "record"):
        assert section in {attrs.get("id") for attrs in page.all("section")}
    assert len(page.all("img")) >= 2 * 9 * 6
    assert all((image.get("alt") or "").strip() for image in page.all("img"))
    assert all(chart.get("aria-label") for chart in page.all("svg") if chart.get("role") == "img")
    assert len({attrs["id"] for _, attrs in page.tags if "id" in attrs}) == sum("id" in attrs for _, attrs in page.tags)


def test_nothing_is_loaded_from_elsewhere(finished: Path) -> None:
    text = render(finished).read_text()
    for _, attrs in Page(text).tags:
        for name in ("src", "href", "srcset", "data", "action", "poster"):
            value = attrs.get(name) or "#"
            assert value.startswith(("#", "data:image/jpeg;base64,")), (name, value[:80])
    assert not re.search(r"https?://|@import|url\(", text)
    assert "default-src 'none'" in text


def test_same_run_same_bytes(finished: Path) -> None:
    first = render(finished).read_bytes()
    facts = (finished / "report.json").read_bytes()
    environment = {**os.environ, "PYTHONPATH": str(SKILL_ROOT / "scripts"), "PYTHONHASHSEED": "77"}
    command = [sys.executable, "-m", "deft_aoi.cli.main", "report", "--results-dir", str(finished)]
    done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True, cwd="/")
    assert (done.returncode, done.stdout.strip()) == (0, str(finished / "DEFT_Loop_Report.html")), done.stderr
    assert (finished / "DEFT_Loop_Report.html").read_bytes() == first
    assert (finished / "report.json").read_bytes() == facts


def test_iteration_page_and_summary(finished: Path) -> None:
    path = render_iteration(finished, "iter1")
    page = Page(path.read_text())
    assert path == finished / "iter1/report.html"
    assert "iter1" in page.text
    summary = (finished / "iter1_summary.md").read_text()
    assert len(summary.split()) <= 300
    assert "FAR" in summary
    with pytest.raises(InputError, match="found baseline, iter1, iter2"):
        render_iteration(finished, "iter7")


def test_summary_stays_within_its_limit(tmp_path: Path) -> None:
    from deft_aoi.report.collect import collect, require_label
    from deft_aoi.report.narrative import Narrative, summary_markdown

    facts = collect(baseline_only(tmp_path, n_pass=8, n_defect=4).finish())
    told = Narrative("x", iterations={"baseline": "word " * 800})
    text = summary_markdown(facts, require_label(facts, "baseline"), told)
    assert len(text.split()) == 300
    assert text.endswith("…\n")


@pytest.mark.parametrize(
    ("make", "status"),
    [
        (lambda root: RunMaker(root, n_pass=4, n_defect=4), "NOT STARTED"),
        (baseline_only, "IN PROGRESS"),
    ],
)
def test_unfinished_runs(tmp_path: Path, make: object, status: str) -> None:
    run = make(tmp_path).finish()  # type: ignore[operator]
    page = Page(render(run).read_text())
    assert page.open == []
    assert status in page.text
    assert "COMPLETE" not in page.text


def test_trained_but_not_evaluated(tmp_path: Path) -> None:
    maker = RunMaker(tmp_path, n_pass=4, n_defect=4)
    maker.train("baseline", 50)
    page = Page(render(maker.finish()).read_text())
    assert "No model has been evaluated yet." in page.text
    assert "Next is baseline/evaluate" in page.text


def test_hard_stop_page(tmp_path: Path) -> None:
    maker = baseline_only(tmp_path, n_pass=30, n_defect=8)
    facts = {
        "code": "empty_pool",
        "evidence": "x/pool.csv",
        "remedy": "add `1` row; then: deft resolve",
        "stage": "rca",
    }
    maker.add("iter1", "rca", "the mining pool is empty", facts, status="error")
    page = Page(render(maker.finish()).read_text())
    assert "HARD STOP" in page.text
    for words in ("the mining pool is empty", "empty_pool", "x/pool.csv", "deft resolve"):
        assert words in page.text


def test_names_from_the_data_cannot_run(tmp_path: Path) -> None:
    """Labels, object names and summaries with mark-up, quotes, right-to-left marks and great length."""
    labels = (EVIL, "\"quoted' & <b>bold</b>", "\u202etfihs", "x" * 300, "back`tick {{far.iter1}} 7")
    maker = whole_run(
        tmp_path, n_pass=40, n_defect=20, defects=labels, object_prefix="a'\"&lt;\u202e", max_iterations=1
    )
    maker.add("iter1", "loop_stop", f"again {EVIL}", {"reason": "max_iterations"})
    text = render(maker.finish()).read_text()
    page = Page(text)
    assert page.open == []
    assert EVIL not in text
    assert "<b>bold" not in text
    assert len(page.all("script")) == 2
    assert EVIL in page.text
    render_iteration(maker.run, "iter1")


def test_script_policy_allows_only_our_script(finished: Path) -> None:
    import base64
    import hashlib

    text = render(finished).read_text()
    script = text.rsplit("<script>", 1)[1].split("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in text


def test_missing_pictures_do_not_stop_the_page(tmp_path: Path) -> None:
    import shutil

    maker = baseline_only(tmp_path, n_pass=30, n_defect=8)
    shutil.rmtree(maker.workspace / "kpi/images")
    (maker.workspace / "kpi/images").mkdir()
    page = Page(render(maker.finish()).read_text())
    assert page.all("img") == []
    assert "no picture" in page.text


def test_page_stays_small_with_forty_noisy_pictures(tmp_path: Path) -> None:
    """Noise does not compress: the budget must shrink the pictures, not the page grow."""
    import cv2
    import numpy as np

    random = np.random.default_rng(0)
    pairs = []
    for number in range(40):
        files = []
        for name in ("test", "golden"):
            files.append(tmp_path / f"{number}_{name}.png")
            cv2.imwrite(str(files[-1]), random.integers(0, 256, (200, 200, 3), dtype=np.uint8))
        sights = tuple(gallery.Sight(light, *files) for light in ("a", "b"))
        pairs.append(gallery.Pair(f"pass{number}", "pass", "PASS", f"U{number}", "", sights, 0.5, 0.1))
    budget = 700_000
    views = gallery.embed(pairs, budget, tmp_path)
    size = sum(len(v.test) + len(v.golden) + len(v.third) for some in views.values() for v in some)
    assert 0 < size <= budget
    assert set(views) == {pair.key for pair in pairs}


def test_page_with_all_its_pictures_is_quick_and_small(tmp_path: Path) -> None:
    import time

    maker = baseline_only(tmp_path, n_pass=600, n_defect=60)
    run = maker.finish()
    started = time.monotonic()
    assert render(run).stat().st_size < 5_000_000
    assert time.monotonic() - started < 10


def test_difference_ignores_a_shifted_golden() -> None:
    import numpy as np

    from report_run import picture

    test = picture(3, "PASS", 0)
    moved = np.roll(test, (3, -4), axis=(0, 1))
    missing = picture(3, "missing", 0)
    same, changed = (heat(image, registered(image, moved)[0]).mean() for image in (test, missing))
    assert same < 0.4 * changed
    assert registered(test, moved)[1] == (pytest.approx(4, abs=0.3), pytest.approx(-3, abs=0.3))


def test_refusals_of_the_command(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(SKILL_ROOT / "scripts")}
    command = [sys.executable, "-m", "deft_aoi.cli.main", "report", "--results-dir", str(tmp_path)]
    done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True, cwd="/")
    assert done.returncode == 2
    assert done.stderr.startswith("deft report: ")
    assert len(done.stderr.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_name_longer_than_the_system_allows_is_a_missing_picture(tmp_path: Path) -> None:
    maker = baseline_only(tmp_path, n_pass=20, n_defect=8, object_prefix="y" * 300)
    assert "no picture" in render(maker.finish()).read_text()
