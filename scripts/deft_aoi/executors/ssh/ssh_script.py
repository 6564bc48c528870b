"""The shell script that runs one task on another machine: bare, or in a container of Docker or Podman there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from deft_aoi.base.errors import InputError
from deft_aoi.executors.containers import ACCOUNTS, Wanted
from deft_aoi.executors.docker.docker_probe import NVIDIA_REGISTRY, registry_of
from deft_aoi.executors.ssh.ssh_places import Places

DOCKER, PODMAN, BARE = CONTAINERS = ("docker", "podman", "none")
COMMAND, OUTPUT = "command.sh", "output"
_HEAD = "#!/bin/sh\nset -u\n"
_DEVICES = "device="
_PLAIN = re.compile(r"[\w./@%+,:=-]*")
# Programs whose -e file names every path that they use.
_WITH_SPEC = "visual_changenet"


def job_files(
    asked: Wanted, settings: Mapping[str, str], places: Places, control: PurePosixPath, air_gapped: bool
) -> dict[str, str]:
    """Name and text of what the job's control folder (`control` on the other machine) holds next to job.sh:
    `command.sh` and, bare, copies of the task's specs with that machine's paths; no secret.

    Raises InputError where a setting or task cannot be used.
    """
    kind = container_kind(settings)
    if asked.nodes > 1:
        raise InputError(f"the spec asks for {asked.nodes} nodes; a machine over ssh is one node")
    files = {OUTPUT: f"{places.text(asked.output)}\n"}
    if kind == BARE:
        words, specs = bare_words(asked, places, control)
        return {**files, **specs, COMMAND: bare_script(asked, settings, places, words)}
    return {**files, COMMAND: container_script(asked, settings, places, kind, air_gapped)}


def container_kind(settings: Mapping[str, str]) -> str:
    kind = settings.get("container", DOCKER)
    if kind not in CONTAINERS:
        raise InputError(f"--set container={kind}: expected one of {', '.join(CONTAINERS)}")
    return kind


def bare_script(asked: Wanted, settings: Mapping[str, str], places: Places, words: Sequence[str]) -> str:
    """TAO's program from the other machine's PATH, or from the environment that the setting `venv` names."""
    lines = [
        '[ "$1" = run ] || exit 1',
        'while IFS= read -r line; do [ "$line" = end ] || export "$line"; done <secrets',
        "rm -f secrets",
    ]
    lines += [f"export {name}={shlex.quote(value)}" for name, value in asked.environment.items()]
    if (gpus := settings.get("gpus", "all")).startswith(_DEVICES):
        lines.append(f"export CUDA_VISIBLE_DEVICES={shlex.quote(gpus.removeprefix(_DEVICES))}")
    if venv := settings.get("venv"):
        lines.append(f'export PATH={home(venv)}/bin:"$PATH"')
    if Path(asked.workdir).is_relative_to(places.here):
        lines.append(f"cd {shlex.quote(places.text(asked.workdir))} || exit 1")
    lines.append(f"exec {shlex.join(words)}")
    return _HEAD + "\n".join(lines) + "\n"


def bare_words(asked: Wanted, places: Places, control: PurePosixPath) -> tuple[list[str], dict[str, str]]:
    """(the command with the other machine's paths, copies by name of the specs that it names, with those paths)."""
    if not places.moved:
        return list(asked.command), {}
    if asked.command[0] != _WITH_SPEC:
        raise InputError(
            f"{' '.join(asked.command[:2])} reads paths from tables, so without a container the workspace must be at "
            f"the same path there: --set folder={places.here}, or --set container=docker"
        )
    if not _PLAIN.fullmatch(str(places.there)):
        raise InputError(f"--set folder={places.there}: without a container, expected letters, digits and . / @ % + -")
    words, specs = [], {}
    for number, word in enumerate(asked.command):
        path = Path(word)
        if path.suffix == ".yaml" and path.is_relative_to(places.here):
            name = f"spec-{number}.yaml"
            specs[name] = places.text(path.read_text(encoding="utf-8"))
            words.append(str(control / name))
        else:
            words.append(places.text(word))
    return words, specs


def container_script(asked: Wanted, settings: Mapping[str, str], places: Places, kind: str, air_gapped: bool) -> str:
    """A container that outlives this script: `exists` asks for it, `stop` ends it, `run` makes it or waits for it."""
    name, image = shlex.quote(asked.name), shlex.quote(asked.image)
    create = shlex.join([kind, "create", "--name", asked.name, *flags(asked, settings, places, kind)])
    user = "$as_caller" if asked.user else ""
    command = shlex.join([asked.image, *asked.command])
    format_ = "'{{.State.Status}}'"
    lines = [
        "case $1 in",
        f"exists) exec {kind} container inspect {name} >/dev/null 2>&1 ;;",
        f"stop) exec {kind} stop -t 10 {name} >/dev/null 2>&1 ;;",
        "esac",
        f"rootless=$({kind} info 2>/dev/null | grep -ciE 'rootless: *true|^ *rootless$')",
        'as_caller=; [ "$rootless" != 0 ] || as_caller="--user $(id -u):$(id -g)"',
        f"if ! {kind} container inspect {name} >/dev/null 2>&1; then",
        f"    if ! {kind} image inspect {image} >/dev/null 2>&1; then",
        *(f"        {line}" for line in pull(asked.image, kind, air_gapped)),
        "    fi",
        "    grep -vE '^(NGC_KEY=.*|end)$' secrets >environment",
        f"    {create} --env-file environment {user} {command} >/dev/null || exit 125",
        "    rm -f secrets environment",
        "fi",
        f'case $({kind} container inspect -f {format_} {name}) in',
        f"created | configured) {kind} start {name} >/dev/null || {{ {kind} rm -f {name} >/dev/null; exit 125; }} ;;",
        "esac",
        f"{kind} logs --follow {name}",
        f"code=$({kind} wait {name})",
        f"[ \"$({kind} container inspect -f '{{{{.State.OOMKilled}}}}' {name})\" != true ] || echo '{OOM}'",
        f"{kind} rm -f {name} >/dev/null",
        *give_back(asked, places, kind),
        'exit "$code"',
    ]  # fmt: skip
    return _HEAD + "\n".join(lines) + "\n"


OOM = "out of memory: the kernel ended the container"


def flags(asked: Wanted, settings: Mapping[str, str], places: Places, kind: str) -> list[str]:
    """Flags of `docker create`: mounts with the other machine's folders behind the same paths inside."""
    words = ["--label", "deft-aoi=job", "--workdir", asked.workdir]
    for mount in asked.mounts:
        source = str(mount.source) if mount.source in ACCOUNTS else places.text(str(mount.source))
        if "," in source + mount.target:
            raise InputError(f"{source}: a comma in a path that is mounted; rename the folder")
        words += [
            "--mount",
            f"type=bind,source={source},target={mount.target}" + (",readonly" if mount.read_only else ""),
        ]
    words += ["--ipc", "host"] if asked.host_ipc else ["--shm-size", asked.shm]
    for name, value in asked.environment.items():
        words += ["--env", f"{name}={value}"]
    if memory := settings.get("memory"):
        words += ["--memory", memory, "--memory-swap", memory]
    return words + gpu_flags(asked.gpus, settings, kind)


def gpu_flags(gpus: int, settings: Mapping[str, str], kind: str) -> list[str]:
    """All GPUs, a number of them or those named; Podman takes them by NVIDIA's CDI names."""
    setting = settings.get("gpus", "all")
    if gpus == 0 or setting == "0":
        return []
    named = setting.removeprefix(_DEVICES).split(",") if setting.startswith(_DEVICES) else []
    if not named and setting != "all" and not setting.isdecimal():
        raise InputError(f"--set gpus={setting}: expected all, a number, or {_DEVICES}2,3 for GPUs of that machine")
    if kind == DOCKER:
        return ["--gpus", f'"{setting}"' if named else setting]
    wanted = named or (["all"] if setting == "all" else [str(number) for number in range(int(setting))])
    return [word for one in wanted for word in ("--device", f"nvidia.com/gpu={one}")]


def pull(image: str, kind: str, air_gapped: bool) -> list[str]:
    """Shell lines that fetch an image that is not there; a login for NVIDIA's registry lives as long as the pull."""
    if air_gapped:
        return [f"echo {shlex.quote(f'image {image} is not here, and nothing may be pulled')}; exit 125"]
    plain = f"{kind} pull {shlex.quote(image)} || exit 125"
    if registry_of(image) != NVIDIA_REGISTRY:
        return [plain]
    return [
        "key=$(sed -n 's/^NGC_KEY=//p' secrets)",
        'if [ -n "$key" ]; then',
        "    export DOCKER_CONFIG=$PWD/login REGISTRY_AUTH_FILE=$PWD/login/auth.json",
        "    mkdir -p login && trap 'rm -rf \"$DOCKER_CONFIG\"' EXIT",
        f"    printf %s \"$key\" | {kind} login --username '$oauthtoken' --password-stdin {NVIDIA_REGISTRY} \\",
        "    || exit 125",
        "fi",
        plain,
    ]


def give_back(asked: Wanted, places: Places, kind: str) -> list[str]:
    """Shell lines that give what the image's own user wrote to the caller; a rootless daemon does that by itself."""
    if asked.user:
        return []
    root, output = shlex.quote(str(places.there)), shlex.quote(places.text(asked.output))
    return [
        'if [ "$rootless" = 0 ] && [ "$(id -u)" != 0 ]; then',
        f"    {kind} run --rm --network none --user 0 --entrypoint chown --mount type=bind,source={root},target={root} "
        f'{shlex.quote(asked.image)} -R "$(id -u):$(id -g)" {output}',
        "fi",
    ]


def home(path: str) -> str:
    """A path of the other machine for its shell, `~` as its home."""
    return f'"$HOME"{shlex.quote(path[1:])}' if path == "~" or path.startswith("~/") else shlex.quote(path)
