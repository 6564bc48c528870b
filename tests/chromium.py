"""Chromium through Playwright, and axe, for tests; a test file that loads this is skipped where they are missing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from deft_aoi.report.pdf import BROWSERS

playwright = pytest.importorskip("playwright.sync_api", reason="no playwright here; scripts/deft test brings it")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="no axe here; scripts/deft test brings it")
if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here; .ci/run installs it")
SCREENSHOTS = os.environ.get("DEFT_SCREENSHOTS")


@contextmanager
def launched() -> Iterator[Browser]:
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


def screenshot(page: Page, name: str) -> None:
    """Keep a picture of the page for whoever runs CI."""
    if SCREENSHOTS:
        page.screenshot(path=str(Path(SCREENSHOTS) / f"{name}.png"), full_page=True)


def problems(page: Page) -> list[str]:
    """What axe calls serious or critical, one line each."""
    found = axe.Axe().run(page).response["violations"]
    bad = [one for one in found if one["impact"] in ("serious", "critical")]
    return [f"{one['id']}: {one['nodes'][0]['html'][:120]}" for one in bad]
