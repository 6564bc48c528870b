"""Which tests belong together by what they cost and need, and how long one of them may take.

`unit` is everything that is not named here. A single test may be marked `nightly` in its file.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parent
UNIT, LOOP, PLATFORM, BROWSER, INSTALL, NIGHTLY = "unit", "loop", "platform", "browser", "install", "nightly"
# Seconds of one test: ten times what the slowest of the lane takes on an idle machine, since many machines are not.
LIMITS = {UNIT: 180, LOOP: 600, PLATFORM: 900, BROWSER: 300, INSTALL: 600, NIGHTLY: 3600}
# In the order in which the suite runs them: what takes longest first.
FILES = {
    "e2e/test_docker_anomalygen.py": PLATFORM,
    "e2e/test_slurm_loop.py": PLATFORM,
    "e2e/test_docker_loop.py": PLATFORM,
    "e2e/test_ssh_loop.py": PLATFORM,
    "e2e/test_podman_loop.py": PLATFORM,
    "e2e/test_net_loop.py": PLATFORM,
    "e2e/test_demo.py": LOOP,
    "attack/test_whole_run.py": LOOP,
    "e2e/test_loop.py": LOOP,
    "e2e/test_gate.py": LOOP,
    "e2e/test_elsewhere.py": LOOP,
    "e2e/test_bank_loop.py": LOOP,
    "e2e/test_bank_runs.py": LOOP,
    "e2e/test_no_pool.py": LOOP,
    "e2e/test_metric_contract.py": LOOP,
    "e2e/test_labelling_queue.py": LOOP,
    "e2e/test_signals.py": LOOP,
    "e2e/test_run_wait.py": LOOP,
    "test_moved_workspace.py": LOOP,
    "test_net.py": PLATFORM,
    "test_net_backbone.py": PLATFORM,
    "test_encoders.py": PLATFORM,
    "test_net_patches.py": PLATFORM,
    "test_run_task.py": LOOP,
    "test_console.py": LOOP,
    "test_inline.py": LOOP,
    "test_finetune.py": LOOP,
    "test_source_embeddings.py": LOOP,
    "test_ablation.py": LOOP,
    "test_rca_source.py": LOOP,
    "test_planted_faults.py": LOOP,
    "test_patches.py": LOOP,
    "test_cli_preflight.py": LOOP,
    "test_bank_scripts.py": LOOP,
    "test_read_once.py": LOOP,
    "test_page.py": LOOP,
    "test_mining_index.py": LOOP,
    "test_mining_shortlist.py": LOOP,
    "test_simulate.py": LOOP,
    "attack/test_paths.py": LOOP,
    "attack/test_files.py": LOOP,
    "attack/test_foreign_runs.py": LOOP,
    "attack/test_load.py": LOOP,
    "attack/test_fuzz.py": LOOP,
    "attack/test_commands.py": LOOP,
    "faults/test_kills.py": LOOP,
    "faults/test_decisions.py": LOOP,
    "faults/test_edits.py": LOOP,
    "faults/test_writer.py": LOOP,
    "test_executor_docker.py": PLATFORM,
    "test_executor_slurm.py": PLATFORM,
    "test_slurm_nodes.py": PLATFORM,
    "test_executor_ssh.py": PLATFORM,
    "test_executor_kube.py": PLATFORM,
    "test_launcher.py": INSTALL,
    "test_setup_fetch.py": INSTALL,
    "test_air_gap.py": INSTALL,
    "test_packaging.py": INSTALL,
    "test_docs.py": INSTALL,
    "test_report_browser.py": BROWSER,
    "test_page_browser.py": BROWSER,
}
MARK = "DEFT_TESTS_OF"  # in the environment of every process that a test starts: the id of pytest's process


def lane_of(path: Path, *, nightly: bool = False) -> str:
    return NIGHTLY if nightly else FILES.get(name_of(path), UNIT)


def place_of(path: Path) -> int:
    """Where a file comes in the suite."""
    names = list(FILES)
    return names.index(name_of(path)) if name_of(path) in FILES else len(names)


def name_of(path: Path) -> str:
    return path.relative_to(TESTS).as_posix() if path.is_relative_to(TESTS) else path.name


def kill_children(since: float) -> None:
    """End every process that tests of this process started after `since` (:func:`now`), detached ones too."""
    own = f"{MARK}={os.getpid()}".encode()
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            if own in (entry / "environ").read_bytes().split(b"\0") and _started(entry) >= since:
                os.kill(int(entry.name), signal.SIGKILL)


def now() -> float:
    """Seconds since this machine began, in the kernel's steps: what processes are dated by."""
    ticks = os.sysconf("SC_CLK_TCK")
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * ticks) / ticks if hasattr(time, "CLOCK_BOOTTIME") else 0.0


def _started(entry: Path) -> float:
    fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
    return int(fields[19]) / os.sysconf("SC_CLK_TCK")
