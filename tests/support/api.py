"""The HTTP side of a daemon over a real engine and a real port, for tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp

from hark.client import HarkClient
from hark.daemon.api.auth import KeyRing
from hark.daemon.api.server import Server
from hark.daemon.api.services import Services
from hark.daemon.settings import Settings
from hark.daemon.store.key_file import read_key
from hark.daemon.store.keys import digest_of, ensure_admin_key, new_key
from hark.workflows.ids import DEFAULT_TENANT
from support.engine import EngineUnderTest, running_engine


@dataclass(slots=True)
class ApiUnderTest:
    """A served API, with a client that holds the admin key and a bare HTTP session."""

    hark: EngineUnderTest
    services: Services
    server: Server
    url: str
    key: str
    client: HarkClient
    http: aiohttp.ClientSession

    async def get(self, path: str, **options: Any) -> tuple[int, Any]:
        """GET with the admin key; return status and parsed answer."""
        return await self.send("GET", path, **options)

    async def send(
        self, method: str, path: str, *, key: str | None = None, headers: dict[str, str] | None = None, **options: Any
    ) -> tuple[int, Any]:
        """Send a request with the admin key, another one, or with `key=""` none; return status and parsed answer."""
        key = self.key if key is None else key
        credentials = {"Authorization": f"Bearer {key}"} if key else {}
        async with self.http.request(
            method, self.url + path, headers={**credentials, **(headers or {})}, **options
        ) as response:
            kind = response.content_type
            return response.status, await (response.json(content_type=None) if "json" in kind else response.text())

    async def add_key(self, *scopes: str) -> str:
        """Make a key with these scopes."""
        key = new_key()
        await self.services.database.execute("add_api_key", DEFAULT_TENANT, f"test {uuid4()}", digest_of(key), scopes)
        return key


@asynccontextmanager
async def running_api(url: str, data_dir: Path, **settings: Any) -> AsyncIterator[ApiUnderTest]:
    """Serve the API of an engine on a free port until the block ends."""
    secrets, connections = settings.pop("secrets", {}), settings.pop("connections", {})
    async with running_engine(url, secrets=secrets, connections=connections, data_dir=data_dir, **settings) as engine:
        services = Services(
            engine=engine.engine,
            publisher=engine.engine.publisher,
            database=engine.database,
            settings=Settings(data_dir=data_dir, port=0, **settings),
            catalogue=engine.engine.catalogue,
            keys=KeyRing(engine.database),
        )
        key = read_key(await ensure_admin_key(engine.database, data_dir))
        assert key is not None
        server = Server(services)
        try:
            address = await server.start()
            async with HarkClient(address, key) as client, aiohttp.ClientSession() as http:
                yield ApiUnderTest(engine, services, server, address, key, client, http)
        finally:
            await server.stop()
