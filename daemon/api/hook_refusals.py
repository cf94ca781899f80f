"""Refused webhooks, for people who look for one: counted in memory, written every few seconds, never one by one."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass

import structlog

from hark.daemon.engine.background import Background
from hark.daemon.store.hooks import HookRecords, plain_text
from hark.workflows.errors import UnavailableError
from hark.workflows.ids import TenantId

log = structlog.get_logger(__name__)

PAUSE_S = 2.0
_MOST = 200
"""Paths and statuses between two writes; the rest is counted together."""
_ELSEWHERE = "…"
_LONGEST = 300

_Key = tuple[TenantId, str, int]


@dataclass(slots=True)
class _Refused:
    count: int
    detail: str
    method: str
    client: str


class Refusals:
    """Collects what this instance refuses. Whoever floods it makes one row count up."""

    def __init__(self, records: HookRecords, *, pause_s: float = PAUSE_S) -> None:
        self._records = records
        self._pause_s = pause_s
        self._found: dict[_Key, _Refused] = {}
        self._any = asyncio.Event()
        self._task = Background("hook refusals", self._run)
        self.start = self._task.start

    def note(self, tenant_id: TenantId, path: str, status: int, *, detail: str, method: str, client: str) -> None:
        """Count a refusal; of each path and status the last one is remembered."""
        key = (tenant_id, plain_text(path, _LONGEST), status)
        known = self._found.get(key)
        if known is None and len(self._found) >= _MOST:
            key = (tenant_id, _ELSEWHERE, status)
            known = self._found.get(key)
        count = 1 if known is None else known.count + 1
        self._found[key] = _Refused(count, plain_text(detail, _LONGEST), plain_text(method, 20), plain_text(client, 50))
        self._any.set()

    async def stop(self) -> None:
        """Write what is left, if that can be done quickly; idempotent."""
        await self._task.stop()
        with suppress(UnavailableError, TimeoutError):
            async with asyncio.timeout(2):
                await self.write()

    async def write(self) -> None:
        """Write what has been counted. Raises UnavailableError; then it is lost, for it is worth no more than that."""
        found, self._found = self._found, {}
        self._any.clear()
        await self._records.note_refusals(
            [(*key, one.count, one.detail, one.method, one.client) for key, one in sorted(found.items(), key=_order)]
        )

    async def _run(self) -> None:
        while True:
            await self._any.wait()
            await asyncio.sleep(self._pause_s)
            try:
                await self.write()
            except UnavailableError:
                continue
            except Exception:
                log.exception("hook.refusals_not_written")


def _order(entry: tuple[_Key, _Refused]) -> _Key:
    return entry[0]
