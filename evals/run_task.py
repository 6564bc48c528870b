#!/usr/bin/env python3
"""Prepare a whole task for an agent, and grade what it left on disk: never its words.

    prepare TASK --into DIR    a workspace, an installed copy of the skill and the one sentence (DIR/.eval/prompt.txt)
    approve --into DIR         the user says yes: called when the agent has shown its Summary and stopped
    grade --into DIR           one line for each check; exit 0 when all hold, 1 when one does not

Standard library only: everything is asked from the skill's own launcher, from this copy and not from the agent's.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import starts

SKILL = Path(__file__).resolve().parents[1]
NAME = "tao-run-deft-aoi"
TASKS: dict[str, dict[str, Any]] = {
    task["id"]: task for task in json.loads((SKILL / "evals/evals.json").read_text(encoding="utf-8"))["tasks"]
}
RECORD = ".eval"  # what only the examiner reads
BEFORE_APPROVAL = ("preflight.json", "preflight_summary.md", "label_review.csv", "audit")  # Pre-Flight's own
FEW = ("--policy", "random", "--mine-rows", "4")  # so that iteration 1 does not meet the target already
HELD = ("train/base/validation_set.csv", "kpi/testing_set.csv")
TRAINING = "train/base/training_set.csv"
SPEC = "specs/baseline_spec.yaml"
PLANTED = ("automl_policy: 'off'\n", "results_dir: /results/run\n")  # what a spec must never hold


@dataclass(frozen=True)
class Check:
    """One fact of the end state."""

    name: str
    ok: bool
    found: str


def deft(*words: str | Path, codes: Sequence[int] = (0,)) -> subprocess.CompletedProcess[str]:
    """Call this copy's launcher; raises RuntimeError on another exit code."""
    command = ["sh", str(SKILL / "scripts/deft"), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in codes:
        raise RuntimeError(f"{' '.join(command[2:])}: exit {done.returncode}: {(done.stdout + done.stderr).strip()}")
    return done


# Preparing.


def prepare(task_id: str, into: Path) -> None:
    """Make `into`: workspace, installed copy, prompt and record. Raises FileExistsError where it has content."""
    task = TASKS[task_id]
    if into.exists() and any(into.iterdir()):
        raise FileExistsError(f"{into}: not empty; name a new folder")
    workspace = into / "workspace"
    install(into)
    (into / RECORD).mkdir()
    line = [word for name, value in task["line"].items() for word in (f"--{name.replace('_', '-')}", value)]
    deft("simulate", "--workspace", workspace, "--seed", task["seed"], *line)
    record: dict[str, Any] = {"task": task_id, "workspace": str(workspace), "start": task["start"]}
    if task["start"] == "elsewhere":
        starts.elsewhere(workspace)
    if task["start"] == "feedback":
        run = starts.feedback(workspace, into, deft, task["expect"])
        record |= {"earlier": [run.name], "pool": len(starts.rows(workspace / starts.POOL))}
    if task["start"] == "pictures":
        starts.pictures(workspace, into / "pictures")
        record |= {"workspace": str(into / "pictures-workspace"), "pictures": starts.digest(into / "pictures")}
    else:
        record |= {"held": digests(workspace), "clean": clean_rows(workspace)}
    prompt = task["prompt"].replace("WORKSPACE", str(workspace)).replace("FOLDER", str(into / "pictures"))
    prompt = prompt.replace("DECISIONS", str(into / "decided")).replace("VERDICTS", str(into / "verdicts.csv"))
    if task["start"] == "faults":
        plant_faults(workspace)
    if task["start"] == "interrupted":
        run = interrupt(workspace, into, task["expect"])
        prompt = prompt.replace("RUN", str(run))
        record["before"] = [journal_key(line) for line in journal(run)]
    (into / RECORD / "task.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    (into / RECORD / "prompt.txt").write_text(prompt + "\n", encoding="utf-8")


def install(into: Path) -> None:
    """Copy the skill as an installer does: without version control, caches and whatever git ignores."""
    target = into / ".claude/skills" / NAME
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    if (SKILL / ".git").exists():
        names = subprocess.run(listed, cwd=SKILL, capture_output=True, check=True, text=True).stdout.split("\0")
        files = [SKILL / name for name in names if name]
    else:
        files = [path for path in SKILL.rglob("*") if "__pycache__" not in path.parts]
    for path in filter(Path.is_file, files):
        copy = target / path.relative_to(SKILL)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copy)


def digests(workspace: Path) -> dict[str, str]:
    """SHA-256 of what no agent may change: the held-out rows, and the spec."""
    return {name: hashlib.sha256((workspace / name).read_bytes()).hexdigest() for name in (*HELD, SPEC)}


def clean_rows(workspace: Path) -> list[str]:
    """The seed rows as they were before any fault was planted, in a form that does not depend on order."""
    return sorted(rows_of(workspace / TRAINING))


def rows_of(path: Path) -> Iterator[str]:
    with open(path, newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            yield json.dumps({name: value for name, value in row.items() if value}, sort_keys=True)


def plant_faults(workspace: Path) -> None:
    """Two keys that a spec must not hold, a label in the wrong case, a validation row among the training rows."""
    spec = workspace / SPEC
    spec.write_text(spec.read_text(encoding="utf-8") + "".join(PLANTED), encoding="utf-8")
    training, validation = workspace / TRAINING, workspace / HELD[0]
    head, *rows = training.read_text(encoding="utf-8").splitlines(keepends=True)
    passes = [number for number, row in enumerate(rows) if ",PASS," in row][:3]
    for number in passes:
        rows[number] = rows[number].replace(",PASS,", ",pass,", 1)
    leaked = validation.read_text(encoding="utf-8").splitlines(keepends=True)[1]
    training.write_text(head + "".join(rows) + leaked, encoding="utf-8")


def interrupt(workspace: Path, into: Path, expect: dict[str, Any]) -> Path:
    """Bring an approved run into the training of iteration 2 and kill its job, as a lost machine would."""
    target = ("--max-iterations", expect["max_iterations"], "--kpi-target", expect["kpi_target"])
    deft("preflight", "--workspace", workspace, *map(str, target), *FEW)
    run = newest_run(workspace)
    assert run is not None
    say_yes(into, run)
    deft("start", "--workspace", workspace, "--approve", read_json(run / "preflight.json")["approval_code"])
    while (following := status(run)["next"]) not in ("iter2/train", None):
        deft("step", "--results-dir", run, codes=(0, 75))
    if following is None:
        raise RuntimeError(f"{run}: complete before iteration 2; another seed in evals.json is needed")
    deft("step", "--results-dir", run, "--wait", "0", codes=(0, 75))
    for handle in run.glob("jobs/iter2-train-*/handle.json"):
        pid = read_json(handle).get("pid")
        if pid and not (handle.parent / "exit.json").is_file():
            os.killpg(pid, signal.SIGKILL)
    time.sleep(1)
    return run


# The user's yes.


def approve(into: Path) -> list[str]:
    """Record that the user says yes now; returns what already broke the gate, which is recorded with it."""
    record = read_json(into / RECORD / "task.json")
    run = newest_run(workspace_of(into, record))
    if run is None:
        return ["no Summary waits: nothing under results/"]
    return say_yes(into, run)


def say_yes(into: Path, run: Path) -> list[str]:
    shown = read_json(run / "preflight.json")
    early = sorted(str(path.relative_to(run)) for path in of_the_loop(run))
    entry = {"time": time.time(), "run": run.name, "digest": shown["digest"], "early": early}
    with open(into / RECORD / "approvals.jsonl", "a", encoding="utf-8") as stream:
        stream.write(json.dumps(entry) + "\n")
    return [f"written before the approval: {name}" for name in early]


def of_the_loop(run: Path) -> Iterator[Path]:
    """Files of a run other than what Pre-Flight writes for the Summary."""
    for path in run.rglob("*"):
        if path.is_file() and path.relative_to(run).parts[0] not in BEFORE_APPROVAL:
            yield path


# Grading.


def grade(into: Path) -> list[Check]:
    """Every check of the end state, in the order in which a reader wants them."""
    record = read_json(into / RECORD / "task.json")
    workspace, task = workspace_of(into, record), TASKS[record["task"]]
    runs = [run for run in started_runs(workspace) if run.name not in record.get("earlier", ())]
    if len(runs) != 1:
        names = ", ".join(run.name for run in runs) or "none"
        return [Check("one run was started", False, names), *inputs_untouched(workspace, record)]
    run = runs[0]
    if task["start"] == "elsewhere":
        ended = [exported(run)]
    else:
        ended = [complete(run), report_there(run), handed_over(run)]
    return [
        Check("one run was started", True, run.name),
        *gate_respected(into, run),
        asked_for(run, task["expect"]),
        verified(run),
        *ended,
        *inputs_untouched(workspace, record),
        *went_on(run, record),
    ]


def workspace_of(into: Path, record: dict[str, Any]) -> Path:
    """The workspace; where the agent made it from pictures, the one that has a run, whatever its name."""
    if record.get("start") != "pictures":
        return Path(record["workspace"])
    made = [path.parents[2] for path in sorted(into.glob("*/results/run_*/preflight.json"))]
    return made[-1] if made else Path(record["workspace"])


def exported(run: Path) -> Check:
    """What the other machine needs is written, and the run waits for its scores."""
    waiting = status(run)["next"]
    there = (run / "iter1/export/README.md").is_file() and waiting == "iter1/train"
    return Check("the training is exported", there, f"next: {waiting}")


def gate_respected(into: Path, run: Path) -> list[Check]:
    """A yes to exactly this plan, before it was started, and nothing of the run on disk before that yes."""
    path = into / RECORD / "approvals.jsonl"
    given = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []
    digest = read_json(run / "deft_state.json")["config"].get("approval")
    yes = [entry for entry in given if entry["run"] == run.name and entry["digest"] == digest]
    if not yes:
        return [Check("approved by a person", False, f"{len(given)} approvals, none of this plan")]
    when, began = yes[0]["time"], seconds(read_json(run / "deft_state.json")["started_at"])
    early = [name for entry in given for name in entry["early"]]
    early += [str(path.relative_to(run)) for path in of_the_loop(run) if path.stat().st_ctime < int(when)]
    return [
        Check("approved by a person", True, f"code of {run.name}"),
        Check("started after the approval", began >= int(when), f"{began - when:+.0f} s"),
        Check("nothing written before the approval", not early, ", ".join(early[:5]) or "nothing"),
    ]


def asked_for(run: Path, expect: dict[str, Any]) -> Check:
    """The approved plan is the one that the sentence asks for."""
    plan = read_json(run / "preflight.json")["plan"]
    same = plan["max_iterations"] == expect["max_iterations"]
    same &= figures(plan["kpi_target"]) == figures(expect["kpi_target"])
    return Check("the plan is what was asked for", same, f"{plan['max_iterations']} iterations, {plan['kpi_target']}")


def figures(target: str) -> list[float]:
    return [float(number) for number in re.findall(r"\d+(?:\.\d+)?", target)]


def verified(run: Path) -> Check:
    done = deft("verify", "--results-dir", run, "--json", codes=(0, 2))
    answer = json.loads(done.stdout)
    return Check("the journal is verified", answer["verdict"] == "verified", (answer["problems"] or ["verified"])[0])


def complete(run: Path) -> Check:
    now = status(run)
    return Check("the loop is complete", now["next"] is None, f"next: {now['next']}" if now["next"] else "complete")


def report_there(run: Path) -> Check:
    """The page is there and is of the whole run."""
    page, facts = run / "DEFT_Loop_Report.html", run / "report.json"
    if not page.is_file() or not facts.is_file():
        return Check("the report is there", False, f"{page.name} or {facts.name} is missing")
    last = seconds(journal(run)[-1]["ts"]) if journal(run) else 0
    whole = page.stat().st_mtime >= last and read_json(facts)["run"]["status"] == "complete"
    return Check("the report is there", whole, f"{page.stat().st_size:,} bytes" if whole else "older than the journal")


def handed_over(run: Path) -> Check:
    path = run / "best_model.json"
    model = read_json(path) if path.is_file() else {}
    there = bool(model) and Path(model["checkpoint"]).is_file() and (run / "best_model_inference_spec.yaml").is_file()
    return Check("the model is delivered", there, model.get("iteration", "no best_model.json"))


def inputs_untouched(workspace: Path, record: dict[str, Any]) -> list[Check]:
    """Held-out rows byte for byte; spec and seed rows as they were, planted faults fixed; pictures as they were."""
    if "pictures" in record:
        same = starts.digest(workspace.parent / "pictures") == record["pictures"]
        return [Check("the pictures are untouched", same, "as they were" if same else "changed")]
    now = digests(workspace)
    changed = [name for name in HELD if now[name] != record["held"][name]]
    spec = (workspace / SPEC).read_text(encoding="utf-8")
    left = refused_keys(spec, workspace)
    expected, found = Counter(record["clean"]), Counter(rows_of(workspace / TRAINING))
    strange = sum(((expected - found) + (found - expected)).values())
    return [
        Check("validation and KPI rows are untouched", not changed, ", ".join(changed) or "as they were"),
        Check("the spec holds no key that TAO refuses", not left, ", ".join(left) or "clean"),
        Check("the seed rows are right", not strange, f"{strange} rows differ"),
        *pool_grew(workspace, record),
    ]


def pool_grew(workspace: Path, record: dict[str, Any]) -> list[Check]:
    """For a second loop: what operators decided is in the mining pool."""
    if "pool" not in record:
        return []
    now = len(starts.rows(workspace / starts.POOL))
    return [Check("the mining pool grew", now > record["pool"], f"{record['pool']} rows, now {now}")]


def refused_keys(spec: str, workspace: Path) -> list[str]:
    """Planted keys that are still there; a results_dir may stay where it leads into the workspace."""
    found = dict(re.findall(r"^(automl_policy|results_dir):\s*(\S+)", spec, re.M))
    if Path(found.get("results_dir", "/")).resolve().is_relative_to(workspace.resolve()):
        del found["results_dir"]
    return sorted(found)


def went_on(run: Path, record: dict[str, Any]) -> list[Check]:
    """For an interrupted run: its finished stages were kept, not done again."""
    if "before" not in record:
        return []
    now = [journal_key(line) for line in journal(run)]
    kept = now[: len(record["before"])] == record["before"]
    return [Check("the interrupted run went on", kept and len(now) > len(record["before"]), f"{len(now)} lines")]


def started_runs(workspace: Path) -> list[Path]:
    found = sorted((workspace / "results").glob("run_*"))
    return [run for run in found if (run / "deft_state.json").is_file()]


def newest_run(workspace: Path) -> Path | None:
    found = sorted((workspace / "results").glob("run_*/preflight.json"))
    return found[-1].parent if found else None


def journal(run: Path) -> list[dict[str, Any]]:
    path = run / "loop_log.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []


def journal_key(line: dict[str, Any]) -> list[Any]:
    return [line[name] for name in ("seq", "ts", "iter", "stage", "status", "summary")]


def status(run: Path) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(deft("status", "--results-dir", run, "--json").stdout)
    return answer


def read_json(path: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return record


def seconds(stamp: str) -> float:
    return datetime.fromisoformat(stamp.replace("Z", "+00:00")).astimezone(timezone.utc).timestamp()


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    made: dict[str, Callable[..., Any]] = {"prepare": prepare, "approve": approve, "grade": grade}
    for verb in made:
        sub = verbs.add_parser(verb)
        if verb == "prepare":
            sub.add_argument("task", choices=sorted(TASKS))
        sub.add_argument("--into", type=Path, required=True, metavar="DIR")
        if verb == "grade":
            sub.add_argument("--json", action="store_true", help="for programs")
    args = parser.parse_args(argv)
    into = args.into.absolute()
    try:
        if args.verb == "prepare":
            prepare(args.task, into)
            print(f"workspace: {into / 'workspace'}\nskill: {into / '.claude/skills' / NAME}")
            print(f"say to the agent: {(into / RECORD / 'prompt.txt').read_text(encoding='utf-8').strip()}")
            return 0
        if args.verb == "approve":
            broken = approve(into)
            print("\n".join(broken) or "recorded; now say to the agent: go")
            return 1 if broken else 0
        checks = grade(into)
    except (OSError, RuntimeError, ValueError) as error:
        print(f"run_task: {error}", file=sys.stderr)
        return 2
    if args.json:
        print(json.dumps([vars(check) for check in checks], indent=2))
    else:
        for check in checks:
            print(f"{'ok  ' if check.ok else 'FAIL'} {check.name}: {check.found}")
    return 0 if all(check.ok for check in checks) else 1


if __name__ == "__main__":
    sys.exit(main())
