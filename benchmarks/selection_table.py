"""Tables of selection.py's points: means, medians, and what is paired with random rows of the same seed.

python benchmarks/selection_table.py POINTS.jsonl [--iteration 3]
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

Points = dict[tuple[str, int, int, str], dict[int, dict[str, Any]]]
ORDER = (
    "baseline", "all", "random", "random-balanced", "knn", "knn+label", "uncertain",
    "weakness", "weakness+diverse", "weakness+screen",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("points", type=Path)
    parser.add_argument("--iteration", type=int, default=3)
    args = parser.parse_args()
    found: Points = defaultdict(dict)
    for line in args.points.read_text(encoding="utf-8").splitlines():
        point = json.loads(line)
        if point["iteration"] == args.iteration or point["policy"] == "baseline":
            found[point["by"], point["budget"], point["wrong"], point["policy"]][point["seed"]] = point
    for by in dict.fromkeys(key[0] for key in found):
        print(f"\n**By {by}** (rows an iteration, percent wrong pool labels)\n")
        print(table({key[1:]: seeds for key, seeds in found.items() if key[0] == by}))


def table(found: dict[tuple[int, int, str], dict[int, dict[str, Any]]]) -> str:
    lines = [
        "| rows | wrong | policy | seeds | FAR@100 % mean | median | largest | FAR@99.5 % | AUROC % "
        "| below random: seeds, mean difference | wrong rows taken |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for (budget, wrong, policy), seeds in sorted(
        found.items(), key=lambda item: (*item[0][:2], ORDER.index(item[0][2]))
    ):
        far = [point["far_pct"] for point in seeds.values()]
        versus = paired(seeds, found.get((budget, wrong, "random"), {})) if policy != "random" else ""
        near, area, taken = (
            statistics.fmean(point[name] for point in seeds.values()) for name in ("far_995_pct", "auroc", "wrong_rows")
        )
        lines.append(
            f"| {budget or '-'} | {wrong} | {policy} | {len(seeds)} | {statistics.fmean(far):.2f} "
            f"| {statistics.median(far):.2f} | {max(far):.2f} | {near:.2f} | {area:.3f} | {versus} | {taken:.0f} |"
        )
    return "\n".join(lines)


def paired(one: dict[int, dict[str, Any]], other: dict[int, dict[str, Any]]) -> str:
    gaps = [one[seed]["far_pct"] - other[seed]["far_pct"] for seed in one if seed in other]
    if not gaps:
        return ""
    return f"{sum(gap < 0 for gap in gaps)} of {len(gaps)}, {statistics.fmean(gaps):+.2f}"


if __name__ == "__main__":
    main()
