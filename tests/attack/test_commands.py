"""Names that become arguments, and the promise that no shell and no loader of code is anywhere."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from attacks import TRAINING, Attacker, set_cells
from deft_aoi.base import names, versions
from deft_aoi.base.paths import SKILL_ROOT
from deft_aoi.base.rows import check_labels, read_rows

KIND = "commands"
SOURCES = sorted((SKILL_ROOT / "scripts").rglob("*.py"))
LABELS = [
    "=cmd()", "-rf", "--privileged", "../x", "a/b", "a\\b", "a\0b", "a\nb", "\x1b[31mred", "a\u202eb", "$(id)", "`id`",
    "a;id|b", "x" * 200, "<script>", "{{7*7}}", "a\u200bb", "*", "@SUM(1)", "+1", ".hidden", "a\"b", "a$HOME",
]  # fmt: skip


@pytest.mark.parametrize("label", LABELS)
def test_no_label_is_an_option_path_or_formula(attacker: Attacker, workspace: Path, label: str) -> None:
    set_cells(workspace / TRAINING, label=label)
    rows = read_rows(workspace / TRAINING)
    assert "line 5: label" in attacker.refused(lambda: check_labels(rows, workspace / TRAINING), what=label)


@pytest.mark.parametrize("label", ["PASS", "bridge", "Lötbrücke", "虚焊", "excess solder", "R-C 0402 (2)"])
def test_labels_of_factories_are_taken(label: str) -> None:
    assert names.label_problem(label) is None


def test_no_light_leaves_its_file_name(attacker: Attacker) -> None:
    for light in ("../x", "a/b", "", "-x", "a\0", "a\nb", "x" * 65, "a\u202eb", "$(id)"):
        attacker.refused(lambda light=light: names.check_lights([light], ".png", "spec"), what=light)
    for ext in ("png", ".", ".p/g", ".png;id", "../x", ".png\0", ".very_long_extension"):
        attacker.refused(lambda ext=ext: names.check_lights(["a"], ext, "spec"), what=ext)


@pytest.mark.parametrize(
    "image",
    ["-v/:/host", "--privileged", "a b", "image;id", "$(id)", "image\n--privileged", "../x.sif", "", "a\0", "A:B",
     "a:b:c", "http://host/x", "x@sha256:zz"],
)  # fmt: skip
def test_no_image_name_is_an_option(attacker: Attacker, image: str) -> None:
    attacker.refused(lambda: names.check_image(image, "TAO_PYT_IMAGE"), what=image)
    if image:
        attacker.refused(lambda: versions.image("images.tao_toolkit.pyt", {"TAO_PYT_IMAGE": image}), what=image)


def test_images_in_use_are_taken() -> None:
    mine = ["localhost:5000/tao:1", "registry.example.com/a/b-c_d:v1.2", f"x@sha256:{'0' * 64}", "/images/tao.sif"]
    for image in [*map(versions.image, versions.image_keys()), *mine]:
        assert names.check_image(image, "image") == image


@pytest.mark.parametrize("project", ["../x", "a/b", "-x", "", "a b", "a\n", "$(id)", "x" * 101, "a..b", ".x"])
def test_no_project_is_a_path(attacker: Attacker, project: str) -> None:
    attacker.refused(lambda: names.check_project(project), what=project)


def test_no_shell_and_no_loader_of_code_anywhere(attacker: Attacker) -> None:
    found = [fault for path in SOURCES for fault in faults(path)]
    attacker.found("leaked", found, len(SOURCES))


FORBIDDEN = {
    "os.system",
    "os.popen",
    "os.execl",
    "os.spawnl",
    "subprocess.getoutput",
    "subprocess.getstatusoutput",
    "eval",
    "exec",
    "compile",
    "__import__",
    "yaml.load",
    "yaml.load_all",
    "yaml.unsafe_load",
    "yaml.full_load",
    "pickle.load",
    "pickle.loads",
    "joblib.load",
    "dill.load",
    "marshal.loads",
    "shelve.open",
    "pandas.read_pickle",
    "pd.read_pickle",
}
# One place each: elsewhere a file from outside would be read without its limits.
ONLY_IN = {
    "cv2.imread": "safe_images.py", "cv2.imdecode": "safe_images.py", "yaml.safe_load": "safe_yaml.py",
    "pd.read_csv": "rows.py", "pd.read_parquet": "rows.py",
}  # fmt: skip
FORBIDDEN_IMPORTS = {"pickle", "shelve", "marshal", "dill", "joblib", "cloudpickle", "commands"}


def faults(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        where = f"{path.name}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            yield from (f"{where}: import {name}" for name in modules if name.split(".")[0] in FORBIDDEN_IMPORTS)
        if not isinstance(node, ast.Call):
            continue
        name, options = ast.unparse(node.func), {word.arg: word.value for word in node.keywords}
        shell = options.get("shell")
        if shell is not None and not (isinstance(shell, ast.Constant) and shell.value is False):
            yield f"{where}: shell"
        if name in FORBIDDEN:
            yield f"{where}: {name}"
        if name in ONLY_IN and path.name != ONLY_IN[name]:
            yield f"{where}: {name} outside {ONLY_IN[name]}"
        if name == "torch.load" and ast.unparse(options.get("weights_only", ast.Constant(None))) != "True":
            yield f"{where}: torch.load without weights_only=True"
        if name in ("np.load", "numpy.load") and "allow_pickle" in options:
            yield f"{where}: np.load with allow_pickle"
        if name.startswith("subprocess.") and node.args and isinstance(node.args[0], (ast.Constant, ast.JoinedStr)):
            yield f"{where}: {name} of one text"


def test_the_scan_sees_what_it_looks_for(tmp_path: Path) -> None:
    bad = [
        "import pickle",
        "import os\nos.system('x')",
        "import subprocess\nsubprocess.run('x', shell=True)",
        "subprocess.run('x')",
        "eval('1')",
        "torch.load('x')",
        "yaml.load('x')",
        "cv2.imread('x')",
    ]
    for text in bad:
        path = tmp_path / "x.py"
        path.write_text(text)
        assert list(faults(path)), text
