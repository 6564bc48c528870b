"""The early-fusion network of the net engine. Needs torch."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from deft_aoi.engine.net.facts import NetFacts
from deft_aoi.engine.net.inputs import fuse, views

_STRIDES = (2, 2, 2, 1)
_DROPOUT = 0.2


class Block(nn.Module):
    """Two 3 x 3 convolutions next to a 1 x 1 one."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(outputs)
        self.skip = nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        inner = functional.relu(self.first_norm(self.first(x)))
        return functional.relu(self.second_norm(self.second(inner)) + self.skip(x))


class PairNet(nn.Module):
    """(n, 3 x planes, h, w) to (n,) logits: stem, four residual blocks, max and mean over the image, one number."""

    def __init__(self, planes: int, width: int) -> None:
        super().__init__()
        self.planes, self.width = planes, width
        self.stem = nn.Conv2d(3 * planes, width, 3, 1, 1)
        sizes = (width, width, 2 * width, 3 * width, 3 * width)
        self.blocks = nn.ModuleList(
            Block(inputs, outputs, stride) for inputs, outputs, stride in zip(sizes, sizes[1:], _STRIDES)
        )
        self.drop = nn.Dropout(_DROPOUT)
        self.head = nn.Linear(6 * width, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.stem(x))
        for block in self.blocks:
            x = block(x)
        pooled = torch.cat([x.amax((2, 3)), x.mean((2, 3))], 1)
        return self.head(self.drop(pooled))[:, 0]


def make_net(facts: NetFacts, *, frozen: bool = False) -> nn.Module:
    """The network that a checkpoint or a training is about, with weights of no meaning yet."""
    if facts.backbone:
        from deft_aoi.engine.net.backbone_net import BackboneNet

        return BackboneNet(facts, frozen=frozen)
    return PairNet(facts.planes, facts.net_width)


def load_staged(net: nn.Module, path: Path, facts: NetFacts) -> None:
    """Put the staged backbone's weights into the trunk of a fresh network."""
    from deft_aoi.engine.net.backbone_net import staged_weights

    net.get_submodule("trunk").load_state_dict(staged_weights(path, facts))


@torch.inference_mode()
def logits_of(net: nn.Module, pixels: Tensor) -> Tensor:
    """(n,) float32, the mean over the four views; `pixels` uint8 (n, 2, planes, h, w) on the network's device."""
    return net(views(fuse(pixels[:, 0], pixels[:, 1]))).float().view(4, -1).mean(0)
