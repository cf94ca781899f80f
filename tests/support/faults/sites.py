"""A site for many tests."""

from __future__ import annotations

import asyncio

from support.database import fresh_database
from support.faults.processes import Nursery
from support.faults.site import Site, site


class Sites:
    """A site for all tests of this file, made anew after one that did not end well: to start one takes a second."""

    def __init__(self, nursery: Nursery, server_url: str, template: str) -> None:
        self._made_of = nursery, server_url, template
        self._present: tuple[asyncio.Event, asyncio.Task[None], Site] | None = None

    async def get(self) -> Site:
        """Return one on which all is well."""
        if self._present is not None and self._present[2].spoiled:
            await self.close()
        if self._present is None:
            ready: asyncio.Future[Site] = asyncio.get_running_loop().create_future()
            over = asyncio.Event()
            task = asyncio.create_task(self._keep(ready, over))
            await asyncio.wait([task, ready], return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                await task
            self._present = over, task, ready.result()
        return self._present[2]

    async def close(self) -> None:
        """Take it down; idempotent."""
        present, self._present = self._present, None
        if present is not None:
            present[0].set()
            await present[1]

    async def _keep(self, ready: asyncio.Future[Site], over: asyncio.Event) -> None:
        nursery, server_url, template = self._made_of
        async with fresh_database(server_url, template) as url, site(nursery, url) as place:
            ready.set_result(place)
            await over.wait()
