"""The training loop of the net engine: steps on one device or several, validated, saved and resumable by epoch."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, distributed, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from deft_aoi.engine.net.augment import augmented, patched
from deft_aoi.engine.net.batches import Pixels, sent, shares
from deft_aoi.engine.net.facts import NetFacts, Tensors
from deft_aoi.engine.net.inputs import fuse
from deft_aoi.engine.net.model import load_staged, logits_of, make_net
from deft_aoi.engine.net.net_checkpoint import Progress, load_resume, save_resume
from deft_aoi.engine.net.pixels import PixelTable
from deft_aoi.engine.net.recipe import (
    PASTE_NUMBERS,
    Recipe,
    defects_in_batch,
    draw_epoch,
    learning_rate,
    pasted_in_batch,
)

_SCORED_TOGETHER = 256
_WARM_UP = 3


@dataclass(frozen=True)
class Job:
    """Everything that a training process needs; can be sent to another process."""

    folder: Path
    table: PixelTable
    defect: npt.NDArray[np.bool_]
    facts: NetFacts
    recipe: Recipe
    epochs: int
    batch: int
    defect_share: float
    cls_weight: tuple[float, float]
    seed: int
    initial: Tensors | None
    fingerprint: str
    status_bytes: int = 0
    staged: Path | None = None  # backbone to start from, where the facts name one
    frozen: bool = False

    @property
    def steps(self) -> int:
        """Steps of one epoch."""
        return self.recipe.epoch_steps(len(self.table), later=self.initial is not None)

    @property
    def defects(self) -> int:
        """Defects of a batch: its first rows."""
        return defects_in_batch(self.batch, self.defect_share)

    @property
    def pasted(self) -> int:
        """PASS rows of a batch that get a patch: its last rows."""
        return pasted_in_batch(self.batch, self.defects, self.recipe.pasted_share)


# Called by the first process at the end of an epoch with the model and the progress so far; returns the new progress
# and whether to stop.
EpochEnd = Callable[[nn.Module, Progress], tuple[Progress, bool]]


def device_for(rank: int) -> torch.device:
    return torch.device("cuda", rank) if torch.cuda.is_available() else torch.device("cpu")


def prepare(seed: int) -> None:
    """Deterministic kernels only; full float32 where nothing says otherwise."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    # Every buffer here is written before it is read.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False
    torch.manual_seed(seed)


class Trainer:
    """One process's model, optimizer and buffers. A step on a single GPU is one replay of a recorded CUDA graph."""

    def __init__(self, job: Job, rank: int = 0, world: int = 1) -> None:
        prepare(job.seed)
        self.job, self.rank, self.world, self.device = job, rank, world, device_for(rank)
        self.mine, self.last = shares(job.batch, job.pasted, rank, world)
        self.net = make_net(job.facts, frozen=job.frozen)
        if job.initial is not None:
            self.net.load_state_dict({name: torch.from_numpy(value) for name, value in job.initial.items()})
        elif job.staged is not None:
            load_staged(self.net, job.staged, job.facts)
        self.net.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        on_gpu = self.device.type == "cuda"
        self.model = self.net if world == 1 else DistributedDataParallel(self.net, [rank] if on_gpu else None)
        # A staged backbone has learned already: it moves slower than what is new.
        self.lr, self.trunk_lr = torch.zeros((), device=self.device), torch.zeros((), device=self.device)
        named = [(name, parameter) for name, parameter in self.net.named_parameters() if parameter.requires_grad]
        self.trained = [parameter for _, parameter in named]
        groups = [
            {"params": [p for name, p in named if name.startswith("trunk.") == old], "lr": lr}
            for old, lr in ((False, self.lr), (True, self.trunk_lr))
        ]
        self.optimizer = torch.optim.AdamW(
            [group for group in groups if group["params"]], weight_decay=job.recipe.weight_decay, fused=True,
            capturable=on_gpu,
        )  # fmt: skip
        self._make_buffers()
        self.replay: torch.cuda.CUDAGraph | None = None
        self._make_optimizer_state()
        if on_gpu and world == 1:
            self._record()

    def _make_buffers(self) -> None:
        job = self.job
        label = (torch.arange(job.batch) < job.defects).float()
        weight = torch.where(label > 0, job.cls_weight[1], job.cls_weight[0])
        target = label * (1 - 2 * job.recipe.smoothing) + job.recipe.smoothing
        self.target = target[self.mine].to(self.device)
        # Processes average their gradients: each divides by its share of the whole batch's weight.
        self.weight = (weight / (weight.sum() / self.world))[self.mine].to(self.device)
        own = len(self.target)
        self.pixels = Pixels(job.table, own, self.device)
        self.turn = torch.zeros(own, dtype=torch.int64, device=self.device)
        self.shift = torch.zeros((own, 2), dtype=torch.int64, device=self.device)
        self.paste = torch.zeros((len(range(job.pasted)[self.last]), PASTE_NUMBERS), device=self.device)

    def _make_optimizer_state(self) -> None:
        """What AdamW makes at its first step, made now: a resume and a recorded graph both need it in place."""
        for parameter in self.trained:
            parameter.grad = torch.zeros_like(parameter)
        before = [parameter.detach().clone() for parameter in self.trained]
        self.optimizer.step()
        self._rewind(before, {})
        self.optimizer.zero_grad(set_to_none=True)

    def _rewind(self, parameters: list[Tensor], buffers: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for parameter, value in zip(self.trained, parameters, strict=True):
                parameter.copy_(value)
            for name, buffer in self.net.named_buffers():
                if name in buffers:
                    buffer.copy_(buffers[name])
        for state in self.optimizer.state.values():
            for value in state.values():
                value.zero_()

    def _compute(self) -> None:
        on_gpu = self.device.type == "cuda"
        test, golden = augmented(self.pixels.batch(), self.turn, self.shift)
        target, weight = self.target, self.weight
        if changed := len(self.paste):
            batch = patched(test, golden, self.paste, self.job.recipe.golden_share)
            test, golden, low = batch.test, batch.golden, self.job.recipe.smoothing
            target = torch.cat([target[:-changed], torch.where(batch.defect, 1 - low, low)])
            weight = torch.cat([weight[:-changed], weight[-changed:] * ~batch.unclear])
        with torch.autocast(self.device.type, torch.bfloat16, enabled=on_gpu, cache_enabled=False):
            logits = self.model(fuse(test, golden)).float()
        loss = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
        (loss * weight).sum().backward()
        self.optimizer.step()

    def _record(self) -> None:
        """Record one step as a CUDA graph: hundreds of small launches become one."""
        parameters = [parameter.detach().clone() for parameter in self.trained]
        buffers = {name: buffer.clone() for name, buffer in self.net.named_buffers()}
        self.net.train()
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(_WARM_UP):
                self.optimizer.zero_grad(set_to_none=True)
                self._compute()
        torch.cuda.current_stream().wait_stream(side)
        self.optimizer.zero_grad(set_to_none=True)
        self.replay = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.replay):
            self._compute()
        self._rewind(parameters, buffers)

    def run_epoch(self, epoch: int) -> None:
        job = self.job
        torch.manual_seed(job.seed * 1_000_003 + epoch * self.world + self.rank)
        draw = draw_epoch(
            job.defect, seed=job.seed, epoch=epoch, steps=job.steps, batch=job.batch, defects=job.defects,
            pasted=job.pasted, shift=job.recipe.shift,
        )  # fmt: skip
        rows, turn, shift, paste = sent(draw, self.mine, self.last, self.device)
        peak = job.recipe.lr if job.initial is None else job.recipe.later_lr
        self.net.train()
        for step in range(job.steps):
            self.pixels.stage(draw.rows[step, self.mine], rows[step])
            self.turn.copy_(turn[step])
            self.shift.copy_(shift[step])
            self.paste.copy_(paste[step])
            lr = learning_rate(epoch * job.steps + step, job.epochs * job.steps, peak)
            self.lr.fill_(lr)
            self.trunk_lr.fill_(lr * job.recipe.trunk_share)
            if self.replay is not None:
                self.replay.replay()
            else:
                self.optimizer.zero_grad(set_to_none=True)
                self._compute()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def state(self) -> Tensors:
        """Model and optimizer as plain arrays."""
        tensors = {f"net.{name}": _array(value) for name, value in self.net.state_dict().items()}
        for number, state in enumerate(self.optimizer.state[p] for p in self.trained):
            tensors |= {f"adam.{number}.{name}": _array(value) for name, value in state.items()}
        return tensors

    def restore(self, tensors: Tensors) -> None:
        """Put a saved state in place, into the same memory: a recorded graph goes on using it."""
        with torch.no_grad():
            for name, value in self.net.state_dict().items():
                value.copy_(torch.from_numpy(tensors[f"net.{name}"]))
            for number, state in enumerate(self.optimizer.state[p] for p in self.trained):
                for name, value in state.items():
                    value.copy_(torch.from_numpy(tensors[f"adam.{number}.{name}"]))


def _array(value: Tensor) -> npt.NDArray[Any]:
    # Not ascontiguousarray: that gives a single number an axis.
    return np.array(value.detach().cpu().numpy(), order="C")


def net_weights(net: nn.Module) -> Tensors:
    return {name: _array(value) for name, value in net.state_dict().items()}


def train(job: Job, end_epoch: EpochEnd, rank: int = 0, world: int = 1) -> Progress:
    """Train to the last epoch or until `end_epoch` says stop; goes on from a resume file where there is one."""
    trainer, progress = Trainer(job, rank, world), Progress()
    if (kept := load_resume(job.folder, job.fingerprint)) is not None:
        trainer.restore(kept[0])
        progress = kept[1]
    elif rank == 0:  # from here on a kill finds a state to go on from, before any checkpoint is there
        progress = replace(progress, status_bytes=job.status_bytes)
        save_resume(job.folder, trainer.state(), progress, job.fingerprint)
    for epoch in range(progress.epochs_done, job.epochs):
        began = monotonic()
        trainer.run_epoch(epoch)
        progress = replace(progress, epochs_done=epoch + 1, seconds=progress.seconds + monotonic() - began)
        stop = False
        if rank == 0:
            progress, stop = end_epoch(trainer.net, progress)
            save_resume(job.folder, trainer.state(), progress, job.fingerprint)
        if _agreed(stop, trainer.device, world):
            break
    return progress


def _agreed(stop: bool, device: torch.device, world: int) -> bool:
    if world == 1:
        return stop
    said = torch.tensor(int(stop), device=device)
    distributed.broadcast(said, 0)
    return bool(said.item())


def scored(net: nn.Module, table: PixelTable, device: torch.device) -> npt.NDArray[np.float64]:
    """(n,) logits in float32 on the device."""
    net.eval()
    parts = []
    for start in range(0, len(table), _SCORED_TOGETHER):
        pixels = torch.from_numpy(table.read(slice(start, start + _SCORED_TOGETHER)))
        parts.append(logits_of(net, pixels.to(device, non_blocking=True)).cpu().numpy())
    return np.concatenate(parts).astype(np.float64)


def spread(job: Job, end_epoch: EpochEnd, world: int) -> None:
    """Train with `world` processes, one a GPU (or sharing the CPU), through torch's DistributedDataParallel."""
    with contextlib.suppress(FileNotFoundError):
        (job.folder / ".rendezvous").unlink()
    torch.multiprocessing.spawn(_process, (job, end_epoch, world), world)
    (job.folder / ".rendezvous").unlink(missing_ok=True)


def _process(rank: int, job: Job, end_epoch: EpochEnd, world: int) -> None:
    if torch.cuda.is_available():
        torch.cuda.set_device(rank)
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    meeting = f"file://{job.folder.resolve() / '.rendezvous'}"
    distributed.init_process_group(backend, init_method=meeting, rank=rank, world_size=world)
    try:
        train(job, end_epoch, rank, world)
    finally:
        distributed.destroy_process_group()
