"""How far long work is, on stderr: a bar on a terminal; in a pipe how long it takes, then a line every ten seconds."""

from __future__ import annotations

import time

from tqdm import tqdm

from deft_aoi.base.console import aside

EVERY_S = 10.0
_FIRST_S = 2.0  # after which long work says how long it will take
tqdm.monitor_interval = 0  # a thread that only wakes up bars which have not moved


class Progress:
    """Counts what is done of `total` (None: unknown) as a context manager; work under ten seconds says nothing."""

    def __init__(self, what: str, total: int | None, unit: str) -> None:
        self._what, self._total, self._unit = what, total, unit
        self._bar = tqdm(total=total, desc=what, unit=unit, disable=None, leave=False)
        self._done = 0
        self._began = self._said = time.monotonic()
        self._estimated = False  # in a pipe: the last text is an estimate

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()
        if self._estimated:
            aside(f"{self._what}: {self._done:,} {self._unit}s in {time.monotonic() - self._began:.0f} s, done")

    def update(self, done: int = 1) -> None:
        self._done += done
        self._bar.update(done)
        now = time.monotonic()
        spent, left = now - self._began, 0.0
        if self._total is not None and self._done:
            left = spent * (self._total / self._done - 1)
        first = self._said == self._began and spent >= _FIRST_S and spent + left > EVERY_S
        if self._bar.disable and (first or now - self._said >= EVERY_S):
            self._said = now
            text = f"{self._what}: {self._done:,} {self._unit}s, {spent:.0f} s"
            if self._total is not None:
                text = f"{self._what}: {self._done:,} of {self._total:,} {self._unit}s, about {left:.0f} s left"
            aside(text)
            self._estimated = True
