"""TAO data services' `embedding image_embeddings -e SPEC key=value ...`, answered with the frozen trunk.

Spec keys: input_parquet (a Parquet or CSV file with a column `filepath`), output_parquet, model, model_path,
model_config_path, batch_size; the model keys are accepted and have no effect. The output has `filepath`, `embedding`
(192 float32) and the input's other columns; an image that cannot be read is named on stderr and left out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deft_aoi.documents import parse_yaml, read_yaml
from deft_aoi.engine.refusal import TaskError, fault
from deft_aoi.errors import DeftError, InputError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

TASKS = ("image_embeddings",)
KEYS = ("input_parquet", "output_parquet", "model", "model_path", "model_config_path", "batch_size")
LARGEST_SIDE = 224  # pixels; larger images are shrunk
_SHOWN = 5


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="embedding", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("-e", "--experiment_spec", dest="spec", type=Path, required=True, help="YAML spec")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    args = parser.parse_intermixed_args(argv)
    try:
        image_embeddings(read_spec(args.spec, args.overrides))
    except DeftError as error:
        print(f"embedding {args.task}: {error}", file=sys.stderr)
        return TaskError.exit_code
    except OSError as error:
        print(f"embedding {args.task}: {error.strerror or error}: {error.filename or ''}", file=sys.stderr)
        return TaskError.exit_code
    except Exception as error:  # the last net: one line and where it happened, the traceback for who asks
        print(f"embedding {args.task}: {fault(error)}", file=sys.stderr)
        return TaskError.exit_code
    return 0


def read_spec(path: Path, assignments: Sequence[str]) -> dict[str, Any]:
    """Raises TaskError for an unreadable file, an unknown key or a missing required one."""
    if not path.is_file():
        raise TaskError(f"{path}: no such spec; expected keys {', '.join(KEYS)}")
    try:
        spec = read_yaml(path) or {}
    except InputError as error:
        raise TaskError(str(error)) from error
    if not isinstance(spec, dict):
        raise TaskError(f"{path}: expected a mapping with keys {', '.join(KEYS)}")
    for text in assignments:
        key, mark, value = text.partition("=")
        if not mark:
            raise TaskError(f"{text!r} is no override; expected key=value")
        spec[key] = parse_yaml(value, "command line")
    for key in spec:
        if key not in KEYS:
            raise TaskError(f"Error merging '{path.name}' with schema: Key '{key}' not in 'ImageEmbeddingsConfig'")
    for key in ("input_parquet", "output_parquet"):
        if spec.get(key) in (None, "", "???"):
            raise TaskError(f"{path}: {key} is not set")
    return spec


def image_embeddings(spec: dict[str, Any]) -> None:
    """Embed every readable image of the input and write the output file atomically."""
    from deft_aoi.contracts import write_parquet

    rows = read_table(Path(spec["input_parquet"]))
    vectors = embed([str(name) for name in rows["filepath"]])
    kept = [index for index, vector in enumerate(vectors) if vector is not None]
    lost = [str(name) for name, vector in zip(rows["filepath"], vectors, strict=True) if vector is None]
    if lost:
        more = f" and {len(lost) - _SHOWN} more" if len(lost) > _SHOWN else ""
        print(f"{len(lost)} unreadable images left out: {', '.join(lost[:_SHOWN])}{more}", file=sys.stderr)
    if not kept:
        raise TaskError(f"{spec['input_parquet']}: none of its {len(rows)} images can be read")
    table = rows.iloc[kept].reset_index(drop=True)
    table.insert(list(table.columns).index("filepath") + 1, "embedding", [vectors[index] for index in kept])
    write_parquet(Path(spec["output_parquet"]), table)
    print(f"wrote {spec['output_parquet']}: {len(kept)} embeddings", file=sys.stderr)


def read_table(path: Path) -> pd.DataFrame:
    """Parquet or CSV with a column `filepath`, any old `embedding` dropped."""
    from deft_aoi.contracts import parse_csv, read_parquet

    if not path.is_file():
        raise TaskError(f"input_parquet {path}: no such file")
    try:
        if path.suffix.lower() == ".csv":
            rows = parse_csv(path)
        else:
            rows = read_parquet(path, {"filepath": "text"})
    except InputError as error:
        raise TaskError(f"input_parquet {error}") from error
    if "filepath" not in rows.columns:
        raise TaskError(f"input_parquet {path}: column 'filepath' missing; found {', '.join(map(str, rows.columns))}")
    if rows.empty:
        raise TaskError(f"input_parquet {path}: no rows")
    return rows.drop(columns="embedding", errors="ignore")


def embed(files: Sequence[str]) -> list[npt.NDArray[np.float32] | None]:
    """Pooled trunk features (192,) of each image file in order, None where it cannot be read. Cached by content."""
    from deft_aoi.engine.cache import Store, content_key
    from deft_aoi.engine.features import LazyTrunk, in_parallel, read_bytes
    from deft_aoi.engine.images import decode
    from deft_aoi.engine.trunk import EMBEDDING_SIZE, trunk_hash

    parameters = {"version": 1, "trunk": trunk_hash(), "side": LARGEST_SIDE}
    store, trunk = Store("images", parameters, EMBEDDING_SIZE), LazyTrunk()

    def work(chunk: Sequence[str]) -> list[npt.NDArray[np.float32] | None]:
        vectors: list[npt.NDArray[np.float32] | None] = []
        for name in chunk:
            try:
                data = read_bytes(name)
            except TaskError:
                vectors.append(None)
                continue
            key = content_key(data)
            vector = store.get(key)
            if vector is None and (image := decode(data)) is not None:
                vector = trunk.get()([prepare(image)])[1][0]
                store.put(key, vector)
            vectors.append(vector)
        return vectors

    try:
        return [vector for part in in_parallel(work, files, "embeddings") for vector in part]
    finally:
        store.flush()


def prepare(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """(h, w, c) float32 with the longer side at most LARGEST_SIDE."""
    import numpy as np

    from deft_aoi.engine.images import resize

    height, width = image.shape[:2]
    factor = min(1.0, LARGEST_SIDE / max(height, width))
    small = resize(image, max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(small, np.float32).reshape(*small.shape[:2], -1)


def console() -> None:
    sys.exit(main())


if __name__ == "__main__":
    sys.exit(main())
