"""All wheels of the base at once, for pip, which fetches one file after another: chosen from the index, compared with
the lock's hashes, counted in bytes.

Any trouble ends it quietly: pip then fetches by itself, knows more ways to an index, and says what is wrong.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import importlib
import re
import shutil
import sys
import threading
import zipfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from deft_aoi.cli import setup_index
from deft_aoi.cli.setup_index import Link
from deft_aoi.cli.setup_plan import Plan
from deft_aoi.cli.setup_steps import Progress, note

_WORKERS = 12
_BLOCK = 1 << 18
_PIN = re.compile(
    r"^([A-Za-z0-9._-]+)==([^\s;\\]+)(?: ; ([^\\\n]+?))? \\\n((?:    --hash=sha256:\w{64}(?: \\)?\n)+)", re.MULTILINE
)
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Pin:
    """One entry of the lock that this Python and machine need."""

    name: str
    version: str
    hashes: frozenset[str]


@dataclass
class Fetch:
    """The threads of one download; `stopped` ends them at the next block."""

    progress: Progress
    stopped: threading.Event = field(default_factory=threading.Event)
    guard: threading.Lock = field(default_factory=threading.Lock)

    def count(self, done: int = 0, total: int = 0) -> None:
        with self.guard:
            self.progress.done += done
            self.progress.total += total

    def each(self, work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        """`work` of each item, many at a time, progress shown meanwhile. Raises what the first that fails raises."""

        def one(item: Item) -> Result:
            if self.stopped.is_set():
                raise InterruptedError("stopped")
            return work(item)

        with ThreadPoolExecutor(_WORKERS) as pool:
            futures: list[Future[Result]] = [pool.submit(one, item) for item in items]
            try:
                left: set[Future[Result]] = set(futures)
                while left:
                    done, left = wait(left, timeout=0.25)
                    self.progress.show()
                    for future in done:
                        future.result()
            except BaseException:
                self.stopped.set()
                raise
        return [future.result() for future in futures]


def fetch(plan: Plan, pip: Path, folder: Path) -> int | None:
    """Have the base's wheels in `folder`; returns how many bytes they unpack to, None where pip has to fetch."""
    progress = Progress("downloading packages")
    progress.detail = "asking the index"
    try:
        with borrowed(pip) as packaging, setup_index.hosts_looked_up_once():
            chosen = choose(pins(plan.hashes.read_text("utf-8"), packaging), packaging, Fetch(progress))
            folder.mkdir()
            download(chosen, folder, Fetch(progress))
        return sum(unpacked_size(path) for path in folder.iterdir())
    except (OSError, ValueError, LookupError, ImportError, http.client.HTTPException, zipfile.BadZipFile) as error:
        note(plan, f"fetching the packages at once did not work ({type(error).__name__}: {error}); pip fetches them")
        shutil.rmtree(folder, ignore_errors=True)
        return None
    finally:
        progress.end()


@contextlib.contextmanager
def borrowed(pip: Path) -> Iterator[Any]:
    """pip's own copy of `packaging`, which knows markers and which wheels fit this machine."""
    sys.path.insert(0, str(pip))
    try:
        for name in ("markers", "tags", "utils"):
            importlib.import_module(f"pip._vendor.packaging.{name}")
        yield sys.modules["pip._vendor.packaging"]
    finally:
        sys.path.remove(str(pip))


def pins(lock: str, packaging: Any) -> list[Pin]:
    """The entries of the lock whose marker holds here."""
    return [
        Pin(name, version, frozenset(re.findall(r"sha256:(\w{64})", hashes)))
        for name, version, marker, hashes in _PIN.findall(lock)
        if not marker or packaging.markers.Marker(marker).evaluate()
    ]


def choose(wanted: list[Pin], packaging: Any, work: Fetch) -> list[tuple[Link, Pin]]:
    """For each pin the wheel that fits this machine best, one on this machine before one on a server.

    Raises LookupError for a pin without one.
    """
    rank = {tag: number for number, tag in enumerate(packaging.tags.sys_tags())}
    here, indexes = setup_index.found_links(), setup_index.indexes()
    canonical, parsed = packaging.utils.canonicalize_name, packaging.utils.parse_wheel_filename

    def fit(link: Link, pin: Pin) -> int | None:
        """How well a wheel's tags fit, 0 best; None for another package, machine or file."""
        if f"-{pin.version}-" not in link.name or (link.sha256 and link.sha256 not in pin.hashes):
            return None  # an old project has thousands: nothing slow before this
        try:
            name, version, _, tags = parsed(link.name)
        except ValueError:
            return None
        ranks = [rank[tag] for tag in tags if tag in rank]
        if not ranks or (name, str(version)) != (canonical(pin.name), pin.version):
            return None
        if not link.sha256 and link.local and hashlib.sha256(link.local.read_bytes()).hexdigest() not in pin.hashes:
            return None
        return min(ranks)

    def best(pin: Pin) -> tuple[Link, Pin]:
        offered = list(here)
        for index in indexes:
            offered += setup_index.project_links(index, canonical(pin.name))
        fits = [(found, not link.local, link.name, link) for link in offered if (found := fit(link, pin)) is not None]
        if not fits:
            raise LookupError(f"no wheel of {pin.name} {pin.version} for this machine")
        return min(fits, key=lambda one: one[:3])[3], pin

    return work.each(best, wanted)


def download(chosen: list[tuple[Link, Pin]], folder: Path, work: Fetch) -> None:
    """Put the wheels into `folder`, largest first. Raises ValueError for one with another hash than the lock's."""

    def measure(one: tuple[Link, Pin]) -> int:
        if one[0].local is not None:
            return 0
        with setup_index.opened(one[0].url, "HEAD") as answer:
            return int(answer.headers.get("Content-Length") or 0)

    sizes = work.each(measure, chosen)
    work.count(total=sum(sizes))

    def get_once(link: Link, pin: Pin) -> None:
        digest, got = hashlib.sha256(), 0
        try:
            with setup_index.opened(link.url) as answer, open(folder / link.name, "wb") as stream:
                while block := answer.read1(_BLOCK):
                    if work.stopped.is_set():
                        raise InterruptedError("stopped")
                    digest.update(block)
                    stream.write(block)
                    work.count(done=len(block))
                    got += len(block)
            if digest.hexdigest() not in pin.hashes:
                raise ValueError(f"{link.name} has another hash than the lock's")
        except BaseException:
            work.count(done=-got)
            raise

    def get(one: tuple[Link, Pin]) -> None:
        link, pin = one
        if link.local is not None:
            (folder / link.name).symlink_to(link.local)  # pip compares its hash
            return
        try:
            get_once(link, pin)
        except (OSError, ValueError, http.client.HTTPException):
            if work.stopped.is_set():
                raise
            get_once(link, pin)  # of so many connections one may be cut short

    largest_first = sorted(zip(sizes, chosen), key=lambda pair: -pair[0])
    work.each(get, [one for _, one in largest_first])


def unpacked_size(wheel: Path) -> int:
    with zipfile.ZipFile(wheel) as opened:
        return sum(member.file_size for member in opened.infolist())
