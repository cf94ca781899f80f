"""Key sets of issuers of tokens, fetched when they are needed and kept for a while."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic

import jwt
import orjson
import structlog

from hark.triggers.webhook_jwt import read_keys
from hark.workflows.catalogue import Http
from hark.workflows.errors import ActionError

log = structlog.get_logger(__name__)

FRESH_S = 600.0
"""A key that its issuer has withdrawn is good for no longer than this."""
USABLE_S = 86400.0
"""So long old keys are good while the issuer does not answer."""
PAUSE_S = 20.0
"""Between two fetches of one set: tokens with keys that nobody knows must not become requests to the issuer."""
_TIMEOUT_S = 5.0
_MOST_BYTES = 256 * 1024


@dataclass(slots=True)
class _Known:
    keys: tuple[jwt.PyJWK, ...] | None = None
    fetched_at: float = float("-inf")
    tried_at: float = float("-inf")
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


class KeySets:
    """Fetches key sets through Hark's guarded client. Addresses come from definitions, so they are few."""

    def __init__(self, http: Http, clock: Callable[[], float] = monotonic) -> None:
        self._http = http
        self._clock = clock
        self._sets: dict[str, _Known] = {}

    def find(self, url: str) -> tuple[jwt.PyJWK, ...] | None:
        """Return the keys of an address; None when they have to be fetched first."""
        known = self._sets.get(url)
        if known is None or known.keys is None:
            return None
        now = self._clock()
        just_tried = now - known.tried_at < PAUSE_S and now - known.fetched_at < USABLE_S
        return known.keys if now - known.fetched_at < FRESH_S or just_tried else None

    async def refresh(self, url: str) -> bool:
        """Fetch a set, unless that was tried a moment ago; tells whether keys are there now, be they old ones."""
        known = self._sets.setdefault(url, _Known())
        async with known.turn:
            if self._clock() - known.tried_at >= PAUSE_S:
                known.tried_at = self._clock()
                try:
                    known.keys = await self._fetch(url)
                    known.fetched_at = self._clock()
                except (ActionError, ValueError) as error:
                    log.warning("key_set.not_fetched", url=url, error=str(error))
        return self.find(url) is not None

    async def _fetch(self, url: str) -> tuple[jwt.PyJWK, ...]:
        headers = {"Accept": "application/json"}
        answer = await self._http.request(
            "GET", url, headers=headers, body=None, timeout_s=_TIMEOUT_S, max_bytes=_MOST_BYTES
        )
        if answer.status != 200:
            raise ValueError(f"the answer has the status {answer.status}")
        return read_keys(orjson.loads(answer.body))
