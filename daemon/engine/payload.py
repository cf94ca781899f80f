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
    """Removes secrets from what goes on record, wherever in a value they stand."""

    SHORTEST = 4
    """Shorter values would blank out half of every record."""
    MASK = "***"

    def __init__(self, secrets: Iterable[str]) -> None:
        # The longest first, so that a secret that holds another one leaves no rest behind.
        self._secrets = sorted({secret for secret in secrets if len(secret) >= self.SHORTEST}, key=len, reverse=True)
        self._encoded = [orjson.dumps(secret).decode()[1:-1] for secret in self._secrets]

    def beside(self, more: Iterable[str]) -> Masker:
        """Return one that removes others too. Two, one after the other, would leave a rest of what holds another."""
        return Masker((*self._secrets, *more))

    def finds(self, encoded: str) -> bool:
        """Tell whether encoded JSON holds a secret: quick, for almost none does."""
        return any(secret in encoded for secret in self._encoded)

    def masked(self, value: Any) -> Any:
        """Return a JSON value without the secrets."""
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, list):
            return [self.masked(item) for item in value]
        if isinstance(value, dict):
            return {self._text(key): self.masked(item) for key, item in value.items()}
        return self.MASK if not isinstance(value, bool) and str(value) in self._secrets else value

    def _text(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, self.MASK)
        return text
