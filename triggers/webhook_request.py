"""A webhook request as it arrived, free of any HTTP library."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(slots=True)
class WebhookRequest:
    """One request to `/hooks/…`: its bytes are those that the sender signed."""

    method: str
    path: str
    """What follows `/hooks/` (and the tenant), decoded, such as `leads/42`."""
    query: tuple[tuple[str, str], ...]
    """In order, names may repeat."""
    headers: dict[str, str]
    """Names in lower case; repeated ones joined by `, `."""
    body: bytes
    url: str = ""
    """The address as its sender has written it, as far as Hark knows: behind proxies it is what they say."""


def joined_headers(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Make the `headers` of a WebhookRequest from header fields in their order."""
    headers: dict[str, str] = {}
    for name, value in pairs:
        key = name.lower()
        headers[key] = f"{headers[key]}, {value}" if key in headers else value
    return headers


def whole_text(text: str) -> str:
    """Replace what is no Unicode: half surrogate pairs, and bytes that an HTTP library could not decode."""
    return text if text.isascii() else re.sub("[\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", text)
