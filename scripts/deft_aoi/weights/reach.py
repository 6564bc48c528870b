"""Why a hub cannot be reached: the variable or the package that is behind the error, by name."""

from __future__ import annotations

import errno
import os

from deft_aoi.base.errors import chain

PROXIES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "HTTP_PROXY", "http_proxy")
CERTIFICATES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")
_SCHEMES = ("http", "https", "socks4", "socks4a", "socks5", "socks5h")


def why_unreachable(error: BaseException) -> str:
    """One clause with the cause and its remedy. Values of proxy variables, which may hold a password, are not shown."""
    below = list(chain(error))
    said = " ".join(str(one) for one in below)
    for name in CERTIFICATES:
        value = os.environ.get(name)
        if value and not os.path.exists(value):
            return f"{name} names {value}, which is not there; set it to your certificates, or unset it"
    if "SOCKS" in said or "socksio" in said:
        proxy = _set(PROXIES, "socks") or "a proxy variable"
        return (
            f"{proxy} names a SOCKS proxy, and Python lacks the package for it: install PySocks and socksio into this "
            "environment, or give an http:// proxy"
        )
    if (odd := _odd_proxy()) is not None:
        return f"{odd} is no proxy address; expected http://host:port, or unset it"
    if "ProxyError" in said or any("Proxy" in type(one).__name__ for one in below) or " 407" in said:
        proxy = _set(PROXIES) or "the environment"
        login = " (it asks for a login: http://user:password@host:port)" if "407" in said else ""
        return f"the proxy of {proxy} refuses{login}; check {proxy}, or unset it"
    if "CERTIFICATE_VERIFY_FAILED" in said:
        return "its certificate is not trusted here; set SSL_CERT_FILE and REQUESTS_CA_BUNDLE to your company's CA file"
    full = next((one for one in below if isinstance(one, OSError) and one.errno in (errno.ENOSPC, errno.EDQUOT)), None)
    if full is not None:
        return f"no space left at {full.filename or 'the target'}; free some"
    endpoint = f", or HF_ENDPOINT ({os.environ['HF_ENDPOINT']})" if os.environ.get("HF_ENDPOINT") else ""
    return f"{type(error).__name__}; check the network{endpoint}"


def _set(names: tuple[str, ...], scheme: str = "") -> str | None:
    given = ((name, os.environ.get(name, "").lower()) for name in names)
    return next((name for name, value in given if value and value.startswith(scheme)), None)


def _odd_proxy() -> str | None:
    """The first proxy variable whose value has a scheme that no client takes, or none and no host."""
    for name in PROXIES:
        value = os.environ.get(name, "")
        scheme, mark, rest = value.partition("://")
        if value and ((mark and scheme.lower() not in _SCHEMES) or (mark and not rest)):
            return name
    return None
