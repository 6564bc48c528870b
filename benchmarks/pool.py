"""Pools of any size: neighbours compared with FAISS, a million rows mined end to end, an embedding that is killed.

  PYTHONPATH=scripts python benchmarks/pool.py search [--rows 1000000] [--width 768] [--targets 1000]
  PYTHONPATH=scripts python benchmarks/pool.py mine [--rows 1000000]
  PYTHONPATH=scripts python benchmarks/pool.py index [--rows 1200000] [--width 192]
  PYTHONPATH=scripts python benchmarks/pool.py embed [--images 100000] [--kill-after 60]
Vectors are simulated (clusters, not rendered images); images of `embed` are 32 x 32 pixels of noise and a bar. Every
piece of work runs in a process of its own, whose peak memory is its own. Prints Markdown rows.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from deft_aoi.mining.index import unit

DEPTH = 50
CLUSTERS = 2000
LABELS = ("PASS", "bridge", "missing", "shift", "tombstone", "solder")
BLOCK = 50_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("search", "mine", "index", "embed", "flat", "ours", "big", "end-to-end"))
    parser.add_argument("--rows", type=int)
    parser.add_argument("--width", type=int)
    parser.add_argument("--targets", type=int, default=1000)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--kill-after", type=float, default=60)
    parser.add_argument("--folder", type=Path)
    args = parser.parse_args()
    if args.what == "embed":
        embed(args.images, args.kill_after)
    elif args.what in ("search", "mine", "index"):
        parts = {"search": ("flat", "ours"), "mine": ("end-to-end",), "index": ("big",)}[args.what]
        rows = args.rows or (1_200_000 if args.what == "index" else 1_000_000)
        width = args.width or (192 if args.what == "index" else 768)
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            simulate(folder, rows, width, args.targets, parquet=args.what == "mine")
            for part in parts:
                subprocess.run([sys.executable, __file__, part, "--folder", scratch], check=True)
            if len(parts) > 1:
                agree(folder)
    else:
        {"flat": flat, "ours": ours, "big": big, "end-to-end": end_to_end}[args.what](args.folder)


def simulate(folder: Path, rows: int, width: int, targets: int, *, parquet: bool) -> None:
    """pool.npy (float16, unit rows), targets.npy, labels.npy; with `parquet` also what an embedding task writes."""
    import pyarrow as arrow
    from pyarrow.parquet import ParquetWriter

    rng = np.random.default_rng(0)
    centres = unit(rng.normal(size=(CLUSTERS, width)).astype(np.float32))
    pool = np.lib.format.open_memmap(folder / "pool.npy", "w+", np.float16, (rows, width))
    writer = None
    for first in range(0, rows, BLOCK):
        count = min(BLOCK, rows - first)
        noise = rng.standard_normal((count, width), np.float32) / np.sqrt(width)
        block = unit(centres[rng.integers(0, CLUSTERS, count)] + 0.7 * noise)
        pool[first : first + count] = block
        if parquet:
            vectors = arrow.FixedSizeListArray.from_arrays(arrow.array(block.ravel()), width)
            part = arrow.table({"filepath": names(first, count), "embedding": vectors})
            writer = writer or ParquetWriter(folder / "source_embeddings.parquet", part.schema)
            writer.write_table(part)
    if writer:
        writer.close()
    noise = rng.standard_normal((targets, width), np.float32) / np.sqrt(width)
    np.save(folder / "targets.npy", unit(centres[rng.integers(0, CLUSTERS, targets)] + 0.7 * noise))
    np.save(folder / "labels.npy", np.array(LABELS)[rng.integers(0, len(LABELS), rows)])


def names(first: int, count: int) -> list[str]:
    return [
        f"/pool/images/board{row // 500:05d}/test/C{row:07d}_SolderLight.jpg" for row in range(first, first + count)
    ]


def flat(folder: Path) -> None:
    """FAISS' exact search in float32."""
    import faiss

    began = time.monotonic()
    pool = np.load(folder / "pool.npy", mmap_mode="r")
    index = faiss.IndexFlatIP(pool.shape[1])
    for first in range(0, len(pool), BLOCK):
        index.add(np.asarray(pool[first : first + BLOCK], np.float32))
    loaded = time.monotonic()
    score, found = index.search(np.load(folder / "targets.npy"), DEPTH)
    say("FAISS flat, float32", time.monotonic() - loaded, f"loading {loaded - began:.1f} s")
    np.savez(folder / "flat.npz", index=found, score=score)


def ours(folder: Path) -> None:
    from deft_aoi.mining.index import nearest

    began = time.monotonic()
    found = nearest(np.load(folder / "targets.npy"), np.load(folder / "pool.npy", mmap_mode="r"), DEPTH)
    say("mapped float16, blocks", time.monotonic() - began, "no loading")
    np.savez(folder / "ours.npz", index=found.index, score=found.similarity)


def agree(folder: Path) -> None:
    one, other = np.load(folder / "flat.npz"), np.load(folder / "ours.npz")
    same = [len(set(a) & set(b)) for a, b in zip(one["index"].tolist(), other["index"].tolist(), strict=True)]
    print(f"same neighbours: {100 * np.mean(same) / DEPTH:.3f} %, largest difference of a score "
          f"{np.abs(one['score'] - other['score']).max():.1e}")  # fmt: skip


def big(folder: Path) -> None:
    """The index on disk: made, searched, and its recall."""
    from deft_aoi.mining.big_index import open_big

    pool, asked = np.load(folder / "pool.npy", mmap_mode="r"), np.load(folder / "targets.npy")
    rows = np.arange(len(pool))
    began = time.monotonic()
    index = open_big(pool, folder)
    made = time.monotonic()
    say("IVF-PQ, made", made - began, f"{index.path.stat().st_size / 1e6:.0f} MB on disk")
    index.nearest(asked, DEPTH, rows)
    say("IVF-PQ, searched", time.monotonic() - made, "")
    print(f"recall of the {DEPTH} nearest: {100 * index.recall(asked, DEPTH, rows):.1f} %")


def end_to_end(folder: Path) -> None:
    """From an embedding task's file to the picks: vectors, neighbours of the target's label, policy; then by scores."""
    from deft_aoi.mining.embed import component_matrix
    from deft_aoi.mining.neighbours import neighbours
    from deft_aoi.mining.select import Limits, Stock, knn_label, weakness

    asked, labels = np.load(folder / "targets.npy"), np.load(folder / "labels.npy")
    rng = np.random.default_rng(1)
    wanted = [str(name) for name in rng.choice(LABELS, len(asked))]
    began = time.monotonic()
    pool, readable = component_matrix(
        [folder / "source_embeddings.parquet"], [names(0, len(labels))], folder / "components.npy"
    )
    say("vectors from Parquet", time.monotonic() - began, "")
    free = readable.copy()
    free[rng.integers(0, len(free), 600)] = False
    boards = np.array([f"board{row // 500}" for row in range(len(labels))])
    stock = Stock(labels, free, boards)
    searched = time.monotonic()
    near = neighbours(asked, wanted, pool, labels, free, 200, same_label=True)
    say("neighbours of the target's label", time.monotonic() - searched, "")
    chosen = time.monotonic()
    picks = knn_label(wanted, near, stock, Limits(200, 5, -1.0, 50))
    say("knn+label, 200 rows", time.monotonic() - chosen, f"{len(picks)} picks")
    chosen = time.monotonic()
    picks = weakness(rng.uniform(size=len(labels)), stock, Limits(200, per_board=50))
    say("weakness, 200 rows", time.monotonic() - chosen, f"{len(picks)} picks")
    say("all", time.monotonic() - began, "")


def embed(images: int, kill_after: float) -> None:
    """Embed new images, kill the process, go on, then embed the unchanged pool again."""
    import pandas as pd

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        listed = list(make_images(folder / "images", images))
        pd.DataFrame({"filepath": listed}).to_parquet(folder / "in.parquet")
        (folder / "e.yaml").write_text(f"input_parquet: {folder}/in.parquet\noutput_parquet: {folder}/out.parquet\n")
        command = [sys.executable, "-m", "deft_aoi.engine.embedding", "image_embeddings", "-e", str(folder / "e.yaml")]
        environment = os.environ | {
            "DEFT_CACHE_DIR": str(folder / "cache"), "PYTHONPATH": str(Path(__file__).resolve().parents[1] / "scripts")
        }  # fmt: skip
        began = time.monotonic()
        first = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        time.sleep(kill_after)
        first.send_signal(signal.SIGKILL)
        first.wait()
        print(f"| killed (SIGKILL) after | {time.monotonic() - began:.0f} s | | {first.returncode} |")
        for name in ("continued", "again, nothing new"):
            began = time.monotonic()
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
            print(
                f"| {name} | {time.monotonic() - began:.0f} s | | {done.stderr.strip().splitlines()[-1]} |", flush=True
            )


def make_images(folder: Path, count: int) -> Iterator[str]:
    import cv2

    rng = np.random.default_rng(0)
    for number in range(count):
        home = folder / f"{number // 1000:03d}"
        home.mkdir(parents=True, exist_ok=True)
        image: npt.NDArray[np.uint8] = rng.integers(60, 120, (32, 32), dtype=np.uint8)
        image[8:24, 4 + number % 20 : 12 + number % 20] += 100
        cv2.imwrite(str(home / f"{number}.png"), image)
        yield str(home / f"{number}.png")


def say(name: str, seconds: float, note: str) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"| {name} | {seconds:.1f} s | {peak:.2f} GB | {note} |", flush=True)


if __name__ == "__main__":
    main()
