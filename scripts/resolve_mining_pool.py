#!/usr/bin/env python3
"""Find the image of every mining pool row.

The table is written with column filepath. A row's image is the first of filepath, input_path, image_path that is
filled, as a file or a folder, absolute or from the CSV's own folder or the images folder on. A row that fits none or
two is refused by its line.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from deft_aoi.base.console import run_script


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="resolve_mining_pool.py", description=__doc__)
    parser.add_argument("--csv", type=Path, required=True, help="mining_pool.csv")
    parser.add_argument("--images-root", type=Path, required=True, help="images folder of the workspace")
    parser.add_argument("--output-csv", type=Path, required=True, help="table to write")
    parser.add_argument("--summary", type=Path, help="write the counts here as JSON too")
    parser.add_argument("--light", default="SolderLight", help="light of the images (default: SolderLight)")
    parser.add_argument("--image-ext", default=".jpg", help="image extension (default: .jpg)")
    args = parser.parse_args(argv)
    from deft_aoi.base.files import atomic_write_json
    from deft_aoi.base.pool_paths import workspace_of_images
    from deft_aoi.base.rows import POOL_REQUIRED, check_images, image_paths, pool_rows, read_rows, write_rows

    ext = args.image_ext if args.image_ext.startswith(".") else f".{args.image_ext}"
    csv, images = args.csv.expanduser().resolve(), args.images_root.expanduser().resolve()
    root = workspace_of_images(csv, images)
    told = read_rows(csv, required=POOL_REQUIRED)
    found = pool_rows(told, csv, root, (args.light,), ext)
    check_images(found, csv, root, (args.light,), ext, root=root)
    files = [Path(name) for name in image_paths(found, "input_path", root, args.light, ext)]
    names = [str(file.relative_to(images) if file.is_relative_to(images) else file) for file in files]
    write_rows(args.output_csv, told.assign(filepath=names, object_name=found["object_name"]))
    counts = {"rows": len(found), "missing": 0, "ambiguous": 0}
    if args.summary:
        atomic_write_json(args.summary, counts)
    print(json.dumps(counts, sort_keys=True))
    return 0


if __name__ == "__main__":
    sys.exit(run_script(main))
