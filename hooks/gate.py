#!/usr/bin/env python3
"""PreToolUse hook: hold the one gate where the harness can.

Reads the event as JSON on stdin. Exit 0: no objection. Exit 2: the call is refused, and stderr says why. With --hook a
refusal is exit 42, which no broken Python ever gives; the command in hooks.json makes 2 of it and 0 of anything else.
Refused are, for a workspace of this loop (a folder with specs/baseline_spec.yaml):

- a container run while its newest run directory has no approval;
- a write under its results/ before that approval, other than by `deft` itself;
- at any time a write by hand into the journal, the state, or the Summary that a person approved;
- under an air gap (AIR_GAPPED=1, or the plan of the newest run says so) what installs, downloads or asks a registry.

It reads what a command says, not what a program it starts may do: a rail, no sandbox. Where it cannot tell, it does not
object. Standard library only, since it is called before every command in every folder.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import shlex
import sys
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

REFUSED_HOOK = 42
RECORDS = ("loop_log.jsonl", "deft_state.json", "preflight.json", "preflight_summary.md")
CONTAINERS = ("docker", "podman", "nerdctl")
STARTS = ("run", "create", "start", "up")
GROUPS = ("compose", "container")
OTHERS = (
    "build",
    "cp",
    "exec",
    "image",
    "images",
    "info",
    "inspect",
    "kill",
    "login",
    "logs",
    "ps",
    "pull",
    "rm",
    "stop",
)
IMAGES = re.compile(r"tao-toolkit|paidf-anomalygen")
EVERY_ARGUMENT = ("tee", "touch", "mkdir", "rm", "rmdir", "truncate", "shred", "chmod", "chown", "unlink")
LAST_ARGUMENT = ("cp", "mv", "ln", "rsync", "install", "scp")
HERE_DOCUMENT = re.compile(r"<<-?\s*(['\"]?)(\w+)\1([^\n]*)\n.*?^\s*\2\s*$", re.DOTALL | re.MULTILINE)
PATCHED = re.compile(r"^\*\*\* (?:Add|Update|Delete) File: (.+)$|^\*\*\* Move to: (.+)$", re.MULTILINE)
WRAPPERS = ("sudo", "env", "nohup", "nice", "time", "timeout", "command", "exec", "xargs", "setsid")


@dataclass(frozen=True)
class Simple:
    """One command of a shell line: its words without redirections, and the files it redirects into."""

    words: tuple[str, ...]
    into: tuple[str, ...]


def objection(event: Mapping[str, Any]) -> str | None:
    """Why this tool call must not happen; None where nothing speaks against it."""
    given = event.get("tool_input")
    given = given if isinstance(given, dict) else {}
    folder, text = Path(event.get("cwd") or os.getcwd()), str(given.get("command") or "")
    if event.get("tool_name") == "Bash":
        return shell_objection(text, folder)
    targets = [str(given.get("file_path") or given.get("notebook_path") or "")]
    if event.get("tool_name") == "apply_patch":
        targets = [first or second for first, second in PATCHED.findall(text)]
    return next(filter(None, (write_objection(folder / name) for name in targets if name)), None)


def shell_objection(line: str, folder: Path) -> str | None:
    """The first objection to any command of a shell line; `cd` is followed."""
    for command in commands(line):
        words = bare(command.words)
        if words[:1] == ("cd",) and len(words) > 1:
            folder = Path(os.path.normpath(folder / words[1]))
            continue
        if reason := air_gap_objection(command.words, words, folder):
            return reason
        reasons = [write_objection(Path(os.path.normpath(folder / name))) for name in written(words, command.into)]
        if is_container(words):
            reasons.append(container_objection(words, folder))
        if reason := next(filter(None, reasons), None):
            return reason
    return None


def commands(line: str) -> Iterator[Simple]:
    """The simple commands of a shell line, variables filled in."""
    text = HERE_DOCUMENT.sub(r"\3", line).replace("\\\n", " ").replace("\n", " ; ")
    lexer = shlex.shlex(text, posix=True, punctuation_chars="();<>|&")
    lexer.whitespace_split = True
    lexer.commenters = ""
    try:
        tokens = list(lexer)
    except ValueError:  # an open quote, a here-document: not a line that can be read
        return
    names: dict[str, str] = {}
    words: list[str] = []
    into: list[str] = []
    redirected = False
    for token in [*tokens, ";"]:
        if redirected:
            into.append(fill(token, names))
            redirected = False
        elif set(token) <= set("<>&|") and ">" in token:
            redirected = True
            if words and words[-1].isdigit():  # 2>file
                words.pop()
        elif token and set(token) <= set("();<>|&"):
            if "<" not in token:
                yield Simple(tuple(words), tuple(into))
                words, into = [], []
        elif (mark := re.fullmatch(r"([A-Za-z_]\w*)=(.*)", token, re.DOTALL)) and not words:
            names[mark[1]] = fill(mark[2], names)
        else:
            words.append(fill(token, names))


def fill(text: str, names: Mapping[str, str]) -> str:
    """`text` with ~ and variables replaced, those of the line before the environment's; others stay as they are."""
    known = re.sub(r"\$(?:\{(\w+)\}|(\w+))", lambda m: names.get(m[1] or m[2], m[0]), text)
    return os.path.expanduser(os.path.expandvars(known))


def bare(words: Sequence[str]) -> tuple[str, ...]:
    """Words without what stands before the command's own name: `export`, sudo, env A=b, timeout 5 ..."""
    rest = list(words)
    while rest and (Path(rest[0]).name in WRAPPERS or rest[0].startswith("-") or re.match(r"\w+=|\d+\w?$", rest[0])):
        rest.pop(0)
    return (Path(rest[0]).name, *rest[1:]) if rest else ()


def written(words: Sequence[str], into: Sequence[str]) -> list[str]:
    """Paths that a command writes, as far as its words say."""
    found = [name for name in into if not name.startswith("&") and name not in ("/dev/null", "1", "2")]
    name, values = (words[0] if words else ""), [word for word in words[1:] if not word.startswith("-")]
    if name in EVERY_ARGUMENT:
        found += values
    elif name in LAST_ARGUMENT:
        found += values[-1:] + (values[:-1] if name == "mv" else [])
    elif name in ("sed", "perl") and any(word.startswith(("-i", "--in-place")) for word in words[1:]):
        found += values
    elif name == "dd":
        found += [word[3:] for word in words if word.startswith("of=")]
    return found


def is_container(words: Sequence[str]) -> bool:
    """True for `docker run`, `docker container start`, `docker compose up` and the like."""
    if not words or words[0] not in CONTAINERS:
        return False
    verb = next((word for word in words[1:] if word in {*STARTS, *GROUPS, *OTHERS}), "")
    return verb in STARTS or (verb in GROUPS and any(word in STARTS for word in words[words.index(verb) + 1 :]))


def container_objection(words: Sequence[str], folder: Path) -> str | None:
    """Refuse a container that touches a workspace whose newest run nobody approved, or the loop's own images."""
    places = [part for word in words for part in re.split(r"[:=,]", word) if part.startswith(("/", "."))]
    for place in [*places, "."]:
        if (workspace := workspace_of(folder / place)) is not None:
            return None if newest_is_approved(workspace) else refusal(workspace, "no container is started")
    if any(IMAGES.search(word) for word in words):
        return "no workspace can be seen in this container run; name its absolute path in a mount, after the approval"
    return None


def air_gap_objection(told: Sequence[str], words: Sequence[str], folder: Path) -> str | None:
    """What the air gap has against a command; None where none is declared."""
    workspace = workspace_of(folder)
    if not (os.environ.get("AIR_GAPPED", "") not in ("", "0") or (workspace and newest_is_air_gapped(workspace))):
        return None
    sys.path.append(str(Path(__file__).resolve().parents[1] / "scripts"))
    from deft_aoi.base import air_gap  # only here: it has no imports of its own, and most calls do without

    reason = air_gap.objection(words) or air_gap.objection(["", *told])
    if reason is None and is_container(words) and may_pull(words):
        reason = f"{words[0]} {words[1]} may pull; add --pull=never (deft_exec --state S -- COMMAND does)"
    return f"air-gapped: {reason}" if reason else None


def may_pull(words: Sequence[str]) -> bool:
    """Whether a container command makes a container, which fetches its image unless `--pull` forbids it."""
    makes = any(word in ("run", "create", "up") for word in words[1:])
    return makes and "--pull=never" not in words and ("--pull", "never") not in itertools.pairwise(words)


def newest_is_air_gapped(workspace: Path) -> bool:
    """Whether the plan of the newest run, ours or of NVIDIA's bank, forbids the network."""
    runs = sorted(run for run in (workspace / "results").glob("run_*") if run.is_dir())
    for name in ("deft_state.json", "preflight.json"):
        try:
            found = json.loads((runs[-1] / name).read_text(encoding="utf-8"))
        except (OSError, ValueError, IndexError):
            continue
        plan = (found.get("config") or {}).get("plan") or found.get("plan") or {}
        policy = found.get("execution_policy") or {}
        return "airgap" in (plan.get("network"), policy.get("network_mode"))
    return False


def write_objection(path: Path) -> str | None:
    """Refuse a hand-written record, and any file under results/ of a workspace before its approval."""
    workspace = workspace_of(path)
    if workspace is None or not path.is_relative_to(workspace / "results"):
        return None
    inside = path.relative_to(workspace / "results").parts
    if path.name in RECORDS and len(inside) == 2 and inside[0].startswith("run_"):
        again = f"deft rebuild-state --results-dir {path.parent}"
        return f"{path}: only deft writes it; a damaged state is recreated by: {again}"
    run = workspace / "results" / inside[0] if inside and inside[0].startswith("run_") else None
    if is_approved(run) if run else newest_is_approved(workspace):
        return None
    return refusal(workspace, "nothing is written under results/")


def refusal(workspace: Path, what: str) -> str:
    return (
        f"{what} before a person has approved the Pre-Flight Summary: show it (deft preflight --workspace {workspace} "
        "--max-iterations N), stop, and after a yes: deft start"
    )


def workspace_of(path: Path) -> Path | None:
    """The nearest folder at or above `path` that holds specs/baseline_spec.yaml."""
    place = Path(os.path.normpath(path))
    return next((one for one in (place, *place.parents) if is_workspace(one)), None)


def is_workspace(folder: Path) -> bool:
    """A folder with the loop's spec, other than a copy of the skill, which ships one."""
    return (folder / "specs/baseline_spec.yaml").is_file() and not (folder / "SKILL.md").is_file()


def newest_is_approved(workspace: Path) -> bool:
    runs = sorted(run for run in (workspace / "results").glob("run_*") if run.is_dir())
    return bool(runs) and is_approved(runs[-1])


def is_approved(run: Path | None) -> bool:
    """True where the state names the digest of the Summary next to it."""
    try:
        state = json.loads(((run or Path()) / "deft_state.json").read_text(encoding="utf-8"))
        shown = json.loads(((run or Path()) / "preflight.json").read_text(encoding="utf-8"))
        return bool(state["config"]["approval"]) and state["config"]["approval"] == shown["digest"]
    except (OSError, ValueError, KeyError, TypeError):
        return False


def main() -> int:
    """2 (42 with --hook) where :func:`objection` refuses.

    Whatever else goes wrong lets the call through and is reported: a gate that cannot judge must not lock every tool of
    every project.
    """
    try:
        event = json.load(sys.stdin)
        reason = objection(event) if isinstance(event, dict) else None
    except Exception as error:  # an event or a disk that nobody foresaw
        return once(f"gate: could not judge this call ({type(error).__name__}: {error}); it is let through")
    if reason is None:
        return 0
    sys.stderr.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    print(f"gate: {reason}", file=sys.stderr)
    return REFUSED_HOOK if sys.argv[1:] == ["--hook"] else 2


def once(text: str) -> int:
    """Say `text` the first time on this day, and always let the call through."""
    try:
        note = Path(tempfile.gettempdir()) / f"deft-gate-{os.getuid()}-{date.today()}-{zlib.crc32(text.encode())}"
        os.close(os.open(note, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        print(text, file=sys.stderr)
    except (OSError, ValueError):  # said before, or nowhere to say it
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
