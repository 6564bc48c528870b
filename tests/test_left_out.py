"""What could need a package of `left-out.txt`, or a part that the set-up trims, works without it.

The packages are hidden from every Python that a test starts: an environment with optional parts may have them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deft_aoi.cli.setup_plan import left_out
from test_backbone import TOKEN, WEIGHTS, Hub, ask, hub  # noqa: F401  (a fixture)

ROOT = Path(__file__).resolve().parents[1]
MODULES = {name.replace("-", "_").removesuffix("_py") for name in left_out()}
TRIMMED = {
    "fontTools.cu2qu", "fontTools.feaLib", "fontTools.misc.bezierTools", "fontTools.pens", "fontTools.qu2cu",
    "fontTools.ttLib", "fontTools.varLib", "pyarrow._flight", "pyarrow._s3fs",
    "matplotlib.tests", "numpy.tests", "numpy.lib.tests", "pandas.tests", "pyarrow.tests", "sklearn.tests",
}  # fmt: skip
HIDE = """
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if {names!r} & {{name, name.split(".")[0]}}:
            raise ModuleNotFoundError(f"No module named {{name!r}}, left out", name=name)

sys.meta_path.insert(0, Hidden())
"""


@pytest.fixture
def hidden(tmp_path: Path) -> dict[str, str]:
    """Variables under which a Python has none of them."""
    (tmp_path / "hide").mkdir()
    (tmp_path / "hide/sitecustomize.py").write_text(HIDE.format(names=MODULES | TRIMMED))
    return {"PYTHONPATH": os.pathsep.join([str(tmp_path / "hide"), str(ROOT / "scripts")])}


def python(hidden: dict[str, str], code: str, *arguments: str | Path) -> str:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, env=os.environ | hidden, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_they_are_hidden(hidden: dict[str, str]) -> None:
    code = """
import importlib, sys
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
        print(name)
    except ImportError:
        pass
"""
    assert python(hidden, code, *sorted(MODULES | TRIMMED)) == ""


def test_a_hub_download_over_http(hub: Hub, tmp_path: Path, hidden: dict[str, str]) -> None:  # noqa: F811
    done = ask(hub, tmp_path, HF_TOKEN=TOKEN, **hidden)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "w/augmentation/backbone/c_radio_v2_b.safetensors").read_bytes() == WEIGHTS


def test_every_plot_of_an_analysis(tmp_path: Path, hidden: dict[str, str]) -> None:
    rows = [f"{'short' if i % 3 == 0 else 'PASS'},{i * 37 % 100 / 100 + (i % 3 == 0)}" for i in range(90)]
    (tmp_path / "inference.csv").write_text("\n".join(["label,siamese_score", *rows, ""]))
    code = "import runpy, sys; del sys.argv[0]; runpy.run_path(sys.argv[0], run_name='__main__')"
    python(hidden, code, ROOT / "scripts/analyze_kpi.py", tmp_path / "inference.csv")
    drawn = sorted(path.suffix for path in (tmp_path / "kpi_analysis").iterdir() if path.suffix in (".png", ".svg"))
    assert drawn == [".png"] * 5 + [".svg"] * 5


def test_a_session_of_the_trunk_and_the_rest_that_is_native(hidden: dict[str, str]) -> None:
    code = """
import numpy as np, pandas as pd, io
from deft_aoi.engine.features.trunk import Trunk
maps, embedding = Trunk()([np.zeros((48, 48, 3), np.float32)])
print(embedding.shape)
import pyarrow.csv, pyarrow.parquet, faiss, cv2, scipy.stats, scipy.optimize, scipy.spatial
import sklearn.ensemble, sklearn.linear_model, sklearn.model_selection, numpy.testing
from cleanlab.filter import find_label_issues
stream = io.BytesIO()
pd.DataFrame({"a": ["x", "y"]}).to_parquet(stream)
print(pyarrow.parquet.ParquetFile(io.BytesIO(stream.getvalue())).read(use_threads=False).num_rows)
"""
    assert python(hidden, code) == "(1, 192)\n2\n"


def test_what_deft_watch_draws(hidden: dict[str, str]) -> None:
    code = """
from rich.console import Console, Group
from rich.live import Live
from deft_aoi.report.watch import Panel, Table
with Live(Group(Panel(Table("stage"))), console=Console(force_terminal=True), refresh_per_second=9):
    pass
"""
    assert "stage" in python(hidden, code)
