"""A real engine on a test's own database, with a catalogue that tests can look into."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from uuid import UUID

import orjson

from hark.actions.builtin import builtin_actions
from hark.daemon.engine.engine import Engine
from hark.daemon.settings import Settings
from hark.daemon.store.database import Database
from hark.triggers.builtin import builtin_triggers
from hark.workflows.catalogue import Action, ActionContext, ActionSpec, Catalogue, Config, Effect, NewEvent, Receipt
from hark.workflows.errors import ActionError
from hark.workflows.ids import DEFAULT_TENANT
from hark.workflows.loading import load_all
from support.pgbouncer import pgbouncer


class ProbeConfig(Config):
    """What a probe is told."""

    say: Any = None
    """What to answer."""
    fail: str | None = None
    """A failure to raise."""
    times: int = 0
    """How many attempts fail; 0 all of them."""
    hold: bool = False
    """Wait until the test lets go."""


class Probe(Action[ProbeConfig]):
    """An action with an effect outside: it notes every call, fails when told to, and holds until it is let go."""

    spec = ActionSpec(
        "probe", "Probe", "Notes that it was called.", "control", Effect.EXTERNAL, ProbeConfig, {"action": "probe"}
    )

    def __init__(self) -> None:
        self.calls: list[tuple[str, int, str]] = []
        self.configs: list[ProbeConfig] = []
        self.called = asyncio.Event()
        self.release = asyncio.Event()

    async def run(self, config: ProbeConfig, context: ActionContext) -> Any:
        """Note the call and do as told."""
        self.calls.append((context.step, context.attempt, context.idempotency_key))
        self.configs.append(config)
        self.called.set()
        if config.hold:
            await self.release.wait()
        if config.fail and (not config.times or context.attempt <= config.times):
            raise ActionError(config.fail, error_class="probed")
        return config.say


class EngineUnderTest:
    """An engine with shortcuts for tests."""

    def __init__(self, engine: Engine, probe: Probe) -> None:
        self.engine = engine
        self.probe = probe
        self.database = engine.database

    async def apply(self, text: str, **options: Any) -> Any:
        """Apply workflows written in YAML."""
        return await self.engine.publisher.apply(DEFAULT_TENANT, load_all(text, self.engine.catalogue), **options)

    async def emit(self, kind: str, data: Any = None, **fields: Any) -> Receipt:
        """Publish an event."""
        return await self.engine.emit(event(kind, data, **fields))

    async def run(self, kind: str, data: Any = None, **fields: Any) -> dict[str, Any]:
        """Publish an event that starts one execution, wait for its end, and return it with its steps."""
        receipt = await self.emit(kind, data, **fields)
        assert len(receipt.executions) == 1, receipt
        return await self.ended(receipt.executions[0])

    async def ended(self, execution_id: UUID, timeout_s: float = 20) -> dict[str, Any]:
        """Wait for the end of an execution and return it."""
        status = await self.engine.wait_for_end(DEFAULT_TENANT, execution_id, timeout_s)
        assert status is not None, await self.execution(execution_id)
        return await self.execution(execution_id)

    async def execution(self, execution_id: UUID) -> dict[str, Any]:
        """Return an execution as it is on record: its row, `steps` by path, `logs` and `timeline`."""
        pool = self.database.pool
        row = await pool.fetchrow("SELECT * FROM hark.workflow_executions WHERE id = $1", execution_id)
        assert row is not None
        steps = await pool.fetch("SELECT * FROM hark.workflow_steps WHERE execution_id = $1 ORDER BY seq", execution_id)
        logs = await pool.fetch("SELECT * FROM hark.workflow_logs WHERE execution_id = $1 ORDER BY id", execution_id)
        timeline = await pool.fetch(
            "SELECT * FROM hark.workflow_timeline WHERE execution_id = $1 ORDER BY id", execution_id
        )
        return {
            **plain(row),
            "steps": {step["path"]: plain(step) for step in steps},
            "logs": [plain(entry) for entry in logs],
            "timeline": [plain(entry) for entry in timeline],
        }

    async def until(self, condition: Callable[[], Any], what: str = "the condition") -> Any:
        """Poll a condition, plain or async, until it holds; bounded."""
        async with asyncio.timeout(20):
            while True:
                found = condition()
                if asyncio.iscoroutine(found):
                    found = await found
                if found:
                    return found
                await asyncio.sleep(0.01)
        raise AssertionError(what)


_JSON = frozenset({"inputs", "output", "error", "metadata", "input", "data", "detail"})


def plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row with its JSON columns parsed."""
    return {
        name: orjson.loads(value) if name in _JSON and isinstance(value, str) else value for name, value in row.items()
    }


def event(kind: str, data: Any = None, **fields: Any) -> NewEvent:
    """Make an event as a program would publish it."""
    known = {"tenant_id": DEFAULT_TENANT, "kind": "event", "type": kind, "source": "test", "route": f"event:{kind}"}
    return NewEvent(**{**known, "data": {} if data is None else data, **fields})


@asynccontextmanager
async def running_engine(
    url: str,
    *,
    secrets: Mapping[str, str] | None = None,
    connections: Mapping[str, str] | None = None,
    probe: Probe | None = None,
    **settings: Any,
) -> AsyncIterator[EngineUnderTest]:
    """Run an engine until the block ends; with HARK_TEST_POOL_MODE in the environment through a pgbouncer."""
    async with AsyncExitStack() as stack:
        if mode := os.environ.get("HARK_TEST_POOL_MODE"):
            size = 20 if mode == "transaction" else 60
            url = await stack.enter_async_context(pgbouncer(url, mode, size))
            through = {
                name: await stack.enter_async_context(pgbouncer(other, mode, size))
                for name, other in (connections or {}).items()
            }
            connections = through
        yield await stack.enter_async_context(
            _running(url, secrets or {}, connections or {}, probe or Probe(), settings)
        )


@asynccontextmanager
async def _running(
    url: str, secrets: Mapping[str, str], connections: Mapping[str, str], probe: Probe, settings: dict[str, Any]
) -> AsyncIterator[EngineUnderTest]:
    catalogue = Catalogue([*builtin_actions(), probe], builtin_triggers())
    database = Database(url, listen_url=settings.get("listen_url"))
    await database.start()
    # Without a data directory of the test's own nothing may be written to one.
    kept_out = {"data_dir": "/proc/no-data-directory"}
    settings = {"drain_timeout": "1s", "http_allow_networks": "127.0.0.0/8", **kept_out, **settings}
    engine = Engine(Settings(**settings), database, catalogue, secrets=secrets, connections=connections)
    try:
        await engine.start()
        yield EngineUnderTest(engine, probe)
    finally:
        probe.release.set()
        await engine.stop()
        await database.stop()
