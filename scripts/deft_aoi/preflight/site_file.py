"""A site's own defaults for a platform, written once by who runs it: `slurm.yaml` with settings of platform slurm."""

from __future__ import annotations

import os
from pathlib import Path

from deft_aoi.base.errors import InputError
from deft_aoi.base.safe_yaml import read_yaml
from deft_aoi.base.versions import Platform

VARIABLE = "DEFT_SITE"  # a folder in place of the two below
_FOLDERS = (Path("~/.config/deft"), Path("/etc/deft"))


def site_settings(where: Platform) -> dict[str, str]:
    """Settings from the first `<platform>.yaml` that is there: in the folder that DEFT_SITE names, else in
    ~/.config/deft, else in /etc/deft. Empty where there is none.

    Raises InputError for a key that is no setting of the platform, or a value that is no plain text or number.
    """
    folders = [Path(os.environ[VARIABLE])] if os.environ.get(VARIABLE) else [folder.expanduser() for folder in _FOLDERS]
    path = next(
        (folder / f"{where.name}.yaml" for folder in folders if (folder / f"{where.name}.yaml").is_file()), None
    )
    if path is None:
        return {}
    tree = read_yaml(path)
    if not isinstance(tree, dict):
        raise InputError(f"{path}: expected lines of KEY: VALUE, settings of platform {where.name}")
    for key, value in tree.items():
        if key not in where.settings:
            known = ", ".join(where.settings) or "none"
            raise InputError(f"{path}: {key}: platform {where.name} has these settings: {known}")
        if not isinstance(value, str | int | float) or isinstance(value, bool):
            raise InputError(f"{path}: {key}: expected text or a number; quote it ('4:00:00')")
    return {key: str(value) for key, value in tree.items()}
