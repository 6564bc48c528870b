"""`deft spot-check`: record what the contact sheet shows."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from deft_aoi.base.errors import OK
from deft_aoi.record.order import LOOP_STOP, RCA

if TYPE_CHECKING:
    from deft_aoi.base.paths import RunPaths
    from deft_aoi.stages.spot_check import ContactSheet

MEANINGS = (
    "mislabeled (the label is wrong), edge case (rightly labelled, at the border of what the label means, as with a "
    "fibre or residue), data quality (image, golden or registration is bad), "
    "systematic (one cause that many rows share and the sheet does not name)"
)
HELP = f"""Record what an agent or a person saw on a contact sheet (rca_images/contact_sheet.png): for each row looked
at one verdict: {MEANINGS}. Checks it against the schema and the sheet, writes
spot_check.json next to the sheet and brings the verdicts into the run's label_review.csv. No label is changed."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--results-dir", type=Path, help="run directory; its newest gap analysis is meant")
    where.add_argument("--rca-dir", type=Path, help="folder of one gap analysis (rca_results/<time>, or deft rca's)")
    parser.add_argument(
        "--verdict",
        action="append",
        metavar="ROW=VERDICT",
        help='repeatable, as --verdict 3=mislabeled or 4="edge case"',
    )
    parser.add_argument("--note", action="append", default=[], metavar="ROW=TEXT", help="repeatable: why")
    parser.add_argument("--reviewer", default="agent", help="who looked (default: agent)")
    parser.add_argument("--file", type=Path, help="a spot_check.json to check and take over, instead of --verdict")
    parser.add_argument("--json", action="store_true", help="for programs")


def run(args: argparse.Namespace) -> int:
    from deft_aoi.base.console import print_json, whole
    from deft_aoi.base.errors import InputError
    from deft_aoi.base.paths import RunPaths
    from deft_aoi.cli.commands.status import left_lines
    from deft_aoi.loop.standing import standing
    from deft_aoi.record.run import read_json
    from deft_aoi.stages.spot_check import from_flags, save

    if bool(args.verdict) == bool(args.file):
        raise InputError("pass either --verdict ROW=VERDICT (repeatable) or --file SPOT_CHECK.json")
    paths = RunPaths.at(args.results_dir) if args.results_dir else None
    folder = newest(paths) if paths else args.rca_dir
    if paths is None and (
        run_dir := next((p for p in folder.resolve().parents if (p / "loop_log.jsonl").is_file()), None)
    ):
        paths = RunPaths.at(run_dir)
    record = read_json(args.file) if args.file else from_flags(args.verdict, args.note, args.reviewer)
    count = save(paths, folder, record, str(args.file or "--verdict"))
    written = [folder / "spot_check.json", *([paths.label_review] if paths else [])]
    if args.json:
        print_json({"verdicts": count, "files": [str(path) for path in written]})
        return OK
    print(f"{count} verdicts in {' and '.join(map(str, written))}")
    if paths:
        facts = standing(paths)
        waiting = [f"look at: {one.path} (weak rows of {one.model})" for one in unrecorded(paths, folder)]
        after = left_lines(facts) if facts["next"] is None else [f"next: {facts['command']}"]
        whole("\n".join([*waiting, *after]))
    return OK


def unrecorded(paths: RunPaths, folder: Path) -> list[ContactSheet]:
    """Contact sheets made after that of `folder` that nobody has recorded anything of."""
    from deft_aoi.record import journal
    from deft_aoi.record.locations import Places
    from deft_aoi.stages.spot_check import NAME, sheets

    found = sheets(Places.at(paths.root).entries(journal.read(paths.log)))
    place = next((n for n, one in enumerate(found) if one.folder.resolve() == folder.resolve()), len(found))
    return [one for one in found[place + 1 :] if one.path.is_file() and not (one.folder / NAME).is_file()]


def newest(paths: RunPaths) -> Path:
    """Folder of the run's newest gap analysis."""
    from deft_aoi.base.errors import InputError
    from deft_aoi.record import journal
    from deft_aoi.record.locations import Places

    for entry in reversed(Places.at(paths.root).entries(journal.read(paths.log))):
        analysed = entry["stage"] in (RCA, LOOP_STOP) and entry["status"] == "ok"
        if analysed and entry.get("facts", {}).get("rca_dir"):
            return Path(entry["facts"]["rca_dir"])
    raise InputError(f"{paths.root}: no gap analysis yet; go on with: deft step --results-dir {paths.root}")
