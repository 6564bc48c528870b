"""The one error of the engine: TAO ends every refused task with exit code 1."""

from __future__ import annotations

import os
import traceback
from pathlib import Path

from deft_aoi.base.errors import DeftError


class TaskError(DeftError):
    """A task cannot run or go on; the message is TAO's where TAO has one."""

    exit_code = 1


def fault(error: Exception) -> str:
    """One line for an error that nobody foresaw: what, and where it happened. DEFT_DEBUG=1 prints its traceback."""
    if os.environ.get("DEFT_DEBUG"):
        traceback.print_exception(error)
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}{place}"
