"""What is taken out of an environment after the installer: the one list, each entry with its reason.

Only in environments that the launcher makes for this skill; an interpreter named by DEFT_PYTHON is left as it is.
Whole packages that nothing needs are not installed at all: `left-out.txt`. Files are removed, never written: the
installer may have linked them from its cache.
"""

from __future__ import annotations

import shutil
from pathlib import Path

# Their own tests, a `tests` folder at any depth: 51 MB that nobody imports, but for the one that numpy.testing does.
TESTED = ("matplotlib", "mpl_toolkits", "numpy", "pandas", "pyarrow", "scipy", "sklearn")
KEPT = ("numpy/_core/tests",)
# Below site-packages.
UNUSED = (
    "pyarrow/include",  # headers for whoever compiles against Arrow
    "pyarrow/*_flight*",  # Arrow over gRPC
    "pyarrow/libarrow_s3*",  # files on S3; pyarrow.fs does without where the module is missing
    "pyarrow/_s3fs*",
    "pyarrow/libarrow_python*.so",  # the same library under three names: the one with one number is loaded
    "pyarrow/libarrow_python*.so.*.*.*",
    *(f"fontTools/{part}" for part in ("cu2qu", "feaLib", "misc/bezierTools*", "pens", "qu2cu", "ttLib", "varLib")),
    # ^ matplotlib's PDF and PostScript; PNG and SVG, which we draw, need the table of glyph names only
    "onnxruntime/capi/libonnxruntime.so.*",  # for programs in C; the module for Python holds the whole runtime itself
)


def trim(packages: Path) -> None:
    """Take the unused parts out of a site-packages folder."""
    kept = {packages / name for name in KEPT}
    found = [path for name in TESTED for path in (packages / name).rglob("tests") if path not in kept]
    for path in [*found, *(path for pattern in UNUSED for path in packages.glob(pattern))]:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
