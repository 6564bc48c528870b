"""The environment out of a file of `deft bundle`: each package file compared with its hash, no installer."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path

from deft_aoi.cli.setup_plan import Plan, SetupError, base_python, interpreter
from deft_aoi.cli.setup_steps import run_step

BUNDLE_PART = "environment/"  # of a bundle: what goes into site-packages
BUNDLE_RECORD = "manifest.json"


def build_from_bundle(plan: Plan, lock: int, bundle: Path) -> None:
    """Make the environment from the packages in a bundle.

    Raises SetupError where it was packed for another environment, or a file is not what the bundle promises.
    """
    try:
        with tarfile.open(bundle) as opened:
            record = json.loads((opened.extractfile(BUNDLE_RECORD) or io.BytesIO(b"null")).read())
            if record["environment"] != plan.env.name:
                made = f"{record['environment']} ({record['python']} on {record['machine']}, skill {record['skill']})"
                raise SetupError(
                    f"{bundle}: holds {made}; this skill and Python need {plan.env.name} ({interpreter()})"
                )
            run_step(
                plan, lock, "making the environment", [base_python(), "-I", "-m", "venv", "--without-pip", plan.env]
            )
            unpack(opened, record["files"], plan.packages, bundle)
    except (tarfile.TarError, KeyError, TypeError, ValueError) as error:
        raise SetupError(f"{bundle}: no bundle of this skill ({type(error).__name__}: {error})") from None


def unpack(opened: tarfile.TarFile, files: Mapping[str, str], home: Path, bundle: Path) -> None:
    """Write the environment's files below `home`. Raises SetupError for one that is missing, changed or leads out."""
    wanted_now = {name: digest for name, digest in files.items() if name.startswith(BUNDLE_PART)}
    for member in opened:
        if member.name not in wanted_now:
            continue
        target = Path(os.path.normpath(home / member.name[len(BUNDLE_PART) :]))
        source = opened.extractfile(member)
        if source is None or not target.is_relative_to(home):
            raise SetupError(f"{bundle}: {member.name} is no plain file of the environment")
        data = source.read()
        if hashlib.sha256(data).hexdigest() != wanted_now.pop(member.name):
            raise SetupError(f"{bundle}: {member.name} is not the file that was packed; copy the bundle again")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    if wanted_now:
        raise SetupError(f"{bundle}: {next(iter(wanted_now))} is missing; copy the bundle again")
