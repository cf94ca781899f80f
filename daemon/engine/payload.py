"""JSON on its way into jsonb: encoded once, refused where jsonb cannot hold it, bounded, and free of secrets."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from hark.workflows.errors import UnprocessableError

_NUL = b"\\u0000"


def encode(value: Any, what: str = "the data") -> str:
    """Encode a value for a jsonb parameter. Raises UnprocessableError when jsonb cannot hold it."""
    try:
        text = orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS)
    except (TypeError, orjson.JSONEncodeError) as error:
        raise UnprocessableError(f"{what} cannot be stored as JSON: {error}") from error
    if _NUL in text and _holds_nul(text):
        raise UnprocessableError(f"{what} holds the character U+0000, which PostgreSQL cannot store; remove it")
    return text.decode()


def _holds_nul(text: bytes) -> bool:
    """Tell a real U+0000 from an escaped backslash before `u0000`."""
    start = text.find(_NUL)
    while start >= 0:
        backslashes = 0
        while start - backslashes - 1 >= 0 and text[start - backslashes - 1] == 0x5C:
            backslashes += 1
        if backslashes % 2 == 0:
            return True
        start = text.find(_NUL, start + 1)
    return False


class Masker:
    """Removes secrets from what goes on record.

    Works on encoded JSON, so a secret is found wherever it stands, also inside longer strings.
    """

    SHORTEST = 4
    """Shorter values would blank out half of every record."""
    MASK = "***"

    def __init__(self, secrets: Iterable[str]) -> None:
        encoded = {orjson.dumps(secret).decode()[1:-1] for secret in secrets if len(secret) >= self.SHORTEST}
        # The longest first, so that a secret that holds another one leaves no rest behind.
        self._secrets = sorted(encoded, key=len, reverse=True)

    def __bool__(self) -> bool:
        return bool(self._secrets)

    def mask(self, text: str) -> str:
        """Return the encoded JSON without the secrets."""
        for secret in self._secrets:
            if secret in text:
                text = text.replace(secret, self.MASK)
        return text
