"""The batch script of one task: what SLURM is asked for, and how the command starts on the nodes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path

from deft_aoi.base.errors import InputError
from deft_aoi.executors.base import LOG
from deft_aoi.executors.containers import Wanted

SCRIPT, RETURNCODE = "job.sh", "returncode"
CONTAINERS = ("pyxis", "apptainer", "none")
FRESH, RESUME = "fresh", "resume"  # ways to start again on another node
_WARNED = 120  # seconds before its time limit at which a job asks to be started again
_WAIT = ["child=$!", "wait $child; code=$?", "while kill -0 $child 2>/dev/null; do wait $child; code=$?; done"]
_PORT = 29500
_REQUESTS = ("partition", "account", "qos", "time", "memory", "cpus")
_FLAGS = {"memory": "mem", "cpus": "cpus-per-task"}


def batch_script(asked: Wanted, job: Path, settings: Mapping[str, str], air_gapped: bool) -> str:
    """A bash script for sbatch; it holds no secret. Raises InputError where a setting cannot be used."""
    kind = settings.get("container", "pyxis")
    if kind not in CONTAINERS:
        raise InputError(f"--set container={kind}: expected one of {', '.join(CONTAINERS)}")
    lines = ["#!/bin/bash", *(f"#SBATCH {text}" for text in requests(asked, job, settings))]
    out = shlex.quote(str(job / RETURNCODE))
    lines += [f"rm -f {out}", *again(asked, settings)]
    lines += [f"export {name}={shlex.quote(value)}" for name, value in asked.environment.items()]
    if settings.get("venv"):
        lines.append(f'export PATH={shlex.quote(settings["venv"])}/bin:"$PATH"')
    *before, command = launch(asked, settings, kind, air_gapped)
    # In the background: a shell that waits for a command in front of it takes no signal.
    lines += [*before, f"{command} &", *_WAIT] if settings.get("requeue") == RESUME else [*before, command, "code=$?"]
    # The last deed, by rename: an exit code for the day when the controller has forgotten the job.
    lines += [f"printf '%s' $code > {out}.new && mv {out}.new {out}", "exit $code"]
    return "\n".join(lines) + "\n"


def again(asked: Wanted, settings: Mapping[str, str]) -> list[str]:
    """Lines for a job that SLURM starts again: what the earlier start wrote is set aside, or TAO goes on from it."""
    output = shlex.quote(asked.output)
    if settings.get("requeue") == RESUME:
        return ["trap 'scontrol requeue \"$SLURM_JOB_ID\"' USR1"]
    if settings.get("requeue") == FRESH:
        count = "${SLURM_RESTART_COUNT:-0}"
        return [f'[ "{count}" = 0 ] || {{ mv {output} {output}.failed-requeue-"{count}"; mkdir -p {output}; }}']
    return []


def requeue_flags(settings: Mapping[str, str]) -> list[str]:
    """Raises InputError for a way that is not known."""
    way = settings.get("requeue", "")
    if way not in ("", FRESH, RESUME):
        raise InputError(f"--set requeue={way}: expected {FRESH}, {RESUME}, or nothing")
    return {"": ["--no-requeue"], FRESH: ["--requeue"], RESUME: ["--requeue", f"--signal=B:USR1@{_WARNED}"]}[way]


def requests(asked: Wanted, job: Path, settings: Mapping[str, str]) -> list[str]:
    """Flags of sbatch: nodes and GPUs as TAO's spec has them, one task a node (TAO starts its own processes)."""
    flags = [
        f"--job-name={asked.name}", f"--output={job / LOG}", "--open-mode=append", *requeue_flags(settings),
        f"--nodes={asked.nodes}", "--ntasks-per-node=1", f"--chdir={job}",
    ]  # fmt: skip
    kind = settings.get("gres", "gpu")
    if asked.gpus and kind:
        flags.append(f"--gres={kind}:{asked.gpus}")
    flags += [f"--{_FLAGS.get(name, name)}={settings[name]}" for name in _REQUESTS if settings.get(name)]
    return flags + shlex.split(settings.get("extra", ""))


def launch(asked: Wanted, settings: Mapping[str, str], kind: str, air_gapped: bool) -> list[str]:
    """Lines that run the command on every node of the job; its exit code is theirs."""
    step = ["srun", "--kill-on-bad-exit=1"] if asked.nodes > 1 or kind == "pyxis" else []
    if kind == "pyxis":
        step += pyxis(asked, settings, air_gapped)
    command = shlex.join(asked.command)
    if kind == "apptainer":
        command = f"{shlex.join(apptainer(asked, settings, air_gapped))} {command}"
    if asked.nodes == 1:
        return [f"{shlex.join(step)} {command}".strip()]
    # TAO's launcher hands these to torchrun; WORLD_SIZE is the number of nodes in its language.
    inner = f'export NODE_RANK="$SLURM_NODEID"; unset RANK LOCAL_RANK; exec {command}'
    return [
        'export MASTER_ADDR="$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)"',
        f"export MASTER_PORT=$(({_PORT} + SLURM_JOB_ID % 1000)) WORLD_SIZE={asked.nodes}",
        f"export NUM_GPU_PER_NODE={max(1, asked.gpus)}",
        f"{shlex.join(step)} bash -c {shlex.quote(inner)}",
    ]


def pyxis(asked: Wanted, settings: Mapping[str, str], air_gapped: bool) -> list[str]:
    mounts = ",".join(f"{m.source}:{m.target}" + (":ro" if m.read_only else "") for m in asked.mounts)
    names = [*asked.environment, *asked.secrets]
    return [
        f"--container-image={image_for(asked.image, settings, '.sqsh', air_gapped)}",
        f"--container-mounts={mounts}", f"--container-workdir={asked.workdir}", "--no-container-mount-home",
        *([f"--container-env={','.join(names)}"] if names else []),
    ]  # fmt: skip


def apptainer(asked: Wanted, settings: Mapping[str, str], air_gapped: bool) -> list[str]:
    binds = [
        text for m in asked.mounts for text in ("--bind", f"{m.source}:{m.target}" + (":ro" if m.read_only else ""))
    ]
    return [
        "apptainer", "exec", "--no-home", *(["--nv"] if asked.gpus else []), *binds, "--pwd", asked.workdir,
        image_for(asked.image, settings, ".sif", air_gapped),
    ]  # fmt: skip


def image_for(image: str, settings: Mapping[str, str], suffix: str, air_gapped: bool) -> str:
    """A file of the folder that the setting `images` names, else where the registry has the image.

    The file's name is the image's, all but letters, digits, dot and hyphen as an underscore.
    """
    if folder := settings.get("images"):
        return str(Path(folder) / f"{re.sub(r'[^A-Za-z0-9.-]+', '_', image)}{suffix}")
    if air_gapped:
        raise InputError(f"{image}: air-gapped, an image comes from a file only; pass --set images=FOLDER ({suffix})")
    if suffix == ".sif":
        return f"docker://{image}"
    registry, mark, rest = image.partition("/")
    return f"{registry}#{rest}" if mark and "." in registry else image
