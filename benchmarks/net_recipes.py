"""The net engine's recipe and speed on one GPU, on DeepPCB workspaces: what was tried, side by side.

  python benchmarks/net_recipes.py --board WORKSPACE [--group WORKSPACE] [--parts recipes,speed,few]
Prints Markdown tables on stdout as they fill.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from deft_aoi.engine.net import training
from deft_aoi.engine.net.net_checkpoint import load_checkpoint, save_checkpoint
from deft_aoi.engine.net.onnx_net import onnx_logits
from deft_aoi.engine.net.recipe import ON_GPU
from net_common import NetFacts, Optics, Part, fit, judge, rates, read_parts

BALANCES = {
    "share 0.2, weights 1:10 (the spec's)": (0.2, (1.0, 10.0)),
    "share 0.33, weights 1:1": (1 / 3, (1.0, 1.0)),
    "share 0.2, weights 1:1": (0.2, (1.0, 1.0)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--board", type=Path, required=True)
    parser.add_argument("--group", type=Path)
    parser.add_argument("--parts", default="speed,why,recipes,few,group")
    parser.add_argument("--seeds", type=int, default=2)
    args = parser.parse_args()
    parts, view = read_parts(args.board)
    asked = args.parts.split(",")
    if "speed" in asked:
        speed(parts, view)
    if "why" in asked:
        why(parts, view)
    if "recipes" in asked:
        everything(parts, view, args.seeds)
    if "few" in asked:
        few(parts, view, args.seeds)
    if "group" in asked and args.group:
        group(*read_parts(args.group), args.seeds)


def say(text: str) -> None:
    print(text, flush=True)


def everything(parts: dict[str, Part], view: Optics, seeds: int) -> None:
    say("\n| all 5,950 rows | steps | seconds | FAR@100 % | FAR@99.5 % | AUROC % |\n|---|---|---|---|---|---|")
    rows = parts["train"].plus(parts["pool"])
    for name, (share, weights) in BALANCES.items():
        for recipe in (ON_GPU, replace(ON_GPU, rows_per_step=10)):
            for seed in range(seeds):
                done = fit(rows, view, recipe=recipe, share=share, cls_weight=weights, seed=seed)
                say(f"| {name}, seed {seed} | {done.steps} | {done.seconds:.1f} | {judge(done.net, parts['kpi'])} |")


def few(parts: dict[str, Part], view: Optics, seeds: int) -> None:
    say("\n| rows | steps | seconds | FAR@100 % | FAR@99.5 % | AUROC % |\n|---|---|---|---|---|---|")
    for extra in (0, 570):
        for name, (share, weights) in BALANCES.items():
            for seed in range(seeds):
                picked = np.random.default_rng(seed).choice(len(parts["pool"].defect), extra, replace=False)
                rows = parts["train"].plus(parts["pool"].only(picked))
                done = fit(rows, view, share=share, cls_weight=weights, seed=seed)
                label = f"250 + {extra} random, {name}, seed {seed}"
                say(f"| {label} | {done.steps} | {done.seconds:.1f} | {judge(done.net, parts['kpi'])} |")


def group(parts: dict[str, Part], view: Optics, seeds: int) -> None:
    say("\n| by group, all rows | steps | seconds | FAR@100 % | FAR@99.5 % | AUROC % |\n|---|---|---|---|---|---|")
    rows = parts["train"].plus(parts["pool"])
    tried = {
        "as it is": ON_GPU,
        "no golden shift": replace(ON_GPU, shift=0),
        "golden shift 6": replace(ON_GPU, shift=6),
        "width 24": replace(ON_GPU, net_width=24),
        "width 96": replace(ON_GPU, net_width=96),
        "four times the steps": replace(ON_GPU, rows_per_step=10),
    }
    for name, recipe in tried.items():
        for seed in range(seeds):
            done = fit(rows, view, recipe=recipe, seed=seed)
            say(f"| {name}, seed {seed} | {done.steps} | {done.seconds:.1f} | {judge(done.net, parts['kpi'])} |")


def speed(parts: dict[str, Part], view: Optics) -> None:
    """Steps with and without the recorded graph, scoring, a plain copy; determinism; ONNX beside torch."""
    rows = parts["train"].plus(parts["pool"])
    torch.cuda.reset_peak_memory_stats()
    one = fit(rows, view, epochs=1)
    peak = torch.cuda.max_memory_allocated() / 2**30
    two = fit(rows, view, epochs=1)
    same = all(bool((a == b).all()) for a, b in zip(one.net.state_dict().values(), two.net.state_dict().values()))
    batch = 16 * ON_GPU.images
    bytes_of = int(np.prod(rows.table.shape))
    say(f"\n{torch.cuda.get_device_name(0)}, torch {torch.__version__}; one pair is {bytes_of} bytes\n")
    say("| work | pairs/s | of the plain copy |\n|---|---|---|")
    copy = _copy_rate(rows)
    say(f"| copy of the same pairs, device to device | {copy:.0f} | 1 |")
    say(f"| copy of the same pairs, host to device, pinned | {_host_rate(rows):.0f} | |")
    rate = two.steps * batch / two.step_seconds
    say(f"| training, recorded graph | {rate:.0f} | {rate / copy:.1e} |")
    for name, change in {"no graph": _eager, "torch.compile": _compiled}.items():
        rate, note = change(rows, view)
        say(f"| training, {name}{note} | {rate:.0f} | {rate / copy:.1e} |")
    kpi = parts["kpi"]
    device = torch.device("cuda")
    seconds = _median(lambda: training.scored(one.net, kpi.table, device))
    say(f"| scoring, four views, float32, images from the mapped file | {len(kpi.table) / seconds:.0f} | |")
    say(f"\npeak memory in training {peak:.2f} GiB; the same seed twice gives the same weights: {same}")
    _onnx(one.net, kpi, view)


def why(parts: dict[str, Part], view: Optics) -> None:
    """What each choice costs: deterministic kernels in training; float32 and memory layout in scoring; top kernels."""
    trainer = training.Trainer(_job(parts["train"].plus(parts["pool"]), view))
    say(f"\n| training | pairs/s |\n|---|---|\n| deterministic kernels | {_rate(trainer):.0f} |")
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as seen:
        for _ in range(5):
            trainer.replay.replay()  # type: ignore[union-attr]
        torch.cuda.synchronize()
    table = seen.key_averages().table(sort_by="cuda_time_total", row_limit=14, max_name_column_width=70)
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.benchmark = True
    trainer._record()
    say(f"| any kernels, the fastest by trial | {_rate(trainer):.0f} |")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    net, pixels = trainer.net.eval(), torch.from_numpy(parts["kpi"].table.read(slice(256))).cuda()
    exact = training.logits_of(net, pixels)
    say("\n| scoring 256 pairs from device memory | pairs/s | largest difference of a logit |\n|---|---|---|")
    for name, layout in {"channels last": torch.channels_last, "channels first": torch.contiguous_format}.items():
        net.to(memory_format=layout)  # type: ignore[call-overload]
        for tf32 in (False, True):
            torch.backends.cudnn.allow_tf32 = tf32
            off = float((training.logits_of(net, pixels) - exact).abs().max())
            rate = 256 / _median(lambda: training.logits_of(net, pixels))
            say(f"| {name}, {'TF32' if tf32 else 'float32'} | {rate:.0f} | {off:.1e} |")
    reading = 256 / _median(lambda: parts["kpi"].table.read(slice(256)))
    say(f"\nreading pairs from the mapped file: {reading:.0f} pairs/s\n\n{table}")


def _median(work: Callable[[], object], times: int = 5) -> float:
    found = []
    for _ in range(times + 1):
        torch.cuda.synchronize()
        began = time.perf_counter()
        work()
        torch.cuda.synchronize()
        found.append(time.perf_counter() - began)
    return statistics.median(found[1:])


def _copy_rate(rows: Part) -> float:
    data = torch.from_numpy(rows.table.read(slice(None))).cuda().repeat(8, 1, 1, 1, 1)
    target = torch.empty_like(data)
    return len(data) / _median(lambda: target.copy_(data))


def _host_rate(rows: Part) -> float:
    data = torch.from_numpy(rows.table.read(slice(None))).pin_memory()
    target = torch.empty_like(data, device="cuda")
    return len(data) / _median(lambda: target.copy_(data))


def _job(rows: Part, view: Optics) -> training.Job:
    facts = NetFacts.of(view, 1, ON_GPU.net_width)
    recipe = replace(ON_GPU, rows_per_step=len(rows.table))
    return training.Job(Path(), rows.table, rows.defect, facts, recipe, 10, 192, 0.2, (1.0, 10.0), 0, None, "")


def _rate(trainer: training.Trainer) -> float:
    trainer.run_epoch(0)
    began = time.perf_counter()
    trainer.run_epoch(1)
    return trainer.job.steps * trainer.job.batch / (time.perf_counter() - began)


def _eager(rows: Part, view: Optics) -> tuple[float, str]:
    trainer = training.Trainer(_job(rows, view))
    trainer.replay = None
    return _rate(trainer), ""


def _compiled(rows: Part, view: Optics) -> tuple[float, str]:
    trainer = training.Trainer(_job(rows, view))
    began = time.perf_counter()
    trainer.model = torch.compile(trainer.net)  # type: ignore[assignment]
    trainer._record()
    note = f" + recorded graph, {time.perf_counter() - began:.0f} s to compile"
    return _rate(trainer), note


def _onnx(net: training.PairNet, kpi: Part, view: Optics) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "net.pth"
        save_checkpoint(path, training.net_weights(net), NetFacts.of(view, 1, net.width))
        kept = load_checkpoint(path, view)
        began = time.perf_counter()
        by_onnx = onnx_logits(kept.onnx, kept.digest, kpi.table)
        seconds = time.perf_counter() - began
    by_torch = training.scored(net, kpi.table, torch.device("cuda"))
    say(
        f"ONNX Runtime on CPU: {len(by_onnx) / seconds:.0f} pairs/s, largest difference of a logit "
        f"{np.abs(by_onnx - by_torch).max():.1e}, decisions: {rates(kpi.defect, by_onnx)} and "
        f"{rates(kpi.defect, by_torch)}"
    )


if __name__ == "__main__":
    main()
