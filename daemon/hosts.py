"""The servers that a database URL names."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qs, unquote, urlsplit

_HIGHEST_PORT = 65_535


@dataclass(frozen=True, slots=True)
class Host:
    """One of the servers that a URL names; a path is the directory of a socket."""

    name: str
    port: int

    def __str__(self) -> str:
        return f"{self.name}:{self.port}"


def check_database_url(url: str) -> None:
    """Raise ValueError, which says what would be right, when a URL is none of a PostgreSQL."""
    try:
        scheme = urlsplit(url).scheme
    except ValueError:
        # Not what that says: it may show the password.
        raise ValueError(
            "what stands before the database's name cannot be read; in a password write %5B for [, %5D for ], and "
            "other special signs in the same way"
        ) from None
    if scheme not in {"postgresql", "postgres"}:
        raise ValueError("write postgresql://user:password@host:5432/database")
    hosts_of(url)  # tells of a port that is none


def hosts_of(url: str) -> list[Host]:
    """Return the hosts that a URL names, as libpq reads it: `postgresql://user@one:5432,two:5433/database`.

    Raises ValueError when there is no such port.
    """
    parts = urlsplit(url)
    given = parts.netloc.rpartition("@")[2]
    query = parse_qs(parts.query)
    ports = query.get("port", [""])[-1].split(",")
    if given:
        pairs = [_split(each) for each in given.split(",")]
    else:
        pairs = [(name, "") for name in query.get("host", [""])[-1].split(",") if name]
    return [
        Host(unquote(name), _port(port or ports[number if number < len(ports) else -1]))
        for number, (name, port) in enumerate(pairs)
    ]


def _split(spec: str) -> tuple[str, str]:
    """Take a port off a host, which may be an address of IPv6 in brackets."""
    name, colon, port = spec.rpartition(":")
    if not colon or "]" in port:
        name, port = spec, ""
    return name.removeprefix("[").removesuffix("]"), port


def _port(text: str) -> int:
    if not text:
        return 5432
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= _HIGHEST_PORT):
        # Not shown: where a password has one of these characters, this is its beginning.
        raise ValueError(
            f"what stands behind the host is no port: write a number up to {_HIGHEST_PORT}, and in a password "
            "%23 for #, %2F for / and %3F for ?"
        )
    return int(text)
