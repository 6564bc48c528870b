"""A process that has imported what the embedded engine needs, and forks a supervisor and a command for each job.

Usage: python -m deft_aoi.executors.worker SOCKET_FD. One serves all jobs that one `deft` process submits, so that
Python and its packages are started once. It ends with that process; the jobs, each a session of its own that holds its
own lock, go on. Linux only: elsewhere a fork of a process with such libraries is not safe.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import os
import runpy
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NoReturn

from deft_aoi.base.engine_commands import ENGINES, SHARED_IMPORTS
from deft_aoi.base.threads import calm_collector, calm_threads
from deft_aoi.executors.base import LOG
from deft_aoi.executors.supervise import supervise

_LONGEST = 1 << 16  # bytes of one message: a job's folder


class Worker:
    """This process's end of one, which was started with `environment`; what it says itself goes to `log`."""

    def __init__(self, environment: Mapping[str, str], log: IO[bytes]) -> None:
        self.environment = dict(environment)
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            subprocess.Popen(
                [sys.executable, "-m", "deft_aoi.executors.worker", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment,
                start_new_session=True,
                pass_fds=(theirs.fileno(),),
            )

    def take(self, job: Path, lock: int) -> bool:
        """Have the command of `job`/handle.json run, with the open lock handed on. False where the worker is gone."""
        try:
            socket.send_fds(self._channel, [os.fsencode(job.absolute())], [lock])
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Let it end; its jobs go on."""
        self._channel.close()


def forks(command: Sequence[str]) -> bool:
    """Whether a worker runs this command line: a module of ours, on Linux."""
    ours = [[sys.executable, "-m", module] for module in ENGINES.values()]
    return sys.platform == "linux" and list(command[:3]) in ours


_kept: list[Worker] = []  # this process's, at most one


def submit(job: Path, lock: int, environment: Mapping[str, str], log: IO[bytes]) -> None:
    """Give the job to this process's worker, or to a new one where there is none that has this environment."""
    if not (_kept and _kept[0].environment == environment and _kept[0].take(job, lock)):
        while _kept:
            _kept.pop().close()
        _kept.append(Worker(environment, log))
        _kept[0].take(job, lock)


def main(channel: int) -> int:
    """Fork one supervisor for each job that comes over the socket, until its other end is closed."""
    calm_threads()
    calm_collector()
    # A fork copies one thread: pyarrow's allocator must not start another.
    os.environ.setdefault("JE_ARROW_MALLOC_CONF", "background_thread:false")
    for name in SHARED_IMPORTS:
        with contextlib.suppress(ImportError):  # the job that needs it will say so in its own log
            importlib.import_module(name)
    gc.freeze()  # a collection in a fork would write to, and so copy, every page of what was imported
    with socket.socket(fileno=channel) as jobs:
        while True:
            message, locks, *_ = socket.recv_fds(jobs, _LONGEST, 1)
            if not message:
                return 0
            if os.fork() == 0:
                jobs.close()
                _end_with(functools.partial(_serve, Path(os.fsdecode(message))))
            os.close(locks[0])  # the job alone holds it
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG) != (0, 0):
                    pass


def _serve(job: Path) -> int:
    """What the supervisor of one job is."""
    os.setsid()
    os.chdir(job)
    with open(job / LOG, "ab") as log:
        os.dup2(log.fileno(), sys.stdout.fileno())
        os.dup2(log.fileno(), sys.stderr.fileno())
    return supervise(job, _fork)


def _fork(handle: dict[str, Any]) -> int:
    """Run the handle's command in a child, as `python -m MODULE ...` would; its exit code."""
    child = os.fork()
    if not child:
        _end_with(functools.partial(_run_module, *handle["command"][2:]))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _run_module(module: str, *arguments: str) -> int:
    sys.argv = [module, *arguments]
    sys.modules.pop(module, None)  # imported for its own sake; as the main program it runs again
    runpy.run_module(module, run_name="__main__", alter_sys=True)
    return 0


def _end_with(run: Callable[[], int]) -> NoReturn:
    """End this fork with the exit code of `run`. What the worker has imported is not taken down once more in each of
    them: that costs 0.14 CPU seconds a fork."""
    code = 1
    try:
        code = run()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
