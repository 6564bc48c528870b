"""What training does to the images of a batch, all on the device and without a branch per row. Needs torch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

_SMALLEST = 2.0  # pixels from a patch's centre to its rim
_LARGEST = 1 / 6  # of the side
_OF_RANGE, _AT_LEAST = 0.5, 0.15
_STILL_GOOD = 0.2


def augmented(pixels: Tensor, turn: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """Each pair turned, flipped, and its golden moved a little further.

    `pixels` uint8 (n, 2, planes, h, w); `turn` (n,): bit 0 flips rows, bit 1 columns, bit 2 (square images) swaps the
    axes; `shift` (n, 2): whole pixels down and right, the edge repeated.
    """
    rows, _, _, height, width = pixels.shape
    y = torch.arange(height, device=pixels.device).view(1, -1, 1).expand(rows, -1, width)
    x = torch.arange(width, device=pixels.device).view(1, 1, -1).expand(rows, height, -1)
    code = turn.view(-1, 1, 1)
    if height == width:
        y, x = torch.where(code & 4 > 0, x, y), torch.where(code & 4 > 0, y, x)
    y = torch.where(code & 1 > 0, height - 1 - y, y)
    x = torch.where(code & 2 > 0, width - 1 - x, x)
    moved_y = (y + shift[:, :1, None]).clamp(0, height - 1)
    moved_x = (x + shift[:, 1:, None]).clamp(0, width - 1)
    return _pick(pixels[:, 0], y, x), _pick(pixels[:, 1], moved_y, moved_x)


@dataclass(frozen=True)
class Patched:
    """A batch whose last rows have a patch. For those rows, (k,) bool: the patch is a defect; nobody can tell.

    Where both are false the row is as good as before.
    """

    test: Tensor
    golden: Tensor
    defect: Tensor
    unclear: Tensor


@torch.no_grad()
def patched(test: Tensor, golden: Tensor, how: Tensor, golden_share: float) -> Patched:
    """The last rows with a patch of one of their images put elsewhere in it: a defect of no known type.

    A few labelled types alone teach a network to miss every other type; a patch from elsewhere (CutPaste: Li et al.,
    CVPR 2021) teaches it that any difference counts. In the test it is something that the golden lacks, in the golden
    something that the test lacks. `test`, `golden` uint8 (n, planes, h, w); `how` (k, PASTE_NUMBERS) in [0, 1): centre
    (y, x), half height and width, box or ellipse, whence (y, x), and which image: the golden where below
    `golden_share`. The same place in all planes.
    """
    into_golden = functional.pad(how[:, 7] < golden_share, (len(test) - len(how), 0)).view(-1, 1, 1, 1)
    changed, other = torch.where(into_golden, golden, test), torch.where(into_golden, test, golden)
    new, defect, unclear = _with_patch(changed[-len(how) :], how)
    changed = torch.cat([changed[: -len(how)], new])
    return Patched(torch.where(into_golden, other, changed), torch.where(into_golden, changed, other), defect, unclear)


def _with_patch(own: Tensor, how: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The images changed; whether some 3 x 3 pixels changed by half of the image's range; whether nobody can tell."""
    height, width = own.shape[2:]
    part = how.view(len(how), -1, 1, 1).unbind(1)
    y = torch.arange(height, device=own.device).view(1, -1, 1)
    x = torch.arange(width, device=own.device).view(1, 1, -1)
    down = (y - part[0] * height) / _half(part[2], height)
    right = (x - part[1] * width) / _half(part[3], width)
    box = (down.abs() < 1) & (right.abs() < 1)
    inside = torch.where(part[4] < 0.5, box, down**2 + right**2 < 1)
    from_y, from_x = (y + (part[5] * height).long()) % height, (x + (part[6] * width).long()) % width
    new = torch.where(inside[:, None], _pick(own, from_y, from_x), own)
    before = functional.avg_pool2d(own.float() / 255, 3, 1)
    change = functional.avg_pool2d((new.float() - own.float()).abs() / 255, 3, 1).amax((2, 3))
    needed = (_OF_RANGE * (before.amax((2, 3)) - before.amin((2, 3)))).clamp(min=_AT_LEAST)
    seen = (change / needed).amax(1)
    return new, seen >= 1, (seen >= _STILL_GOOD) & (seen < 1)


def _pick(images: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """The pixels at row `y` and column `x`, (n, h, w) or what spreads to it, in every plane of (n, planes, h, w)."""
    rows, planes, _, width = images.shape
    places = (y * width + x).view(rows, 1, -1).expand(-1, planes, -1)
    return images.flatten(2).gather(2, places).view_as(images)


def _half(share: Tensor, side: int) -> Tensor:
    """Small patches more often than large ones."""
    return _SMALLEST + share**2 * max(side * _LARGEST - _SMALLEST, 0)
