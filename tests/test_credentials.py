"""Secrets are found by name where the contract says they may stand."""

from __future__ import annotations

from pathlib import Path

import pytest

from deft_aoi.base.credentials import credential, read_env_file


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("NGC_KEY=abc", "abc"),
        ('export NGC_KEY="a b#c"', "a b#c"),
        ("  NGC_KEY = 'x=y' # mine", "x=y"),
        ("NGC_KEY=abc # mine", "abc"),
        ("NGC_KEY=$(touch owned)", "$(touch"),
        ("NGC_KEY=", ""),
        ("# NGC_KEY=old", None),
        ("NGC KEY=abc", None),
    ],
)
def test_lines_of_an_env_file_are_parsed_and_never_run(tmp_path: Path, line: str, value: str | None) -> None:
    (tmp_path / ".env").write_text(f"\ufeff{line}\nOTHER=1\n")
    found = read_env_file(tmp_path / ".env")
    assert found.get("NGC_KEY") == value
    assert found["OTHER"] == "1"


def test_the_environment_goes_first_and_an_empty_value_is_none(tmp_path: Path) -> None:
    assert credential("HF_TOKEN", tmp_path, {}) is None
    (tmp_path / ".env").write_text("HF_TOKEN=file\nHF_TOKEN=last\nNGC_KEY=\n")
    assert credential("HF_TOKEN", tmp_path, {}) == "last"
    assert credential("HF_TOKEN", tmp_path, {"HF_TOKEN": "shell"}) == "shell"
    assert credential("HF_TOKEN", tmp_path, {"HF_TOKEN": ""}) == "last"
    assert credential("NGC_KEY", tmp_path, {}) is None
