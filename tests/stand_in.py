"""The embedded engine, or the null engine, in TAO's place: command lines as NVIDIA's image has them, for containers and
batch jobs of tests, and a tiny loop on such a platform, driven by its command lines."""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path

import inside
import null_engine
from deft_aoi.base.engine_commands import ENGINES
from docker_daemon import libraries
from null_engine import HOLD
from real_loops import begun, labelled_line

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = (
    "numpy", "pandas", "cv2", "onnxruntime", "pyarrow", "scipy", "yaml", "dateutil", "six.py", "pytz", "tzdata",
    "safetensors", "tqdm", "charset_normalizer", "flatbuffers", "google", "packaging", "numpy.libs", "pandas.libs",
    "scipy.libs", "opencv_python_headless.libs", "PIL", "pillow.libs",
)  # fmt: skip
SPARE = ("site-packages", "test", "idlelib", "ensurepip", "tkinter", "lib2to3")


def program(name: str, *, null: bool = False) -> str:
    """A script that answers to one of TAO's command lines; it waits while the workspace has a file `HOLD`."""
    python = os.path.realpath(sys.executable)
    answer = f"{null_engine.__file__} {name}" if null else f"-m {ENGINES[name]}"
    return (
        "#!/usr/bin/env bash\n"
        f'while [ -e "${{3%%/results/*}}/{HOLD}" ]; do sleep 0.1; done\n'
        f"export PYTHONPATH={ROOT}/scripts:{sysconfig.get_path('purelib')} DEFT_CACHE_DIR=$(mktemp -d)\n"
        f'exec {python} {answer} "$@"\n'
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
        Path(null_engine.__file__),
        *(ROOT / name for name in ("scripts", "specs", "assets")),
    ]


def null_files() -> list[Path]:
    """What the null engine needs of this machine: Python with its standard library, YAML, the engine."""
    standard, python = Path(sysconfig.get_path("stdlib")), Path(os.path.realpath(sys.executable))
    parts = [path for path in standard.iterdir() if path.name not in SPARE and not path.name.startswith("config-")]
    yaml = Path(sysconfig.get_path("purelib")) / "yaml"
    binaries = [python, *standard.glob("lib-dynload/*.so"), *yaml.glob("*.so")]
    return [python, *parts, yaml, *map(Path, libraries(*binaries)), Path(null_engine.__file__)]


def deft(*words: object, check: int = 0) -> str:
    """Output of a `deft` command."""
    done = inside.deft(*words, check=check)
    return done.stdout + done.stderr


def begin(workspace: Path, platform: str, **settings: str) -> Path:
    """A started run of two iterations that never meets its target, on the line of the weakness loop."""
    labelled_line(workspace)
    sets = [text for name, value in settings.items() for text in ("--set", f"{name}={value}")]
    return begun(workspace, "--platform", platform, *sets)


def step(run: Path, check: int = 0, wait: str = "120") -> str:
    return deft("step", "--results-dir", str(run), "--wait", wait, check=check)


def resolve(run: Path) -> None:
    deft("resolve", "--results-dir", str(run), "--reason", "fixed")
