"""A bare aiohttp server that touches no database: it reads a JSON body and answers, and nothing besides."""

from __future__ import annotations

import sys

import orjson
import uvloop
from aiohttp import web

ANSWER = orjson.dumps({"event_id": "00000000-0000-7000-8000-000000000000", "executions": []})


async def receive(request: web.Request) -> web.Response:
    """Read and answer."""
    orjson.loads(await request.read())
    return web.Response(body=ANSWER, status=202, headers={"Content-Type": "application/json"})


def main() -> None:
    """Serve on loopback until the end."""
    uvloop.install()
    application = web.Application()
    application.router.add_post("/hooks/bench", receive)
    web.run_app(application, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None)


if __name__ == "__main__":
    main()
