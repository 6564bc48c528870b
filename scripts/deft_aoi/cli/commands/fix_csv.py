"""`deft fix-csv`: rewrite a spreadsheet's table as TAO reads it."""

from __future__ import annotations

import argparse
from pathlib import Path

from deft_aoi.base.console import next_line, print_json
from deft_aoi.base.errors import OK, InputError

HELP = """Say what keeps a table from being read as TAO reads it (encoding, separator, decimal commas, blanks around
cells, empty rows, a header in other words, back-slashes, words for a good part), and with --accept rewrite it as CSV
UTF-8 with commas. The original stays in the same folder. Nothing is guessed: where two readings are possible the
command says what to decide."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("csv", type=Path, help="the table")
    parser.add_argument("--accept", action="store_true", help="rewrite it (default: only say what would change)")
    parser.add_argument("--encoding", help="how lines that are not UTF-8 are encoded, as cp1252 or cp932")
    parser.add_argument("--json", action="store_true", help="for programs")


def run(args: argparse.Namespace) -> int:
    from deft_aoi.base.csv_dialect import changes, plain_csv, read_dialect
    from deft_aoi.base.files import atomic_write_text, copy_aside

    path = args.csv.expanduser()
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected a CSV")
    sheet = read_dialect(path, args.encoding)
    if sheet is None:
        raise InputError(f"{path}: no line with column names as input_path, golden_path, label, object_name is found")
    found = list(changes(sheet))
    if sheet.trouble is not None:
        raise InputError(f"{path}: {'; '.join([*found, sheet.trouble])}".replace("fix-csv CSV", f"fix-csv {path}"))
    original = copy_aside(path) if args.accept and found else None
    if original is not None:
        atomic_write_text(path, plain_csv(sheet))
    if args.json:
        print_json(
            {"csv": str(path), "rows": len(sheet.rows), "changes": found, "original": original and str(original)}
        )
        return OK
    for text in found:
        print(f"{'changed' if original else 'would change'}: {text}")
    if original is not None:
        print(f"wrote {path}: {len(sheet.rows)} rows; the original is {original}")
    elif found:
        encoding = ["--encoding", args.encoding] if args.encoding else []
        print(next_line("fix-csv", path, *encoding, "--accept"))
    else:
        print(f"{path}: nothing to change, {len(sheet.rows)} rows")
    return OK
