"""What an attack does to the product, counted: refused, harmless, crashed, leaked or lost.

A test makes attempts through `Attacker`; its outcomes travel in the test's report, so that the table at the end also
counts those of other processes. An attempt that crashes, leaks or loses fails its test.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from deft_aoi.base.errors import DeftError

OUTCOMES = ("refused", "harmless", "crashed", "leaked", "lost")
PROPERTY = "attack"


@dataclass
class Attacker:
    """Makes attempts of one test; `kind` groups them in the table."""

    kind: str
    properties: list[tuple[str, object]]
    tally: Counter[str] = field(default_factory=Counter)

    def attempt(self, action: Callable[[], Any], *, secret: str | None = None, what: str = "") -> str:
        """Do it: a refusal is one line of ours; anything else that comes out raised is a crash.

        `secret` is text that must stand neither in the refusal nor in what comes back.
        """
        try:
            said, outcome = str(action()), "harmless"
        except DeftError as error:
            said, outcome = str(error), "refused"
        except Exception as error:
            self.note("crashed")
            raise AssertionError(f"{what or self.kind}: {type(error).__name__}: {error}") from error
        if secret is not None and secret in said:
            outcome = "leaked"
        self.note(outcome)
        assert outcome != "leaked", f"{what}: {said}"
        return said

    def refused(self, action: Callable[[], Any], *, secret: str | None = None, what: str = "") -> str:
        """The attempt must be refused; returns the words."""
        before = self.tally["refused"]
        said = self.attempt(action, secret=secret, what=what)
        assert self.tally["refused"] == before + 1, f"{what or self.kind}: accepted, {said[:300]}"
        return said

    def note(self, outcome: str, times: int = 1) -> None:
        assert outcome in OUTCOMES
        self.tally[outcome] += times
        self.properties.append((PROPERTY, f"{self.kind}|{outcome}|{times}"))

    def found(self, outcome: str, places: Iterable[object], looked: int) -> None:
        """`looked` places were searched for what may not be there; each of `places` had it."""
        hits = list(places)
        self.note(outcome, len(hits)) if hits else None
        self.note("harmless", looked - len(hits))
        assert not hits, hits[:5]


def table(counts: Counter[tuple[str, str]]) -> str:
    """Attempts by kind."""
    kinds = sorted({kind for kind, _ in counts})
    lines = [f"{'kind':<12}{'attempts':>10}" + "".join(f"{name:>10}" for name in OUTCOMES)]
    for kind in [*kinds, "all"]:
        row = [sum(n for (k, o), n in counts.items() if o == name and kind in (k, "all")) for name in OUTCOMES]
        lines.append(f"{kind:<12}{sum(row):>10}" + "".join(f"{number:>10}" for number in row))
    return "\n".join(lines)


# --- a workspace to attack ------------------------------------------------------------------------------------------

TRAINING, KPI = "train/base/training_set.csv", "kpi/testing_set.csv"
POOL, SPEC = "augmentation/mining_pool/mining_pool.csv", "specs/baseline_spec.yaml"


def copy_of(base: Path, target: Path) -> Path:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(base, target, symlinks=True)
    return target


def set_cells(csv: Path, row: int = 3, **cells: str) -> None:
    rows = pd.read_csv(csv, dtype=str, keep_default_na=False)
    for name, value in cells.items():
        rows.loc[row, name] = value
    rows.to_csv(csv, index=False)


def change_spec(workspace: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = workspace / SPEC
    spec = yaml.safe_load(path.read_text())
    change(spec)
    path.write_text(yaml.safe_dump(spec))
