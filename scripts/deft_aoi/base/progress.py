"""How far long work is: a bar on a terminal, a line every ten seconds in a pipe, both on stderr."""

from __future__ import annotations

import time

from tqdm import tqdm

from deft_aoi.base.console import aside

EVERY_S = 10.0
tqdm.monitor_interval = 0  # a thread that only wakes up bars which have not moved


class Progress:
    """Counts what is done of `total` (None: unknown) as a context manager; work under ten seconds says nothing."""

    def __init__(self, what: str, total: int | None, unit: str) -> None:
        self._what, self._total, self._unit = what, total, unit
        self._bar = tqdm(total=total, desc=what, unit=unit, disable=None, leave=False)
        self._done = 0
        self._began = self._said = time.monotonic()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def update(self, done: int = 1) -> None:
        self._done += done
        self._bar.update(done)
        now = time.monotonic()
        if self._bar.disable and now - self._said >= EVERY_S:
            self._said = now
            text = f"{self._what}: {self._done:,} {self._unit}s, {now - self._began:.0f} s"
            if self._total is not None:
                left = (now - self._began) * (self._total / self._done - 1)
                text = f"{self._what}: {self._done:,} of {self._total:,} {self._unit}s, about {left:.0f} s left"
            aside(text)
