"""Many rows, many askers, many stages: nothing is lost and memory stays flat. The full size is benchmarks/load.py."""

from __future__ import annotations

import itertools
import os
import tracemalloc
from pathlib import Path

from attacks import Attacker
from deft_aoi.base.rows import check_images, check_labels, read_pool, read_rows
from deft_aoi.loop.standing import standing
from deft_aoi.record import journal, state
from soaking import LIGHTS, add, ask, begun, large_table, stages

KIND = "load"


def test_rows_of_twelve_lights_are_checked(attacker: Attacker, tmp_path: Path) -> None:
    csv = large_table(tmp_path / "images", 900)
    root = tmp_path.resolve()
    rows = read_rows(csv)
    check_labels(rows, csv)
    check_images(rows, csv, csv.parent, LIGHTS, ".png", root=root)
    pool = read_pool(csv, root, LIGHTS, ".png")
    assert (len(rows), pool["label"].nunique()) == (900, 1 + len({n % 40 for n in range(0, 900, 3)}))
    attacker.note("harmless", len(rows))
    (csv.parent / "B299/C0002_L11.png").unlink()
    said = attacker.refused(lambda: check_images(rows, csv, csv.parent, LIGHTS, ".png", root=root))
    assert ", line 901: image " in said


def test_askers_beside_a_writer_all_get_an_answer(attacker: Attacker, tmp_path: Path) -> None:
    paths = begun(tmp_path / "run_20260101_000000")
    order = stages()
    for label, stage in itertools.islice(order, 40):
        add(paths, label, stage)
    writer = os.fork()
    if writer == 0:
        try:
            for label, stage in itertools.islice(order, 60):
                add(paths, label, stage)
            os._exit(0)
        except BaseException:
            os._exit(1)
    failed = ask(paths, 100)
    attacker.found("crashed", failed, 100)
    assert os.waitstatus_to_exitcode(os.waitpid(writer, 0)[1]) == 0
    entries = journal.read(paths.log)
    attacker.found("lost", range(100 - len(entries)), 100)
    assert [entry["seq"] for entry in entries] == list(range(1, 101))
    assert state.load(paths.state) == state.fold(state.load(paths.state), entries)


def test_many_stages_take_no_more_memory(attacker: Attacker, tmp_path: Path) -> None:
    """A day has 2,000 stages of 43 seconds. Memory that stays allocated after 100 and after 300 of them is the same."""
    paths = begun(tmp_path / "run_20260101_000000")
    order = stages()
    held = []
    tracemalloc.start()
    try:
        for count in (100, 200):
            for label, stage in itertools.islice(order, count):
                add(paths, label, stage)
                standing(paths)
            held.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert held[1] - held[0] < 200_000, held
    entries = journal.read(paths.log)
    attacker.found("lost", range(300 - len(entries)), 300)
