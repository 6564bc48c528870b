"""The one error of the engine: TAO ends every refused task with exit code 1."""

from __future__ import annotations

from deft_aoi.errors import DeftError


class TaskError(DeftError):
    """A task cannot run or go on; the message is TAO's where TAO has one."""

    exit_code = 1
