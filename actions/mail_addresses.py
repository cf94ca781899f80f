"""E-mail addresses as people write them: read, checked, and made fit for headers and envelope."""

from __future__ import annotations

from collections.abc import Sequence
from email.headerregistry import Address, AddressHeader
from email.policy import default as modern
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

EXPECTED = "write ada@example.org, or Ada Lovelace <ada@example.org>"
MOST_ADDRESSES = 500


def parse_addresses(text: str) -> list[Address]:
    """Read a list of addresses, separated by commas. Raises ValueError with what would be right."""
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise ValueError("an address contains no line breaks or control characters")
    header = modern.header_factory("To", text)
    addresses = list(header.addresses) if isinstance(header, AddressHeader) else []
    if header.defects or not addresses:
        raise ValueError(f"{text!r} is no address: {EXPECTED}")
    return [_checked(address) for address in addresses]


def _checked(address: Address) -> Address:
    """Require user and domain; a domain in another script becomes its ASCII form, which every server takes."""
    try:
        domain = address.domain.encode("idna").decode()
    except UnicodeError:
        domain = ""
    if not address.username or not domain or any(character in domain for character in " _/:@"):
        raise ValueError(f"{address!s} is no address: {EXPECTED}")
    return Address(address.display_name, address.username, domain)


def unique(addresses: Sequence[Address]) -> list[str]:
    """Return the bare addresses, each once, in their order."""
    return list(dict.fromkeys(address.addr_spec for address in addresses))


def _list_of_addresses(value: Any) -> Any:
    """Read a text or a list of texts; one that is null or empty is left out, as an expression may give it."""
    texts = value if isinstance(value, list) else [value]
    addresses: list[Address] = []
    for text in texts:
        if not isinstance(text, str | None):
            raise ValueError(f"{text!r} is no address: {EXPECTED}")
        addresses += parse_addresses(text) if text and text.strip() else []
    if len(addresses) > MOST_ADDRESSES:
        raise ValueError(f"these are {len(addresses)} addresses: a mail goes to at most {MOST_ADDRESSES}")
    return addresses


Addresses = Annotated[
    list[Any],
    BeforeValidator(_list_of_addresses),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]
"""A field that is written as text or as a list of texts, and holds `email.headerregistry.Address`es."""
