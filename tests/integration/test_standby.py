"""Standbys and failovers, with real ones: what cannot be written to is not worked on, and is left for the primary."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import asyncpg
import pytest
from support.database import connected, quick_place
from support.engine import EngineUnderTest, running_engine
from support.faults.proxy import Proxy
from support.faults.server import Server, own_server

from hark.daemon import app
from hark.daemon.configuration import load_settings
from hark.daemon.engine import instance
from hark.daemon.hosts import Host, hosts_of
from hark.daemon.runtime_file import read_running
from hark.daemon.settings import Settings
from hark.daemon.store import listening
from hark.daemon.store.connecting import connect
from hark.daemon.store.schema import ensure_schema
from hark.daemon.systemd import Notifier
from hark.workflows.errors import ConfigurationError, ReadOnlyError, UnavailableError

LEADS = """
id: leads
name: Leads
triggers: [{type: row, table: public.leads, operations: [insert]}]
steps: [{id: note, set: {n: "${{ event.data.new.n }}"}}]
"""
OURS = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'hark%'"


@pytest.mark.timeout(90)
async def test_a_failover_and_a_start_on_a_standby(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two servers for all of it: starting them takes seconds."""
    monkeypatch.setattr(instance, "HEARTBEAT_S", 0.1)
    monkeypatch.setattr(app, "RETRY_S", 0.1)
    monkeypatch.setattr(listening, "HEARTBEAT_S", 0.1)
    monkeypatch.setattr(listening, "REBUILD_S", 0.1)
    async with AsyncExitStack() as stack:
        old, new = [await stack.enter_async_context(own_server(quick_place())) for _ in range(2)]
        proxy = Proxy(await old.start())
        stack.push_async_callback(proxy.stop)
        await proxy.start()
        await ensure_schema(proxy.url())
        async with running_engine(proxy.url()) as tested:
            async with connected(proxy.url()) as connection:
                await connection.execute("CREATE TABLE public.leads (n int)")
            await tested.apply(LEADS)
            await failed_over(tested, old, new, proxy)
            await fenced_off(tested, await new.start())
        await several_hosts(await old.start(), await new.start())
        await started_on_a_standby(await old.start(), tmp_path)


async def failed_over(tested: EngineUnderTest, old: Server, new: Server, proxy: Proxy) -> None:
    """Let the primary come back as a standby, under its address at first; then that leads to the new primary."""
    await old.stop()
    await old.copy_to(new)
    old.demote()
    url = await old.start()
    await tested.until(lambda: "is a standby (in recovery)" in database(tested), "it is noticed")
    assert not tested.engine.health()["database"].attached
    assert tested.engine.instance.unanswered_s < app.STALLED_S  # a restart would not help
    proxy.lead_to(await new.start())
    async with connected(await new.start()) as connection:
        await connection.execute("INSERT INTO public.leads VALUES (1)")
        await tested.until(lambda: ready(tested), "it has found the new primary")
        await ran(tested, connection, 1)
    async with connected(url) as connection:
        assert await connection.fetch(OURS) == []


async def fenced_off(tested: EngineUnderTest, url: str) -> None:
    """Forbid writes under living connections, which say nothing of it; and allow them again."""
    async with connected(url) as connection:
        await connection.execute("SET default_transaction_read_only = off")
        before = {row["pid"] for row in await connection.fetch(OURS)}
        await set_read_only(connection, "on")
        await tested.until(lambda: "default_transaction_read_only" in database(tested), "it is noticed")
        with pytest.raises(ReadOnlyError):
            await tested.database.fetchval("get_time")  # this could be read; but who knows how old it is
        since = await connection.fetchval("SELECT clock_timestamp()")
        await set_read_only(connection, "off")
        await tested.until(lambda: ready(tested), "it works again")
        await connection.execute("INSERT INTO public.leads VALUES (2)")
        await ran(tested, connection, 2)
        used = {row["pid"] for row in await connection.fetch(f"{OURS} AND query_start > $1", since)}
    assert used.isdisjoint(before)


async def several_hosts(standby: str, primary: str) -> None:
    """Whichever takes writes is found, though the one before it is a standby, or there is no answer from it."""
    async with AsyncExitStack() as stack:
        first, second = Proxy(standby), Proxy(primary)
        for proxy in (first, second):
            await proxy.start()
            stack.push_async_callback(proxy.stop)
        one, two = (hosts_of(proxy.url())[0] for proxy in (first, second))
        url = first.url().replace(str(one), f"{one},{two}")
        assert hosts_of(url) == [one, two]
        found = await connect(url)
        assert not await found.fetchval("SELECT pg_is_in_recovery()")
        await found.close()
        hanging_up = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
        stack.callback(hanging_up.close)
        port = hanging_up.sockets[0].getsockname()[1]
        found = await connect(url.replace(str(one), f"127.0.0.1:{port}"), ssl=False)
        await found.close()
        first.dark.set()
        found = await connect(url, timeout=2)
        await found.close()
        second.lead_to(standby)
        with pytest.raises(ReadOnlyError, match=f"{one}: TimeoutError; {two}: the database is a standby"):
            await connect(url, timeout=1)
        await second.stop()
        with pytest.raises(UnavailableError, match="no host of the database takes writes"):
            await connect(url, timeout=1)


async def started_on_a_standby(url: str, place: Path) -> None:
    """Start on one: it waits, says for what, refuses work, and takes it once the server has been promoted."""
    settings = Settings(database_url=url, data_dir=place / "data", port=0)
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(aiohttp.ClientSession())
        starting = asyncio.create_task(app._start_patiently(stack, settings, Notifier({})), name="starting")
        address = await served_at(settings)
        async with http.get(f"{address}/readyz") as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (503, "2")
            detail = (await answer.json())["parts"]["database"]["detail"]
            assert detail.startswith("the database is a standby (in recovery): ")
        async with http.post(f"{address}/hooks/any", json={}) as answer:
            assert (answer.status, detail in (await answer.json(content_type=None))["detail"]) == (503, True)
        async with http.get(f"{address}/metrics") as answer:
            figures = await answer.text()
            assert 'hark_part_up{part="database"} 0.0' in figures
            assert "hark_info{version=" in figures  # or the alert would be that it is gone
        async with http.get(f"{address}/healthz") as answer:
            assert answer.status == 200
        async with connected(url) as connection:
            assert await connection.fetchval("SELECT pg_promote()")
        await asyncio.wait_for(starting, 20)
        async with http.get(f"{address}/readyz") as answer:  # at the same address
            assert answer.status == 200, await answer.text()


async def served_at(settings: Settings) -> str:
    async with asyncio.timeout(20):
        while (found := read_running(settings.data_dir)) is None:
            await asyncio.sleep(0.02)
    return found.url


def database(tested: EngineUnderTest) -> str:
    return tested.engine.health()["database"].detail


def ready(tested: EngineUnderTest) -> bool:
    return all(health.attached for health in tested.engine.health().values())


async def set_read_only(connection: asyncpg.Connection, value: str) -> None:
    await connection.execute(f"ALTER SYSTEM SET default_transaction_read_only = {value}")
    await connection.execute("SELECT pg_reload_conf()")


async def ran(tested: EngineUnderTest, connection: asyncpg.Connection, count: int) -> None:
    done = "SELECT count(*) = $1 FROM hark.workflow_executions WHERE status = 'completed'"
    await tested.until(lambda: connection.fetchval(done, count), f"{count} executions")


def test_hosts_are_read_as_libpq_reads_them() -> None:
    assert hosts_of("postgresql://u:p%40w@one,two:5433/db") == [Host("one", 5432), Host("two", 5433)]
    assert hosts_of("postgresql://[::1]:5433,[fe80::1]/db") == [Host("::1", 5433), Host("fe80::1", 5432)]
    assert hosts_of("postgresql:///db?host=/run/a,/run/b&port=1,2") == [Host("/run/a", 1), Host("/run/b", 2)]
    assert hosts_of("postgresql://u@/db?host=/run/a&port=5") == [Host("/run/a", 5)]
    assert hosts_of("postgresql:///db") == []


@pytest.mark.parametrize("given", ["one:abc,two", "one,two:99999", "[::1]:-1", "/db?host=/run&port=x"])
def test_a_port_that_is_none_is_refused_where_it_is_set(given: str) -> None:
    """It was found by whoever connected, and ended the daemon and the doctor with a traceback."""
    with pytest.raises(ConfigurationError, match=r"database_url.* is no port: write a number up to 65535"):
        load_settings({"database_url": f"postgresql://{given}"})


def test_a_wish_for_a_server_that_cannot_be_written_to_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="target_session_attrs=standby is no use"):
        load_settings({"database_url": "postgresql://one,two/db?target_session_attrs=standby"})
