"""The windows that selection.py works on, decoded and registered once: one file for all seeds and both ways to split.

  PYTHONPATH=scripts python benchmarks/selection_data.py deeppcb --deeppcb DIR --out FOLDER [--seeds 10]
  PYTHONPATH=scripts python benchmarks/selection_data.py designs --deeppcb DIR --out FOLDER [--seeds 3]
  PYTHONPATH=scripts python benchmarks/selection_data.py simulated --out FOLDER [--seeds 10] [--first 0] [--boards 24]
  PYTHONPATH=scripts python benchmarks/selection_data.py doubt --out FOLDER [--seeds 10] [--splits board] [--wrong 0,1]
`designs` leaves one design group out of everything but the KPI rows, each in turn. `--pixels` alone suffice for `net`.
A folder holds pixels.bin (n x lights, 2, channels, h, w) uint8, features.npy (n, lights, f), embedding.npy (n, d)
float32 and rows.npz: label, board, group, part type of every row, and for each split "<by>-<seed>-<part>" its rows.
`doubt` adds doubt-<by>-<seed>-<percent wrong>.npz: doubt of the pool's labels and which of them are likely errors.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from deft_aoi.base.paths import Workspace
from deft_aoi.base.rows import read_pool, read_rows
from deft_aoi.data.label_noise import label_doubt
from deft_aoi.data.workspace_files import SPLITS
from deft_aoi.engine.encoders import prepare
from deft_aoi.engine.features import distances
from deft_aoi.engine.features.head import columns
from deft_aoi.engine.features.table import LazyTrunk, in_parallel
from deft_aoi.engine.images import Pair, decode, make_pair
from deft_aoi.importers.deeppcb import QUOTAS, Job, plan_split, structured_first
from deft_aoi.importers.deeppcb_windows import Board, Window, read_boards, split_boards
from deft_aoi.simulate.board import PRODUCTS
from deft_aoi.simulate.workspace import simulate
from deft_aoi.spec.tree import Optics, load_spec, optics
from selection import Data, too_doubtful

SIZE = 96
Bytes = npt.NDArray[np.uint8]
Row = tuple[str, str, str, str]
Taken = tuple[Bytes, npt.NDArray[np.float32], npt.NDArray[np.float32]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=("deeppcb", "designs", "simulated", "doubt"))
    parser.add_argument("--deeppcb", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first", type=int, default=0, help="for simulated and doubt: the first seed")
    parser.add_argument("--boards", type=int, default=24)
    parser.add_argument("--pixels", action="store_true", help="no features and no embeddings")
    parser.add_argument("--splits", help="for doubt (default: all)")
    parser.add_argument("--wrong", default="0,1,5", help="for doubt: percents of wrong pool labels")
    args = parser.parse_args()
    seeds = range(args.first, args.first + args.seeds)
    if args.data == "doubt":
        data = Data(args.out)
        splits = args.splits.split(",") if args.splits else data.splits
        for wrong, by, seed in itertools.product(map(int, args.wrong.split(",")), splits, seeds):
            doubt(data, by, seed, wrong)
        return
    args.out.mkdir(parents=True)
    trunk = None if args.pixels else LazyTrunk()
    if args.data == "simulated":
        pack_simulated(args.out, seeds, args.boards, trunk)
        return
    boards = read_boards(args.deeppcb)
    found = seeded_splits(boards, range(args.seeds)) if args.data == "deeppcb" else designs(boards, range(args.seeds))
    pack_deeppcb(boards, found, args.out, trunk)


Plans = dict[str, list[Job]]


def seeded_splits(boards: Sequence[Board], seeds: Sequence[int]) -> Plans:
    """What `deft import-deeppcb --seed S --split-by BY --ext .png` cuts, for all S and BY."""
    plans: Plans = {}
    for by in ("board", "group"):
        for seed in seeds:
            rng = np.random.default_rng(seed)
            plan(f"{by}-{seed}", split_boards(boards, QUOTAS, rng, by == "group"), rng, plans)
    return plans


def designs(boards: Sequence[Board], seeds: Sequence[int]) -> Plans:
    """Each design in turn gives the KPI rows, the others everything else."""
    plans: Plans = {}
    for group in sorted({board.group for board in boards}):
        for seed in seeds:
            rng = np.random.default_rng(seed)
            chosen = split_boards([board for board in boards if board.group != group], QUOTAS, rng, by_group=False)
            pool, kpi = chosen["pool"] + chosen["kpi"], [board for board in boards if board.group == group]
            plan(f"{group}-{seed}", {**chosen, "pool": pool, "kpi": kpi}, rng, plans)
    return plans


def plan(name: str, chosen: dict[str, list[Board]], rng: np.random.Generator, plans: Plans) -> None:
    for part in SPLITS:
        plans[f"{name}-{part}"] = plan_split(part, chosen[part], QUOTAS[part], SIZE, rng)


def pack_deeppcb(boards: Sequence[Board], plans: Plans, out: Path, trunk: LazyTrunk | None) -> None:
    """Every window of the plans, once."""
    defects: dict[str, set[Window]] = {board.name: set() for board in boards}
    passes: dict[str, tuple[tuple[Window, ...], int]] = {}
    for jobs in plans.values():
        for job in jobs:
            defects[job.board.name] |= set(job.defects)
            most = max(job.passes, passes.get(job.board.name, ((), 0))[1])
            passes[job.board.name] = job.candidates, most

    def work(some: Sequence[Board]) -> list[tuple[Board, list[Window], list[Taken]]]:
        found = []
        for board in some:
            test, golden = (cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in (board.test, board.golden))
            assert test is not None
            assert golden is not None
            candidates, most = passes.get(board.name, ((), 0))
            windows = sorted(defects[board.name], key=lambda w: (w.x, w.y))
            windows += structured_first(golden, candidates, SIZE)[:most]
            pairs = [(_cut(test, window), _cut(golden, window)) for window in windows]
            found.append((board, windows, take(pairs, SIZE, SIZE, trunk)))
        return found

    place: dict[tuple[str, Window], int] = {}
    ordered: dict[str, list[Window]] = {}
    rows: list[Row] = []
    taken: list[Taken] = []
    for part in in_parallel(work, boards, "boards"):
        for board, windows, values in part:
            ordered[board.name] = [window for window in windows if window.label == "PASS"]
            for window, value in zip(windows, values, strict=True):
                place[board.name, window] = len(rows)
                rows.append((window.label, board.name, board.group, "window"))
                taken.append(value)
    splits = {
        name: np.array(
            [
                place[job.board.name, window]
                for job in jobs
                for window in (*job.defects, *ordered[job.board.name][: job.passes])
            ]
        )
        for name, jobs in plans.items()
    }
    save(out, rows, taken, splits, 1)


def pack_simulated(out: Path, seeds: Sequence[int], boards: int, trunk: LazyTrunk | None) -> None:
    """Another simulated line for every seed."""
    rows: list[Row] = []
    taken: list[Taken] = []
    splits: dict[str, npt.NDArray[np.int64]] = {}
    lights = 1
    for seed in seeds:
        with tempfile.TemporaryDirectory() as scratch:
            simulate(Path(scratch) / "line", seed=seed, boards=boards)
            home = Workspace.at(Path(scratch) / "line")
            view = optics(load_spec(home.spec), home.spec)
            lights = len(view.lights)
            tables = {"train": home.training_csv, "validation": home.validation_csv, "kpi": home.kpi_csv}
            frames = {name: (read_rows(csv), home.images) for name, csv in tables.items()}
            frames["pool"] = (read_pool(home.pool_csv, home.root, view.lights, view.ext), home.root)
            for name, (frame, root) in frames.items():
                records = frame.to_dict("records")

                def work(some: Sequence[dict[str, str]], root: Path = root, view: Optics = view) -> list[Taken]:
                    pairs = []
                    for row in some:
                        for light in view.lights:
                            files = [
                                root / row[column] / f"{row['object_name']}_{light}{view.ext}"
                                for column in ("input_path", "golden_path")
                            ]
                            test, golden = (decode(file.read_bytes()) for file in files)
                            assert test is not None
                            assert golden is not None
                            pairs.append((test, golden))
                    return take(pairs, view.width, view.height, trunk)

                splits[f"line-{seed}-{name}"] = np.arange(len(rows), len(rows) + len(records))
                rows += [(row["label"], row["boardname"], f"line{seed}", row["part_type"]) for row in records]
                for part in in_parallel(work, records, f"line {seed} {name}"):
                    taken += part
            one_product_out(splits, rows, seed)
    save(out, rows, taken, splits, lights)


def one_product_out(splits: dict[str, npt.NDArray[np.int64]], rows: Sequence[Row], seed: int) -> None:
    """Each product in turn gives the KPI rows of a line, the others everything else."""
    for product in PRODUCTS:
        for part in ("train", "validation", "kpi", "pool"):
            whole = splits[f"line-{seed}-{part}"]
            of_product = np.array([rows[row][1].startswith(product) for row in whole])
            splits[f"{product.replace('-', '')}-{seed}-{part}"] = whole[of_product == (part == "kpi")]


def doubt(data: Data, by: str, seed: int, wrong: int) -> None:
    """Judge the pool's labels as the screening does: cross-fitted over training and pool rows."""
    target = data.doubts(by, seed, wrong)
    if target.is_file():
        return
    train, pool = data.part(by, seed, "train"), data.part(by, seed, "pool")
    rows = np.concatenate([train, pool])
    labels = np.concatenate([data.label[train], data.pool_labels(by, seed, wrong)])
    values = columns(np.asarray(data.features[rows])).astype(np.float32)
    found = label_doubt(values, labels != "PASS", data.board[rows].tolist())
    suspect, likely = found.doubt[len(train) :], found.likely[len(train) :]
    np.savez(target, doubt=suspect.astype(np.float32), likely=likely)
    planted = (labels[len(train) :] == "PASS") != (data.label[pool] == "PASS")
    kept_out = too_doubtful(suspect, likely)
    print(f"{target.name}: {int((kept_out & planted).sum())} of {int(planted.sum())} wrong labels kept out "
          f"({int((likely & planted).sum())} likely, {int(((suspect > 0.5) & planted).sum())} suspect), and of right "
          f"ones {int((kept_out & ~planted).sum())} ({int((likely & ~planted).sum())}, "
          f"{int(((suspect > 0.5) & ~planted).sum())})", flush=True)  # fmt: skip


def _cut(image: npt.NDArray[np.uint8], window: Window) -> Bytes:
    return np.ascontiguousarray(image[window.y : window.y + SIZE, window.x : window.x + SIZE])


def take(pairs: Sequence[tuple[Bytes, Bytes]], width: int, height: int, trunk: LazyTrunk | None) -> list[Taken]:
    """Registered pixels, pair features and test-image embedding (nothing without `trunk`) of images of one size."""
    made: list[Pair] = [make_pair(test, golden, width, height) for test, golden in pairs]
    if not made:
        return []
    features = embedding = np.zeros((len(made), 1), np.float32)
    if trunk is not None:
        features = distances.pair_features(made, trunk.get())
        embedding = trunk.get()([prepare(test) for test, _ in pairs])[1]
    found = []
    for pair, row, vector in zip(made, features, embedding, strict=True):
        pixels = np.stack([pair.test, pair.golden]).transpose(0, 3, 1, 2)
        found.append((np.rint(pixels).clip(0, 255).astype(np.uint8), row, vector))
    return found


def save(
    out: Path, rows: Sequence[Row], taken: Sequence[Taken],
    splits: dict[str, npt.NDArray[np.int64]], lights: int,
) -> None:  # fmt: skip
    """Lights of one row stand side by side in `taken`."""
    with open(out / "pixels.bin", "wb") as stream:
        for part in taken:
            part[0].tofile(stream)
    stored = np.array([len(taken), *taken[0][0].shape])
    np.save(out / "features.npy", np.stack([part[1] for part in taken]).reshape(len(rows), lights, -1))
    np.save(out / "embedding.npy", np.stack([part[2] for part in taken]).reshape(len(rows), -1))
    label, board, group, part_type = (np.array(column) for column in zip(*rows, strict=True))
    np.savez_compressed(
        out / "rows.npz",
        label=label,
        board=board,
        group=group,
        part_type=part_type,
        stored=stored,
        lights=lights,
        **splits,
    )
    print(f"wrote {out}: {len(rows)} rows")


if __name__ == "__main__":
    main()
