"""The prose of the repository: what a person or an agent reads, apart from code, names and data."""

from __future__ import annotations

import io
import re
import subprocess
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_OTHER = ("*.md", "*.j2", "*.js", "*.yaml")
_NOT_OURS = ("benchmarks/results/", "assets/trunk/", "assets/page/lib/")
_CODE = re.compile(r"```.*?```|`[^`\n]+`|<[^>\n]*>|\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)
_FIELD = re.compile(r"\{[^{}]*\}")

# Words of the old house dialect (as patterns), and what to write instead. The one place: add a word here.
RETIRED = {
    r"mend(?:s|ed|ing)?": "fix",
    r"anew": "again",
    r"beside": "next to, compared with",
    r"for want of": "because there is no",
    r"drawn boards": "resampled by board",
    r"doubt(?:ful|fully|ed)": "suspect, suspected",
    r"in doubt": "suspected",
    r"for ever": "always, permanently",
    r"told": "reported, known, distinguished",
    r"(?:lies|lie) outside": "is outside",
    r"gone on with": "continued",
    r"stands? (?:in|on|at|for itself|alone|where)": "is",
    r"(?:lies|lie) (?:in|on|below|above|under|at|near|between|beneath|beside)": "is",
    r"hand(?:s|ed|ing)? (?:\w+ ){0,3}over": "deliver, write",
    r"all the same": "still, anyway",
    r"what hangs on": "what depends on",
    r"has the last word": "decides",
    r"of its own accord": "by itself",
    r"made good": "fixed",
}
PATTERN = re.compile(r"\b(?:" + "|".join(f"(?:{word})" for word in RETIRED) + r")\b", re.IGNORECASE)


def files() -> list[Path]:
    """Every tracked file that holds prose, without the licences, published results, this list and its test."""
    named = subprocess.run(
        ["git", "ls-files", "*.py", *_OTHER], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\n")
    paths = [ROOT / name for name in named if name and not name.startswith(_NOT_OURS)]
    listed = (Path(__file__).resolve(), ROOT / "tests/test_retired_words.py")
    return [path for path in paths if path.is_file() and path not in listed]


def passages(path: Path) -> Iterator[tuple[int, str]]:
    """(line, text) of comments, docstrings and messages of a module; of another file all but its code."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        blank = _CODE.sub(lambda match: re.sub(r"[^\n]", "§", match[0]), text)
        yield from enumerate(blank.split("\n"), start=1)
        return
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT or (token.type == tokenize.STRING and " " in token.string):
            blank = re.sub(r"`[^`\n]+`", "§", _FIELD.sub("§", token.string))
            yield from enumerate(blank.split("\n"), start=token.start[0])


def retired(path: Path) -> list[str]:
    """`file:line: word` of each retired word in a file."""
    found = []
    for line, text in passages(path):
        for match in PATTERN.finditer(text):
            found.append(f"{path.relative_to(ROOT)}:{line}: {match[0]!r}")
    return found
