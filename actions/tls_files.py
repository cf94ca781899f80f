"""The files of encryption that a database's URL names: which of them cannot be used, as the driver does not say."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

_OWN = ("sslcert", "sslkey")
_AUTHORITIES = ("sslrootcert", "sslcrl")
_CHECKING = frozenset({"require", "verify-ca", "verify-full"})
"""Modes in which the driver reads the certificates of authorities; any but `disable` reads the client's own."""


class UnusableFileError(OSError):
    """A file that a URL or the environment names cannot be read, or holds no certificates; says which and where."""


def unusable_file(url: str, environment: Mapping[str, str] = os.environ) -> str:
    """Say which of the files that a connection would read cannot be used, and where it is named; empty if none."""
    for name, path, where in _named(url, environment):
        try:
            with Path(path).open("rb"):
                pass
            if name in _AUTHORITIES:
                ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
        except OSError as error:
            reason = "it holds no certificates" if isinstance(error, ssl.SSLError) else error.strerror
            return f"{where} names {path}, which cannot be used: {reason}"
    return ""


def _named(url: str, environment: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """Yield what files are for, where they are, and where that is said: the URL goes before the environment."""
    parts = urlsplit(url)
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    usual = "disable" if _sockets_alone(parts, query, environment) else "prefer"
    mode = query.get("sslmode") or environment.get("PGSSLMODE", usual)
    names = () if mode == "disable" else (*_AUTHORITIES, *_OWN) if mode in _CHECKING else _OWN
    for name in names:
        variable = f"PG{name.upper()}"
        if path := query.get(name):
            yield name, path, f"{name} in its URL"
        elif path := environment.get(variable):
            yield name, path, f"{variable} in the environment"


def _sockets_alone(parts: SplitResult, query: Mapping[str, str], environment: Mapping[str, str]) -> bool:
    """Tell whether all hosts are sockets of this machine, over which nothing is encrypted unless it is asked for."""
    hosts = unquote(parts.netloc.rpartition("@")[2]) or query.get("host") or environment.get("PGHOST", "")
    return bool(hosts) and all(host.startswith("/") for host in hosts.split(","))
