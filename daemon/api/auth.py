"""Who is calling: keys, what they open, and a short memory of them."""

from __future__ import annotations

import hmac
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from hark.daemon.store.database import Database
from hark.daemon.store.keys import digest_of
from hark.workflows.errors import ForbiddenError, UnauthorizedError
from hark.workflows.ids import TenantId

Scope = Literal["read", "emit", "run", "write", "admin"]

_OPENS: dict[str, frozenset[str]] = {
    "read": frozenset({"read"}),
    "emit": frozenset({"emit"}),
    "run": frozenset({"read", "emit", "run"}),
    "write": frozenset({"read", "emit", "run", "write"}),
    "admin": frozenset({"read", "emit", "run", "write", "admin"}),
}
"""What a scope of a key opens: to look, to publish events, to start and stop executions, to change workflows, all."""

_TTL_S = 5.0
_MOST = 10_000


@dataclass(frozen=True, slots=True)
class Caller:
    """The owner of a good key."""

    tenant_id: TenantId
    key_id: UUID
    opens: frozenset[str]
    name: str = ""
    """Of the key: what is done with it is on record under this name."""

    def require(self, scope: Scope) -> None:
        """Raise ForbiddenError unless the key reaches that far."""
        if scope not in self.opens:
            raise ForbiddenError(
                f"this key lacks the scope {scope!r}; it opens: {', '.join(sorted(self.opens)) or '-'}"
            )


class KeyRing:
    """Looks keys up and remembers good ones for five seconds, which is how long a revoked one may still work."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[bytes, tuple[float, Caller]] = {}

    async def identify(self, headers: Mapping[str, str]) -> Caller:
        """Return the owner of the key in the headers. Raises UnauthorizedError, UnavailableError."""
        digest = digest_of(_presented(headers))
        if digest is None:
            raise UnauthorizedError("this is no key of Hark: one begins with hark_ and has 48 characters")
        now = time.monotonic()
        known = self._known.get(digest)
        if known is not None and known[0] > now:
            return known[1]
        caller = await self._look_up(digest)
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[digest] = (now + _TTL_S, caller)
        return caller

    async def _look_up(self, digest: bytes) -> Caller:
        row = await self._database.fetchrow("get_api_key", digest)
        if row is None or not hmac.compare_digest(row["digest"], digest):
            self._known.pop(digest, None)
            raise UnauthorizedError("this key is unknown, expired or revoked")
        opens = frozenset().union(*(_OPENS.get(scope, frozenset()) for scope in row["scopes"]))
        return Caller(TenantId(row["tenant_id"]), row["id"], opens, row["name"])


def _presented(headers: Mapping[str, str]) -> str:
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    key = token.strip() if scheme.lower() == "bearer" else headers.get("X-API-Key", "").strip()
    if not key:
        raise UnauthorizedError("send a key: `Authorization: Bearer hark_…` or `X-API-Key: hark_…`")
    return key
