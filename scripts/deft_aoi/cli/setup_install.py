"""The environment by way of an installer: uv where it is there, else pip."""

from __future__ import annotations

import shutil
from pathlib import Path

from deft_aoi.cli.setup_fetch import fetch
from deft_aoi.cli.setup_index import find_pip
from deft_aoi.cli.setup_meters import FolderMeter, LineMeter, PipMeter, UvMeter
from deft_aoi.cli.setup_plan import Plan, base_python
from deft_aoi.cli.setup_steps import run_step

_WHEELS = ("--only-binary", ":all:")


def base(plan: Plan) -> list[str]:
    """Arguments that install the base: each file compared with its hash, nothing that the lock does not name."""
    return [*_WHEELS, "--no-deps", "--require-hashes", "--requirement", str(plan.hashes)]


def optional(plan: Plan) -> list[str]:
    """Arguments that install the optional parts on top of the base."""
    return [*_WHEELS, "--constraint", str(plan.constraints), *plan.requirements]


def build_with_uv(plan: Plan, lock: int, uv: str) -> None:
    never = {"UV_PYTHON_DOWNLOADS": "never"}
    command: list[str | Path] = [uv, "venv", "--python", base_python(), plan.env]
    run_step(plan, lock, "making the environment", command, never)
    for words in [base(plan), *([optional(plan)] if plan.more else [])]:
        install = [uv, "pip", "install", "--python", plan.python, *words]
        run_step(plan, lock, "installing packages with uv", install, never, UvMeter())


def build_with_pip(plan: Plan, lock: int) -> None:
    """`venv`, then a pip from outside of it; the base's packages are fetched at once where the index lets us."""
    wheel = find_pip(plan.home)
    venv: list[str | Path] = [base_python(), "-I", "-m", "venv", "--without-pip", plan.env]
    run_step(plan, lock, "making the environment", venv)
    plan.scratch.mkdir(exist_ok=True)

    def pip(title: str, words: list[str], meter: LineMeter) -> None:
        command = [plan.python, "-I", wheel / "pip", "install", "--progress-bar", "off", "--no-compile", *words]
        run_step(plan, lock, title, command, {"TMPDIR": str(plan.scratch)}, meter)

    wheels = plan.scratch / "wheels"
    if size := fetch(plan, wheel, wheels):
        words = ["--no-index", "--find-links", str(wheels), *base(plan)]
        pip("unpacking packages", words, FolderMeter(plan.packages, size))
    else:
        pip("installing packages with pip", base(plan), PipMeter(plan.scratch))
    if plan.more:
        shutil.rmtree(wheels, ignore_errors=True)
        pip("installing packages with pip", optional(plan), PipMeter(plan.scratch))
