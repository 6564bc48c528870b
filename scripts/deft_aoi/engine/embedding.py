"""TAO data services' `embedding image_embeddings -e SPEC key=value ...`, answered on this host.

Spec keys: input_parquet (a Parquet or CSV file with a column `filepath`), output_parquet, model (`trunk`, or
another name with an ONNX file as model_path), model_config_path, batch_size; the last two are accepted and have no
effect. The output has `filepath`, `embedding` (float32) and the input's other columns; an image that cannot be read is
named on stderr and in `<output>.unreadable.csv` and left out. Vectors are cached by the image's content.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import IO, TYPE_CHECKING, Any

from deft_aoi.base.errors import DeftError, InputError
from deft_aoi.base.safe_yaml import parse_yaml, read_yaml
from deft_aoi.engine.refusal import TaskError, fault

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    from deft_aoi.engine.cache import Store
    from deft_aoi.engine.encoders import Encoder

TASKS = ("image_embeddings",)
KEYS = ("input_parquet", "output_parquet", "model", "model_path", "model_config_path", "batch_size")
_SHOWN = 5
_GROUP = 8192  # rows in memory at a time when the output is written
_FLUSH_SECONDS = 10.0  # work that a kill may cost


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
    """Embed every readable image of the input and write the output file atomically, a batch in memory at a time.

    What cannot be read is listed in `<output>.unreadable.csv` (filepath, reason).
    """
    from deft_aoi.engine.encoders import make_encoder

    rows = read_table(Path(spec["input_parquet"]))
    output = Path(spec["output_parquet"])
    names = [str(name) for name in rows["filepath"]]
    store, keys = embedded(names, make_encoder(str(spec.get("model") or "trunk"), str(spec.get("model_path") or "")))
    lost = list_unreadable(output, names, keys)
    if lost == len(names):
        raise TaskError(f"{spec['input_parquet']}: none of its {len(rows)} images can be read")
    kept = [index for index, key in enumerate(keys) if isinstance(key, bytes)]
    write_embeddings(output, rows.iloc[kept], [key for key in keys if isinstance(key, bytes)], store)
    print(f"wrote {output}: {len(kept)} embeddings, {store.added} computed, the others from cache", file=sys.stderr)


def list_unreadable(output: Path, names: Sequence[str], keys: Sequence[bytes | str]) -> int:
    """Write the list next to the output and say it on stderr; the number of unreadable images."""
    import pandas as pd

    from deft_aoi.base.rows import write_rows

    lost = [(name, key) for name, key in zip(names, keys, strict=True) if isinstance(key, str)]
    write_rows(unreadable_list(output), pd.DataFrame(lost, columns=["filepath", "reason"]))
    if lost:
        more = f" and {len(lost) - _SHOWN} more" if len(lost) > _SHOWN else ""
        shown = ", ".join(name for name, _ in lost[:_SHOWN])
        print(f"{len(lost)} unreadable images left out: {shown}{more}", file=sys.stderr)
    return len(lost)


def unreadable_list(output: Path) -> Path:
    return output.with_suffix(".unreadable.csv")


def write_embeddings(output: Path, rows: pd.DataFrame, keys: Sequence[bytes], store: Store) -> None:
    """The input's columns with `embedding` after `filepath`, in row groups of bounded size."""
    import pyarrow as arrow
    from pyarrow import parquet

    from deft_aoi.base.files import atomic_write

    at = list(rows.columns).index("filepath") + 1

    def write(stream: IO[bytes]) -> None:
        writer = None
        for first in range(0, len(rows), _GROUP):
            vectors, there = store.matrix(keys[first : first + _GROUP])
            if not there.all():
                raise TaskError(f"{store.folder}: the cache lost vectors; type the command again")
            part = arrow.Table.from_pandas(rows.iloc[first : first + _GROUP], preserve_index=False)
            flat = arrow.FixedSizeListArray.from_arrays(arrow.array(vectors.ravel()), store.length)
            part = part.add_column(at, "embedding", flat.cast(arrow.list_(arrow.float32())))
            writer = writer or parquet.ParquetWriter(stream, part.schema)
            writer.write_table(part)
        if writer:
            writer.close()

    atomic_write(output, write)


def read_table(path: Path) -> pd.DataFrame:
    """Parquet or CSV with a column `filepath`, any old `embedding` dropped."""
    from deft_aoi.base.rows import parse_csv, read_parquet

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


def embed(files: Sequence[str], encoder: Encoder | None = None) -> list[npt.NDArray[np.float32] | None]:
    """Vector of each image file in order (the trunk's, 192 numbers, unless stated otherwise), None where it cannot be
    read. Cached by content."""
    from deft_aoi.engine.encoders import trunk_encoder

    store, keys = embedded(files, encoder or trunk_encoder())
    vectors, there = store.matrix([key if isinstance(key, bytes) else b"\0" * 32 for key in keys])
    return [vector if found else None for vector, found in zip(vectors, there, strict=True)]


def embedded(files: Sequence[str], encoder: Encoder) -> tuple[Store, list[bytes | str]]:
    """(store, its key for every file, or the reason why the file cannot be read). Computes only what the store lacks.

    Whatever ends the process, the images of all but the last seconds are kept.
    """
    from deft_aoi.engine.cache import IMAGES, Store, content_key
    from deft_aoi.engine.features.table import in_parallel, read_bytes
    from deft_aoi.engine.images import decode

    store = Store(IMAGES, encoder.parameters, encoder.size)

    def work(chunk: Sequence[str]) -> list[bytes | str]:
        keys: list[bytes | str] = []
        for name in chunk:
            try:
                data = read_bytes(name)
            except TaskError as error:
                keys.append(str(error))
                continue
            key = content_key(data)
            if not store.has(key):
                image = decode(data)
                if image is None:
                    keys.append("empty file" if not data else "no image")
                    continue
                store.put(key, encoder.encode(image))
            keys.append(key)
        return keys

    keys: list[bytes | str] = []
    flushed = monotonic()
    try:
        for part in in_parallel(work, files, "embeddings"):
            keys += part
            if monotonic() - flushed > _FLUSH_SECONDS:
                store.flush()
                flushed = monotonic()
    finally:
        store.flush()
    return store, keys


def console() -> None:
    sys.exit(main())


if __name__ == "__main__":
    sys.exit(main())
