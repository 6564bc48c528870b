"""The few errors of the loop and the exit code of each."""

from __future__ import annotations

from collections.abc import Iterator

OK = 0
REFUSED = 2
HARD_STOP = 3
COMPLETE = 10
FAULT = 70  # of this program: nothing that a user did
STILL_RUNNING = 75


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those below it, those among the arguments of a wrapper too."""
    while error is not None:
        yield error
        yield from (one for one in error.args if isinstance(one, BaseException))
        error = error.__cause__ or error.__context__


class DeftError(Exception):
    """Base of every error that a user may see: one line, no traceback."""

    exit_code = REFUSED


class InputError(DeftError):
    """Refused input: names what, where, what was expected and what to type next."""


class Refusals(InputError):
    """Several refused inputs at once, one line each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class Unreachable(DeftError):
    """The place where a job runs does not answer: nothing is known of the job, nothing is lost, the call can be
    repeated once it answers. Never journaled."""


class NotYet(DeftError):
    """What a stage needs from outside is not there yet: the call can be repeated. Never journaled."""

    exit_code = STILL_RUNNING


class HardStop(DeftError):
    """The loop must not go on by itself.

    `code` is a stable identifier, `evidence` the file that shows the fault, `remedy` what a person can do.
    """

    exit_code = HARD_STOP

    def __init__(self, code: str, message: str, *, evidence: str = "", remedy: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.evidence = evidence
        self.remedy = remedy
