"""Why a daemon or a hub is out of reach: the group, the variable or the package is named."""

from __future__ import annotations

import getpass
import grp
import socket
from pathlib import Path

import pytest

from deft_aoi.base.errors import Unreachable
from deft_aoi.base.versions import image, image_keys
from deft_aoi.executors.base import Place
from deft_aoi.weights.reach import CERTIFICATES, PROXIES, why_unreachable

docker_engine = pytest.importorskip("deft_aoi.executors.docker.docker_engine")
WORDS = "deft_aoi.executors.docker.daemon_words"


def asked(tmp_path: Path) -> str:
    place = Place("local-docker", {}, tmp_path, tmp_path / "cache", {key: image(key) for key in image_keys()})
    probe = docker_engine.DockerExecutor(place).probe()[0]
    assert probe.level == "block"
    return str(probe.text)


def test_a_socket_without_permission_names_the_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DOCKER_HOST", raising=False)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    said = asked(tmp_path)
    assert "add the user to group docker and log in again" in said
    assert getpass.getuser() in said
    assert "start it" not in said


def test_a_login_older_than_the_group_is_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(grp, "getgrnam", lambda name: grp.struct_group((name, "x", 98765, [getpass.getuser()])))
    assert "log out and log in again" in asked(tmp_path)


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"DOCKER_HOST": "unix:///nowhere/docker.sock"}, "there is no socket /nowhere/docker.sock"),
        ({"DOCKER_HOST": "tcp://127.0.0.1:9"}, r"does not answer .*start it, or set DOCKER_HOST"),
        ({"DOCKER_HOST": "ssh://u@host"}, "DOCKER_HOST takes unix:///"),
        ({"DOCKER_HOST": "pipe://x"}, "DOCKER_HOST takes unix:///"),
        (
            {"DOCKER_HOST": "tcp://127.0.0.1:9", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": "/gone"},
            "DOCKER_CERT_PATH names /gone, which is not there",
        ),
    ],
)
def test_other_causes_have_their_own_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], says: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(Unreachable, match=says):
        raise Unreachable(asked(tmp_path))


def wrapped(cause: Exception) -> Exception:
    """As an HTTP client raises it: its own error around the cause."""
    try:
        raise ConnectionError(f"Max retries exceeded ({cause!r})") from cause
    except ConnectionError as error:
        return error


@pytest.mark.parametrize(
    ("variables", "error", "says"),
    [
        ({"ALL_PROXY": "socks5://h:1"}, ImportError("Using SOCKS proxy, but the 'socksio' package is not installed"),
         ("ALL_PROXY names a SOCKS proxy", "socksio")),
        ({"https_proxy": "socks5h://u:secret@h:1"}, ValueError("Missing dependencies for SOCKS support."),
         ("https_proxy names a SOCKS proxy", "PySocks")),
        *(({name: "/gone/ca.pem"}, OSError("Could not find a suitable TLS CA certificate bundle"),
           (f"{name} names /gone/ca.pem, which is not there",)) for name in CERTIFICATES),
        ({"HTTPS_PROXY": "ftp://h:1"}, ValueError("Unknown scheme for proxy URL"), ("HTTPS_PROXY is no",)),
        ({"HTTPS_PROXY": "http://h:1"}, RuntimeError("Tunnel connection failed: 407 ProxyError"),
         ("proxy of HTTPS_PROXY refuses", "login")),
        ({}, RuntimeError("[SSL: CERTIFICATE_VERIFY_FAILED]"), ("SSL_CERT_FILE",)),
        ({}, OSError(28, "No space left on device"), ("no space left",)),
        ({"HF_ENDPOINT": "http://mirror"}, TimeoutError("timed out"), ("check the network", "HF_ENDPOINT (http://mirror)")),
    ],
)  # fmt: skip
def test_a_hub_out_of_reach_names_variable_or_package(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], error: Exception, says: tuple[str, ...]
) -> None:
    for name in (*PROXIES, *CERTIFICATES, "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    for one in (error, wrapped(error)):
        said = why_unreachable(one)
        assert all(words in said for words in says), said
        assert "secret" not in said
