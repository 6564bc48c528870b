"""The Pre-Flight Summary: what a person reads before saying yes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from deft_aoi.base.finding import NOTE
from deft_aoi.base.paths import RunPaths, Workspace
from deft_aoi.engine.engine_choice import FEATURES, TAO
from deft_aoi.executors.platform_choice import ELSEWHERE
from deft_aoi.kpi.provable import Size, provable
from deft_aoi.mining.select import BY_SCORE
from deft_aoi.preflight.check_backbone import BACKBONE
from deft_aoi.preflight.generator_plan import hidden
from deft_aoi.preflight.result import Preflight
from deft_aoi.preflight.summary_data import POOL_DATA
from deft_aoi.record.run import Plan
from deft_aoi.simulate.workspace import RECORD as SIMULATED
from deft_aoi.stages.mining import unused_by

RCA_SOURCE_WORDS = {
    "kpi": "Gap analysis looks at the KPI rows (the default of NVIDIA's skill): the set that judges also says what is "
    "missing. On new boards expect escapes above all: the lowest defect of the KPI set sets the threshold, and other "
    "boards have lower ones. `--rca-source validation` keeps the KPI rows out of it.",
    "validation": "Gap analysis looks at the validation rows: the KPI set chooses threshold, checkpoint and best "
    "iteration only. On new boards still expect escapes: its lowest defect sets the threshold.",
}
PAIRS_A_SECOND = 80  # TAO 7.3 with C-RADIOv2-B on one H100: 3,000 rows in 58 s, 20 s of them its start
LONG = 600  # seconds of scoring from which on the Summary says how long it takes
_RATE = f"TAO on one H100: {PAIRS_A_SECOND} rows a second"
AUTO_ACCEPT = (
    "Before you say yes: let your agent run commands without asking each time (in Claude Code: shift+tab). The loop "
    "asks nothing more, but without it every command would wait for a click."
)


def summary(result: Preflight, paths: RunPaths, samples: Sequence[str] = (), replaces: str = "") -> str:
    """Markdown: parameters with their sources, data, what the target means, notes, what the samples are worth
    (`samples`, lines of summary_data), the approval code. `replaces`: the code of the Summary that was here before."""
    lines = ["# Pre-Flight Summary", "", f"**{result.model.sentence}**", "", f"Run directory: `{paths.root}`", ""]
    if replaces not in ("", result.code):
        lines += [f"Something changed: this takes the place of the Summary with code {replaces}, which is void.", ""]
    lines += [*in_short(result), "", "## Parameters", "", "| parameter | value | source |", "|---|---|---|"]
    unused = hidden(result.plan)
    shown = {name: _shown(value) for name, value in result.plan.to_json().items() if name not in unused}
    plain = {name: value for name, value in shown.items() if result.sources[name] == "default"}
    idle = unused_by(result.plan.policy)
    not_used = f"not used by policy {result.plan.policy}"
    for name, value in shown.items():
        if name not in plain:
            source = result.sources[name] + (f", {not_used}" if name in idle else "")
            lines.append(f"| {name} | {value} | {source} |")
    if absent := [name for name in idle if plain.pop(name, None)]:
        lines.append(f"| {', '.join(absent)} | {not_used} | default |")
    lines.append(f"| all others | {', '.join(f'{name} {value}' for name, value in plain.items() if value)} | default |")
    lines += ["", "## Data", "", "| data | rows | PASS | defects | boards |", "|---|---|---|---|---|"]
    for name, counts in result.dataset.items():
        defects = ", ".join(f"{label} {count}" for label, count in counts["defects"].items()) or "none"
        lines.append(f"| {name} | {counts['rows']} | {counts['pass']} | {defects} | {counts['boards']} |")
    lines += ["", "## What to know", "", *remarks(result)]
    lines += [f"- note: {finding.text}" for finding in result.findings if finding.level == NOTE]
    lines += ["", *samples] if samples else []
    checks = max(finding.check for finding in result.findings)
    lines += ["", AUTO_ACCEPT, "", f"All {checks} checks passed. Approval code: **{result.code}**", ""]
    return "\n".join(lines)


def in_short(result: Preflight) -> list[str]:
    """What is going to happen, in seven rows for somebody who reads nothing else."""
    plan, data = result.plan, result.dataset
    kpi, sealed = size_of(data["kpi"]), "acceptance" in data
    best = "PASS, FAIL or NOT PROVABLE, by the sealed boards" if sealed else "NOT PROVABLE: no boards are sealed"
    pool = f"{data['mining_pool']['rows']:,} in the pool" if "mining_pool" in data else "no pool"
    rows = (
        ("target", plan.target.text),
        ("iterations", f"{plan.max_iterations}, each with at most {plan.mine_rows:,} new rows"),
        ("starts with", f"{data['training']['rows']:,} training rows; {pool}"),
        ("judged on", f"{kpi.n_pass:,} good parts and {kpi.n_defect:,} defects on {kpi.boards:,} boards"),
        ("runs on", result.where),
        ("best verdict possible", best),
    )
    return ["| in short | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]


def remarks(result: Preflight) -> list[str]:
    """What the tables do not say by themselves."""
    plan, data = result.plan, result.dataset
    seen = next(f.text for f in result.findings if f.text.startswith("lights "))
    lines = [
        f"- Pictures as the model gets them: {seen}; lights in the order of the spec's input_map, as TAO joins them.",
        f"- Heavy work runs on {result.where}.",
        "- FAR is the false *alarm* rate: PASS components called NO_PASS, of all PASS components of the KPI set.",
        *(
            f"- {line}"
            for line in provable(
                plan.target, size_of(data["kpi"]), size_of(data["acceptance"]) if "acceptance" in data else None
            )
        ),
    ]
    if plan.engine != FEATURES:
        words = next(finding.text for finding in result.findings if finding.where == BACKBONE)
        lines.insert(1, f"- {words[0].upper()}{words[1:]}.")
    if (Workspace.at(plan.workspace).root / SIMULATED).is_file():
        lines.insert(0, "- This workspace is a simulated line: its figures say nothing about a real one.")
    lines += [
        f"- {RCA_SOURCE_WORDS[plan.rca_source]}",
        *scoring(plan, data[POOL_DATA]["rows"] if POOL_DATA in data else 0),
    ]
    return lines + unseen(data)


def scoring(plan: Plan, rows: int) -> list[str]:
    """How many rows of a big pool the model scores in an iteration, and with TAO how long that takes."""
    if plan.policy not in BY_SCORE or plan.platform == ELSEWHERE:
        return []
    scored = min(rows, plan.most_scored or rows)

    def took(count: int) -> str:
        return f"{count / PAIRS_A_SECOND / 3600:.1f} hours"

    tao = plan.engine == TAO
    if scored == rows:
        slow = tao and rows / PAIRS_A_SECOND > LONG
        return [f"- Mining scores {rows:,} pool rows in each iteration: about {took(rows)} ({_RATE})."] if slow else []
    hours = f", about {took(scored)} instead of {took(rows)} ({_RATE})" if tao else ""
    return [
        f"- Mining scores {scored:,} of the {rows:,} pool rows in each iteration{hours}: good parts that differ most "
        "from their golden and defects that differ least, at a glance at their coarse pictures, and a fifth by chance. "
        "Hard rows that look easy at a glance can be missed; `--score-rows 0` scores all."
    ]


def size_of(counts: Mapping[str, Any]) -> Size:
    """PASS rows, defects and boards of a set."""
    return Size(counts["pass"], counts["rows"] - counts["pass"], counts["boards"])


def unseen(data: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Defects of the KPI set that the training rows lack, and where they can come from."""
    missing = sorted(set(data["kpi"]["defects"]) - set(data["training"]["defects"]))
    if POOL_DATA not in data:
        return [f"- Neither in the training rows nor in a mining pool: {', '.join(missing)}."] if missing else []
    nowhere = sorted(set(missing) - set(data[POOL_DATA]["defects"]))
    lines = [f"- Not in the training rows, to be mined: {', '.join(missing)}."] if missing else []
    return lines + ([f"- Neither in the mining pool: {', '.join(nowhere)}."] if nowhere else [])


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={entry}" for key, entry in value.items()) or "none"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "none"
    return "not set" if value is None else str(value)
