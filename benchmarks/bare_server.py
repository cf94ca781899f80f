"""A bare aiohttp server: it reads a JSON body and answers; with a database it commits one row for each request before.

Called as `python -m benchmarks.bare_server PORT`, with a database's URL in BENCH_DATABASE_URL.
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator

import asyncpg
import orjson
import uvloop
from aiohttp import web

from hark.daemon.settings import Settings

ANSWER = orjson.dumps({"event_id": "00000000-0000-7000-8000-000000000000", "executions": []})
TABLE = """
CREATE TABLE IF NOT EXISTS received (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, path text NOT NULL, body jsonb NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now()
)
"""
INSERT = "INSERT INTO received (path, body) VALUES ($1, $2) RETURNING id"
_POOL: web.AppKey[asyncpg.Pool[asyncpg.Record]] = web.AppKey("pool", asyncpg.Pool)


async def receive(request: web.Request) -> web.Response:
    """Read and answer."""
    orjson.loads(await request.read())
    return web.Response(body=ANSWER, status=202, headers={"Content-Type": "application/json"})


async def keep(request: web.Request) -> web.Response:
    """Read, store in a transaction of its own, and answer after the commit."""
    raw = await request.read()
    orjson.loads(raw)
    number = await request.app[_POOL].fetchval(INSERT, request.path, raw.decode())
    body = orjson.dumps({"event_id": str(number), "executions": []})
    return web.Response(body=body, status=202, headers={"Content-Type": "application/json"})


async def _pool(application: web.Application) -> AsyncIterator[None]:
    """Open as many connections as a daemon may."""
    size = Settings().database_connections
    async with asyncpg.create_pool(os.environ["BENCH_DATABASE_URL"], min_size=size, max_size=size) as pool:
        await pool.execute(TABLE)
        application[_POOL] = pool
        yield


def main() -> None:
    """Serve on loopback until the end."""
    uvloop.install()
    application = web.Application()
    if "BENCH_DATABASE_URL" in os.environ:
        application.cleanup_ctx.append(_pool)
        application.router.add_post("/hooks/bench", keep)
    else:
        application.router.add_post("/hooks/bench", receive)
    web.run_app(application, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None)


if __name__ == "__main__":
    main()
