"""status.json as TAO writes it: JSON lines, one a message, `kpi` next to the messages that measured something."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

STATUS_FILE = "status.json"


class StatusLog:
    """Appends to `<folder>/status.json`; every line is on disk when the call returns."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / STATUS_FILE

    def write(
        self, status: str, message: str, *, kpi: Mapping[str, float] | None = None, progress: Mapping[str, object] = {}
    ) -> None:
        """One line. `status` is STARTED, RUNNING or FAILURE; TAO never writes SUCCESS."""
        now = datetime.now()
        line: dict[str, object] = {
            **progress,
            "date": now.strftime("%m/%d/%Y"),
            "time": f"{now.hour}:{now.minute}:{now.second}",
            "status": status,
            "verbosity": "ERROR" if status == "FAILURE" else "INFO",
            "message": message,
        }
        if kpi is not None:
            line["kpi"] = dict(kpi)
        with open(self.path, "a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")
