"""Does a golden that is made from good parts serve as well as the one that was taught? FAR on simulated lines.

    python benchmarks/goldens.py [--seeds 5] [--sites 12] [--output benchmarks/results/goldens.csv]

Each seed is another factory. Every site (a part number) gets 20 good parts to build a golden from, as `deft import`
does, and other boards to learn from and to be judged by. The features engine is trained and judged twice, with the
golden of the reference board and with the one that was built; everything else is equal.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from deft_aoi.engine.features.distances import pair_features
from deft_aoi.engine.features.head import fit, start_head
from deft_aoi.engine.features.trunk import Trunk
from deft_aoi.engine.images import make_pair
from deft_aoi.importers.goldens import Library, build
from deft_aoi.importers.likeness import look_of, looks_of
from deft_aoi.importers.reading import Part
from deft_aoi.kpi.sweep import auroc, operating_point, sweep
from deft_aoi.simulate.board import PRODUCTS, make_site
from deft_aoi.simulate.camera import LIGHTS
from deft_aoi.simulate.defects import DEFECTS, can_have
from deft_aoi.simulate.line import LOTS, make_lot
from deft_aoi.simulate.pair import golden_pictures, line_pictures
from deft_aoi.simulate.scene import CROP

GOOD = 20  # parts that a golden is made of
LEARN, JUDGE = (16, 6), (24, 6)  # good parts and defects of each site


@dataclass(frozen=True)
class Shot:
    """One part of a site."""

    site: int
    pictures: tuple[np.ndarray, ...]  # by light
    defect: bool


def shots(seed: int, product: int, number: int, good: int, bad: int, salt: int) -> list[Shot]:
    """Parts of one site on boards of their own, lots and lamps as the line has them."""
    site = make_site(seed, product, number)
    kinds = [kind for kind in DEFECTS if can_have(site, kind)]
    found = []
    for each in range(good + bad):
        rng = np.random.default_rng([seed, 31, product, number, salt, each])
        lot = make_lot(seed, int(rng.integers(LOTS)))
        drift = (float(rng.normal(1, 0.03)), float(rng.normal(1, 0.03)))
        kind = None if each < good else kinds[int(rng.integers(len(kinds)))]
        taken = line_pictures(rng, site, lot, drift, kind, float(rng.uniform(0, 1)))
        found.append(Shot(number, tuple(taken[light] for light in LIGHTS), kind is not None))
    return found


def goldens(seed: int, product: int, number: int, work: Path) -> tuple[tuple[np.ndarray, ...], Library]:
    """The golden that was taught, and those that are built, of which the nearest serves."""
    rng = np.random.default_rng([seed, 32, product, number])
    taught = golden_pictures(rng, make_site(seed, product, number), make_lot(seed, 0))
    parts = []
    for each, shot in enumerate(shots(seed, product, number, GOOD, 0, salt=0)):
        files = []
        for light, picture in zip(LIGHTS, shot.pictures):
            path = work / f"{seed}_{number}_{each}_{light}.png"
            cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
            files.append((light, path))
        parts.append(Part(str(each), "PASS", tuple(files), str(each), component="S"))
    made = build("S", parts, looks_of([part.files[0][1] for part in parts]), work, number)
    return tuple(taught[light] for light in LIGHTS), Library(made, looks_of([golden.files[0][1] for golden in made]))


def nearest(library: Library, shot: Shot) -> tuple[np.ndarray, ...]:
    part = Part("judged", "", ((LIGHTS[0], Path("judged")),), "judged", component="S")
    golden = library.golden_of(part, look_of(cv2.cvtColor(shot.pictures[0], cv2.COLOR_RGB2GRAY)))
    assert golden is not None
    return tuple(cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB) for _, path in golden.files)


def measure(seed: int, sites: int, work: Path) -> list[dict[str, object]]:
    trunk, product = Trunk(), seed % len(PRODUCTS)
    pictures = {number: goldens(seed, product, number, work) for number in range(sites)}
    sets = [
        [shot for number in range(sites) for shot in shots(seed, product, number, *counts, salt=salt)]
        for counts, salt in ((LEARN, 1), (JUDGE, 2))
    ]
    rows = []
    for name in ("given", "built"):
        values, defect = [], []
        for some in sets:
            pairs = []
            for shot in some:
                taught, library = pictures[shot.site]
                golden = taught if name == "given" else nearest(library, shot)
                pairs += [make_pair(one, other, CROP, CROP) for one, other in zip(shot.pictures, golden)]
            values.append(pair_features(pairs, trunk).reshape(len(some), len(LIGHTS), -1))
            defect.append(np.array([shot.defect for shot in some]))
        head = start_head(LIGHTS, values[0], defect[0])
        head = fit(head, values[0], defect[0], epochs=10, cls_weight=(1.0, 10.0))[-1]
        swept = sweep(defect[1], head.logits(values[1]))
        medians = sum(library.goldens[0].source.startswith("median") for _, library in pictures.values())
        rows.append(
            {
                "seed": seed, "golden": name, "sites": sites, "with_median": medians if name == "built" else 0,
                "n_pass": swept.n_pass, "n_defect": swept.n_defect,
                "far_100_pct": 100 * operating_point(swept, 1.0).far,
                "far_95_pct": 100 * operating_point(swept, 0.95).far, "auroc": auroc(swept),
            }
        )  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--sites", type=int, default=12)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/goldens.csv"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        rows = [row for seed in range(args.seeds) for row in measure(seed, args.sites, Path(work))]
    table = pd.DataFrame(rows)
    table.to_csv(args.output, index=False, float_format="%.4g")
    print(table.to_string(index=False, float_format="%.4g"))
    print(table.groupby("golden")[["far_100_pct", "far_95_pct", "auroc"]].mean().to_string(float_format="%.4g"))


if __name__ == "__main__":
    main()
