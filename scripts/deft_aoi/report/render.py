"""Writes the report: facts, page and summaries, each in one atomic step, from what is on disk at that moment."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deft_aoi.base.files import atomic_write_json, atomic_write_text
from deft_aoi.base.glossary import TERMS
from deft_aoi.base.paths import SKILL_ROOT
from deft_aoi.report import words
from deft_aoi.report.collect import facts_of, require_label
from deft_aoi.report.narrative import Narrative, narrative_of, summary_markdown
from deft_aoi.report.page import page
from deft_aoi.report.source import Record, Source, open_run
from deft_aoi.report.svg import breakable

if TYPE_CHECKING:
    from jinja2 import Environment

ASSETS = SKILL_ROOT / "assets/report"
TEMPLATE = "report.html.j2"


def render(run_dir: Path) -> Path:
    """Write `report.json` and `DEFT_Loop_Report.html` of a run at any moment of it; returns the page's path.

    Raises InputError where the folder is no run, its journal is damaged, or `narrative.json` is refused; then nothing
    is written.
    """
    return _write_run(*_gather(open_run(run_dir)))


def render_iteration(run_dir: Path, label: str) -> Path:
    """Write `<label>/report.html` and `<label>_summary.md`; returns the page's path.

    Raises InputError as :func:`render` does, and for a label that the run does not have.
    """
    return _write_iteration(*_gather(open_run(run_dir)), label)


def render_step(source: Source, label: str | None) -> None:
    """The page of the whole run, and that of an iteration where its `label` is given, from one look at the run."""
    found = _gather(source)
    if label is not None:
        _write_iteration(*found, label)
    _write_run(*found)


def _write_run(source: Source, facts: Record, told: Narrative) -> Path:
    html = to_html(source, facts, told, None)
    atomic_write_json(source.paths.report_facts, facts)
    atomic_write_text(source.paths.report, html)
    return source.paths.report


def _write_iteration(source: Source, facts: Record, told: Narrative, label: str) -> Path:
    one = require_label(facts, label)
    html = to_html(source, facts, told, label)
    atomic_write_text(source.paths.iteration_summary(label), summary_markdown(facts, one, told))
    atomic_write_text(source.paths.iteration_report(label), html)
    return source.paths.iteration_report(label)


def page_text(run_dir: Path) -> str:
    """The page of the whole run as it is now, not written anywhere. Raises InputError as :func:`render` does."""
    return to_html(*_gather(open_run(run_dir)), None)


def _gather(source: Source) -> tuple[Source, Record, Narrative]:
    facts = facts_of(source)
    return source, facts, narrative_of(facts, source.paths.narrative)


@cache
def templates() -> Environment:
    """The page's templates, compiled once in a process: a stage renders two pages, and a whole loop a dozen."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    room = Environment(
        loader=FileSystemLoader(ASSETS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    room.filters.update(
        pct=words.pct, exact_pct=words.exact_pct, count=words.count, fraction=words.fraction, short=words.short,
        signed=words.signed, duration=words.duration, size=words.size, plural=words.plural, breakable=breakable,
    )  # fmt: skip
    room.globals["terms"] = TERMS
    return room


def to_html(source: Source, facts: Record, told: Narrative, focus: str | None) -> str:
    """The page as text: style and script inline, and a policy that lets nothing else run or load."""
    from markupsafe import Markup

    script = "".join(path.read_text(encoding="utf-8") for path in sorted((ASSETS / "script").glob("*.js")))
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    inline: dict[str, Any] = {
        "style": Markup((ASSETS / "report.css").read_text(encoding="utf-8")),
        "script": Markup(script),
        "script_hash": Markup(digest),
    }
    return templates().get_template(TEMPLATE).render(**page(source, facts, told, focus), **inline)
