"""The page as PDF, printed by a browser of this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from deft_aoi.base.errors import InputError
from deft_aoi.base.files import atomic_write

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "microsoft-edge")
_LIMIT_S = 120


def browser() -> str:
    """Path of the first Chromium-like browser; raises InputError where there is none."""
    for name in BROWSERS:
        if found := shutil.which(name):
            return found
    raise InputError(
        f"--pdf needs a browser ({', '.join(BROWSERS)}) and found none; install one (Debian: apt install chromium), "
        "or print the page from any browser: it has a print layout"
    )


def print_pdf(page: Path) -> Path:
    """Print `page` next to itself and return the PDF's path; raises InputError where the browser fails."""
    program, target = browser(), page.with_suffix(".pdf")
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch) / "page.pdf"
        # The page runs only our script by its content policy; root has no user namespace for Chromium's sandbox.
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
        command = [
            program, "--headless", *sandbox, "--disable-gpu", f"--user-data-dir={scratch}/profile",
            "--no-pdf-header-footer", f"--print-to-pdf={made}", page.absolute().as_uri(),
        ]  # fmt: skip
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                encoding="utf-8",
                errors="replace",
                timeout=_LIMIT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise InputError(f"{program}: no PDF of {page} within {_LIMIT_S} s; print it from the browser") from error
        if not made.is_file():
            last = (done.stderr.strip().splitlines() or ["no output"])[-1]
            raise InputError(f"{program}: exit {done.returncode} and no PDF of {page}: {last}")
        data = made.read_bytes()
    atomic_write(target, lambda stream: stream.write(data))
    return target
