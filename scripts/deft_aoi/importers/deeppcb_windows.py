"""DeepPCB's boards and the windows cut from them: which board goes where, which window shows what."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deft_aoi.base.errors import InputError
from deft_aoi.base.rows import PASS
from deft_aoi.data.workspace_files import SPLITS

TYPES = {"1": "open", "2": "short", "3": "mousebite", "4": "spur", "5": "copper", "6": "pinhole"}
SIDE = 640
MARGIN = 4
_JITTER, _TRIES = 24, 12


@dataclass(frozen=True)
class Box:
    """One annotated defect in pixels of the board image."""

    x1: int
    y1: int
    x2: int
    y2: int
    label: str

    def meets(self, x: int, y: int, size: int, margin: int = MARGIN) -> bool:
        """Whether the window at (x, y) comes within `margin` pixels of this defect."""
        return (
            self.x1 - margin < x + size
            and self.x2 + margin > x
            and self.y1 - margin < y + size
            and self.y2 + margin > y
        )


@dataclass(frozen=True)
class Board:
    """One inspected board image, its template and its annotated defects."""

    name: str
    group: str
    test: Path
    golden: Path
    boxes: tuple[Box, ...]


@dataclass(frozen=True)
class Window:
    """Upper left corner and label of a square window."""

    x: int
    y: int
    label: str


@dataclass(frozen=True)
class Quota:
    """Rows that a split asks for, the share of boards it gets, and the labels it may hold (None: all)."""

    boards: float
    defects: int
    passes: int
    labels: tuple[str, ...] | None = None


def read_boards(root: Path) -> list[Board]:
    """Boards with both images, in name order; `root` is DeepPCB's folder or the one above its PCBData.

    Raises InputError where there are none or an annotation cannot be read.
    """
    home = root / "PCBData" if (root / "PCBData").is_dir() else root
    notes = sorted(home.glob("group*/*_not/*.txt"))
    boards = []
    for note in notes:
        images = note.parent.parent / note.parent.name.removesuffix("_not")
        test, golden = images / f"{note.stem}_test.jpg", images / f"{note.stem}_temp.jpg"
        if test.is_file() and golden.is_file():
            boards.append(Board(f"pcb{note.stem}", note.parent.parent.name, test, golden, read_boxes(note)))
    if not boards:
        raise InputError(
            f"{root}: no DeepPCB boards; expected group*/N/NNNNNNNN_test.jpg and NNNNNNNN_temp.jpg, "
            "and group*/N_not/NNNNNNNN.txt"
        )
    return boards


def read_boxes(note: Path) -> tuple[Box, ...]:
    """Annotations of one board: `x1 y1 x2 y2 type`, one a line, blanks or commas between."""
    boxes = []
    for number, line in enumerate(note.read_text(encoding="utf-8").splitlines(), start=1):
        parts = line.replace(",", " ").split()
        if not parts:
            continue
        if len(parts) != 5 or parts[4] not in TYPES or not all(part.lstrip("-").isdigit() for part in parts[:4]):
            raise InputError(f"{note}, line {number}: {line!r}; expected 'x1 y1 x2 y2 type' with type 1 to 6")
        x1, y1, x2, y2 = map(int, parts[:4])
        boxes.append(Box(x1, y1, x2, y2, TYPES[parts[4]]))
    return tuple(boxes)


def split_boards(
    boards: Sequence[Board], quotas: dict[str, Quota], rng: np.random.Generator, by_group: bool
) -> dict[str, list[Board]]:
    """Every board into exactly one split, by the quotas' shares; the pool takes what is left.

    By group, KPI gets whole groups (a subset whose size is near its share, chosen by `rng`), so that no design of the
    KPI set is seen in any other split; the other splits share the remaining groups.
    """
    shuffled = [boards[i] for i in rng.permutation(len(boards))]
    out: dict[str, list[Board]] = {}
    if by_group:
        held = kpi_groups(boards, quotas["kpi"].boards, rng)
        out["kpi"] = [board for board in shuffled if board.group in held]
        shuffled = [board for board in shuffled if board.group not in held]
    for name in SPLITS[:-1]:
        if name not in out:
            count = max(1, round(quotas[name].boards * len(boards)))
            out[name], shuffled = shuffled[:count], shuffled[count:]
    out["pool"] = shuffled
    if any(not out[name] for name in SPLITS):
        raise InputError(f"{len(boards)} boards are too few for train, validation, KPI and pool without sharing one")
    return out


def kpi_groups(boards: Sequence[Board], share: float, rng: np.random.Generator) -> set[str]:
    """Groups for the KPI set: one, drawn by `rng`, of the ten subsets whose board count is nearest to `share`."""
    sizes: dict[str, int] = defaultdict(int)
    for board in boards:
        sizes[board.group] += 1
    names = sorted(sizes)
    if len(names) < 2:
        raise InputError("split by group: all boards are of one group; use --split-by board")
    subsets = [s for k in range(1, len(names)) for s in itertools.combinations(names, k)]
    subsets.sort(key=lambda chosen: (abs(sum(sizes[name] for name in chosen) - share * len(boards)), chosen))
    return set(subsets[int(rng.integers(min(10, len(subsets))))])


def defect_windows(board: Board, size: int, rng: np.random.Generator) -> list[Window]:
    """One window for each defect: the defect off centre by up to 24 px, whole where it fits, no other type in it.

    A defect whose neighbours of another type cannot be kept out in 12 tries is left out.
    """
    windows: dict[tuple[int, int], Window] = {}
    for box in board.boxes:
        others = [other for other in board.boxes if other.label != box.label]
        reach = [max(0, min(_JITTER, (size - side) // 2 - MARGIN)) for side in (box.x2 - box.x1, box.y2 - box.y1)]
        for _ in range(_TRIES):
            shift = [int(rng.integers(-limit, limit + 1)) for limit in reach]
            centre = ((box.x1 + box.x2) // 2 + shift[0], (box.y1 + box.y2) // 2 + shift[1])
            x, y = (int(np.clip(middle - size // 2, 0, SIDE - size)) for middle in centre)
            if (x, y) not in windows and not any(other.meets(x, y, size, 0) for other in others):
                windows[x, y] = Window(x, y, box.label)
                break
    return list(windows.values())


def pass_windows(board: Board, size: int, rng: np.random.Generator) -> list[Window]:
    """Windows without any annotated defect in or near them: a grid with a random start, in random order."""
    cells = SIDE // size
    left, top = (int(rng.integers(0, SIDE - cells * size + 1)) for _ in range(2))
    corners = [(left + size * column, top + size * row) for column in range(cells) for row in range(cells)]
    clear = [(x, y) for x, y in corners if not any(box.meets(x, y, size) for box in board.boxes)]
    return [Window(clear[i][0], clear[i][1], PASS) for i in rng.permutation(len(clear))]


def pick_defects(windows: dict[str, list[Window]], quota: Quota, rng: np.random.Generator) -> dict[str, list[Window]]:
    """Up to `quota.defects` windows over all boards, labels in turn, so that rare ones are not lost."""
    by_label: dict[str, list[tuple[str, Window]]] = defaultdict(list)
    for board, found in windows.items():
        for window in found:
            if quota.labels is None or window.label in quota.labels:
                by_label[window.label].append((board, window))
    queues = [[by_label[label][i] for i in rng.permutation(len(by_label[label]))] for label in sorted(by_label)]
    turns = itertools.chain.from_iterable(itertools.zip_longest(*queues))
    picked: dict[str, list[Window]] = {board: [] for board in windows}
    for board, window in itertools.islice((entry for entry in turns if entry is not None), quota.defects):
        picked[board].append(window)
    return picked


def share_out(total: int, available: dict[str, int]) -> dict[str, int]:
    """`total` spread over boards as evenly as what each has `available` lets it."""
    shares = dict.fromkeys(available, 0)
    left = min(total, sum(available.values()))
    while left:
        open_boards = [name for name in available if shares[name] < available[name]]
        for name in open_boards[:left]:
            shares[name] += 1
        left -= min(left, len(open_boards))
    return shares
