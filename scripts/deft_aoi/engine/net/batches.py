"""Rows of the net engine's batches on their way to the device. Needs torch."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from deft_aoi.engine.net.pixels import PixelTable
from deft_aoi.engine.net.recipe import Draw

_RESIDENT_SHARE = 0.4  # of the free memory of a GPU that the images may take


class Pixels:
    """Images for the device: all of them in its memory where they fit, else sent batch by batch."""

    def __init__(self, table: PixelTable, batch: int, device: torch.device) -> None:
        self.table, self.device = table, device
        size = len(table) * int(np.prod(table.shape))
        self.resident = device.type == "cpu" or size < _RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0]
        self.rows = torch.zeros(batch, dtype=torch.int64, device=device)
        if self.resident:
            self.data = torch.from_numpy(table.read(slice(None))).to(device)
        else:
            self.data = torch.zeros((batch, *table.shape), dtype=torch.uint8, device=device)

    def stage(self, rows: npt.NDArray[np.int64], rows_there: Tensor) -> None:
        """Make `batch` give these rows."""
        if self.resident:
            self.rows.copy_(rows_there)
        else:
            self.data.copy_(torch.from_numpy(self.table.read(rows)).pin_memory(), non_blocking=True)

    def batch(self) -> Tensor:
        return self.data.index_select(0, self.rows) if self.resident else self.data


def shares(batch: int, pasted: int, rank: int, world: int) -> tuple[slice, slice]:
    """One process's rows of a batch, every `world`-th, and which of the batch's last `pasted` rows are among them."""
    return slice(rank, None, world), slice((rank - (batch - pasted)) % world, None, world)


def sent(draw: Draw, mine: slice, last: slice, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """An epoch's `rows`, `turn`, `shift` of one process's rows `mine` of every batch, `paste` of its `last` ones."""
    parts = (draw.rows[:, mine], draw.turn[:, mine], draw.shift[:, mine], draw.paste[:, last])
    rows, turn, shift, paste = (torch.from_numpy(np.ascontiguousarray(part)).to(device) for part in parts)
    return rows, turn, shift, paste
