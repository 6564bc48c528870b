"""The bill of materials names every pin, and nothing that is pinned is under a licence that we could not ship with."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from deft_aoi.cli import sbom

# Words of licences that would bind what runs next to them; everything in the base is imported by our code.
STRONG = re.compile(r"(?<!L)(?<!Lesser )\b(AGPL|GPL-\d|GPLv\d|GNU General Public|SSPL|proprietary)", re.IGNORECASE)


def test_the_list_has_every_pin_and_the_base_has_licences_that_may_go_along() -> None:
    found = sbom.packages()
    pins = [line for line in sbom.CONSTRAINTS.read_text().splitlines() if re.match(r"\w", line)]
    assert len(found) == len(pins)
    base = [package for package in found if package.base]
    known = [package for package in base if package.licence != sbom.UNKNOWN]
    assert len(base) > 40
    assert len(known) > 30, "an interpreter with other versions tells no licences"
    assert [(p.name, p.licence) for p in known if STRONG.search(p.licence) or p.licence == "not stated"] == []


def test_the_command_writes_a_bill_of_materials(tmp_path: Path) -> None:
    files = [tmp_path / "one.json", tmp_path / "two.json"]
    for path in files:
        command = [sys.executable, "-m", "deft_aoi.cli.main", "sbom", "--output", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert files[0].read_bytes() == files[1].read_bytes()
    bill = json.loads(files[0].read_text())
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    purls = [part["purl"] for part in bill["components"] if "purl" in part]
    assert len(purls) == len(set(purls)) == len(sbom.packages())
    assert any(re.fullmatch(r"pkg:pypi/numpy@[\d.]+", purl) for purl in purls)
