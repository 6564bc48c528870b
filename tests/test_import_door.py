"""deft import: a folder of pictures becomes a workspace, or is refused with the flag to type."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from deft_aoi.base.errors import InputError
from deft_aoi.base.paths import Workspace
from deft_aoi.base.rows import PASS, check_images, read_pool, read_rows
from deft_aoi.cli.main import main
from deft_aoi.importers.door import Proposal, Wish, propose, write
from deft_aoi.importers.golden_check import check_edited
from deft_aoi.importers.goldens import build
from deft_aoi.importers.likeness import looks_of
from deft_aoi.importers.look import look
from deft_aoi.importers.read_folders import Asked
from deft_aoi.importers.reading import Part, Reading
from deft_aoi.importers.split import MINE_ROWS
from deft_aoi.importers.words import role_of
from deft_aoi.kpi.bounds import clean
from deft_aoi.kpi.target import parse_target
from deft_aoi.record.run import Plan
from door_pictures import line, noisy, save, scene, shot
from pair_images import image
from test_import_deeppcb import draw_deeppcb


def read(root: Path, asked: Asked | None = None) -> Reading:
    work = root.parent / "work"
    work.mkdir(exist_ok=True)
    return look(root, asked or Asked(), work)


def proposal(root: Path, wish: Wish | None = None, asked: Asked | None = None) -> Proposal:
    return propose(read(root, asked), wish or Wish(), root.parent / "work")


def test_words_of_several_languages_and_spellings() -> None:
    good = ("OK", "01_OK parts", "i.O.", "良品", "Gut", "GOOD", "passed", "conforme", "정상")
    bad = ("NG", "n.i.O.", "NOT_OK", "不良品", "Ausschuss", "Fail", "défauts", "NOK-2024", "불량")
    golden = ("GOLDEN", "golden_OK", "Referenz", "标准", "master")
    assert {role_of(word) for word in good} == {"good"}
    assert {role_of(word) for word in bad} == {"bad"}
    assert {role_of(word) for word in golden} == {"golden"}
    assert [role_of(word) for word in ("bridge", "SN1000", "images", "")] == [None] * 4


# --- public layouts, read without a flag --------------------------------------------------------------------------


def mvtec(root: Path) -> None:
    for number in range(6):
        image(root / f"bottle/train/good/{number:03d}.png", number)
        image(root / f"bottle/test/good/{number:03d}.png", 50 + number)
        image(root / f"bottle/test/broken_large/{number:03d}.png", 100 + number)
        image(root / f"bottle/ground_truth/broken_large/{number:03d}_mask.png", 150 + number)


def visa(root: Path) -> None:
    for number in range(6):
        image(root / f"pcb1/Data/Images/Normal/{number:04d}.JPG", number)
        image(root / f"pcb1/Data/Images/Anomaly/{number:03d}.JPG", 50 + number)
        image(root / f"pcb1/Data/Masks/Anomaly/{number:03d}.png", 100 + number)
    rows = [f'pcb1/Data/Images/Anomaly/{number:03d}.JPG,"bent,melt",m' for number in range(6)]
    (root / "pcb1/image_anno.csv").write_text("\n".join(["image,label,mask", *rows]) + "\n")


def aoi_export(root: Path) -> None:
    for number in range(6):
        for light in ("SolderLight", "WhiteLight"):
            for folder in ("PASS", "FAIL", "Golden"):
                image(root / folder / f"R{number}@1_{light}.jpg", number)


def labels_table(root: Path) -> None:
    rows = []
    for number in range(8):
        image(root / f"img/{number}.png", number)
        rows.append(f"{number}.png;{('Pass', 'Short circuit')[number % 2]};B{number // 2}")
    (root / "labels.csv").write_text("\n".join(["filename;class;sn", *rows]) + "\n")


def whole_boards(root: Path) -> None:
    rows = []
    for number in range(4):
        image(root / f"board{number}.png", number, 64)
        rows += [
            f"board{number}.png,R1,4,4,20,20,OK",
            f"board{number}.png,C1,30,30,16,16,{('OK', 'missing')[number % 2]}",
        ]
    (root / "parts.csv").write_text("\n".join(["image,component,x,y,w,h,label", *rows]) + "\n")


def pairs(root: Path) -> None:
    for number in range(4):
        for folder in ("ng", "ok"):
            image(root / folder / f"PCB+bridge_{number:05d}.png", number)
        for folder in ("good", "ok"):
            image(root / folder / f"R{number}.png", number)


def in_chinese(root: Path) -> None:
    line(root, boards=4, good="良品", bad="不良", golden="标准")


@pytest.mark.parametrize(
    ("make", "kind", "labels", "goldens", "lights"),
    [
        (mvtec, "mvtec", {PASS: 12, "broken large": 6}, 0, 1),
        (visa, "visa", {PASS: 6, "bent": 6}, 0, 1),
        (aoi_export, "pairs", {PASS: 6, "defect": 6}, 6, 2),
        (labels_table, "table", {PASS: 4, "short circuit": 4}, 0, 1),
        (whole_boards, "boards", {PASS: 6, "missing": 2}, 0, 1),
        (pairs, "pairs", {PASS: 4, "bridge": 4}, 8, 1),
        (lambda root: line(root, boards=4), "folders", {PASS: 16, "bridge": 4}, 4, 1),
        (in_chinese, "folders", {PASS: 16, "bridge": 4}, 4, 1),
    ],
)
def test_a_layout_is_read_without_a_flag(
    tmp_path: Path, make: Callable[[Path], object], kind: str, labels: dict[str, int], goldens: int, lights: int
) -> None:
    make(tmp_path / "in")
    reading = read(tmp_path / "in")
    assert (reading.kind, reading.labels(), len(reading.goldens), len(reading.lights)) == (
        kind,
        labels,
        goldens,
        lights,
    )
    assert not reading.skipped


def test_deeppcb_is_a_reading_of_the_same_door(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw_deeppcb(tmp_path / "in", 4)
    assert read(tmp_path / "in").kind == "deeppcb"
    assert main(["import", str(tmp_path / "in"), "--workspace", str(tmp_path / "w")]) == 0
    said = capsys.readouterr().out
    assert "--as deeppcb --yes" in said
    assert cv2.imread(str(tmp_path / "w.import/preview.png")) is not None
    assert not (tmp_path / "w").exists()


def test_names_tell_board_and_component(tmp_path: Path) -> None:
    reading = read(line(tmp_path / "in", boards=5))
    assert {part.board for part in reading.parts} == {f"SN{1000 + n}" for n in range(5)}
    assert {part.component for part in reading.parts} == {"R1", "R2", "R3", "R4"}
    assert {golden.component for golden in reading.goldens} == {"R1", "R2", "R3", "R4"}


# --- ambiguous or broken folders, refused with the flag to type ---------------------------------------------------


def same_names(root: Path) -> None:
    for number in range(4):
        image(root / f"OK/p{number}.png", number)
        image(root / f"NG/p{number}.png", 9 + number)


def nameless(root: Path) -> None:
    for number in range(4):
        image(root / f"A/p{number}.png", number)
        image(root / f"B/q{number}.png", 9 + number)


def half_named(root: Path) -> None:
    line(root, boards=4)
    for number in range(4):
        image(root / f"monday/x{number}.png", number)


def two_tables(root: Path) -> None:
    labels_table(root)
    (root / "old.csv").write_bytes((root / "labels.csv").read_bytes())


def contradiction(root: Path) -> None:
    line(root, boards=4)
    rows = [f"OK/SN{1000 + n}_R1.png,bridge\nOK/SN{1000 + n}_R2.png,PASS" for n in range(4)]
    (root / "labels.csv").write_text("\n".join(["image,label", *rows]) + "\n")


def lights_missing(root: Path) -> None:
    for number in range(9):
        image(root / f"OK/R{number}_WhiteLight.png", number)
        image(root / f"NG/C{number}_WhiteLight.png", 50 + number)
        if number % 3 == 0:
            image(root / f"OK/R{number}_SideLight.png", 100 + number)


def only_good(root: Path) -> None:
    for number in range(4):
        image(root / f"OK/p{number}.png", number)


def absent_picture(root: Path) -> None:
    labels_table(root)
    (root / "img/3.png").unlink()


def empty_label(root: Path) -> None:
    labels_table(root)
    (root / "labels.csv").write_text("image,label\n0.png,PASS\n1.png,\n")


def place_outside(root: Path) -> None:
    whole_boards(root)
    (root / "parts.csv").write_text("image,component,x,y,w,h\nboard0.png,R1,60,4,20,20\n")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (same_names, "--as pairs .* or --as folders"),
        (nameless, "--good FOLDER --bad FOLDER"),
        (half_named, "in 'monday'.*--good monday, --bad monday or --golden monday"),
        (two_tables, r"labels.csv, old.csv; type --labels labels.csv"),
        (contradiction, "4 of 8 pictures.*--as table or --as folders"),
        (lights_missing, "SideLight 3, WhiteLight 18.*--light WhiteLight"),
        (only_good, "no defects among them.*--bad FOLDER"),
        (absent_picture, r"labels.csv, line 5: no picture '3.png'"),
        (empty_label, r"line 3: the label of '1.png' is empty"),
        (place_outside, r"parts.csv, line 2: the place 60, 4 to 80, 24 leaves its picture \(64 x 64\)"),
        (lambda root: root.mkdir(), "no pictures in it"),
    ],
)
def test_what_is_ambiguous_or_broken_is_refused(tmp_path: Path, make: Callable[[Path], object], says: str) -> None:
    make(tmp_path / "in")
    with pytest.raises(InputError, match=says):
        read(tmp_path / "in")


def test_the_flag_that_was_named_decides(tmp_path: Path) -> None:
    nameless(tmp_path / "a")
    assert read(tmp_path / "a", Asked(good=("A",), bad=("B",))).labels() == {PASS: 4, "defect": 4}
    same_names(tmp_path / "b")
    assert read(tmp_path / "b", Asked(kind="folders")).labels() == {PASS: 4, "defect": 4}
    two_tables(tmp_path / "c")
    assert read(tmp_path / "c", Asked(labels="old.csv")).kind == "table"
    lights_missing(tmp_path / "d")
    assert len(read(tmp_path / "d", Asked(lights=("WhiteLight",))).parts) == 18


# --- the split -----------------------------------------------------------------------------------------------------


def test_no_board_is_in_two_sets_and_the_table_says_why(tmp_path: Path) -> None:
    found = proposal(line(tmp_path / "in"), Wish(sealed=0.2))
    boards: dict[str, set[str]] = {}
    for part in found.reading.parts:
        boards.setdefault(part.board, set()).add(found.split.home[part.name])
    assert all(len(sets) == 1 for sets in boards.values())
    rows = {row.name: row for row in found.split.rows}
    assert set(rows) == {"train", "validation", "kpi", "pool", "acceptance"}
    assert sum(row.passes + row.defects for row in rows.values()) == 50
    assert "without an error it proves FAR <" in rows["acceptance"].reason
    assert f"with {rows['kpi'].defects} defects" in rows["kpi"].reason


def test_the_proposed_target_is_what_the_sealed_set_can_prove(tmp_path: Path) -> None:
    found = proposal(line(tmp_path / "in", boards=16, components=5), Wish())
    sealed = next(row for row in found.split.rows if row.name == "acceptance")
    contract = parse_target(found.split.target)
    assert contract.far is not None
    bound = clean(sealed.units, 5).upper()
    assert bound <= (contract.far.limit or 0) < 1.1 * bound
    assert f"The {sealed.passes} PASS rows on {sealed.units} boards prove" in found.split.proof[1]


def test_a_small_pool_is_said_before_the_start(tmp_path: Path) -> None:
    found = proposal(line(tmp_path / "in"))
    pool = next(row for row in found.split.rows if row.name == "pool")
    mined = pool.passes + pool.defects
    assert found.split.mine_rows == mined // 3
    assert any(f"pool has {mined} rows" in warning for warning in found.split.warnings)
    assert Plan.mine_rows == MINE_ROWS


def test_too_few_defects_say_what_to_collect(tmp_path: Path) -> None:
    line(tmp_path / "in")
    for path in sorted((tmp_path / "in/NG/bridge").iterdir())[3:]:
        path.unlink()
    with pytest.raises(InputError, match=r"3 defects from 3 boards: too few.*at least 1 more boards"):
        proposal(tmp_path / "in")


def test_a_target_that_cannot_be_proven_says_how_many_boards_would_do(tmp_path: Path) -> None:
    found = proposal(line(tmp_path / "in"), Wish(target=parse_target("FAR < 1% at recall=100%"), sealed=0.2))
    assert any("FAR < 1% needs" in sentence and "boards" in sentence for sentence in found.split.proof)
    unsealed = proposal(tmp_path / "in")
    assert "no sealed acceptance set" in unsealed.split.proof[0]


def test_without_boards_the_same_scene_is_never_in_two_sets(tmp_path: Path) -> None:
    for number in range(24):
        kind = "NG" if number % 3 == 0 else "OK"
        for copy in range(2):
            rng = np.random.default_rng((number, copy))
            save(tmp_path / f"in/{kind}/{'ab'[copy]}part{number}x.png", noisy(scene(100 + number), rng))
    found = proposal(tmp_path / "in", Wish(by="scene"))
    scenes: dict[str, set[str]] = {}
    for part in found.reading.parts:
        scenes.setdefault(part.name[1:], set()).add(found.split.home[part.name])
    assert found.units.by == "scene"
    assert len(scenes) == 24
    assert all(len(sets) == 1 for sets in scenes.values())


# --- what was planted is listed before training ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Proposal]:
    """60 goldens of which 5 are wrong, 3 edited defects, 12 copies across folders, two part numbers without any golden
    or good part, one with good parts only."""
    root = tmp_path_factory.mktemp("planted") / "in"
    line(root, boards=10, components=61, goldens=60)
    save(root / "GOLDEN/R1.png", shot(6, 9000, move=0))  # another part
    rng = np.random.default_rng(5)
    save(root / "GOLDEN/R2.png", noisy(np.roll(scene(1), (9, 9), (0, 1)), rng))  # shifted
    edited = shot(2, 9000, move=0)
    edited[20:34, 14:30] = 120  # painted over
    save(root / "GOLDEN/R3.png", edited)
    save(root / "GOLDEN/R11.png", shot(411, 9000, move=0))  # a part that this board never has
    save(root / "GOLDEN/R12.png", noisy(np.roll(scene(11), (0, -10), (0, 1)), rng))
    for number in (3, 4, 5):
        picture = shot(number, number)
        picture[10:18, 10:22] = 200
        save(root / f"NG/bridge/SN{1000 + number}_R{number + 1}.png", picture)
    for number in range(12):
        name = f"R{20 + number}"
        again = cv2.imread(str(root / f"OK/SN{1000 + number % 8}_{name}.png"), cv2.IMREAD_GRAYSCALE)
        brighter = np.clip(again.astype(np.float64) + 6, 0, 255).astype(np.uint8)
        save(root / f"OK/line 2/SN{1020 + number % 8}_{name}.png", brighter)
    for number in range(3):
        for name, part in (("U77", 77), ("U78", 78)):
            save(root / f"NG/bridge/SN{1000 + number}_{name}.png", shot(part, number, defect=True))
    return root, proposal(root)


def test_wrong_goldens_are_found_and_no_right_one(planted: tuple[Path, Proposal]) -> None:
    suspects = {s.picture.name: s.reason for s in planted[1].suspects if s.golden}
    assert set(suspects) == {"R1.png", "R2.png", "R3.png", "R11.png", "R12.png"}
    assert "fits the parts of R7" in suspects["R1.png"]
    assert "shifted" in suspects["R2.png"]


def test_edited_defects_copies_and_missing_goldens_are_listed(planted: tuple[Path, Proposal]) -> None:
    found = planted[1]
    edited = {s.picture.name for s in found.suspects if not s.golden}
    assert edited == {"SN1003_R4.png", "SN1004_R5.png", "SN1005_R6.png"}
    copies = {frozenset(((one.board, one.component), (other.board, other.component))) for one, other, _ in found.near}
    pairs = [(n % 8, f"R{20 + n}") for n in range(12)]
    assert {frozenset(((f"SN{1000 + n}", name), (f"SN{1020 + n}", name))) for n, name in pairs} <= copies
    assert found.without == {"U77": 3, "U78": 3}
    assert {golden.source for golden in found.golden_of.values() if golden.component == "R61"} == {
        next(g.source for g in found.goldens if g.made_from)
    }


def test_a_golden_that_is_built_is_near_the_true_scene_and_leaves_judged_parts_out(
    planted: tuple[Path, Proposal],
) -> None:
    found = planted[1]
    built = next(golden for golden in found.goldens if golden.made_from)
    assert {found.split.home[name] for name in built.made_from} <= {"train", "pool"}
    median = cv2.imread(str(built.files[0][1]), cv2.IMREAD_GRAYSCALE).astype(float)
    parts = [
        cv2.imread(str(found.part[name].files[0][1]), cv2.IMREAD_GRAYSCALE).astype(float) for name in built.made_from
    ]
    centre = (slice(6, -6), slice(6, -6))
    moves = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    best = min(float(np.abs(np.roll(scene(60), move, (0, 1)) - median)[centre].mean()) for move in moves)
    noise = min(float(np.abs(scene(60) - part)[centre].mean()) for part in parts)
    assert best < noise


def test_smooth_surfaces_that_compression_made_flat_are_no_edits(tmp_path: Path) -> None:
    def part(number: int, *, flat: bool, label: str = PASS) -> Part:
        picture = shot(3, number)
        if flat:
            picture[8:16, 8:16] = 120
        path = save(tmp_path / f"p{number}.png", picture)
        return Part(path.stem, label, (("S", path),), path.stem, component="R1")

    def edited(parts: list[Part]) -> set[str]:
        return {one.picture.stem for one in check_edited(parts, [], looks_of([p.files[0][1] for p in parts]))}

    clean = [part(number, flat=False) for number in range(60)]
    assert edited([*clean, part(60, flat=True, label="bridge")]) == {"p60"}
    assert edited([*clean, *(part(60 + number, flat=True) for number in range(5))]) == set()


def test_parts_of_two_looks_get_a_median_each_and_outliers_none(tmp_path: Path) -> None:
    looks_like = {"a": 12, "b": 6, "c": 1}  # 12 parts of one supplier, 6 of another, one that is neither
    parts = []
    for kind, count in looks_like.items():
        for each in range(count):
            picture = shot(70 + ord(kind), each)
            path = save(tmp_path / f"{kind}{each}.png", 255 - picture if kind == "c" else picture)
            parts.append(Part(path.stem, PASS, (("S", path),), path.stem))
    made = build("R1", parts, looks_of([part.files[0][1] for part in parts]), tmp_path, 0)
    assert [golden.source for golden in made] == ["median of 12 good parts", "median of 6 good parts"]
    assert [{name[0] for name in golden.made_from} for golden in made] == [{"a"}, {"b"}]
    assert len({golden.key for golden in made}) == 2


def test_parts_that_lie_are_not_compared_with_a_median_of_parts_that_stand(tmp_path: Path) -> None:
    for board in range(12):
        for number in range(3):
            upright = shot(1, 10 * board + number, defect=number == 2)[:, 8:40]
            lying = shot(1, 500 + 10 * board + number, defect=number == 2)[8:40]
            kind = "NG" if number == 2 else "OK"
            save(tmp_path / f"in/{kind}/SN{1000 + board}_a{number}_R1.png", upright)
            if board % 4 == 0:
                save(tmp_path / f"in/{kind}/SN{1000 + board}_b{number}_R1.png", np.ascontiguousarray(lying))
    found = proposal(tmp_path / "in", Wish(sealed=0))
    assert any(len(golden.made_from) > 1 for golden in found.goldens)
    for pair in found.pairs:
        (_, test, golden), *_ = pair.files
        shapes = [cv2.imread(str(path)).shape for path in (test, golden)]
        assert (shapes[0][0] > shapes[0][1]) == (shapes[1][0] > shapes[1][1]), pair.name


def test_suspects_can_be_left_out_and_are_built_instead(planted: tuple[Path, Proposal]) -> None:
    found = proposal(planted[0], Wish(drop_suspects=True))
    sources = {golden.component: golden.source for golden in found.golden_of.values()}
    assert all(sources[name].startswith("median of") for name in ("R1", "R2", "R3", "R61")), sources
    assert sources["R4"] == "given: R4"


# --- the command -------------------------------------------------------------------------------------------------


def test_proposal_then_yes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line(tmp_path / "in", goldens=3)
    asked = ["--image-ext", ".png", "--acceptance", "0"]
    assert main(["import", str(tmp_path / "in"), "--workspace", str(tmp_path / "w"), *asked]) == 0
    said = capsys.readouterr().out
    assert not (tmp_path / "w").exists()
    assert cv2.imread(str(tmp_path / "w.import/preview.png")).shape[0] > 300
    words = said.strip().splitlines()[-1].split("deft ", 1)[1].split()
    assert words[-1] == "--yes"
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "--kpi-target 'FAR <" in said.splitlines()[-1]
    workspace = Workspace.at(tmp_path / "w")
    for csv in (workspace.training_csv, workspace.validation_csv, workspace.kpi_csv):
        check_images(read_rows(csv), csv, workspace.images, ["SolderLight"], ".png")
    pool = read_pool(workspace.pool_csv, workspace.root, ["SolderLight"], ".png")
    check_images(pool, workspace.pool_csv, workspace.root, ["SolderLight"], ".png")
    sources = pd.read_csv(tmp_path / "w/import/goldens.csv")
    assert set(sources["source"].str.split(":").str[0].str.split().str[0]) == {"given", "median"}
    index = json.loads((tmp_path / "w/goldens/goldens.json").read_text())
    assert len(index["goldens"]) == 4
    assert main(["import", str(tmp_path / "in"), "--workspace", str(tmp_path / "w")]) == 2


def test_sealed_share_becomes_an_acceptance_set(tmp_path: Path) -> None:
    found = proposal(line(tmp_path / "in"), Wish(sealed=0.2))
    write(found, tmp_path / "w", ext=".png", size=48)
    sealed = read_rows(Workspace(tmp_path / "w").acceptance_csv)
    assert {PASS, "bridge"} == set(sealed["label"])
    assert not set(sealed["boardname"]) & set(read_rows(Workspace(tmp_path / "w").kpi_csv)["boardname"])
