"""Words of the old house dialect stay out of prose, messages, help texts and docstrings; `prose.RETIRED` lists them."""

from __future__ import annotations

from pathlib import Path

import pytest

import prose


def test_no_retired_word_is_left() -> None:
    found = [line for path in prose.files() for line in prose.retired(path)]
    assert found == [], "tests/prose.py says what to write instead"


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.md", "Mend it, and call `mend` again.", 1),
        ("a.md", "```\nmend\n```\nIt lies in the folder.", 1),
        ("a.py", 'mend = f"fix {mend} anew"  # beside it', 2),
        ("a.py", 'KEY = "doubtful"\ndoubtful = KEY\n', 0),  # a name and a value, not prose
        ("a.py", '"""The files are handed over."""\n', 1),
        ("a.j2", '<p class="beside">{{ anew }} anew</p>', 1),
    ],
)
def test_the_search_finds_prose_and_nothing_else(tmp_path: Path, name: str, text: str, words: int) -> None:
    path = tmp_path / name
    path.write_text(text)
    assert sum(len(prose.PATTERN.findall(part)) for _, part in prose.passages(path)) == words
