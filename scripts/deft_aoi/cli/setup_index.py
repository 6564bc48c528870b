"""The package index as the user set it up for pip: its settings, its pages, its files, and pip itself."""

from __future__ import annotations

import base64
import configparser
import contextlib
import functools
import hashlib
import html
import http.client
import importlib.util
import os
import re
import socket
import ssl
import sysconfig
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deft_aoi.cli.setup_plan import SetupError

# Only for a Python without ensurepip (Debian's without python3-venv). The hash makes any way of getting it safe.
PIP_WHEEL = "pip-26.3-py3-none-any.whl"
PIP_SHA256 = "f3b60b20ffaadd4415ed7957212a38ac63fa4c5fa375bd0f4a797777940fad13"
DEFAULT_INDEX = "https://pypi.org/simple"
_TIMEOUT_S = 15


@dataclass(frozen=True)
class Link:
    """A wheel that an index or a folder offers; `sha256` is empty where it does not say."""

    name: str
    url: str
    sha256: str

    @property
    def local(self) -> Path | None:
        parts = urllib.parse.urlsplit(self.url)
        return Path(urllib.request.url2pathname(parts.path)) if parts.scheme == "file" else None


def pip_setting(name: str) -> str | None:
    """A `[global]` setting as pip sees it: environment first, then the user's and the system's configuration files."""
    value = os.environ.get("PIP_" + name.upper().replace("-", "_"))
    if value:
        return value
    more = os.environ.get("PIP_CONFIG_FILE") or ""
    if more == os.devnull:  # no file at all, for pip too
        return None
    user = Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser() / "pip/pip.conf"
    parser = configparser.RawConfigParser()
    with contextlib.suppress(configparser.Error, UnicodeDecodeError):
        # Later files win, as they do for pip.
        parser.read(["/etc/xdg/pip/pip.conf", "/etc/pip.conf", Path("~/.pip/pip.conf").expanduser(), user, more])
    return parser.get("global", name, fallback=None)


def settings(name: str) -> list[str]:
    return (pip_setting(name) or "").split()


def no_index() -> bool:
    return (pip_setting("no-index") or "0").lower() not in ("0", "false", "no", "off")


def indexes() -> list[str]:
    """Addresses of the indexes, each ending in a slash."""
    found = [] if no_index() else [pip_setting("index-url") or DEFAULT_INDEX, *settings("extra-index-url")]
    return [url.rstrip("/") + "/" for url in found]


def project_links(index: str, project: str) -> list[Link]:
    """Wheels that an index has of a project; none where it does not know it."""
    url = f"{index}{project}/"
    if url.startswith("file:"):
        page = Link("", url, "").local
        page = page / "index.html" if page else None
        return list(links(page.read_text("utf-8", "replace"), url)) if page and page.is_file() else []
    try:
        with opened(url) as answer:
            return list(links(answer.read().decode("utf-8", "replace"), url))
    except urllib.error.HTTPError as error:
        if error.code != 404:
            raise
        return []


def found_links() -> list[Link]:
    """Wheels of the folders and pages that `find-links` names."""
    found: list[Link] = []
    for place in settings("find-links"):
        folder = Link("", place, "").local or Path(place)
        if folder.is_dir():
            found += [Link(path.name, path.absolute().as_uri(), "") for path in folder.glob("*.whl")]
        elif re.match(r"https?://", place):
            with opened(place) as answer:
                found += links(answer.read().decode("utf-8", "replace"), place)
    return found


def links(page: str, url: str) -> Iterator[Link]:
    """The wheels that a page links to; user and password of its address go on to files of the same server only."""
    of_page = urllib.parse.urlsplit(url)
    for href in re.findall(r"""<a\b[^>]*?\bhref\s*=\s*["']([^"']+)["']""", page, re.IGNORECASE):
        parts = urllib.parse.urlsplit(urllib.parse.urljoin(url, html.unescape(href)))
        name = urllib.parse.unquote(parts.path.rpartition("/")[2])
        if not name.endswith(".whl"):
            continue
        if parts.netloc == of_page.netloc.rpartition("@")[2]:
            parts = parts._replace(netloc=of_page.netloc)
        known = re.search(r"\bsha256=([0-9a-f]{64})", parts.fragment)
        yield Link(name, urllib.parse.urlunsplit(parts._replace(fragment="")), known.group(1) if known else "")


def opened(url: str, method: str = "GET") -> http.client.HTTPResponse:
    """Ask with pip's certificate setting; user and password in the address become a header, for this server only.

    On a system without certificates (a minimal Debian) the check of the server is given up, never with a password:
    what is fetched is compared with a pinned hash, so a wrong server can only fail.
    """
    parts = urllib.parse.urlsplit(url)
    address = urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    request = urllib.request.Request(address, method=method)
    if parts.username:
        pair = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
        request.add_unredirected_header("Authorization", "Basic " + base64.b64encode(pair.encode()).decode())
    try:
        return urllib.request.urlopen(request, timeout=_TIMEOUT_S, context=tls(pip_setting("cert")))
    except urllib.error.URLError as error:
        if parts.username or not isinstance(error.reason, ssl.SSLCertVerificationError):
            raise
    return urllib.request.urlopen(request, timeout=_TIMEOUT_S, context=tls(None, checked=False))


@contextlib.contextmanager
def hosts_looked_up_once() -> Iterator[None]:
    """For many requests to few hosts: a name server that drops one of a dozen questions at once costs 5 s each time."""
    asked, guard = socket.getaddrinfo, threading.Lock()
    known = functools.cache(asked)

    def look_up(*words: Any, **more: Any) -> Any:
        with guard:
            return known(*words, **more)

    socket.getaddrinfo = look_up
    try:
        yield
    finally:
        socket.getaddrinfo = asked


@functools.cache
def tls(certificates: str | None, *, checked: bool = True) -> ssl.SSLContext:
    """Read once: all the system's certificates take longer than a small file."""
    context = ssl.create_default_context(cafile=certificates)
    if not checked:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def find_pip(home: Path) -> Path:
    """A wheel of pip, run as it is: an environment that nobody installs into needs none of its own.

    Raises SetupError where this Python brings none and the index hands out none.
    """
    if found := importlib.util.find_spec("ensurepip"):
        # Where Fedora, Python itself and Debian keep it.
        folders = [sysconfig.get_config_var("WHEEL_PKG_DIR"), Path(str(found.origin)).parent / "_bundled"]
        for folder in [*filter(None, folders), "/usr/share/python-wheels"]:
            if wheels := sorted(Path(folder).glob("pip-*.whl")):
                return wheels[-1]
    return fetch_pip(home)


def fetch_pip(home: Path) -> Path:
    """The pinned pip wheel from the package index, kept in `home`.

    Raises SetupError when the index cannot be reached or hands out other bytes.
    """
    wheel = home / PIP_WHEEL
    if wheel.is_file() and hashlib.sha256(wheel.read_bytes()).hexdigest() == PIP_SHA256:
        return wheel
    way_out = "install python3-venv (Debian, Ubuntu: apt install python3-venv) or set DEFT_PYTHON"
    try:
        index = (pip_setting("index-url") or DEFAULT_INDEX).rstrip("/") + "/"
        found = [link for link in project_links(index, "pip") if link.name == PIP_WHEEL]
        if not found:
            raise SetupError(f"this Python has no pip and the package index has no {PIP_WHEEL}; {way_out}")
        with opened(found[0].url) as answer:
            data = answer.read()
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise SetupError(f"this Python has no pip, and fetching it failed ({reason}); {way_out}") from None
    if hashlib.sha256(data).hexdigest() != PIP_SHA256:
        raise SetupError(f"{PIP_WHEEL} from the package index is not the file expected; {way_out}")
    wheel.write_bytes(data)
    return wheel
