"""A run as it is now: stage, progress of the job from its own status file, log, time left, what it waits for."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deft_aoi.base.paths import RunPaths
from deft_aoi.base.safe_paths import printable
from deft_aoi.executors.base import LOG
from deft_aoi.executors.local import submitted
from deft_aoi.executors.tao_status import STATUS_FILE, read_status
from deft_aoi.loop.standing import standing
from deft_aoi.record import journal
from deft_aoi.record.run import read_json
from deft_aoi.web.site import Known

_LINES, _WIDTH, _TAIL_BYTES = 14, 220, 32_768
_WIDER = 1.25  # the longest of earlier times, since a later iteration has more rows
_GPU_FIELDS = ("name", "utilization.gpu", "memory.used", "memory.total", "temperature.gpu")


def live(known: Known) -> dict[str, Any]:
    """What the page asks every two seconds."""
    paths = known.paths
    if not paths.state.is_file():
        return {"status": "waiting", "approval": approval(paths), "jobs": [], "last": [], "stopped": None, "next": None}
    facts = standing(paths)
    entries = journal.read(paths.log) if paths.log.is_file() else []
    jobs = [job_now(paths, one, entries) for one in facts["running"]]
    waiting = not facts["approved"] and not entries
    status = "complete" if facts["next"] is None else "hard_stop" if facts["stopped"] else "in_progress"
    return {
        "status": "waiting" if waiting else status,
        "next": facts["next"],
        "last": facts["last"],
        "stopped": stop_facts(paths, facts["stopped"]) if facts["stopped"] else None,
        "approval": approval(paths) if waiting else None,
        "jobs": jobs,
        "idle": status == "in_progress" and not waiting and not jobs,
        "command": facts["command"],
        "closing": facts["closing"],
        "gpu": gpus() if jobs else [],
        "now": time.time(),
    }


def job_now(paths: RunPaths, job: dict[str, Any], entries: Sequence[journal.Entry]) -> dict[str, Any]:
    """One running job: its stage, how far it is, the end of its output."""
    label, _, rest = job["job"].partition("-")
    stage, _, task = rest.partition("-")
    folder = paths.jobs / job["job"]
    messages = read_status(found) if (found := status_folder(paths, label, submitted(folder))) else []
    done, whole = progress(messages)
    return {
        "label": label, "stage": stage, "task": task, "seconds": job["seconds"],
        "done": done, "whole": whole,
        "message": printable(str(messages[-1].get("message", ""))) if messages else "",
        "left": left(job["seconds"], done, whole, stage, entries),
        "log": tail(folder / LOG),
    }  # fmt: skip


def status_folder(paths: RunPaths, label: str, since: float) -> Path | None:
    """The folder of the newest status.json of this iteration that the job has written to."""
    found = [(file.stat().st_mtime, file) for file in paths.folder(label).glob(f"**/{STATUS_FILE}")]
    newest = max((one for one in found if one[0] >= since - 1), default=None)
    return newest[1].parent if newest else None


def progress(messages: Sequence[dict[str, Any]]) -> tuple[int | None, int | None]:
    """(epochs done, epochs in all) from the fields that TAO and our engines write next to their messages."""
    for message in reversed(messages):
        done, last = message.get("epoch"), message.get("max_epoch")
        if isinstance(done, int) and isinstance(last, int):  # both count from 0
            return done + 1, last + 1
    return None, None


def left(
    elapsed: float, done: int | None, whole: int | None, stage: str, entries: Sequence[journal.Entry]
) -> dict[str, Any] | None:
    """Seconds left as (low, high), and what the range comes from; None where nothing says anything."""
    if done and whole and done <= whole:
        rest = elapsed * (whole - done) / done
        return {"low": round(rest * 0.8), "high": round(rest * 1.5) + 5, "from": f"{done} of {whole} so far"}
    before = [
        e["duration_sec"] for e in entries if (e["stage"], e["status"]) == (stage, "ok") and e["duration_sec"] > 0
    ]
    if not before:
        return None
    low, high = min(before) - elapsed, max(before) * _WIDER - elapsed
    if high <= 0:
        return {"low": 0, "high": None, "from": f"longer than the {len(before)} earlier {stage} stages of this run"}
    return {"low": round(max(low, 0)), "high": round(high), "from": f"{len(before)} earlier {stage} stages of this run"}


def tail(log: Path) -> list[str]:
    """The last lines of an output, control characters made visible."""
    if not log.is_file():
        return []
    with open(log, "rb") as stream:
        stream.seek(max(0, log.stat().st_size - _TAIL_BYTES))
        lines = stream.read().decode("utf-8", "replace").replace("\r", "\n").splitlines()
    return [printable(line[:_WIDTH]) for line in lines[-_LINES:] if line.strip()]


def stop_facts(paths: RunPaths, stopped: dict[str, Any]) -> dict[str, Any]:
    """The hard stop, with the end of the log that is its evidence."""
    evidence = Path(str(stopped.get("evidence") or ""))
    lines = tail(evidence) if evidence.suffix in (".log", ".txt") and evidence.is_relative_to(paths.root) else []
    shown = str(evidence.relative_to(paths.root)) if evidence.is_relative_to(paths.root) else str(evidence)
    return {**{k: printable(str(v or "")) for k, v in stopped.items()}, "evidence": shown, "log": lines}


def approval(paths: RunPaths) -> dict[str, Any] | None:
    """The Summary that waits for a person's code."""
    if not paths.preflight.is_file():
        return None
    record = read_json(paths.preflight)
    text = paths.preflight_summary.read_text(encoding="utf-8") if paths.preflight_summary.is_file() else ""
    return {"code": str(record.get("approval_code", "")), "summary": text}


def gpus() -> list[dict[str, str]]:
    """What nvidia-smi says now; empty where there is none."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    command = [program, f"--query-gpu={','.join(_GPU_FIELDS)}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=3, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    names = ("name", "load_pct", "used_mb", "total_mb", "celsius")
    return [dict(zip(names, map(str.strip, line.split(",")))) for line in done.stdout.splitlines()]
