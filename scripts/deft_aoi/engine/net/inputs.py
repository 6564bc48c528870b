"""How a pair of pictures becomes the input of a network. Needs torch."""

from __future__ import annotations

import torch
from torch import Tensor


def fuse(test: Tensor, golden: Tensor) -> Tensor:
    """uint8 (n, planes, h, w) twice to float (n, 3 x planes, h, w): test, golden and their absolute difference."""
    first, second = test.float() / 255, golden.float() / 255
    fused = torch.cat([first, second, (first - second).abs()], 1)
    return fused.contiguous(memory_format=torch.channels_last)


def views(fused: Tensor) -> Tensor:
    """(n, c, h, w) to (4n, c, h, w): the four rotations of a square image, the four flips of another."""
    if fused.shape[2] == fused.shape[3]:
        swapped = fused.transpose(2, 3)  # not rot90: ONNX has none
        turned = [fused, swapped.flip(2), fused.flip(2, 3), swapped.flip(3)]
    else:
        turned = [fused, fused.flip(2), fused.flip(3), fused.flip(2, 3)]
    return torch.cat(turned).contiguous(memory_format=torch.channels_last)
