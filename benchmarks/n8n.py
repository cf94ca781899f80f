"""n8n as a contestant: headless, on loopback, with a database of its own on the same PostgreSQL, and silent outside."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import aiohttp

from benchmarks.bench import LOGS
from benchmarks.daemons import Daemon, free_port, until_ready
from benchmarks.environments import N8n
from benchmarks.processes import ContestantError, Process

PATH = "/webhook/bench"
SETTINGS = (
    "regular mode, one process, production, DB_POSTGRESDB_POOL_SIZE=10 (default 2), N8N_EXPRESSION_ENGINE=legacy (the "
    "default makes a sandbox for each execution, and is several times slower), all executions saved; a webhook "
    "answered by the last node, and three Set nodes with an expression each"
)
_SILENT = {
    "N8N_DIAGNOSTICS_ENABLED": "false",
    "N8N_VERSION_NOTIFICATIONS_ENABLED": "false",
    "N8N_TEMPLATES_ENABLED": "false",
    "N8N_PERSONALIZATION_ENABLED": "false",
    "N8N_HIRING_BANNER_ENABLED": "false",
    "N8N_DYNAMIC_BANNERS_ENABLED": "false",
    "N8N_LICENSE_AUTO_RENEW_ENABLED": "false",
    "N8N_COMMUNITY_PACKAGES_ENABLED": "false",
    # Whatever else would speak to the outside finds nobody at the end of this road.
    "HTTP_PROXY": "http://127.0.0.1:9",
    "HTTPS_PROXY": "http://127.0.0.1:9",
    "NO_PROXY": "127.0.0.1,localhost",
}
_QUICKEST = {"DB_POSTGRESDB_POOL_SIZE": "10", "N8N_EXPRESSION_ENGINE": "legacy"}
_SAVING = {"EXECUTIONS_DATA_SAVE_ON_SUCCESS": "all", "EXECUTIONS_DATA_PRUNE": "false"}
_OWNER = {"email": "bench@example.org", "firstName": "Bench", "lastName": "Mark", "password": "Bench0000x"}
_START_LIMIT_S = 120.0


@asynccontextmanager
async def running(installed: N8n, url: str) -> AsyncIterator[Daemon]:
    """Run n8n with the benchmark's workflow published. Raises ContestantError."""
    with tempfile.TemporaryDirectory(prefix="hark-bench-n8n-") as home:
        port = free_port()
        environment = {
            **{key: os.environ[key] for key in ("HOME", "LANG") if key in os.environ},
            **_SILENT,
            **_SAVING,
            **_QUICKEST,
            **_database(url),
            "PATH": f"{installed.node.parent}:{os.environ['PATH']}",
            "NODE_ENV": "production",
            "N8N_LISTEN_ADDRESS": "127.0.0.1",
            "N8N_HOST": "127.0.0.1",
            "N8N_PORT": str(port),
            "N8N_RUNNERS_BROKER_PORT": str(free_port()),
            "N8N_USER_FOLDER": home,
            "N8N_DISABLE_UI": "true",
            "N8N_PUBLIC_API_DISABLED": "true",
            "N8N_SECURE_COOKIE": "false",
            "N8N_LOG_LEVEL": "error",
        }
        command = [str(installed.node), str(installed.script), "start"]
        process = await Process.start("n8n", command, environment, LOGS / "n8n.log")
        try:
            await until_ready(process, f"http://127.0.0.1:{port}/healthz/readiness", _START_LIMIT_S)
            await _publish(f"http://127.0.0.1:{port}")
            yield Daemon(process, port)
        finally:
            await asyncio.shield(process.stop())


def _database(url: str) -> Mapping[str, str]:
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    return {
        "DB_TYPE": "postgresdb",
        "DB_POSTGRESDB_HOST": query["host"][0],
        "DB_POSTGRESDB_PORT": query["port"][0],
        "DB_POSTGRESDB_DATABASE": parts.path.lstrip("/"),
        "DB_POSTGRESDB_USER": parts.username or "",
        "DB_POSTGRESDB_PASSWORD": unquote(parts.password or ""),
    }


async def _publish(base: str) -> None:
    """Set up the owner, make the workflow, publish it, and wait until its webhook is registered."""
    async with aiohttp.ClientSession(
        base, cookie_jar=aiohttp.CookieJar(unsafe=True), timeout=aiohttp.ClientTimeout(total=30)
    ) as session:
        await _post(session, "/rest/owner/setup", _OWNER)
        made = await _post(session, "/rest/workflows", _workflow())
        workflow = made["data"]
        await _post(session, f"/rest/workflows/{workflow['id']}/activate", {"versionId": workflow["versionId"]})
        end = time.monotonic() + 30
        while time.monotonic() < end:
            async with session.post(PATH, json={"n": 1}) as response:
                if response.status == 200:
                    return
            await asyncio.sleep(0.2)
    raise ContestantError("n8n did not register the webhook within 30 s")


async def _post(session: aiohttp.ClientSession, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
    async with session.post(path, json=body) as response:
        if response.status != 200:
            raise ContestantError(f"n8n answered {response.status} to {path}: {(await response.text())[:200]}")
        answer: dict[str, Any] = await response.json()
        return answer


def _workflow() -> dict[str, Any]:
    hook = {"httpMethod": "POST", "path": "bench", "responseMode": "lastNode", "options": {}}
    nodes = [{**_node("Webhook", "webhook", 2, 0, hook), "webhookId": str(uuid.uuid4())}]
    connections: dict[str, Any] = {}
    for number in range(3):
        value = {"id": str(uuid.uuid4()), "name": f"v{number}", "value": f"={{{{ {number} }}}}", "type": "number"}
        config = {"assignments": {"assignments": [value]}, "includeOtherFields": True, "options": {}}
        nodes.append(_node(f"Set {number}", "set", 3.4, number + 1, config))
        connections[nodes[-2]["name"]] = {"main": [[{"node": nodes[-1]["name"], "type": "main", "index": 0}]]}
    return {
        "name": "bench",
        "nodes": nodes,
        "connections": connections,
        "settings": {"executionOrder": "v1"},
        "active": False,
    }


def _node(name: str, kind: str, version: float, place: int, parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": str(uuid.uuid4()),
        "name": name,
        "type": f"n8n-nodes-base.{kind}",
        "typeVersion": version,
        "position": [200 * place, 0],
        "parameters": parameters,
    }
