"""`deft docs`: write what is generated from the code: the pages of commands and terms, the schemas."""

from __future__ import annotations

import argparse
import functools
import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from deft_aoi.base import glossary
from deft_aoi.base.engine_commands import ENGINES
from deft_aoi.base.errors import OK, InputError
from deft_aoi.base.files import atomic_write_text
from deft_aoi.base.paths import SKILL_ROOT
from deft_aoi.cli.main import COMMANDS, SCRIPTS, command_parser

HELP = "Write the pages of commands and terms and the schemas of facts and API from the code; --check only compares."
PAGES = ("commands", "scripts-and-agents")  # of references/, each from its template in assets/
SCHEMA = SKILL_ROOT / "specs/facts.schema.json"
SERVE_API = SKILL_ROOT / "specs/serve_api.json"
GLOSSARY = SKILL_ROOT / "references/glossary.md"
_FLAG = re.compile(r"(?<![\w-])(--[a-z][a-z0-9-]*)")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--check", action="store_true", help="exit 2 when the file on disk is not up to date")


def run(args: argparse.Namespace) -> int:
    schema_files = ((SCHEMA, schemas()), (SERVE_API, serve_api()))
    for path, text in (*reference_pages().items(), *schema_files, (GLOSSARY, glossary.page())):
        if not args.check:
            atomic_write_text(path, text)
            print(path)
        elif not path.is_file() or path.read_text(encoding="utf-8") != text:
            raise InputError(f"{path}: not up to date; type: deft docs")
    return OK


def schemas() -> str:
    """JSON Schema of each stage's facts in the journal."""
    from deft_aoi.record.facts import RECORDS, schema

    return json.dumps({kind.STAGE: schema(kind) for kind in RECORDS}, indent=2) + "\n"


def serve_api() -> str:
    """OpenAPI of the page of `deft serve`."""
    from deft_aoi.web.loopback import openapi
    from deft_aoi.web.page import TITLE, endpoints
    from deft_aoi.web.site import Site

    return json.dumps(openapi(TITLE, endpoints(Site(()))), indent=1) + "\n"


def reference_pages() -> dict[Path, str]:
    """The generated pages of references/, by their path."""
    import jinja2  # only this needs it

    with ThreadPoolExecutor() as pool:
        flags = {name: flags_in(wide_help(name)) for name in COMMANDS}
        flags |= dict(zip(SCRIPTS, pool.map(flags_of, SCRIPTS), strict=True))
    what = {**COMMANDS, **{name: summary_of(name) for name in SCRIPTS}}
    rows = {name: {"name": name, "what": what[name], "flags": flags[name]} for name in flags}
    values = {
        "commands": [rows[name] for name in COMMANDS],
        "scripts": [rows[name] for name in SCRIPTS],
        "engines": ", ".join(f"`{name}`" for name in ENGINES),
    }
    pages = {}
    for name in PAGES:
        text = (SKILL_ROOT / f"assets/{name}.md.j2").read_text(encoding="utf-8")
        page = jinja2.Template(text, keep_trailing_newline=True).render(values)
        pages[SKILL_ROOT / f"references/{name}.md"] = page
    return pages


def wide_help(name: str) -> str:
    """A command's --help with lines that cut no flag in two."""
    parser = command_parser(name)
    parser.formatter_class = functools.partial(argparse.HelpFormatter, width=200)
    return parser.format_help()


def flags_of(name: str) -> str:
    """Flags of a contract script."""
    environment = os.environ | {"COLUMNS": "200", "PYTHONPATH": str(SKILL_ROOT / "scripts")}
    command = [sys.executable, "-m", "deft_aoi.cli.main", name, "--help"]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, encoding="utf-8", errors="replace", check=False
    )
    if done.returncode != 0:
        raise InputError(f"deft {name} --help failed: {done.stderr.strip()}")
    return flags_in(done.stdout)


def flags_in(text: str) -> str:
    """Long flags in the order of a --help, each once."""
    found = dict.fromkeys(flag for flag in _FLAG.findall(text) if flag != "--help")
    return f"`{' '.join(found)}`" if found else "-"


def summary_of(name: str) -> str:
    """First sentence of a script's docstring."""
    text = (SKILL_ROOT / "scripts" / f"{name}.py").read_text(encoding="utf-8")
    doc = text.split('"""')[1].strip()
    return " ".join(doc.split("\n\n")[0].split()).rstrip(".")
