"""The embedded engine in TAO's place: command lines as NVIDIA's image has them, for containers and batch jobs of tests,
and a tiny loop on such a platform, driven as a user drives it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pandas as pd

from deft_aoi.base.engine_commands import ENGINES
from docker_daemon import libraries
from small_workspace import make_workspace

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = (
    "numpy", "pandas", "cv2", "onnxruntime", "pyarrow", "scipy", "yaml", "dateutil", "six.py", "pytz", "tzdata",
    "safetensors", "tqdm", "charset_normalizer", "flatbuffers", "google", "packaging", "numpy.libs", "pandas.libs",
    "scipy.libs", "opencv_python_headless.libs", "PIL", "pillow.libs",
)  # fmt: skip
SPARE = ("site-packages", "test", "idlelib", "ensurepip", "tkinter", "lib2to3")
HOLD = "hold"  # while the workspace has a file of this name, every command waits after its start


def program(name: str) -> str:
    """A script that answers to one of TAO's command lines."""
    python = os.path.realpath(sys.executable)
    return (
        "#!/usr/bin/env bash\n"
        f'while [ -e "${{3%%/results/*}}/{HOLD}" ]; do sleep 0.1; done\n'
        f"export PYTHONPATH={ROOT}/scripts:{sysconfig.get_path('purelib')} DEFT_CACHE_DIR=$(mktemp -d)\n"
        f'exec {python} -m {ENGINES[name]} "$@"\n'
    )


def programs(folder: Path) -> Path:
    """A folder for PATH with the scripts of TAO's command lines."""
    folder.mkdir()
    for name in ("visual_changenet", "embedding"):
        (folder / name).write_text(program(name))
        (folder / name).chmod(0o755)
    return folder


def files() -> list[Path]:
    """What the scripts need of this machine: Python, its standard library, the engine's packages with the libraries
    that they name, the skill itself."""
    site, standard = Path(sysconfig.get_path("purelib")), Path(sysconfig.get_path("stdlib"))
    parts = [path for path in standard.iterdir() if path.name not in SPARE and not path.name.startswith("config-")]
    packages = [path for name in PACKAGES if (path := site / name).exists()]
    binaries = [Path(os.path.realpath(sys.executable)), *standard.glob("lib-dynload/*.so")]
    binaries += [path for package in packages for path in package.glob("**/*.so*") if path.is_file()]
    named = [Path(name) for name in libraries(*binaries)]
    inside = (site, standard)
    return [
        binaries[0],
        *parts,
        *packages,
        *(path for path in named if not any(path.is_relative_to(folder) for folder in inside)),
        *(ROOT / name for name in ("scripts", "specs", "assets")),
    ]


def deft(*arguments: str, check: int = 0) -> str:
    """Output of a `deft` command as a user sees it."""
    done = subprocess.run(
        [sys.executable, "-m", "deft_aoi.cli.main", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == check, done.stdout + done.stderr
    return done.stdout + done.stderr


def begin(workspace: Path, platform: str, **settings: str) -> Path:
    """A started run of two iterations that never meets its target."""
    if not workspace.exists():
        make_workspace(workspace, counts=(24, 24, 48, 60))
    plan = ("--max-iterations", "2", "--mine-rows", "12", "--num-epochs", "2", "--platform", platform)
    sets = [text for name, value in settings.items() for text in ("--set", f"{name}={value}")]
    target = ("--kpi-target", "FAR <= 0% at recall = 100%")
    shown = deft("preflight", "--workspace", str(workspace), *plan, *target, *sets)
    code = re.search(r"--approve (\w+)", shown)
    assert code
    started = deft("start", "--workspace", str(workspace), "--approve", code[1])
    return Path(started.split("\n")[0].removeprefix("started "))


def step(run: Path, check: int = 0, wait: str = "120") -> str:
    return deft("step", "--results-dir", str(run), "--wait", wait, check=check)


def resolve(run: Path) -> None:
    deft("resolve", "--results-dir", str(run), "--reason", "mended")


def entries(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "loop_log.jsonl").read_text().splitlines()]


def scores(run: Path) -> list[list[str]]:
    """Scores of every inference that counts, as text."""
    found = sorted(path for path in run.glob("*/inference/*/inference.csv") if ".failed-" not in str(path))
    return [pd.read_csv(path, dtype=str)["siamese_score"].tolist() for path in found]
