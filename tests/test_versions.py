"""deft_aoi.base.versions, the skill's specs, and the two scripts that print them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

import inside
from deft_aoi.base.errors import InputError
from deft_aoi.base.paths import SKILL_ROOT
from deft_aoi.base.versions import image, pinned_value, platform, platforms
from deft_aoi.data.workspace_files import baseline_spec
from deft_aoi.spec.tree import load_spec, optics


def run(script: str, *arguments: str) -> inside.Done:
    return inside.script(script.removesuffix(".py"), *arguments)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("images.tao_toolkit.pyt", "nvcr.io/nvidia/tao/tao-toolkit:7.0.1-pyt"),
        ("images.tao_toolkit.data_services", "nvcr.io/nvidia/tao/tao-toolkit:7.0.1-data-services"),
        ("images.metropolis_sdg.paidf_anomalygen", "nvcr.io/nvidia/paidf-anomalygen:1.0.0"),
        ("tao", "7.0.1"),
    ],
)
def test_pins_are_those_of_the_contract(key: str, value: str) -> None:
    assert pinned_value(key) == value


def test_an_image_can_be_overruled_by_its_variable_only() -> None:
    assert image("images.tao_toolkit.pyt", {"TAO_PYT_IMAGE": "mine:1"}) == "mine:1"
    assert image("images.tao_toolkit.pyt", {"TAO_DS_IMAGE": "mine:1"}) == pinned_value("images.tao_toolkit.pyt")
    assert image("images.tao_toolkit.pyt", {"TAO_PYT_IMAGE": ""}) == pinned_value("images.tao_toolkit.pyt")


def test_an_unknown_key_names_those_below_it() -> None:
    with pytest.raises(InputError, match=r"images.tao_toolkit.pyt, images.tao_toolkit.data_services$"):
        pinned_value("images.tao_toolkit")
    with pytest.raises(InputError, match=r"expected one of tao, "):
        pinned_value("nothing")


def test_resolve_script() -> None:
    done = run("resolve_versions_key.py", "images.tao_toolkit.pyt")
    assert (done.returncode, done.stdout) == (0, "nvcr.io/nvidia/tao/tao-toolkit:7.0.1-pyt\n")
    done = run("resolve_versions_key.py", "images.nothing")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


def test_platforms_of_the_contract_are_all_known() -> None:
    names = {"local", "local-docker", "virtualenv", "slurm", "kubernetes", "elsewhere", "ssh", "brev", "lepton"}
    assert {entry.name for entry in platforms()} == names
    assert platforms()[0].name == "local"
    assert [platform(alias).name for alias in ("docker", "cluster", "k8s")] == ["local-docker", "slurm", "kubernetes"]
    with pytest.raises(InputError, match="expected one of local, "):
        platform("mainframe")


def test_platform_script() -> None:
    done = run("list_tao_platforms.py", "--skill-bank", "/x", "--format", "json", "--platform", "docker")
    assert done.returncode == 0, done.stderr
    (entry,) = json.loads(done.stdout)
    assert entry["name"] == "local-docker"
    text = run("list_tao_platforms.py", "--format", "text").stdout
    assert len(text.splitlines()) == 3 * len(platforms())  # not cut, though nobody looks at a terminal
    assert all(entry.when and entry.tried in text for entry in platforms())
    assert "credentials: none" in run("list_tao_platforms.py", "--platform", "local").stdout
    assert run("list_tao_platforms.py", "--platform", "moon").returncode == 2


def test_template_spec_is_valid_and_equals_what_importers_write(tmp_path: Path) -> None:
    template = SKILL_ROOT / "specs/baseline_spec.yaml"
    assert optics(load_spec(template), template).lights == ("SolderLight",)
    assert yaml.safe_load(template.read_text()) == baseline_spec()


def test_spec_of_two_lights_is_valid(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(baseline_spec(lights=("White", "Solder"), ext=".png", size=96), sort_keys=False))
    seen = optics(load_spec(path), path)
    assert (seen.lights, seen.ext, seen.width) == (("White", "Solder"), ".png", 96)
