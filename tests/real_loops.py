"""The real loops of the suite, each made once a session and looked at by many tests.

A test that changes a run works on its own one (on the null engine), never on these.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd
import pytest

from deft_aoi.base.errors import COMPLETE, OK, STILL_RUNNING, Unreachable
from deft_aoi.base.paths import SKILL_ROOT
from deft_aoi.base.rows import read_pool
from deft_aoi.data.label_review import COLUMNS, write_review
from deft_aoi.loop import driver
from inside import InsideExecutor, deft, jobs_by
from null_jobs import NullExecutor
from small_workspace import LIGHTS, make_workspace

ROWS, COUNTS = 24, (24, 24, 48, 60)
PLAN = ("--max-iterations", "2", "--mine-rows", "12", "--num-epochs", "2")
ONE = ("--max-iterations", "1")
NEVER_MET = ("--kpi-target", "FAR <= 0% at recall = 100%")
CANARIES = {
    "NGC_KEY": "nvapi-CANARYenvNGCaaaaaaaaaaaa",
    "HF_TOKEN": "hf_CANARYenvHFbbbbbbbbbbbbbbbb",
}
IN_FILE = {"NGC_KEY": "nvapi-CANARYfileNGCcccccccccc", "HF_TOKEN": "hf_CANARYfileHFdddddddddddd"}
SECRETS = [*CANARIES.values(), *IN_FILE.values()]


@dataclass(frozen=True)
class Loop:
    """A finished run: its folder, what the command that made it printed, and what was seen next to it.

    `printed` is the output of all its commands; `offline` the words that start a command without a network, none where
    this user may make no namespace; `seen` counts the argument lists of our processes, `leaks` are those with a secret.
    """

    run: str
    shown: str = ""
    printed: str = ""
    offline: tuple[str, ...] = ()
    seen: int = 0
    leaks: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        return Path(self.run)

    @property
    def workspace(self) -> Path:
        return self.path.parents[1]


def shared_loop(factory: pytest.TempPathFactory, name: str) -> Loop:
    """The loop of that name, made by the first of the session's processes that asks for it."""
    base = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    note = base / f"loop-{name}.json"
    with open(base / f"loop-{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not note.is_file():
            root = base / f"loop-{name}"
            shutil.rmtree(root, ignore_errors=True)  # of a maker that failed
            root.mkdir()
            note.write_text(json.dumps(asdict(MAKERS[name](root))))
        record = json.loads(note.read_text())
    return Loop(**record | {"offline": tuple(record["offline"]), "leaks": tuple(record["leaks"])})


def approved_code(printed: str) -> str:
    code = re.search(r"--approve (\w+)", printed)
    assert code, printed
    return code[1]


# --- knn+label and weakness: in this process, by the real engine -----------------------------------------------------


def make_knn(root: Path) -> Loop:
    with jobs_by(InsideExecutor):
        run = begun(make_workspace(root / "ws", counts=COUNTS), "--policy", "knn+label")
        return Loop(str(run), deft("run", "--results-dir", run).stdout)


def make_weakness(root: Path) -> Loop:
    """What the other platforms are held against; every pool row was suspect before."""
    workspace = labelled_line(root / "ws")
    with jobs_by(InsideExecutor):
        run = begun(workspace)
        pool = workspace / "augmentation/mining_pool/mining_pool.csv"
        doubted = read_pool(pool, workspace, LIGHTS, ".png").reindex(columns=list(COLUMNS), fill_value="")
        write_review(run / "label_review.csv", doubted.assign(set="pool"))
        return Loop(str(run), deft("run", "--results-dir", run).stdout)


def begun(workspace: Path, *flags: str) -> Path:
    shown = deft("preflight", "--workspace", workspace, *PLAN, *NEVER_MET, *flags).stdout
    started = deft("start", "--workspace", workspace, "--approve", approved_code(shown))
    return Path(started.stdout.split("\n")[0].removeprefix("started "))


def labelled_line(root: Path) -> Path:
    """The workspace of the weakness loop and of the loops in containers and batch jobs; one pool row comes twice."""
    make_workspace(root, counts=COUNTS)
    pool = root / "augmentation/mining_pool/mining_pool.csv"
    pool.write_text(pool.read_text() + pool.read_text().splitlines()[-1] + "\n")  # append-only pools repeat rows
    return root


def scores(run: Path) -> list[list[str]]:
    """Scores of every inference that counts, as text, to the last digit."""
    found = sorted(path for path in run.glob("*/inference/*/inference.csv") if ".failed-" not in str(path))
    return [pd.read_csv(path, dtype=str)["siamese_score"].tolist() for path in found]


# --- pre-generated pairs: the demo, as a user runs it ----------------------------------------------------------------


def make_demo(root: Path) -> Loop:
    """`deft demo`, smaller, through the launcher: every command and every job a process of its own, without a network
    where that can be had, with secrets in reach of all."""
    offline, printed = network_less(), ""
    environment = os.environ | CANARIES
    environment.pop("DEFT_DEBUG", None)

    def say(*words: str) -> str:
        nonlocal printed
        command = [*offline, str(SKILL_ROOT / "scripts/deft"), *words]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=root)
        printed += done.stdout + done.stderr
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    say("simulate", "--workspace", "deft-demo", "--boards", "10")
    secrets = "".join(f'export {name}="{value}"\n' for name, value in IN_FILE.items())
    (root / "deft-demo/.env").write_text(secrets)
    watch = Watch()
    watch.start()
    shown = say("demo", "--kpi-target", "FAR < 1% at recall=100%")
    (run,) = (root / "deft-demo/results").glob("run_*")
    for name in ("status", "verify", "report"):
        say(name, "--results-dir", str(run))
    watch.over.set()
    watch.join()
    return Loop(str(run), shown, printed, offline, len(watch.seen), tuple(watch.leaks))


def network_less() -> tuple[str, ...]:
    """The words that start a command in a network namespace without routes; none where this user may not."""
    words = ("unshare", "-n") if os.geteuid() == 0 else ("unshare", "-rn")
    if shutil.which("unshare") is None or subprocess.run([*words, "true"], capture_output=True, check=False).returncode:
        return ()
    return words


class Watch(threading.Thread):
    """Reads the argument list of every process of this user until asked to stop."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.over, self.seen, self.leaks = threading.Event(), set[str](), set[str]()

    def run(self) -> None:
        while not self.over.is_set():
            for entry in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    line = entry.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
                except OSError:
                    continue
                if "deft_aoi" in line:
                    self.seen.add(line)
                if any(secret in line for secret in SECRETS):
                    self.leaks.add(line)
            time.sleep(0.05)


# --- the null engine in TAO's place: what platforms with a stand-in are held against ---------------------------------


def make_null(root: Path) -> Loop:
    """One iteration on this machine."""
    with jobs_by(NullExecutor):
        run = begun(labelled_line(root / "ws"), *ONE)
        finish(run)
        return Loop(str(run))


def finish(run: Path) -> None:
    """Drive a run to its end without pages; a platform that does not answer is only a reason to call again."""
    code = STILL_RUNNING
    while code != COMPLETE:
        try:
            outcome = driver.step(run, wait=300, report=False)
        except Unreachable:
            time.sleep(0.2)
            continue
        code = outcome.code
        assert code in (OK, STILL_RUNNING, COMPLETE), outcome.line


MAKERS: dict[str, Callable[[Path], Loop]] = {
    "knn": make_knn,
    "weakness": make_weakness,
    "demo": make_demo,
    "null": make_null,
}
