"""Makes the environment that `scripts/deft` runs in, once, in a cache folder outside the skill.

Standard library only and nothing of our own: the launcher runs this file with `python -I` before anything is installed.
An environment is built in place under a lock and marked complete by its last write, so what a kill leaves behind is
seen by the next call and built again; a complete one is never changed.
"""

from __future__ import annotations

import argparse
import ast
import base64
import configparser
import contextlib
import errno
import fcntl
import hashlib
import importlib.util
import io
import json
import os
import platform
import re
import shutil
import ssl
import subprocess
import sys
import tarfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SKILL_ROOT = Path(__file__).resolve().parents[3]
# Only for a Python without ensurepip (Debian's without python3-venv). The hash makes any way of getting it safe.
PIP_WHEEL = "pip-26.3-py3-none-any.whl"
PIP_SHA256 = "f3b60b20ffaadd4415ed7957212a38ac63fa4c5fa375bd0f4a797777940fad13"
DEFAULT_INDEX = "https://pypi.org/simple"
BUNDLE_PART = "environment/"  # of a bundle: what goes into site-packages
BUNDLE_RECORD = "manifest.json"
NEEDED_MB, TEST_MB, EXTRA_MB = 1200, 500, 1500  # torch without CUDA; with it the installer itself needs more
OPTIONAL = ("net", "backbones", "kubernetes")
# What brings native code: if these load, the rest does.
PROBE = "import cv2, faiss, matplotlib, numpy, onnxruntime, pandas, pyarrow, scipy"
_STRIPPED = (
    "PYTHONPATH",
    "PYTHONHOME",
    "PYTHONDONTWRITEBYTECODE",
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "PIP_TARGET",
    "PIP_PREFIX",
    "PIP_ROOT",
)
_HEARTBEAT_S = 15.0


class SetupError(Exception):
    """The environment cannot be made; the message is one line for a person."""


class StepError(Exception):
    """One command of the set-up failed; holds what it printed."""

    def __init__(self, output: Sequence[str]) -> None:
        super().__init__(output[-1] if output else "no output")
        self.output = list(output)


@dataclass(frozen=True)
class Plan:
    """What to build and where."""

    home: Path
    env: Path
    requirements: tuple[str, ...]
    constraints: Path
    needed_mb: int
    hashes: Path = SKILL_ROOT / "requirements.lock"  # of every file that the base may be made of
    bundle: Path | None = None  # made by `deft bundle` elsewhere: nothing is downloaded
    more: bool = False  # optional parts, pinned by version: a torch without CUDA is another file than the index's

    log = property(lambda self: self.env.with_name(self.env.name + ".log"))
    lock = property(lambda self: self.env.with_name(self.env.name + ".lock"))
    python = property(lambda self: self.env / "bin/python")
    marker = property(lambda self: self.env / ".complete")

    @property
    def complete(self) -> bool:
        return self.marker.is_file() and os.access(self.python, os.X_OK)


def requirements(pyproject: str, *extras: str) -> tuple[str, ...]:
    """The dependency list of a pyproject.toml text and those of its `extras` (Python 3.10 has no tomllib)."""
    found: list[str] = []
    for name in ("dependencies", *extras):
        block = re.search(rf"^{name} = \[\n(.*?)^\]", pyproject, re.MULTILINE | re.DOTALL)
        if block is None:
            raise SetupError(f"{SKILL_ROOT / 'pyproject.toml'}: no list {name!r}; install the skill again")
        found += ast.literal_eval(f"[{block.group(1)}]")
    return tuple(found)


def make_plan(home: Path, *, test: bool, optional: Sequence[str] = (), bundle: Path | None = None) -> Plan:
    """Name the environment by everything that decides what is in it. Raises SetupError for an unknown optional part."""
    constraints = SKILL_ROOT / "constraints.txt"
    if unknown := sorted(set(optional) - set(OPTIONAL)):
        raise SetupError(f"DEFT_EXTRAS: {unknown[0]!r} is no optional part; expected some of {', '.join(OPTIONAL)}")
    extras = (*(["test"] if test else []), *optional)
    try:
        asked = requirements((SKILL_ROOT / "pyproject.toml").read_text(encoding="utf-8"), *extras)
        pins = constraints.read_bytes() + (SKILL_ROOT / "requirements.lock").read_bytes()
    except OSError as error:
        raise SetupError(f"{error.filename}: {error.strerror}; install the skill again") from None
    version = f"{sys.implementation.cache_tag}-{platform.system()}-{platform.machine()}"
    digest = hashlib.sha256("\n".join([version, *asked]).encode() + b"\n" + pins).hexdigest()[:12]
    needed = NEEDED_MB + (TEST_MB if test else 0) + (EXTRA_MB if optional else 0)
    return Plan(
        home, home / "-".join(["env", digest, *extras]), asked, constraints, needed, bundle=bundle, more=bool(extras)
    )


def say(text: str) -> None:
    print(f"deft: {text}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def only_one(path: Path) -> Iterator[int]:
    """Hold the lock file's exclusive lock; yields its descriptor, which children inherit.

    Inherited, because a killed set-up can leave its installer running: the next call then waits for that one too.
    """
    with open(path, "ab") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another call is making the environment; waiting for it")
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield stream.fileno()


class Progress:
    """One line that is redrawn on a terminal; elsewhere a line now and then."""

    def __init__(self, title: str) -> None:
        self.title, self.detail, self.start = title, "", time.monotonic()
        self.live = sys.stderr.isatty()
        self.last = self.start

    def show(self) -> None:
        now = time.monotonic()
        text = f"deft: {self.title} ({now - self.start:.0f} s) {self.detail}"
        if self.live:
            width = shutil.get_terminal_size().columns - 1
            print(f"\r{text[:width]:<{width}}", end="", file=sys.stderr, flush=True)
        elif now - self.last >= _HEARTBEAT_S:
            self.last = now
            print(text[:120], file=sys.stderr, flush=True)

    def end(self) -> None:
        if self.live:
            width = shutil.get_terminal_size().columns - 1
            print(f"\r{'':<{width}}\r", end="", file=sys.stderr, flush=True)


def step_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """The caller's environment without what would lead an installer elsewhere; index, proxy, certificates stay."""
    kept = {name: value for name, value in os.environ.items() if name not in _STRIPPED}
    kept.setdefault("PIP_RETRIES", "2")
    return kept | {"PIP_USER": "0", "PIP_NO_INPUT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", **extra}


def run_step(plan: Plan, lock: int, title: str, command: Sequence[str | Path], **extra: str) -> None:
    """Run one command of the set-up with progress on stderr, its output in the log.

    Raises StepError when it fails.
    """
    progress, lines = Progress(title), list[str]()
    process = subprocess.Popen(
        [str(word) for word in command],
        cwd=plan.home,  # a uv.toml or pyproject.toml in the caller's folder is not for us
        env=step_environment(extra),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        pass_fds=(lock,),
    )

    def read() -> None:
        for line in process.stdout or ():
            if line.strip():
                lines.append(line.strip())
                progress.detail = lines[-1]

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        while reader.is_alive():
            reader.join(0.25)
            progress.show()
        code = process.wait()
    except BaseException:
        process.kill()
        process.wait()
        raise
    finally:
        progress.end()
        with contextlib.suppress(OSError), open(plan.log, "a", encoding="utf-8") as log:
            log.write("\n".join([f"$ {' '.join(map(str, command))}", *lines, ""]))
    if code:
        raise StepError(lines)


def build_with_uv(plan: Plan, lock: int, uv: str) -> None:
    never = {"UV_PYTHON_DOWNLOADS": "never"}
    command: list[str | Path] = [uv, "venv", "--python", base_python(), plan.env]
    run_step(plan, lock, "making the environment", command, **never)
    install: list[str | Path] = [uv, "pip", "install", "--python", plan.python]
    for words in wanted(plan):
        run_step(plan, lock, "installing packages with uv", [*install, *words], **never)


def build_from_bundle(plan: Plan, lock: int, bundle: Path) -> None:
    """The environment from the packages that `deft bundle` packed, each file compared with its hash; no installer.

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
            home = next((plan.env / "lib").glob("python*/site-packages"))
            unpack(opened, record["files"], home, bundle)
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


def interpreter() -> str:
    """What an environment is made for: this Python and this kind of machine."""
    return f"Python {sys.version_info[0]}.{sys.version_info[1]} on {platform.system()} {platform.machine()}"


def wanted(plan: Plan) -> list[list[str]]:
    """Arguments of the installs: the base, each file compared with its hash, then what comes on top of it."""
    found = [["--only-binary", ":all:", "--require-hashes", "--requirement", str(plan.hashes)]]
    if plan.more:
        found.append(["--only-binary", ":all:", "--constraint", str(plan.constraints), *plan.requirements])
    return found


def build_with_pip(plan: Plan, lock: int) -> None:
    """`venv` and pip; a Python without ensurepip gets pip from the package index."""
    bundled = importlib.util.find_spec("ensurepip") is not None
    venv: list[str | Path] = [base_python(), "-I", "-m", "venv", plan.env]
    pip: list[str | Path] = [plan.python, "-I", "-m", "pip"]
    if not bundled:
        venv.insert(-1, "--without-pip")
        pip = [plan.python, "-I", fetch_pip(plan.home) / "pip"]
    run_step(plan, lock, "making the environment", venv)
    for words in wanted(plan):
        command = [*pip, "install", "--progress-bar", "off", "--no-compile", *words]
        run_step(plan, lock, "installing packages with pip", command)


def base_python() -> str:
    """The real file behind this interpreter: when the system moves on to another Python, the link dangles and shows."""
    return os.path.realpath(getattr(sys, "_base_executable", "") or sys.executable)


def pip_setting(name: str) -> str | None:
    """A `[global]` setting as pip sees it: environment first, then the user's and the system's configuration files."""
    value = os.environ.get("PIP_" + name.upper().replace("-", "_"))
    if value:
        return value
    user = Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser() / "pip/pip.conf"
    parser = configparser.RawConfigParser()
    with contextlib.suppress(configparser.Error, UnicodeDecodeError):
        # Later files win, as they do for pip.
        system: list[str | Path] = [
            "/etc/xdg/pip/pip.conf",
            "/etc/pip.conf",
            Path("~/.pip/pip.conf").expanduser(),
            user,
        ]
        parser.read([*system, os.environ.get("PIP_CONFIG_FILE") or os.devnull])
    return parser.get("global", name, fallback=None)


def fetch_pip(home: Path) -> Path:
    """The pinned pip wheel from the package index, kept in `home`.

    Raises SetupError when the index cannot be reached or hands out other bytes.
    """
    wheel = home / PIP_WHEEL
    if wheel.is_file() and hashlib.sha256(wheel.read_bytes()).hexdigest() == PIP_SHA256:
        return wheel
    index = (pip_setting("index-url") or DEFAULT_INDEX).rstrip("/") + "/pip/"
    way_out = "install python3-venv (Debian, Ubuntu: apt install python3-venv) or set DEFT_PYTHON"
    try:
        page = download(index).decode("utf-8", "replace")
        links = [link for link in re.findall(r'href="([^"]+)"', page) if link.split("#")[0].endswith("/" + PIP_WHEEL)]
        if not links:
            raise SetupError(f"this Python has no pip and the package index has no {PIP_WHEEL}; {way_out}")
        data = download(urllib.parse.urljoin(index, links[0].split("#")[0].replace("&amp;", "&")))
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise SetupError(f"this Python has no pip, and fetching it failed ({reason}); {way_out}") from None
    if hashlib.sha256(data).hexdigest() != PIP_SHA256:
        raise SetupError(f"{PIP_WHEEL} from the package index is not the file expected; {way_out}")
    wheel.write_bytes(data)
    return wheel


def download(url: str) -> bytes:
    """GET with pip's certificate setting; user and password in the address become a header.

    On a system without certificates (a minimal Debian) the check of the server is given up, never with a password:
    what is fetched is compared with a pinned hash, so a wrong server can only fail.
    """
    parts = urllib.parse.urlsplit(url)
    request = urllib.request.Request(urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])))
    if parts.username:
        pair = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
        request.add_header("Authorization", "Basic " + base64.b64encode(pair.encode()).decode())
    context = ssl.create_default_context(cafile=pip_setting("cert"))
    try:
        with urllib.request.urlopen(request, timeout=30, context=context) as answer:
            return bytes(answer.read())
    except urllib.error.URLError as error:
        if parts.username or not isinstance(error.reason, ssl.SSLCertVerificationError):
            raise
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with urllib.request.urlopen(request, timeout=30, context=context) as answer:
        return bytes(answer.read())


_CAUSES = (
    (
        r"No space left on device|Disk quota exceeded|os error 28\b",
        "the disk is full",
        "free some space or set DEFT_HOME",
    ),
    (
        r"CERTIFICATE_VERIFY_FAILED|invalid peer certificate|TLS CA certificate bundle",
        "the package index's certificate cannot be checked",
        "set PIP_CERT (uv: SSL_CERT_FILE) to your network's certificates",
    ),
    (
        r"NewConnectionError|NameResolutionError|name resolution|dns error|Connection refused|Network is unreachable|"
        r"ConnectTimeout|Read timed out|ReadTimeout|Could not connect|error sending request|ProxyError|Max retries",
        "the package index cannot be reached",
        "connect this machine, or set PIP_INDEX_URL to your mirror",
    ),
    (
        r"DO NOT MATCH THE HASHES|Hash mismatch|no hashes (?:found|that match)",
        "the package index handed out a file that this skill was not made with",
        "ask who keeps your mirror, or set PIP_INDEX_URL to another",
    ),
    (
        r"No matching distribution|no wheels with a matching|has no usable wheels|not find a version",
        "a package has no ready-made file for this Python and system",
        "try another Python (3.10 to 3.13) through PATH",
    ),
    (r"ensurepip|No module named venv", "this Python cannot make environments", "apt install python3-venv"),
)


def explain(error: StepError, log: Path) -> str:
    """One line: the cause if it is a known one, what to do, and where the whole output is."""
    text = "\n".join(error.output[-200:])
    for pattern, cause, remedy in _CAUSES:
        if re.search(pattern, text):
            return f"{cause}; {remedy}, or set DEFT_PYTHON to a Python that has the packages (output: {log})"
    return f"{error}; set DEFT_PYTHON to a Python that has the packages, or look into {log}"


def build(plan: Plan, lock: int) -> None:
    """Build `plan.env` from nothing and mark it complete."""
    free_mb = shutil.disk_usage(plan.home).free >> 20
    if free_mb < plan.needed_mb:
        raise SetupError(
            f"{plan.home}: {free_mb} MB free, the environment needs up to {plan.needed_mb} MB while it is made; "
            "free some space or set DEFT_HOME to a folder on another disk"
        )
    plan.log.write_text("", encoding="utf-8")
    source = f"from {plan.bundle}" if plan.bundle else "a download of about 250 MB, once"
    say(f"first use: making the environment in {plan.env} ({source})")
    uv = shutil.which("uv")
    try:
        if plan.bundle:
            build_from_bundle(plan, lock, plan.bundle)
        elif uv is None or not try_uv(plan, lock, uv):
            build_with_pip(plan, lock)
        run_step(plan, lock, "checking", [plan.python, "-c", PROBE], PYTHONPYCACHEPREFIX=str(plan.env / "pycache"))
    except (StepError, SetupError) as error:
        shutil.rmtree(plan.env, ignore_errors=True)  # a full disk gets its space back
        if isinstance(error, SetupError):
            raise
        raise SetupError(f"could not make the environment: {explain(error, plan.log)}") from None
    with open(plan.marker, "w", encoding="utf-8") as stream:
        stream.write("\n".join(plan.requirements) + "\n")
        stream.flush()
        os.fsync(stream.fileno())


def try_uv(plan: Plan, lock: int, uv: str) -> bool:
    """False, with the folder cleared, when uv fails: its settings for mirrors and certificates are not pip's."""
    try:
        build_with_uv(plan, lock, uv)
    except StepError as error:
        if re.search(_CAUSES[0][0], "\n".join(error.output)):
            raise
        say(f"uv did not manage ({error}); trying pip")
        shutil.rmtree(plan.env, ignore_errors=True)
        return False
    return True


def ensure(plan: Plan, ready: Path, *, air_gapped: bool = False) -> None:
    """Have a complete environment and a note for the launcher that says where it is.

    Raises SetupError where it cannot be made, and where it would have to be downloaded under an air gap.
    """
    if air_gapped and plan.bundle is None and not plan.complete:
        raise SetupError(
            f"air-gapped: {plan.env} ({interpreter()}) is not here and nothing is installed; bring it: on a machine "
            "with a network type deft bundle --output FILE, here deft bundle --unpack FILE (or set DEFT_PYTHON)"
        )
    ready.parent.mkdir(parents=True, exist_ok=True)
    if not plan.complete:
        with only_one(plan.lock) as lock:
            if not plan.complete:
                if plan.env.exists():
                    say("an earlier set-up was broken off; starting it again")
                    shutil.rmtree(plan.env)
                start = time.monotonic()
                build(plan, lock)
                say(f"environment ready after {time.monotonic() - start:.0f} s")
    note = ready.with_name(f"{ready.name}.{os.getpid()}.tmp")
    note.write_text(f"{plan.env}\n", encoding="utf-8")
    note.replace(ready)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Make the environment of scripts/deft.")
    parser.add_argument("--home", type=Path, required=True, help="cache folder")
    parser.add_argument("--ready", type=Path, required=True, help="note to write: path of the environment")
    parser.add_argument("--test", action="store_true", help="with what `deft test` needs")
    parser.add_argument("--extras", default="", help="optional parts, as in DEFT_EXTRAS")
    parser.add_argument("--bundle", type=Path, help="take the packages from this file of `deft bundle`")
    parser.add_argument("--air-gapped", action="store_true", help="download nothing")
    args = parser.parse_args(argv)
    optional = sorted(set(args.extras.replace(",", " ").split()))
    try:
        plan = make_plan(args.home.absolute(), test=args.test, optional=optional, bundle=args.bundle)
        ensure(plan, args.ready.absolute(), air_gapped=args.air_gapped)
    except SetupError as error:
        say(str(error))
        return 2
    except OSError as error:
        where = "on a disk with file locks" if error.errno in (errno.ENOLCK, errno.ENOSYS) else "you can write to"
        say(f"{error.filename or args.home}: {error.strerror or error}; set DEFT_HOME to a folder {where}")
        return 2
    except KeyboardInterrupt:
        say("interrupted; the next call starts the set-up again")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
