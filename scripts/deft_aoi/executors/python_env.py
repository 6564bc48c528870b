"""Run tasks with TAO's PyPI wheels in a Python environment of this machine: its GPU, no container.

TAO's launcher starts `python` by name, so the environment's programs go first on PATH.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from deft_aoi.base.errors import InputError
from deft_aoi.base.finding import BLOCK, NOTE, OK
from deft_aoi.executors.base import GPUS, Place, Probe, Task
from deft_aoi.executors.local import LocalExecutor

PROGRAM = "visual_changenet"
WANTED_PYTHON = (3, 12)
# Not for TAO: what belongs to our own Python; what its launcher would take for a multi-node job (WORLD_SIZE; it then
# rewrites the spec) or for a microservice (JOB_ID; it then logs below /results); secrets that no task needs.
WITHHELD = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "WORLD_SIZE", "JOB_ID", "NGC_KEY", "HF_TOKEN")
_SHM = Path("/dev/shm")
_PROBE_SECONDS = 300
_ASK = """
import json, sys
said = {"python": list(sys.version_info[:3]), "gpus": [], "tao": "", "torch": "", "problem": ""}
try:
    from importlib.metadata import PackageNotFoundError, version
    try:
        said["tao"] = version("nvidia-tao-pytorch")
    except PackageNotFoundError:
        pass
    import torch
    said["torch"] = torch.__version__
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            torch.ones(8, device=f"cuda:{number}").sum().item()
            of = torch.cuda.get_device_properties(number)
            said["gpus"].append([of.name, of.total_memory])
    from nvidia_tao_pytorch.cv.visual_changenet.entrypoint import visual_changenet
    visual_changenet.get_subtask_list()
except BaseException as error:
    said["problem"] = f"{type(error).__name__}: {error}"
print("\\n" + json.dumps(said))
"""


class VirtualenvExecutor(LocalExecutor):
    """TAO's own command lines as supervised processes. Setting `venv`: the environment's folder, its bin folder or its
    python. Tasks inherit the caller's variables (CUDA_VISIBLE_DEVICES, NCCL_*) except those of WITHHELD."""

    platform = "virtualenv"

    def __init__(self, place: Place) -> None:
        super().__init__(place.engine, air_gapped=place.air_gapped)
        self.place = place

    def command(self, task: Task) -> list[str]:
        program, *arguments = task.command
        found = shutil.which(program, path=self._path())
        if found is None:
            raise InputError(
                f"{program} is not in {self._bin()}; install nvidia-tao-pytorch there, or pass --set venv="
            )
        return [found, *arguments]

    def environment(self) -> dict[str, str | None]:
        changes: dict[str, str | None] = dict.fromkeys(WITHHELD)
        return {**changes, "PATH": self._path(), **super().environment()}

    def describe(self) -> str:
        return f"this machine's GPU, NVIDIA TAO from the Python environment {self.place.settings.get('venv')}"

    def probe(self) -> list[Probe]:
        fixed = [
            Probe(3, OK, "credentials: none needed, TAO is installed here"),
            Probe(4, OK, "registry login: not needed, no image is pulled"),
        ]
        try:
            said = self._ask()
        except InputError as error:
            return [*fixed, Probe(5, BLOCK, str(error))]
        return [*fixed, self._tao_probe(said), *gpu_probes(said)]

    def _ask(self) -> dict[str, Any]:
        """What the environment's Python says of itself. Raises InputError where it cannot be asked."""
        folder, path = self._bin(), self._path()
        if shutil.which(PROGRAM, path=str(folder)) is None:
            raise InputError(f"{folder} has no {PROGRAM}: install nvidia-tao-pytorch into this environment")
        python = shutil.which("python", path=path)
        if python is None:
            raise InputError(f"{folder} has no python, which TAO's launcher starts by this name")
        environment = {k: v for k, v in (os.environ | self.environment()).items() if v is not None}
        try:
            done = subprocess.run(
                [python, "-c", _ASK], capture_output=True, text=True, encoding="utf-8",
                errors="replace", env=environment, timeout=_PROBE_SECONDS,
                stdin=subprocess.DEVNULL, check=False,
            )  # fmt: skip
            said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        except (OSError, ValueError, IndexError, subprocess.TimeoutExpired) as error:
            raise InputError(
                f"{python} does not answer ({type(error).__name__}); try it by hand: {python} -V"
            ) from None
        return said

    def _tao_probe(self, said: dict[str, Any]) -> Probe:
        version = ".".join(map(str, said["python"]))
        name = f"nvidia-tao-pytorch {said['tao'] or '(version unknown)'} in {self._bin()}"
        if said["problem"]:
            return Probe(5, BLOCK, f"{name} does not load: {said['problem']}")
        text = f"images: none; {name}, Python {version}, torch {said['torch']}"
        if tuple(said["python"][:2]) != WANTED_PYTHON:
            return Probe(5, NOTE, f"{text}; TAO's wheels are made for Python 3.12", tao=said["tao"])
        return Probe(5, OK, text, tao=said["tao"])

    def _bin(self) -> Path:
        """Folder of the environment's programs. Raises InputError where the setting names none."""
        given = self.place.settings.get("venv", "")
        if not given:
            raise InputError(
                "platform virtualenv needs --set venv=FOLDER: a Python environment with nvidia-tao-pytorch"
            )
        path = Path(given).expanduser().absolute()
        if path.is_file():
            return path.parent
        if (path / "bin").is_dir():
            return path / "bin"
        if path.is_dir():
            return path
        raise InputError(f"--set venv={given}: no such environment; expected its folder, its bin folder or its python")

    def _path(self) -> str:
        return os.pathsep.join([str(self._bin()), os.environ.get("PATH", os.defpath)])


def gpu_probes(said: dict[str, Any]) -> list[Probe]:
    """(6, 8, 9) the GPUs that torch can compute on, and the shared memory of this machine."""
    shm = shutil.disk_usage(_SHM).free if _SHM.is_dir() else 0
    memory = Probe(9, OK, f"shared memory: {shm / 1e9:.1f} GB free in {_SHM}", shm=shm)
    if not said["gpus"]:
        why = "" if said["torch"] else " (torch does not load)"
        return [Probe(6, BLOCK, f"TAO trains on a GPU, and this environment's torch sees none{why}"), memory]
    shown = ", ".join(f"{name} ({size / 1e9:.0f} GB)" for name, size in said["gpus"])
    sizes = tuple(int(size) for _, size in said["gpus"])
    return [
        Probe(6, OK, "GPU: torch computed on each, architecture and driver fit"),
        Probe(8, OK, f"{GPUS}{shown}", gpu_memory=sizes),
        memory,
    ]
