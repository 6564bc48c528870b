"""What `deft watch` draws: figures by iteration, the stage that runs, and the last lines of its output."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Group
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from deft_aoi.base.paths import RunPaths
from deft_aoi.record import state

_LOG_LINES, _LINE_WIDTH, _TAIL_BYTES, _BAR = 8, 160, 16_384, 16


def view(paths: RunPaths, facts: dict[str, Any]) -> Group:
    """The whole picture; `facts` are those of `deft status`."""
    parts: list[Any] = [heading(facts), figures(paths)]
    parts += [Text(f"{one['iter']}/{one['stage']}  {one['summary']}", "dim") for one in facts["last"][-3:]]
    for job in facts["running"]:
        title = f"{escape(job['job'])} · {job['seconds']} s"
        parts.append(Panel(Text(last_lines(Path(job["log"]))), title=title, title_align="left", border_style="blue"))
    if stop := facts["stopped"]:
        words = "\n".join(str(part) for part in (stop["message"], stop["evidence"], stop["remedy"]) if part)
        parts.append(
            Panel(Text(words), title=f"HARD STOP {stop['code'] or ''}", title_align="left", border_style="red")
        )
    return Group(*parts)


def heading(facts: dict[str, Any]) -> Text:
    if facts["next"] is None:
        now = ("complete", "bold green")
    elif facts["stopped"]:
        now = ("hard stop", "bold red")
    else:
        now = (f"next: {facts['next']}", "bold blue")
    return Text.assemble(Path(facts["results_dir"]).name, "  ", now, "  ", (f"target {facts['kpi_target']}", "dim"))


def figures(paths: RunPaths) -> Table:
    """FAR, threshold and rows mined of each iteration, from the state."""
    snapshot = state.load(paths.state)
    now = state.catch_up(snapshot, paths.log)
    table = Table(box=box.SIMPLE, pad_edge=False)
    for name in ("model", "FAR", "", "threshold", "rows mined", "stage"):
        table.add_column(name, justify="left" if name in ("model", "", "stage") else "right")
    known = [one["far_pct"] for one in now["iterations"].values() if one.get("far_pct") is not None]
    largest = max(known, default=0) or 1
    for label, one in now["iterations"].items():
        far = one.get("far_pct")
        bar = "" if far is None else "█" * max(1, round(_BAR * far / largest)) if far else "·"
        best = far is not None and far == min(known)
        cells = (
            "" if far is None else f"{far:.2f}%",
            Text(bar, "green" if best else "yellow"),
            short(one.get("threshold")),
        )
        mined = one.get("mining_mined_count")
        table.add_row(label, *cells, "" if mined is None else str(mined), one.get("stage_completed") or "")
    return table


def short(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def last_lines(log: Path) -> str:
    """The end of a job's output, control characters made visible, long lines cut."""
    if not log.is_file():
        return "no output yet"
    with open(log, "rb") as stream:
        stream.seek(max(0, log.stat().st_size - _TAIL_BYTES))
        lines = deque(stream.read().decode("utf-8", "replace").splitlines(), maxlen=_LOG_LINES)
    shown = ("".join(sign if sign.isprintable() else "·" for sign in line) for line in lines)
    return "\n".join(line[:_LINE_WIDTH] for line in shown) or "no output yet"
