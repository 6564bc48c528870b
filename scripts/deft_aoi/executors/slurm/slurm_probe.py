"""What a SLURM cluster can do for a run, asked before any job is submitted."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from deft_aoi.base.errors import InputError, Unreachable
from deft_aoi.base.finding import BLOCK, NOTE, OK
from deft_aoi.executors.base import Place, Probe
from deft_aoi.executors.slurm.slurm_script import CONTAINERS, image_for

Ask = Callable[[Sequence[str]], str]


def probes(ask: Ask, place: Place) -> list[Probe]:
    """Checks 3 to 6 and 8 of Pre-Flight; a controller that does not answer is the only finding then."""
    try:
        version = ask(["sinfo", "--version"]).strip()
        ask(["scontrol", "ping"])
        found = [Probe(6, OK, f"SLURM answers ({version})"), *partition_probes(ask, place)]
    except (InputError, Unreachable) as error:
        return [Probe(6, BLOCK, str(error))]
    return [*image_probes(place), *found]


def partition_probes(ask: Ask, place: Place) -> list[Probe]:
    """(6, 8) the partition is there, and what GPUs its nodes offer."""
    partition = place.settings.get("partition", "")
    flags = [f"--partition={partition}"] if partition else []
    nodes = [line.split("|") for line in ask(["sinfo", "--noheader", *flags, "--format=%P|%G|%D|%t"]).splitlines()]
    if not nodes:
        return [Probe(6, BLOCK, f"SLURM has no partition {partition!r}; sinfo lists them; --set partition=NAME")]
    names = sorted({name.rstrip("*") for name, *_ in nodes})
    usable = [gres for _, gres, _, state in nodes if re.match(r"(idle|mix|alloc|comp)", state)]
    found = [Probe(8, OK if usable else NOTE, f"partitions {', '.join(names)}: {len(usable)} groups of nodes are up")]
    kind = place.settings.get("gres", "gpu").split(":")[0]
    if not kind:
        found.append(Probe(6, NOTE, "GPU: none asked for (gres is empty); NVIDIA's images need one"))
    elif not any(kind in gres for gres in usable):
        text = f"no node that is up offers the generic resource {kind!r}; --set gres=NAME, or --set gres= for none"
        found.append(Probe(6, BLOCK, text))
    else:
        offered = ", ".join(sorted({gres for gres in usable if kind in gres}))
        found.append(Probe(6, OK, f"GPU: nodes offer {offered}"))
    return found


def image_probes(place: Place) -> list[Probe]:
    """(3, 4, 5) where the image comes from; who may pull it is known on the nodes only."""
    kind = place.settings.get("container", "pyxis")
    if kind not in CONTAINERS:
        return [Probe(5, BLOCK, f"--set container={kind}: expected one of {', '.join(CONTAINERS)}")]
    if kind == "none":
        venv = place.settings.get("venv")
        told = f"from {venv}/bin" if venv else "from the nodes' PATH"
        return [
            Probe(3, OK, "credentials: none, no image is pulled"),
            Probe(4, OK, "registry login: not needed, no image is pulled"),
            Probe(5, OK, f"images: none, TAO's programs {told}"),
        ]
    suffix = ".sif" if kind == "apptainer" else ".sqsh"
    found = []
    for image in (place.images[key] for key in place.needs):
        try:
            source = image_for(image, place.settings, suffix, place.air_gapped)
        except InputError as error:
            found.append(Probe(5, BLOCK, str(error)))
            continue
        if not place.settings.get("images"):
            found.append(Probe(5, NOTE, f"image {source} is pulled on the node by {kind}"))
        elif not Path(source).is_file():
            found.append(Probe(5, BLOCK, f"image {image}: no file {source}; make it with {kind}"))
        else:
            found.append(Probe(5, OK, f"image {image} is the file {source}"))
    if place.settings.get("images"):
        return [
            Probe(3, OK, "credentials: none, images are files"),
            Probe(4, OK, "registry login: not needed"),
            *found,
        ]
    where = "~/.config/enroot/.credentials" if kind == "pyxis" else "apptainer registry login"
    note = f"registry login: the nodes need their own for NVIDIA's registry ({where}); it is not seen from here"
    return [Probe(3, NOTE, "credentials: a pull needs NGC_KEY on the nodes"), Probe(4, NOTE, note), *found]
