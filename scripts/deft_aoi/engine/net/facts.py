"""What a network of the net engine was made for, and how its weights are held. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from deft_aoi.spec.tree import Optics

Tensors = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class NetFacts:
    """What a network was made for: lights in channel order, image size, channels of an image, first layer's width.

    `backbone`: what `net_backbone.describe` says of the staged one; empty for the early-fusion network.
    """

    lights: tuple[str, ...]
    width: int
    height: int
    channels: int
    net_width: int
    backbone: str = ""

    @property
    def planes(self) -> int:
        return len(self.lights) * self.channels

    @classmethod
    def of(cls, optics: Optics, channels: int, net_width: int, backbone: str = "") -> NetFacts:
        return cls(optics.lights, optics.width, optics.height, channels, net_width, backbone)
