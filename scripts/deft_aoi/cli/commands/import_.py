"""`deft import`: look at a folder of pictures, propose a workspace, make it."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deft_aoi.base.console import next_line, print_json, whole
from deft_aoi.base.errors import OK, InputError
from deft_aoi.base.rows import write_sheet

if TYPE_CHECKING:
    from deft_aoi.importers.door import Proposal, Wish
    from deft_aoi.importers.reading import Reading

HELP = """Look at a folder of pictures from the line and make a workspace of it. Without --yes it only says what it sees
(folders such as OK, NG and GOLDEN in many languages, pairs by name, a labels table, whole boards with a table of
components, MVTec, VisA, DeepPCB), proposes a split with the reason for each size, checks the goldens or says which it
will build, and writes a picture of three pairs and a list of findings into WORKSPACE.import. --yes makes the workspace.
A folder that can be read in two ways, or in none, is refused with the flag to type."""
_KINDS = ("folders", "pairs", "mvtec", "visa", "table", "boards", "deeppcb")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dir", type=Path, metavar="DIR", help="folder with the pictures")
    parser.add_argument("--workspace", type=Path, help="folder to make; new or empty (default: DIR-workspace)")
    parser.add_argument("--yes", action="store_true", help="make the workspace that was proposed")
    parser.add_argument(
        "--as", dest="kind", choices=_KINDS, help="how to read DIR, where it can be read in several ways"
    )
    parser.add_argument("--good", action="append", default=[], help="folder in DIR with good parts, repeatable")
    parser.add_argument("--bad", action="append", default=[], help="folder in DIR with defects, repeatable")
    parser.add_argument("--golden", action="append", default=[], help="folder in DIR with goldens, repeatable")
    parser.add_argument(
        "--labels", help="CSV: image, label [, board, component, golden]; with x, y, w, h: whole boards"
    )
    parser.add_argument("--light", action="append", default=[], help="light that pictures' names end in, repeatable")
    parser.add_argument(
        "--kpi-target", help="as deft preflight takes it; the sealed set gets what its proof needs, if there"
    )
    parser.add_argument("--split-by", choices=("board", "scene"), help="default: board where names tell it, else scene")
    parser.add_argument(
        "--acceptance",
        type=float,
        help="share of the boards to seal for the proof (default: a quarter from 16 boards on)",
    )
    parser.add_argument("--drop-suspects", action="store_true", help="leave suspected goldens out; others are built")
    parser.add_argument("--seed", type=int, default=0, help="another seed gives another split (default: 0)")
    parser.add_argument("--size", type=int, default=224, help="image side for the spec (default: 224; DeepPCB: 96)")
    parser.add_argument("--image-ext", default=".jpg", help="extension of the written images (default: .jpg)")
    parser.add_argument("--json", action="store_true", help="for programs")


def run(args: argparse.Namespace) -> int:
    from deft_aoi.data.pairs import check_ext
    from deft_aoi.importers.look import DEEPPCB, look
    from deft_aoi.importers.read_folders import Asked

    root = args.dir.expanduser().absolute()
    workspace = (args.workspace or root.with_name(f"{root.name}-workspace")).expanduser().absolute()
    check_ext(args.image_ext)
    if not 16 <= args.size <= 4096:
        raise InputError(f"--size {args.size}: expected 16 to 4096 pixels")
    if workspace.exists() and (not workspace.is_dir() or any(workspace.iterdir())):
        raise InputError(f"workspace {workspace}: already there and not empty; choose another --workspace")
    asked = Asked(args.kind, tuple(args.good), tuple(args.bad), tuple(args.golden), args.labels, tuple(args.light))
    with tempfile.TemporaryDirectory(prefix="deft-import-") as folder:
        reading = look(root, asked, Path(folder))
        if reading.kind == DEEPPCB:
            return _deeppcb(args, root, workspace, reading, Path(folder))
        return _pictures(args, root, workspace, reading, Path(folder))


def _pictures(args: argparse.Namespace, root: Path, workspace: Path, reading: Reading, work: Path) -> int:
    from deft_aoi.importers.door import FINDINGS, findings_table, propose, write
    from deft_aoi.importers.preview import text, write_preview

    proposal = propose(reading, _wish(args), work)
    findings = findings_table(proposal)
    if args.yes:
        made = write(proposal, workspace, ext=args.image_ext, size=args.size)
        write_preview(proposal, made / "import" / "preview.png")
        said = [f"wrote {made}: {len(proposal.pairs):,} parts; findings and golden sources in {made / 'import'}"]
        said.append(_preflight(args, workspace, proposal))
    else:
        aside = _aside(workspace)
        write_preview(proposal, aside / "preview.png")
        write_sheet(aside / FINDINGS, findings)
        said = [f"wrote {aside}: preview.png (three pairs: look at it), {FINDINGS} ({len(findings)} findings)"]
        said.append(_yes(args, root, workspace, reading))
    if args.json:
        print_json(_record(proposal, workspace, made=args.yes))
    else:
        whole("\n".join([text(proposal), *said]))
    return OK


def _wish(args: argparse.Namespace) -> Wish:
    from deft_aoi.importers.door import Wish
    from deft_aoi.kpi.target import parse_target

    if args.acceptance is not None and not 0 <= args.acceptance <= 0.5:
        raise InputError(f"--acceptance {args.acceptance:g}: expected a share from 0 to 0.5, as 0.2")
    if args.seed < 0:
        raise InputError(f"--seed {args.seed}: expected a whole number from 0")
    target = parse_target(args.kpi_target) if args.kpi_target else None
    return Wish(args.split_by, target, args.acceptance, args.seed, args.drop_suspects)


def _deeppcb(args: argparse.Namespace, root: Path, workspace: Path, reading: Reading, work: Path) -> int:
    from deft_aoi.importers.deeppcb import import_deeppcb
    from deft_aoi.importers.preview import write_deeppcb_preview

    if args.yes:
        made = import_deeppcb(root, workspace, seed=args.seed, ext=args.image_ext)
        said = [f"{name:<11}{sum(labels.values()):>6} rows" for name, labels in made.labels.items()]
        said += [f"wrote {made.workspace}", next_line("preflight", "--workspace", workspace, "--max-iterations", "N")]
    else:
        preview = _aside(workspace) / "preview.png"
        write_deeppcb_preview(root, preview, work)
        said = [f"wrote {preview} (three windows: look at it)", _yes(args, root, workspace, reading)]
    if args.json:
        print_json({"kind": reading.kind, "workspace": str(workspace), "made": args.yes, "says": reading.says})
    else:
        whole("\n".join([reading.says + "; windows of 96 x 96 pixels, the template as golden, split by board", *said]))
    return OK


def _aside(workspace: Path) -> Path:
    folder = workspace.with_name(f"{workspace.name}.import")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _yes(args: argparse.Namespace, root: Path, workspace: Path, reading: Reading) -> str:
    """The same call with the reading spelled out, and --yes."""
    words: list[str | Path] = ["import", root, "--workspace", workspace, "--as", reading.kind, *reading.flags]
    for light in args.light:
        words += ["--light", light]
    given = {
        "--kpi-target": args.kpi_target, "--split-by": args.split_by, "--acceptance": args.acceptance,
        "--seed": args.seed or None, "--size": args.size if args.size != 224 else None,
        "--image-ext": args.image_ext if args.image_ext != ".jpg" else None,
    }  # fmt: skip
    words += [str(word) for flag, value in given.items() if value is not None for word in (flag, value)]
    return next_line(*words, *(["--drop-suspects"] if args.drop_suspects else []), "--yes")


def _preflight(args: argparse.Namespace, workspace: Path, proposal: Proposal) -> str:
    words = ["--workspace", str(workspace), "--max-iterations", "N"]
    words += ["--kpi-target", args.kpi_target or proposal.split.target]
    if proposal.split.mine_rows is not None:
        words += ["--mine-rows", str(proposal.split.mine_rows)]
    return next_line("preflight", *words)


def _record(proposal: Proposal, workspace: Path, *, made: bool) -> dict[str, Any]:
    return {
        "workspace": str(workspace), "made": made, "kind": proposal.reading.kind, "says": proposal.reading.says,
        "labels": proposal.reading.labels(), "lights": list(proposal.reading.lights),
        "split_by": proposal.units.by, "reason": proposal.units.reason,
        "sets": [vars(row) for row in proposal.split.rows], "warnings": list(proposal.split.warnings),
        "target": proposal.split.target, "goldens": proposal.golden_words(),
        "suspects": [
            {"file": str(one.picture), "golden": one.golden is not None, "reason": one.reason}
            for one in proposal.suspects
        ],
        "near_duplicates": [[one.name, other.name, likeness] for one, other, likeness in proposal.near],
        "without_golden": proposal.without, "left_out": [vars(entry) for entry in proposal.skipped],
    }  # fmt: skip
