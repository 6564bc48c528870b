"""The page of `deft serve` in a real browser: every screen on four kinds of run, review by keyboard, load."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import page_runs
from chromium import launched, needs_chromium, problems, screenshot
from deft_aoi.base.paths import SKILL_ROOT
from deft_aoi.data.label_review import read_review
from deft_aoi.record.review_log import ReviewLog
from inside import deft, jobs_by
from loop_cli import entries
from null_jobs import NullExecutor
from report_run import whole_run
from served import TOKEN, Served, serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = needs_chromium
PATIENCE = 60_000  # milliseconds; many machines are busy
READY = {
    "live": ".journal", "review": "[data-testid=progress]", "map": ".plane .corner", "figures": "[data-testid=tiles]",
}  # fmt: skip


@dataclass(frozen=True)
class Line:
    """A server that shows all four runs, by name, and their folders."""

    page: Served
    keys: dict[str, str]
    runs: dict[str, Path]


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    home = tmp_path_factory.mktemp("page")
    made = {"finished": page_runs.finished, "running": page_runs.running, "hard-stopped": page_runs.hard_stopped,
            "many-rows": page_runs.many_rows}  # fmt: skip
    runs = {name: make(home / name) for name, make in made.items()}
    job = runs["running"] / "jobs/baseline-evaluate-inference_best_val/alive.lock"
    with open(job, "ab") as alive, serving(workspaces=[run.parents[1] for run in runs.values()]) as page:
        fcntl.flock(alive.fileno(), fcntl.LOCK_EX)
        (runs["running"] / "baseline/inference/best_val/status.json").touch()
        yield Line(page, {name: f"{n}.{run.name}" for n, (name, run) in enumerate(runs.items())}, runs)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as opened:
        yield opened


@pytest.fixture
def opened(browser: Browser) -> Iterator[Callable[..., Page]]:
    """A function that opens an address; afterwards no error was on a console and no request had left the machine."""
    contexts, errors, requests = [], [], []

    def show(address: str, **options: Any) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("response", lambda told: errors.append(f"{told.status} {told.url}") if told.status >= 400 else None)
        page.on("request", lambda request: requests.append(request.url))
        page.goto(address)
        return page

    yield show
    for context in contexts:
        context.close()
    # Refused on purpose (somebody was faster), and pictures of the 100,000 rows, which are numbers only.
    fine = [text for text in errors if text.startswith("409 ") or (text.startswith("404 ") and "/picture" in text)]
    assert [text for text in errors if "Failed to load resource" not in text and text not in fine] == []
    assert [url for url in requests if not url.startswith(("http://127.0.0.1:", "data:", "blob:"))] == []


def picture(page: Page, name: str) -> None:
    screenshot(page, f"page-{name}")


def no_wider(page: Page, width: int) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth") <= width)


@pytest.mark.parametrize("kind", ["finished", "running", "hard-stopped", "many-rows"])
def test_every_screen_on_every_kind_of_run(opened: Callable[..., Page], line: Line, kind: str) -> None:
    """One look is light and wide, the next dark, the next as wide as a phone, so that each screen is seen in all three
    over the four runs."""
    looks = [("light", 1280), ("dark", 1280), ("light", 390), ("dark", 390)]
    start = list(line.runs).index(kind)
    screens = ["live", "review", "map", "figures"] if kind != "running" else ["live", "review", "map"]
    for number, screen in enumerate(screens):
        scheme, width = looks[(start + number) % 4]
        address = line.page.address("run", line.keys[kind], screen)
        page = opened(address, color_scheme=scheme, viewport={"width": width, "height": 860})
        page.wait_for_selector(READY[screen])
        page.wait_for_timeout(300)
        picture(page, f"{kind}-{screen}-{scheme}-{width}")
        assert problems(page) == [], (screen, scheme, width)
        assert no_wider(page, width), (screen, width)
        page.close()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_runs_and_comparison(opened: Callable[..., Page], line: Line, scheme: str, width: int) -> None:
    page = opened(line.page.address(), color_scheme=scheme, viewport={"width": width, "height": 860})
    page.wait_for_selector(".card.run")
    assert page.locator(".card.run").count() == 4
    assert [page.locator(".card.run .pill").nth(n).inner_text() for n in (0,)] == ["complete"]
    assert problems(page) == []
    picture(page, f"runs-{scheme}-{width}")
    page.get_by_label(f"compare {line.runs['finished'].name}").first.check()
    page.get_by_label(f"compare {line.runs['hard-stopped'].name}").first.check()
    page.click("text=Compare the two")
    page.wait_for_selector("text=Decisions that differ")
    assert problems(page) == []
    assert no_wider(page, width)
    picture(page, f"compare-{scheme}-{width}")


def test_live_says_what_runs_and_how_far_it_is(opened: Callable[..., Page], line: Line) -> None:
    page = opened(line.page.address("run", line.keys["running"], "live"))
    page.wait_for_selector(".job")
    text = page.inner_text(".job")
    assert "epoch 30 of 40" in text
    assert "30 of 40 so far" in text
    assert "batch 29 of 40" in text


def test_figures_move_with_the_threshold(opened: Callable[..., Page], line: Line) -> None:
    page = opened(line.page.address("run", line.keys["many-rows"], "figures"))
    page.wait_for_selector("[data-testid=tiles]")
    tiles = page.locator("[data-testid=tiles] b")
    chosen = [tiles.nth(n).inner_text() for n in range(4)]
    page.click("text=recall 99.5 %")
    page.wait_for_selector("[data-testid=changed]")
    changed = int(page.inner_text("[data-testid=changed] b").replace(",", ""))
    moved = [int(tiles.nth(n).inner_text().replace(",", "")) - int(chosen[n].replace(",", "")) for n in (2, 3)]
    assert changed == abs(moved[0]) + abs(moved[1]) > 0
    page.fill("label:has-text('one escape') input", "0")
    page.click("button:text-is('cheapest')")
    assert tiles.nth(2).inner_text() == "0"  # where an escape costs nothing, nothing is called
    page.click("text=chosen >> nth=0")
    assert [tiles.nth(n).inner_text() for n in range(4)] == chosen


def test_the_map_of_a_hundred_thousand_rows(
    opened: Callable[..., Page], line: Line, record_property: Callable[..., None]
) -> None:
    page = opened(line.page.address("run", line.keys["many-rows"], "map"))
    page.wait_for_selector(".plane .corner")
    first = page.evaluate("performance.now()")
    assert page.evaluate("deftMap.rows") == page_runs.ROWS - 48  # KPI rows that nobody embedded
    box = page.locator(".plane canvas").nth(1).bounding_box()
    assert box is not None
    frames = page.evaluate("""async () => {
        const canvas = document.querySelectorAll('.plane canvas')[1];
        const at = (type, x) => canvas.dispatchEvent(new PointerEvent(type, {clientX: 400 + x, clientY: 400, pointerId: 1, bubbles: true}));
        canvas.setPointerCapture = () => {};
        at('pointerdown', 0);
        const begin = performance.now(); const before = deftMap.frames; let n = 0;
        while (performance.now() - begin < 2000) { at('pointermove', 40 * Math.sin(n++ / 9)); await new Promise(requestAnimationFrame); }
        at('pointerup', 41);
        return {frames: (deftMap.frames - before) / ((performance.now() - begin) / 1000), took: deftMap.took};
    }""")  # noqa: E501
    record_property("map", {"first_ms": round(first), **frames})
    print(f"map of {page_runs.ROWS:,} rows: drawn {first:.0f} ms after opening, {frames}", file=sys.stderr)
    assert frames["frames"] > 5
    page.mouse.move(box["x"] + 300, box["y"] + 200)
    page.mouse.wheel(0, -400)
    page.click("text=lasso")
    for n, (dx, dy) in enumerate([(250, 150), (650, 150), (650, 500), (250, 500), (250, 160)]):
        page.mouse.move(box["x"] + dx, box["y"] + dy)
        if n == 0:
            page.mouse.down()
    page.mouse.up()
    page.wait_for_selector("text=/[0-9,]+ chosen/")
    page.select_option("label:has-text('colour') select", "label")
    page.click(".legend button >> nth=0")
    page.wait_for_function("() => !document.querySelector('.corner').textContent.startsWith('99,952')")
    picture(page, "map-lasso")


def test_a_click_shows_the_pair_and_what_training_lacks_is_asked_for(opened: Callable[..., Page], line: Line) -> None:
    run = line.runs["finished"]
    page = opened(line.page.address("run", line.keys["finished"], "map"))
    page.wait_for_selector(".plane .corner")
    page.click("text=Defects of the KPI set without a neighbour in training")
    page.wait_for_selector("text=/KPI defects/")
    if page.locator("text=Write the collection request").count():
        page.click("text=Write the collection request")
        page.wait_for_selector("text=Written into the run")
        assert (run / "collection_request.md").is_file()
    page.fill("input[type=search]", "C0")
    page.click("button:text-is('Find')")
    page.wait_for_selector("text=/[0-9]+ found/")
    page.click("text=/mined → asked/")
    box = page.locator(".plane canvas").nth(1).bounding_box()
    assert box is not None
    x, y = page.evaluate("() => deftMap.first")
    page.mouse.click(box["x"] + x, box["y"] + y)
    page.wait_for_selector("text=Nearest rows")
    picture(page, "map-row")
    assert problems(page) == []


# --- review ----------------------------------------------------------------------------------------------------------


@contextmanager
def server_process(run: Path, port: int = 0) -> Iterator[tuple[subprocess.Popen[str], int]]:
    command = [sys.executable, "-m", "deft_aoi.cli.main", "serve", "--results-dir", str(run), "--port", str(port)]
    environment = os.environ | {"PYTHONPATH": str(SKILL_ROOT / "scripts"), "DEFT_SERVE_TOKEN": TOKEN}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    ) as job:
        assert job.stdout is not None
        address = job.stdout.readline()
        try:
            yield job, int(address.split(":")[2].split("/")[0])
        finally:
            job.kill()


def test_a_hundred_rows_by_keyboard_over_a_kill_of_the_server(opened: Callable[..., Page], tmp_path: Path) -> None:
    run = whole_run(tmp_path, max_iterations=1).finish()
    names = page_runs.suspected(run, 100)
    log = ReviewLog(run.parent)
    with server_process(run) as (job, port):
        served = Served(port, f"0.{run.name}")
        page = opened(served.address("run", served.key, "review"))
        page.fill(".who", "Ada Example")
        page.keyboard.press("Tab")
        page.click("text=Suspected labels")
        press(page, log, 45)
        os.kill(job.pid, signal.SIGKILL)
        job.wait()
        page.keyboard.press("1")
        page.wait_for_selector("text=the server does not answer")
        assert len(log.lines()) == 45
    with server_process(run, port):
        press(page, log, 100)
        page.wait_for_selector("text=Nothing waits here")
        page.wait_for_timeout(500)
        page.keyboard.press("z")
        page.wait_for_selector("text=taken back")
        press(page, log, 102)
    with serving(run) as again:  # killed once more, maybe between the last line and what follows from it
        assert again.get("./queue")["left"] == 0
    decided = log.standing().values()
    assert sorted(one.object_name for one in decided) == sorted(names)
    assert {one.who for one in decided} == {"Ada Example"}
    verdicts = read_review(run / "label_review.csv")["verdict"].tolist()
    assert len(verdicts) == 100
    assert "" not in verdicts


def press(page: Page, log: ReviewLog, until: int) -> None:
    """Answer row after row by its first or second key, or as unsure, until the log has that many lines. A key that
    comes before the next row is on the screen does nothing, so it is pressed again."""
    deadline = time.monotonic() + 240
    while (done := len(log.lines())) < until and time.monotonic() < deadline:
        page.keyboard.press("12u"[done % 3])
        for _ in range(25):
            page.wait_for_timeout(40)
            if len(log.lines()) > done:
                break
    assert len(log.lines()) == until


def label_all(page: Page, log: ReviewLog) -> int:
    """Answer every row that the loop waits for; how many there were."""
    waiting = int(page.inner_text("button:has-text('Label these rows') b"))
    page.click("text=Label these rows")
    page.wait_for_selector(f"[data-testid=progress]:has-text('{waiting} left')")
    press(page, log, len(log.lines()) + waiting)
    page.wait_for_selector("text=Nothing waits here")
    return waiting


def test_two_browsers_share_one_queue(opened: Callable[..., Page], tmp_path: Path) -> None:
    run = whole_run(tmp_path, max_iterations=1).finish()
    page_runs.suspected(run, 40)
    log = ReviewLog(run.parent)
    with serving(run) as served:
        pages = [opened(served.address("run", served.key, "review")) for _ in "ab"]
        for page, who in zip(pages, ("Ada", "Bob")):
            page.fill(".who", who)
            page.keyboard.press("Tab")
            page.click("text=Suspected labels")
            page.wait_for_selector(".said")
        shown = [page.inner_text(".said b") for page in pages]
        assert shown[0] != shown[1]
        finish = time.monotonic() + 200
        while len(log.lines()) < 40 and time.monotonic() < finish:
            for page in pages:
                page.keyboard.press("u")
                page.wait_for_timeout(60)
                if page.locator("text=Nothing waits here").count():  # the rest is on the other screen: look again
                    page.click("text=/^All/")
    kinds = [one for one in log.lines() if one.kind == "label"]
    assert len({one.item for one in kinds}) == len(kinds) == 40
    assert {one.who for one in kinds} == {"Ada", "Bob"}


def test_search_skip_flicker_zoom_and_look(opened: Callable[..., Page], tmp_path: Path) -> None:
    run = whole_run(tmp_path, max_iterations=1).finish()
    page_runs.suspected(run, 5)
    with serving(run) as served:
        page = opened(served.address("run", served.key, "review"))
        page.fill(".who", "Ada")
        page.keyboard.press("Tab")
        page.click("text=Suspected labels")
        page.wait_for_selector(".said")
        first = page.inner_text(".said b")
        for key in "f+l":
            page.keyboard.press(key)
        page.wait_for_selector("text=test / golden, alternating")
        assert "2×" in page.inner_text("text=/zoom/")
        picture(page, "review-flicker")
        page.keyboard.press("s")
        page.wait_for_function(f"() => document.querySelector('.said b').textContent !== '{first}'")
        second = page.inner_text(".said b")
        page.keyboard.press("/")
        page.wait_for_function("() => document.activeElement.getAttribute('list') === 'labels'")
        page.keyboard.type("lifted lead")
        page.keyboard.press("Enter")
        page.wait_for_selector("text=lifted lead, saved")
        assert [(one.object_name, one.chosen) for one in ReviewLog(run.parent).lines()] == [(second, "lifted lead")]
    with serving(run, look=True) as served:
        page = opened(served.address("run", served.key, "review"))
        page.wait_for_selector("text=Read only")
        page.keyboard.press("1")
        page.wait_for_timeout(300)
        assert len(ReviewLog(run.parent).lines()) == 1


# --- a whole loop with nothing but the agent and this page -----------------------------------------------------------


def test_a_whole_loop_with_the_agent_and_the_page_alone(opened: Callable[..., Page], tmp_path: Path) -> None:
    """The agent runs its commands; the person approves, labels, checks suspected labels, resolves and corrects here."""
    root = page_runs.unlabelled_line(tmp_path / "ws")
    with jobs_by(NullExecutor), serving(workspaces=[root]) as served:
        shown = page_runs.agent_plans(root)
        page = opened(served.address())
        page.click(".card.run .title")
        code = page.inner_text(".summary").split("Approval code: **")[1].split("*")[0]
        assert f"--approve {code}" in shown
        page.locator("input.code").press_sequentially(code)
        page.click("text=Approve and start")
        page.wait_for_selector("text=/Next: baseline/")
        run = root / "results" / page.inner_text(".where")
        deft("run", "--results-dir", run, check=3)  # the agent, until the loop asks for labels
        page.click("text=Label the rows in Review")
        page.fill(".who", "Ada")
        page.keyboard.press("Tab")
        log = ReviewLog(run.parent)
        waiting = label_all(page, log)
        page.click("text=/^All/")
        page.wait_for_selector(".said")
        picture(page, "loop-review")
        press(page, log, waiting + 3)
        page.click("nav >> text=Live")
        page.fill("form input[type=text]", "labelled the queue")
        page.click("text=Run the stage again")
        page.click("text=Yes, record it")
        page.wait_for_selector("text=/Next: iter1/")
        while deft("run", "--results-dir", run, check=None).returncode == 3:  # the next iteration asks again
            page.click("nav >> text=Review")
            label_all(page, log)
            page.click("nav >> text=Live")
            page.fill("form input[type=text]", "labelled the queue")
            page.click("text=Run the stage again")
            page.click("text=Yes, record it")
            page.wait_for_timeout(500)
            assert page.locator(".fault").all_inner_texts() == []
            page.wait_for_selector("text=/Next: iter/")
        page.wait_for_selector("text=The loop is complete")
        picture(page, "loop-complete")
    stages = [entry["stage"] for entry in entries(run)]
    assert stages[-1] == "loop_stop"
    assert "resolve" in stages
    mined = [entry["facts"]["mining_mined_count"] for entry in entries(run) if entry["stage"] == "data_mining" and
             entry["status"] == "ok"]  # fmt: skip
    assert sum(mined) > 0
    assert json.loads((run / "preflight.json").read_text())["approval_code"].lower() == code.lower()
