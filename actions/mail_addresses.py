"""E-mail addresses as people write them: read, checked, and made fit for headers and envelope."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from email.headerregistry import Address
from itertools import chain
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema, WrapValidator

from hark.actions.mail_headers import one_line

EXPECTED = "write ada@example.org, or Ada Lovelace <ada@example.org>"
MOST_ADDRESSES = 500

_SPECIAL = r'\s"<>@,;:()\[\]\\'
# Possessive throughout, so that it takes linear time whatever is given.
_MAILBOX = re.compile(
    rf"""
    \s*+
    (?: (?P<name> "(?:[^"\\]|\\.)*+"\s*+ | [^"<>@,;:()\[\]\\]*+ ) <(?P<angled>[^{_SPECIAL}]++@[^{_SPECIAL}]++)>
      | (?P<bare> [^{_SPECIAL}]++@[^{_SPECIAL}]++ )
    )
    \s*+ (?: ,\s*+ | $ )
    """,
    re.VERBOSE,
)
_USER = re.compile(r"[^.]+(?:\.[^.]+)*")
_DOMAIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*")


def parse_addresses(text: str) -> list[Address]:
    """Read a list of addresses, separated by commas. Raises ValueError with what would be right.

    Not with the standard library's parser, which fails on odd input with errors of its own and takes quadratic time.
    """
    one_line(text)
    addresses: list[Address] = []
    position = 0
    while position < len(text) or not addresses:
        match = _MAILBOX.match(text, position)
        if match is None:
            raise ValueError(f"{text[:100]!r} is no address: {EXPECTED}")
        addresses.append(_address(match))
        position = match.end()
    return addresses


def _address(match: re.Match[str]) -> Address:
    user, _, domain = (match["angled"] or match["bare"]).partition("@")
    if not _USER.fullmatch(user) or len(user.encode()) > 64:
        raise ValueError(f"{user!r} is no name of a mailbox: {EXPECTED}")
    return Address(_display_name(match["name"] or ""), user, _ascii_domain(domain))


def _display_name(text: str) -> str:
    name = text.strip()
    # Only without its backslashes does a name show whether it holds an encoded word.
    return one_line(re.sub(r"\\(.)", r"\1", name[1:-1])) if name.startswith('"') else name


def _ascii_domain(domain: str) -> str:
    """Return a domain in its ASCII form, which every server takes; raises ValueError for what is none."""
    try:
        encoded = domain.encode("idna").decode()
    except UnicodeError as error:
        raise ValueError(f"{domain!r} is no domain: {EXPECTED}") from error
    if not _DOMAIN.fullmatch(encoded) or len(encoded) > 253:
        raise ValueError(f"{domain!r} is no domain: {EXPECTED}")
    return encoded


def unique(addresses: Sequence[Address]) -> list[str]:
    """Return the bare addresses, each once, in their order."""
    return list(dict.fromkeys(address.addr_spec for address in addresses))


def _read_text(text: Any) -> list[Address]:
    """Read one text; null and an empty one hold no address, as an expression may give them."""
    if not isinstance(text, str | None):
        raise ValueError(f"{text!r} is no address: {EXPECTED}")
    return parse_addresses(text) if text and text.strip() else []


def _read_texts(value: Any, read_list: Callable[[Any], list[list[Address]]]) -> list[Address]:
    """Read a text or a list of them; the items of a list are judged one by one, so that each has its own place."""
    addresses = list(chain.from_iterable(read_list(value))) if isinstance(value, list) else _read_text(value)
    if len(addresses) > MOST_ADDRESSES:
        raise ValueError(f"these are {len(addresses)} addresses: a mail goes to at most {MOST_ADDRESSES}")
    return addresses


Addresses = Annotated[
    list[Annotated[Any, BeforeValidator(_read_text)]],
    WrapValidator(_read_texts),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]
"""A field that is written as text or as a list of texts, and holds `email.headerregistry.Address`es."""
