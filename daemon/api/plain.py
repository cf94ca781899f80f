"""Requests in the plainest form, which is nearly all webhooks: read without a parser, or not at all.

Whatever could be read in two ways is not read here: what is repeated, folded, in chunks, compressed, not in ASCII, or
longer than it says. So what is read here means the same to whoever stands before Hark.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from yarl import URL

_LONGEST_HEAD = 8000
_MOST_FIELDS = 64
"""Less than what aiohttp's server takes: it has the last word on what is too long."""
_POST = re.compile(rb"POST (/[!\"$-~]*) HTTP/1\.1\r\n((?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~]*\r\n)+)\r\n")
_SPECIAL = frozenset(
    {"content-encoding", "expect", "proxy-connection", "sec-websocket-key1", "te", "trailer", "transfer-encoding"}
    | {"upgrade"}
)
"""`Proxy-Connection` is `Connection` to aiohttp's parser."""


class Plain(NamedTuple):
    """A POST with all that belongs to it."""

    path: str
    """Percent-encoded."""
    query: tuple[tuple[str, str], ...]
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes


def read_plain(data: bytes) -> Plain | None:
    """Read one request that is whole; None when it is anything else, or is to be the last on its connection."""
    head = _POST.match(data, 0, _LONGEST_HEAD)
    if head is None:
        return None
    lines = head[2].decode("ascii").split("\r\n")
    lines.pop()
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip(" \t")
    body = data[head.end() :]
    if (
        len(headers) != len(lines)
        or len(lines) > _MOST_FIELDS
        or not _SPECIAL.isdisjoint(headers)
        or headers.get("content-length", "0") != str(len(body))
        or headers.get("connection", "keep-alive").lower() != "keep-alive"
        or not headers.get("host")
    ):
        return None
    path, _, query = head[1].decode("ascii").partition("?")
    return Plain(path, _fields(query) if query else (), headers, body)


def _fields(query: str) -> tuple[tuple[str, str], ...]:
    return tuple(URL.build(path="/", query_string=query, encoded=True).query.items())
