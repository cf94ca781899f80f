"""Programs by version: loaded and compiled when they are first needed, many at a time, and kept while they are used."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from hashlib import blake2b
from typing import NamedTuple, Protocol
from uuid import UUID

import orjson

from hark.daemon.engine.background import Background
from hark.daemon.engine.program import Compiler, Program
from hark.daemon.engine.slices import in_slices
from hark.daemon.store.database import Record
from hark.workflows.catalogue import Catalogue
from hark.workflows.definition import Body
from hark.workflows.errors import UnavailableError
from hark.workflows.kept import Kept

MOST = 500
"""How many versions are loaded with one statement."""
_KEPT = 4_000_000
"""Characters of the bodies whose programs are kept, and 100 for each; a program takes 8 to 13 bytes for each."""
_KNOWN = 50_000
"""Of how many versions it is known which program is theirs; 300 bytes each."""

_CLOSED = "this instance is shutting down"

Key = tuple[UUID, UUID, int]


class Version(NamedTuple):
    """A version ready to run. Versions whose steps are written alike have one program."""

    slug: str
    program: Program


class Loading(Protocol):
    """What the programs need of the database."""

    async def fetch(self, query: str, *args: object) -> list[Record]:
        """Run a named query. Raises UnavailableError."""
        ...


class Programs:
    """The most recently used programs. Versions are immutable, so nothing here grows stale.

    Whatever is missed while a load is under way is loaded together by the next one. A program is handed out as soon as
    it is compiled, so those that wait for theirs begin one after the other, and others run in between.
    """

    def __init__(self, database: Loading, catalogue: Catalogue) -> None:
        self._database = database
        self._compiler = Compiler(catalogue)
        self._known: Kept[Key, tuple[str, bytes]] = Kept(_KNOWN)
        self._programs: Kept[bytes, Program] = Kept(_KEPT)
        self._missed: dict[Key, asyncio.Future[Version]] = {}
        self._loading: dict[Key, asyncio.Future[Version]] = {}
        self._wanted = asyncio.Event()
        self._task = Background("load programs", self._run)

    def start(self) -> None:
        """Load what is asked for."""
        self._task.start()

    async def stop(self) -> None:
        """Load nothing more; who still waits is told so. Idempotent."""
        await self._task.stop()
        for waiting in (self._loading, self._missed):
            _fail(waiting, UnavailableError(_CLOSED))

    def ready(self, tenant_id: UUID, workflow_id: UUID, version: int) -> Version | None:
        """Return a version that is in memory."""
        known = self._known.get((tenant_id, workflow_id, version))
        program = None if known is None else self._programs.get(known[1])
        return None if known is None or program is None else Version(known[0], program)

    async def get(self, tenant_id: UUID, workflow_id: UUID, version: int) -> Version:
        """Return a version, loading and compiling it when need be.

        Raises LookupError when it is gone, UnavailableError, and what is wrong with a definition that does not compile.
        """
        ready = self.ready(tenant_id, workflow_id, version)
        if ready is not None:
            return ready
        if not self._task.runs:
            raise UnavailableError(_CLOSED)
        key = (tenant_id, workflow_id, version)
        future = self._loading.get(key) or self._missed.get(key)
        if future is None:
            future = self._missed[key] = asyncio.get_running_loop().create_future()
            self._wanted.set()
        # Others wait for the same: who is cancelled takes nobody along.
        return await asyncio.shield(future)

    async def _run(self) -> None:
        while True:
            await self._wanted.wait()
            self._loading = {key: self._missed.pop(key) for key in list(self._missed)[:MOST]}
            if not self._missed:
                self._wanted.clear()
            try:
                await self._load()
            except Exception as error:  # noqa: BLE001 - handed to those who wait
                _fail(self._loading, error)
            _fail(self._loading, None)

    async def _load(self) -> None:
        """Load what is to be loaded; what is not there is left over."""
        rows = await self._database.fetch("load_definitions", *zip(*self._loading, strict=True))
        async for row in in_slices(rows):
            future = self._loading.pop((row["tenant_id"], row["workflow_id"], row["version"]))
            try:
                version = self._version(row)
            except Exception as error:  # noqa: BLE001 - it concerns this one alone
                _answer(future, error)
            else:
                _answer(future, version)

    def _version(self, row: Record) -> Version:
        body: str = row["body"]
        digest = blake2b(body.encode(), digest_size=16).digest()
        program = self._programs.get(digest)
        if program is None:
            program = self._compiler.compile(Body.model_validate(orjson.loads(body)))
            self._programs.put(digest, program, len(body) + 100)
        self._known.put((row["tenant_id"], row["workflow_id"], row["version"]), (row["slug"], digest), 1)
        return Version(row["slug"], program)


def _fail(waiting: dict[Key, asyncio.Future[Version]], error: Exception | None) -> None:
    """Tell all who wait what went wrong; without an error, that what they wait for does not exist."""
    while waiting:
        key, future = waiting.popitem()
        _answer(future, error or LookupError(f"version {key[2]} of workflow {key[1]} does not exist any more"))


def _answer(future: asyncio.Future[Version], answer: Version | Exception) -> None:
    if isinstance(answer, Exception):
        future.set_exception(answer)
        with suppress(Exception):
            future.exception()  # seen, even if all who waited are gone
    else:
        future.set_result(answer)
