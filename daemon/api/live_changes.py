"""The live tail of what is captured of one table, and of how its capture is."""

from __future__ import annotations

import time
from datetime import timedelta
from uuid import UUID

from hark.daemon.api.live_tail import LOOK_BACK, Told
from hark.daemon.api.services import Services
from hark.daemon.api.watches import watch_of
from hark.daemon.store.captured import CapturedChanges
from hark.daemon.store.listing import LAST_ID, Row
from hark.triggers.table_name import TableName
from hark.workflows.ids import TenantId, floor_of, milliseconds_of

MOST = 200
"""How many changes one look tells; when there are more it looks again at once."""
STATE_S = 3.0
_MANY = 2000
_RARELY = 10


class ChangesTail:
    """One listener's place in the changes of a table.

    An event's id carries the moment it was stored at, not that of the commit. So beside what is newer than the last one
    told, each look goes back ten seconds for what was committed late. Where very much comes it goes back less often.
    """

    def __init__(
        self, services: Services, tenant_id: TenantId, table: TableName, since: UUID, connection: str = ""
    ) -> None:
        self._services = services
        self._tenant_id = tenant_id
        self._table = table
        self._connection = connection
        self._changes = CapturedChanges(services.database, tenant_id, table, connection)
        self._began = since
        self._last = since
        self._told: set[UUID] = set()
        self._looks = 0
        self._state: Row | None = None
        self._state_at = 0.0
        self.more = False

    async def skip(self) -> None:
        """Take for told what is there: what is committed from now on is new, whatever the clocks of ids say."""
        self._began = self._last = floor_of(self._services.engine.now() - LOOK_BACK)
        while ids := await self._changes.list_ids(self._last, LAST_ID, _MANY):
            self._told.update(ids)
            self._last = ids[-1]

    async def look(self) -> list[Told]:
        """Return the state of the capture when it is another one, and the changes not told yet."""
        told = [Told("watch", row, self._last) for row in await self._new_state()]
        late = await self._late()
        new = await self._changes.list_ids(self._last, LAST_ID, MOST)
        told += [Told("change", row, self._last) for row in await self._changes.load(late)]
        told += [Told("change", row, row["event_id"]) for row in await self._changes.load(new)]
        self._told.update(late, new)
        self._last = max([self._last, *new])
        self.more = len(new) == MOST
        return told

    async def _late(self) -> list[UUID]:
        """Return what was committed after younger changes had been told."""
        floor = max(self._began, floor_of(self._services.engine.now() - LOOK_BACK))
        self._looks += 1
        if floor >= self._last:
            self._told.clear()  # far behind nothing is looked for twice, and there may be millions
            return []
        if len(self._told) > _MANY and self._looks % _RARELY:
            return []
        self._told = {key for key in self._told if key >= floor}
        there = await self._changes.list_ids(floor, self._last, len(self._told) + MOST)
        return [key for key in there if key not in self._told]

    async def _new_state(self) -> list[Row]:
        if time.monotonic() - self._state_at < STATE_S:
            return []
        self._state_at = time.monotonic()
        state = await watch_of(self._services, self._tenant_id, self._table, self._connection)
        # The backlog changes with every look, and is no news.
        lasting = {name: value for name, value in state.items() if name != "backlog"}
        if lasting == self._state:
            return []
        self._state = lasting
        return [state]


def begin_of(last_told: str | None, since: UUID | None) -> UUID | None:
    """Return where to begin: ten seconds before what a listener was told last, for what was committed late.

    None stands for now.
    """
    if last_told is None:
        return since
    try:
        told_ms = milliseconds_of(UUID(last_told))
    except ValueError:
        return since
    return UUID(int=max(told_ms - LOOK_BACK // timedelta(milliseconds=1), 0) << 80)
