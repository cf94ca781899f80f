"""The composition root: makes the parts of the daemon, starts them in order, and stops them in the reverse order."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import asyncpg
import structlog
import uvloop

from hark._version import __version__
from hark.actions.builtin import builtin_actions
from hark.actions.pooled_connection import Way, open_connection
from hark.daemon.api.auth import KeyRing
from hark.daemon.api.server import Server
from hark.daemon.api.services import Services
from hark.daemon.api.waiting import WaitingRoom
from hark.daemon.data_dir import make_data_dir
from hark.daemon.engine.engine import Engine
from hark.daemon.file_limit import raise_file_limit
from hark.daemon.garbage import settle_garbage
from hark.daemon.logging import configure_logging
from hark.daemon.postgres.server import EmbeddedPostgres
from hark.daemon.runtime_file import RuntimeFile
from hark.daemon.secrets import load_connections, load_secrets
from hark.daemon.settings import Settings
from hark.daemon.store.connecting import connect
from hark.daemon.store.database import Database
from hark.daemon.store.keys import ensure_admin_key
from hark.daemon.store.outages import translated
from hark.daemon.store.schema import ensure_schema
from hark.daemon.systemd import Notifier, Watchdog, listen_sockets, watchdog_interval
from hark.daemon.welcome import show_welcome
from hark.triggers.builtin import builtin_triggers
from hark.workflows.catalogue import Catalogue
from hark.workflows.counting import counted
from hark.workflows.errors import ConfigurationError, DefinitionError, HarkError, UnavailableError
from hark.workflows.ids import DEFAULT_TENANT
from hark.workflows.loading import load_all

log = structlog.get_logger(__name__)

SUFFIXES = (".yaml", ".yml", ".json")
STALLED_S = 15.0
"""Without an answer from the database for so long this process makes no progress; that it is a standby is one."""
RETRY_S = 2.0


def builtin_catalogue() -> Catalogue:
    """Return the catalogue of all that Hark brings along."""
    return Catalogue(builtin_actions(), builtin_triggers())


def main(settings: Settings) -> int:
    """Run the daemon until it is told to stop; returns the exit status."""
    configure_logging(settings.log_level, settings.log_format)
    raise_file_limit()
    try:
        uvloop.run(run(settings))
    except HarkError as error:
        log.error("daemon.failed", error=str(error))  # noqa: TRY400 - the message says it all
        return 1
    return 0


async def run(settings: Settings) -> None:
    """Run the daemon until SIGTERM or SIGINT; a second signal ends it at once."""
    stop = asyncio.Event()
    _on_signals(stop)
    began = time.monotonic()
    notifier = Notifier()
    async with AsyncExitStack() as stack:
        stack.callback(notifier.close)
        starting = asyncio.create_task(_start_patiently(stack, settings, notifier), name="start")
        stopping = asyncio.create_task(stop.wait(), name="stop signal")
        await asyncio.wait([starting, stopping], return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            # Asked to stop in the middle of the start: what stands so far is taken down by the stack.
            starting.cancel()
            with suppress(asyncio.CancelledError):
                await starting
            return
        engine = await starting
        log.info("daemon.ready", url=settings.base_url, took_s=round(time.monotonic() - began, 2))
        await stopping
        limit = settings.drain_timeout.total_seconds() + 30
        notifier.stopping(f"draining {counted(engine.executor.in_flight, 'execution')}")
        notifier.extend_timeout(limit)
        log.info("daemon.stopping", executions=engine.executor.in_flight)
    log.info("daemon.stopped")


def _on_signals(stop: asyncio.Event) -> None:
    def asked(name: str) -> None:
        if stop.is_set():
            log.warning("daemon.killed", signal=name)
            sys.stderr.flush()
            # The second signal: everything acknowledged is committed, and the next start takes up the rest.
            signal.raise_signal(signal.SIGKILL)
        stop.set()
        log.info("daemon.asked_to_stop", signal=name)

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked, number.name)


async def _start_patiently(stack: AsyncExitStack, settings: Settings, notifier: Notifier) -> Engine:
    """Start all parts; from the beginning again for as long as the database is away, or goes away meanwhile.

    Whoever asks for readiness is told what is waited for.
    """
    room = WaitingRoom(settings.host, settings.port, make_data_dir(settings.data_dir), sockets=listen_sockets())
    stack.push_async_callback(room.close)
    while True:
        async with AsyncExitStack() as attempt:
            try:
                engine = await _start(attempt, settings, notifier, room)
            except UnavailableError as error:
                log.warning("database.awaited", error=str(error))
                notifier.status(f"waiting for the database: {error}")
                notifier.extend_timeout(30)
                if url := await room.open(str(error)):
                    log.info("daemon.waiting", url=url)
            else:
                await stack.enter_async_context(attempt.pop_all())
                return engine
        await asyncio.sleep(RETRY_S)


async def _start(stack: AsyncExitStack, settings: Settings, notifier: Notifier, room: WaitingRoom) -> Engine:
    data_dir = make_data_dir(settings.data_dir)
    url = await stack.enter_async_context(_database_url(settings, notifier))
    database = Database(
        url,
        pool_size=settings.database_connections,
        way=Way.DIRECT if settings.database_url is None else Way.said(settings.database_pooler),
        listen_url=settings.listen_url,
    )
    await ensure_schema(url, await database.way())
    stack.push_async_callback(database.stop)
    await database.start()
    catalogue = builtin_catalogue()
    engine = Engine(settings, database, catalogue, secrets=load_secrets(), connections=load_connections())
    stack.push_async_callback(engine.stop)
    await engine.start()
    if settings.setup is not None:
        await _set_up(url, await database.way(), settings.setup)
    if settings.workflows is not None:
        await _apply(engine, catalogue, settings.workflows)
    key_file = await ensure_admin_key(database, data_dir)
    hints = await engine.publisher.hints(DEFAULT_TENANT)
    services = Services(
        engine=engine,
        publisher=engine.publisher,
        database=database,
        settings=settings,
        catalogue=catalogue,
        keys=KeyRing(database),
    )
    # From here on the database is not asked: sockets can be taken over once.
    server = Server(services, sockets=await room.hand_over())
    stack.push_async_callback(server.stop)
    address = await server.start()
    runtime = RuntimeFile(data_dir)
    stack.callback(runtime.remove)
    runtime.write(url=settings.url or address)
    watchdog = Watchdog(notifier, lambda: engine.instance.unanswered_s < STALLED_S, interval_s=watchdog_interval())
    stack.push_async_callback(watchdog.stop)
    await watchdog.start()
    settle_garbage()
    notifier.ready(f"Hark {__version__} at {address}")
    show_welcome(settings.url or address, key_file, hints)
    return engine


@asynccontextmanager
async def _database_url(settings: Settings, notifier: Notifier) -> AsyncIterator[str]:
    """Give the URL of the home database; the embedded server runs as long as the block does."""
    if settings.database_url is not None:
        yield settings.database_url
        return

    def wait(what: str) -> None:
        notifier.status(what)
        notifier.extend_timeout(30)

    server = EmbeddedPostgres(settings.data_dir, on_wait=wait)
    try:
        yield await server.start()
    finally:
        await server.stop()


async def _set_up(url: str, way: Way, file: Path) -> None:
    """Run a file of SQL, such as the tables that examples work on; it has to be repeatable."""
    try:
        text = await asyncio.to_thread(file.read_text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"setup: {error}") from error
    with translated():
        connection = await open_connection(url, way, {"application_name": "hark setup"}, opener=connect)
        try:
            await connection.execute(text)
        except asyncpg.PostgresError as error:
            raise ConfigurationError(f"setup: {file}: {error}") from error
        finally:
            await connection.close()


async def _apply(engine: Engine, catalogue: Catalogue, directory: Path) -> None:
    """Apply the workflow files of a directory. A file that is refused is told about and left out; the rest goes on."""
    for file, text in await asyncio.to_thread(_read_all, directory):
        try:
            await engine.publisher.apply(DEFAULT_TENANT, load_all(text, catalogue, file=str(file)))
        except DefinitionError as error:
            for problem in error.problems:
                log.warning("workflow.refused", problem=str(problem))


def _read_all(directory: Path) -> list[tuple[Path, bytes]]:
    if not directory.is_dir():
        raise ConfigurationError(f"workflows: {directory} is no directory")
    files = sorted(path for path in directory.rglob("*") if path.suffix in SUFFIXES and path.is_file())
    return [(file, file.read_bytes()) for file in files]
