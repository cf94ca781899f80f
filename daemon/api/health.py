"""`/healthz`, `/readyz`, `/metrics` and `/`: open to everybody, and saying nothing about anybody's data."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import orjson
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from hark._version import __version__
from hark.daemon.api.services import Services
from hark.daemon.api.table import SERVICES
from hark.daemon.store.connecting import standing
from hark.daemon.store.schema import schema_state
from hark.workflows.errors import ReadOnlyError, UnavailableError

_LOOK_S = 5.0

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Hark</title><meta name="viewport" content="width=device-width">
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 40rem; margin: 4rem auto; padding: 0 1rem }}
code {{ background: #8882; padding: .1em .3em }}
</style>
<h1>Hark {version}</h1>
<p>Listens to rows, clocks and webhooks, and runs workflows on them.</p>
<ul>
<li><a href="/api/openapi.json">/api/openapi.json</a>: the API.
    Requests to it need a key: <code>Authorization: Bearer hark_…</code></li>
<li><code>/hooks/…</code>: webhooks</li>
<li><a href="/readyz">/readyz</a>, <a href="/healthz">/healthz</a>, <a href="/metrics">/metrics</a>: how it is</li>
<li>On the command line: <code>hark --help</code></li>
</ul>
"""


async def show_page(_request: web.Request) -> web.Response:
    """Say what this is."""
    return web.Response(text=_PAGE.format(version=__version__), content_type="text/html")


async def show_health(_request: web.Request) -> web.Response:
    """Say that the process lives and its loop turns."""
    return web.json_response({"ok": True, "version": __version__})


async def show_readiness(request: web.Request) -> web.Response:
    """Answer 200 only if work can be taken: database reachable, schema current, every listener attached."""
    services = request.app[SERVICES]
    parts = await readiness(services)
    ready = all(part["ok"] or not part.get("needed", True) for part in parts.values())
    return web.Response(
        body=orjson.dumps({"ready": ready, "parts": parts}),
        status=200 if ready else 503,
        content_type="application/json",
        headers=None if ready else {"Retry-After": "1"},
    )


async def readiness(services: Services) -> dict[str, dict[str, Any]]:
    """Return of every part whether it works, and what is to be known about it."""
    parts = {
        name: {"ok": health.attached, "detail": health.detail, **({} if health.needed else {"needed": False})}
        for name, health in services.engine.health().items()
    }
    parts.update(await _database(services))
    if services.stopping:
        parts["process"] = {"ok": False, "detail": "stopping"}
    return parts


async def _database(services: Services) -> dict[str, dict[str, Any]]:
    """Look at the database itself: what the engine last heard of it may be seconds old."""
    try:
        async with asyncio.timeout(_LOOK_S), services.database.transaction() as connection:
            reason = await standing(connection)
            if reason:
                # A connection from before somebody forbade writes: the next may lead to the new primary.
                await services.database.renew()
                raise ReadOnlyError(reason)
            state = await schema_state(connection)
    except (UnavailableError, TimeoutError) as error:
        detail = str(error) or f"it did not answer within {_LOOK_S:g} s"
        return {"database": {"ok": False, "detail": detail}, "schema": {"ok": False, "detail": "not known"}}
    return {"schema": {"ok": state.current, "detail": str(state)}}


class Figures(Collector):
    """The engine's figures and what requests came to, in the form that Prometheus reads."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._started = time.time()

    def collect(self) -> list[Metric]:
        families: list[Metric] = [
            GaugeMetricFamily("hark_start_time_seconds", "When this process began to serve.", self._started),
            GaugeMetricFamily(
                "hark_request_body_bytes", "Bytes of request bodies held.", self._services.bodies.held_bytes
            ),
            GaugeMetricFamily("hark_live_listeners", "Followers of /api/live.", self._services.listeners),
        ]
        info = GaugeMetricFamily("hark_info", "Always 1; says which version runs.", labels=["version"])
        info.add_metric([__version__], 1)
        requests = CounterMetricFamily("hark_http_requests", "Requests answered.", labels=["area", "status"])
        for (area, status), number in self._services.requests.items():
            requests.add_metric([area, str(status)], number)
        health = GaugeMetricFamily("hark_part_up", "Whether a part of the daemon works.", labels=["part"])
        for name, part in self._services.engine.health().items():
            health.add_metric([name], int(part.attached))
        for name, value in self._services.engine.stats().items():
            families.append(_kind(name)(f"hark_{name}", name.replace("_", " "), value))
        for figure in self._services.engine.figures():
            family = _kind(figure.name)(f"hark_{figure.name}", figure.meaning, labels=[figure.label])
            for label, value in figure.values.items():
                family.add_metric([label], value)
            families.append(family)
        return [*families, info, requests, health]


def _kind(name: str) -> type[CounterMetricFamily | GaugeMetricFamily]:
    return CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily


def metrics_registry(services: Services) -> CollectorRegistry:
    """Make the registry of one process; none is global, so that several can live in one test."""
    registry = CollectorRegistry()
    registry.register(Figures(services))
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


METRICS: web.AppKey[CollectorRegistry] = web.AppKey("metrics", CollectorRegistry)


async def show_metrics(request: web.Request) -> web.Response:
    """Give the figures; they hold counts and ages, and no name of anything."""
    body = generate_latest(request.app[METRICS])
    return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})
