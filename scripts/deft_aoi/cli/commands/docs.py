"""`deft docs`: write references/scripts-and-agents.md from what each command says of itself."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from deft_aoi.base.engine_commands import ENGINES
from deft_aoi.base.errors import OK, InputError
from deft_aoi.base.files import atomic_write_text
from deft_aoi.base.paths import SKILL_ROOT
from deft_aoi.cli.main import COMMANDS, SCRIPTS

HELP = "Write references/scripts-and-agents.md from the commands' --help; --check only compares."
TARGET = SKILL_ROOT / "references/scripts-and-agents.md"
TEMPLATE = SKILL_ROOT / "assets/scripts-and-agents.md.j2"
_FLAG = re.compile(r"(?<![\w-])(--[a-z][a-z0-9-]*)")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--check", action="store_true", help="exit 2 when the file on disk is not up to date")


def run(args: argparse.Namespace) -> int:
    text = reference()
    if not args.check:
        atomic_write_text(TARGET, text)
        print(TARGET)
    elif not TARGET.is_file() or TARGET.read_text(encoding="utf-8") != text:
        raise InputError(f"{TARGET}: not up to date; type: deft docs")
    return OK


def reference() -> str:
    """The whole page."""
    import jinja2  # only this needs it

    with ThreadPoolExecutor() as pool:
        flags = dict(zip((*COMMANDS, *SCRIPTS), pool.map(flags_of, (*COMMANDS, *SCRIPTS)), strict=True))
    what = {**COMMANDS, **{name: summary_of(name) for name in SCRIPTS}}
    rows = {name: {"name": name, "what": what[name], "flags": flags[name]} for name in flags}
    template = jinja2.Template(TEMPLATE.read_text(encoding="utf-8"), keep_trailing_newline=True)
    return template.render(
        commands=[rows[name] for name in COMMANDS],
        scripts=[rows[name] for name in SCRIPTS],
        engines=", ".join(f"`{name}`" for name in ENGINES),
    )


def flags_of(name: str) -> str:
    """Long flags in the order of --help, each once."""
    environment = os.environ | {"COLUMNS": "200", "PYTHONPATH": str(SKILL_ROOT / "scripts")}
    command = [sys.executable, "-m", "deft_aoi.cli.main", name, "--help"]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, encoding="utf-8", errors="replace", check=False
    )
    if done.returncode != 0:
        raise InputError(f"deft {name} --help failed: {done.stderr.strip()}")
    found = dict.fromkeys(flag for flag in _FLAG.findall(done.stdout) if flag != "--help")
    return f"`{' '.join(found)}`" if found else "-"


def summary_of(name: str) -> str:
    """First sentence of a script's docstring."""
    text = (SKILL_ROOT / "scripts" / f"{name}.py").read_text(encoding="utf-8")
    doc = text.split('"""')[1].strip()
    return " ".join(doc.split("\n\n")[0].split()).rstrip(".")
