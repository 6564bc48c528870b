"""The report in a real browser: what a person does with the page, and what the page must never do."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from chromium import launched, needs_chromium, problems, screenshot
from deft_aoi.base.glossary import TERMS
from deft_aoi.report.far_chart import FarPoint, far_by_iteration
from deft_aoi.report.pdf import print_pdf
from deft_aoi.report.render import ASSETS, render
from report_run import RunMaker, baseline_only, whole_run

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = needs_chromium
EVIL = '<script>window.hurt=1</script>"><img src=x onerror="window.hurt=1">\u202eexe.\u2028'


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as opened:
        yield opened


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render(whole_run(tmp_path_factory.mktemp("finished")).finish())


@pytest.fixture
def opened(browser: Browser) -> Iterator[Any]:
    """A function that opens a report; afterwards no error was on its console and no request had left the file."""
    contexts, errors, requests = [], [], []

    def show(path: Path, **options: Any) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(path.as_uri())
        return page

    yield show
    for context in contexts:
        context.close()
    assert errors == []
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []


def number(page: Page, name: str) -> int:
    return int(page.inner_text(f"#{name}").replace(",", ""))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_readable_for_everyone(opened: Any, finished: Path, scheme: str, width: int) -> None:
    page = opened(finished, color_scheme=scheme, viewport={"width": width, "height": 860})
    screenshot(page, f"report-{scheme}-{width}")
    assert problems(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


OVERLAPS = """svg => {
  const box = e => { const b = e.getBBox(); return [b.x + 1, b.y + 2, b.x + b.width - 1, b.y + b.height - 2]; };
  const texts = [...svg.querySelectorAll('text')], dots = [...svg.querySelectorAll('circle')];
  const meet = (a, b) => a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3];
  const found = [];
  texts.forEach((one, place) => [...texts.slice(place + 1), ...dots].forEach(other => {
    if (meet(box(one), box(other))) found.push([one.textContent, other.textContent]);
  }));
  dots.forEach((one, place) => dots.slice(place + 1).forEach(other => {
    if (meet(box(one), box(other))) found.push([one.textContent, other.textContent]);
  }));
  return found;
}"""


def test_the_first_screen_says_the_result_and_what_to_do_next(opened: Any, finished: Path) -> None:
    page = opened(finished, viewport={"width": 1280, "height": 800})
    headline = page.locator("h1")
    lines = headline.evaluate("e => e.getBoundingClientRect().height / parseFloat(getComputedStyle(e).lineHeight)")
    assert round(lines) <= 2
    advice = page.locator(".advice h2").bounding_box()
    assert advice is not None
    assert advice["y"] + 60 < 800
    assert page.locator("#verdict .caveats > ul > li").count() <= 4


@pytest.mark.parametrize("models", [3, 30])
def test_points_and_labels_of_the_chart_do_not_cover_each_other(browser: Browser, models: int) -> None:
    rates = [40 / (1 + number) ** 1.5 for number in range(models)]
    points = [
        FarPoint("baseline" if n == 0 else f"iter{n}", r, r * 0.8, r * 1.3, r * (1 if n % 2 else 0.7), n == models - 1)
        for n, r in enumerate(rates)
    ]
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.set_content(f"<style>{(ASSETS / 'report.css').read_text()}</style>{far_by_iteration(points, 21.0, 0.5)}")
    for chart in page.locator("svg.far").all():
        assert chart.evaluate(OVERLAPS) == []
    page.close()


def test_tables_fit_a_phone_and_names_break_after_their_separators(opened: Any, finished: Path) -> None:
    page = opened(finished, viewport={"width": 390, "height": 860})
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    wide = "all => all.filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.innerText.slice(0, 80))"
    assert page.locator(".scroll").evaluate_all(wide) == []
    assert page.locator("wbr").count() > 0
    assert "false calls" in page.locator("table.figures td[data-head]").evaluate_all("a => a.map(e => e.dataset.head)")


def test_terms_are_explained_on_hover_and_in_print(opened: Any, finished: Path) -> None:
    page = opened(finished)
    assert page.locator("#verdict abbr").first.get_attribute("title") == TERMS["FAR"]
    page.emulate_media(media="print")
    assert page.locator(".terms dt").all_inner_texts() == list(TERMS)
    assert page.is_visible(".terms dd >> nth=0")


def test_slider_moves_counts_matrix_and_pairs(opened: Any, finished: Path) -> None:
    page = opened(finished)
    chosen = number(page, "out-false"), number(page, "out-escapes")
    assert chosen[1] == 0
    assert page.is_hidden("#flips")
    page.evaluate("const cut = document.getElementById('cut'); cut.value = 0; cut.dispatchEvent(new Event('input'))")
    passes = sum(int(cell.inner_text()) for cell in page.query_selector_all(".confusion [data-row='0'] td")[:2])
    assert (number(page, "out-false"), number(page, "out-escapes")) == (passes, 0)
    assert page.is_visible("#flips")
    page.click("[data-mark=soft]")
    page.click("[data-step='1']")
    assert number(page, "out-escapes") >= 1
    assert "escapes" in [mark.inner_text() for mark in page.query_selector_all(".card.defect .decision")]
    page.click("#flip-count")
    listed = page.query_selector_all("#flip-rows tr")
    assert str(len(listed)) in page.inner_text("#flip-count")
    screenshot(page, "slider-moved")
    page.click("[data-mark=chosen]")
    assert (number(page, "out-false"), number(page, "out-escapes")) == chosen


def test_filters_leave_what_was_asked_for(opened: Any, finished: Path) -> None:
    page = opened(finished)
    everything = page.locator(".card:visible").count()
    page.select_option("select[name=label]", "bridge")
    shown = page.locator(".card:visible")
    assert 0 < shown.count() < everything
    assert {card.get_attribute("data-label") for card in shown.all()} == {"bridge"}
    page.select_option("select[name=light]", "WhiteLight")
    assert {one.get_attribute("data-light") for one in page.locator(".light:visible").all()} == {"WhiteLight"}
    page.click("#filters button[type=reset]")
    page.wait_for_function(f"document.getElementById('shown').textContent.startsWith('{everything} of')")
    page.select_option("select[name=origin]", "synthetic")
    assert page.locator(".card.mined:visible").count() == page.locator(".card:visible").count() > 0


def test_viewer_by_keyboard_alone(opened: Any, finished: Path) -> None:
    page = opened(finished)
    page.focus(".card .compare")
    page.keyboard.press("Enter")
    assert page.is_visible("#viewer")

    def source() -> str | None:
        return page.get_attribute("#stage img", "src")

    first = source()
    page.keyboard.press("2")
    assert source() != first
    screenshot(page, "viewer-golden")
    page.keyboard.press("3")
    assert "difference" in (page.get_attribute("#stage img", "alt") or "")
    page.keyboard.press("f")
    seen = {source() for _ in range(12) if page.wait_for_timeout(120) is None}
    assert first in seen
    assert len(seen) == 2
    title = page.inner_text("#viewer-about")
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#viewer-about") != title
    assert problems(page) == []
    page.keyboard.press("Escape")
    assert page.is_hidden("#viewer")
    assert "compare" in (page.evaluate("document.activeElement.className") or "")


def test_tables_sort_by_number(opened: Any, finished: Path) -> None:
    page = opened(finished)
    head = page.locator("table.figures th", has_text="false calls").first
    column = page.locator("table.figures tbody tr:not(.reference) td:nth-child(6)")

    def cells() -> list[int]:
        return [int(cell.inner_text()) for cell in column.all()]

    head.get_by_role("button").click()
    assert (head.get_attribute("aria-sort"), cells()) == ("ascending", sorted(cells()))
    head.get_by_role("button").click()
    assert (head.get_attribute("aria-sort"), cells()) == ("descending", sorted(cells(), reverse=True))


def test_without_scripts_and_in_print_the_figures_stay(opened: Any, finished: Path) -> None:
    page = opened(finished, java_script_enabled=False)
    assert page.locator("svg.chart:visible").count() >= 4
    assert page.is_hidden("#filters")
    assert page.is_hidden("#slider")
    assert page.locator(".compare:visible").count() == 0
    page.emulate_media(media="print")
    assert page.locator(".top:visible").count() == 0
    assert page.locator(".card:visible").count() >= 20
    screenshot(page, "print")


def test_hostile_names_neither_run_nor_break_the_layout(opened: Any, tmp_path: Path) -> None:
    labels = (EVIL, "missing", "x" * 300, "عيب" * 40)
    maker = whole_run(tmp_path, defects=labels, max_iterations=1)
    path = maker.run / "narrative.json"
    path.write_text('{"schema_version": 1, "headline": "<script>window.hurt=true</script> {{far.best}}"}')
    page = opened(render(maker.finish()), viewport={"width": 390, "height": 860})
    assert page.evaluate("window.hurt") is None
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.click("[data-mark=soft]")
    page.evaluate("document.getElementById('cut').value = 1000; cut.dispatchEvent(new Event('input'))")
    page.select_option("select[name=label]", index=1)
    page.locator(".card:visible .compare").first.click()
    assert page.evaluate("window.hurt") is None
    screenshot(page, "hostile-390")


def stopped(root: Path) -> RunMaker:
    maker = baseline_only(root)
    facts = {"code": "train_failed", "evidence": "iter1/train/log.txt", "remedy": "free GPU memory"}
    maker.add("iter1", "train", "out of memory", facts, status="error")
    return maker


def seven(root: Path) -> Path:
    """A run of 7.0.x: no facts, no hashes, no Pre-Flight record."""
    run = whole_run(root, max_iterations=1).finish()
    lines = [json.loads(line) for line in (run / "loop_log.jsonl").read_text().splitlines()]
    kept = ("seq", "ts", "iter", "stage", "status", "summary", "duration_sec", "context_tokens")
    (run / "loop_log.jsonl").write_text("".join(json.dumps({k: line[k] for k in kept}) + "\n" for line in lines))
    (run / "preflight.json").unlink()
    return run


MADE = {
    "unfinished": lambda root: baseline_only(root).finish(),
    "stopped": lambda root: stopped(root).finish(),
    "one-iteration": lambda root: whole_run(root, max_iterations=1).finish(),
    "of-7.0": seven,
}


@pytest.mark.parametrize("kind", MADE)
def test_every_kind_of_run_gives_a_sound_page(opened: Any, tmp_path: Path, kind: str) -> None:
    page = opened(render(MADE[kind](tmp_path)))
    screenshot(page, f"run-{kind}")
    assert problems(page) == []
    assert page.locator("h1:visible").count() == 1


def test_pdf_has_the_whole_page(finished: Path) -> None:
    pdf = print_pdf(finished)
    data = pdf.read_bytes()
    assert pdf == finished.with_suffix(".pdf")
    assert data.startswith(b"%PDF-")
    assert len(re.findall(rb"/Type\s*/Page\b", data)) >= 4
