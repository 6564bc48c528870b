"""Stage the image encoder of k-NN mining: an ONNX file, or a SigLIP of the transformers library exported to one."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from deft_aoi.base.errors import InputError
from deft_aoi.base.files import atomic_write, atomic_write_text
from deft_aoi.engine.encoders import PREPROCESSOR, onnx_encoder
from deft_aoi.weights.hub import cached, fetch

SIGLIP = "google/siglip-base-patch16-224"
_FILES = ("config.json", "model.safetensors", PREPROCESSOR)


def stage_encoder(
    folder: Path, *, source: Path | None = None, repo_id: str = SIGLIP, force: bool = False, token: str | None = None
) -> Path:
    """Put the encoder at `folder/siglip.onnx` with its preprocessing next to it and return that path.

    `source` is an ONNX file or a folder of the transformers library; without it the hub's cache on this machine, then
    the hub. What is staged already stays unless `force`. Raises InputError where no usable encoder can be had.
    """
    target = folder / "siglip.onnx"
    if target.is_file() and not force:
        return target
    with tempfile.TemporaryDirectory() as scratch:
        found = source or _from_hub(repo_id, Path(scratch), token)
        if found.is_file():
            data, beside = found.read_bytes(), found.with_name(PREPROCESSOR)
        elif (found / "config.json").is_file():
            from deft_aoi.weights.siglip_export import export_siglip

            data, beside = export_siglip(found), found / PREPROCESSOR
        else:
            raise InputError(f"--source {found}: expected an .onnx file, or a folder with config.json and the weights")
        trial = Path(scratch) / target.name
        trial.write_bytes(data)
        if beside.is_file():
            shutil.copyfile(beside, trial.with_name(PREPROCESSOR))
        onnx_encoder(trial)  # refuses what is no image encoder
        if beside.is_file():
            atomic_write_text(folder / PREPROCESSOR, beside.read_text(encoding="utf-8"))
        atomic_write(target, lambda stream: stream.write(data))
    return target


def _from_hub(repo_id: str, folder: Path, token: str | None) -> Path:
    for name in _FILES:
        if found := cached(repo_id, name):
            shutil.copyfile(found, folder / name)
        else:
            fetch(repo_id, name, folder / name, token)
    return folder
