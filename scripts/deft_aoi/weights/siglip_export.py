"""SigLIP's vision tower from a folder of the transformers library to one ONNX file. Needs the extra `backbones`."""

from __future__ import annotations

import tempfile
from pathlib import Path

from deft_aoi.base.errors import InputError


def export_siglip(folder: Path) -> bytes:
    """ONNX of the image side: `pixel_values` (1, 3, s, s) to `image_embeds` (1, d). No network, no code of the folder.

    Raises InputError where torch or transformers are missing, or the folder holds no SigLIP.
    """
    try:
        import onnx  # noqa: F401  (the exporter needs it)
        import torch
        from transformers import SiglipVisionModel
    except ImportError as error:
        raise InputError(
            f"{error.name} is missing; type: export DEFT_EXTRAS=net,backbones (the next deft call installs it), or "
            "pass --source FILE.onnx"
        ) from error
    try:
        vision = SiglipVisionModel.from_pretrained(folder, local_files_only=True, attn_implementation="eager")
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{folder}: no SigLIP of the transformers library: {' '.join(str(error).split())}") from error

    class Pooled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.vision = vision

        def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
            return self.vision(pixel_values=pixel_values).pooler_output

    side = int(vision.config.image_size)  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch) / "siglip.onnx"
        torch.onnx.export(
            Pooled().eval(), (torch.zeros(1, 3, side, side),), made, dynamo=False, opset_version=17,
            input_names=["pixel_values"], output_names=["image_embeds"],
        )  # fmt: skip
        return made.read_bytes()
