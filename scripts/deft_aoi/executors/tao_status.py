"""TAO's status.json (JSON lines): did the task end well, and which validation figures did it report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deft_aoi.base.safe_yaml import parse_json
from deft_aoi.executors.base import Task

STATUS_FILE = "status.json"


def read_status(folder: Path) -> list[dict[str, Any]]:
    """Messages of a task in order; a torn last line is left out."""
    path = folder / STATUS_FILE
    if not path.is_file():
        return []
    messages = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            messages.append(parse_json(line))
        except ValueError:
            continue
    return [message for message in messages if isinstance(message, dict)]


def validation_metrics(folder: Path) -> list[dict[str, float]]:
    """`kpi` of each validation, in order. The field is sticky in TAO, so only messages of a validation count."""
    return [m["kpi"] for m in read_status(folder) if m.get("message") == "Eval metrics generated." and "kpi" in m]


def task_problem(task: Task) -> str | None:
    """None when the task's outputs prove success, else what is wrong.

    TAO exits 0 after SIGTERM and writes no FAILURE for some errors, so message and files are both asked.
    """
    if task.finished is not None:
        messages = [m for m in read_status(task.output) if m.get("message")]
        if not messages or task.finished not in str(messages[-1]["message"]):
            last = messages[-1]["message"] if messages else "nothing"
            return f"{task.output / STATUS_FILE} ends with {last!r}, not {task.finished!r}"
    for path in task.expects:
        if not path.exists():
            return f"{path} is missing"
    return None
