"""Daemons as processes of their own, each behind a proxy of its own, to be killed, frozen and started again."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from support.daemon import PATIENCE_S, free_port
from support.faults.proxy import Point, Proxy, Trap, Verdict

_NURSERY = Path(__file__).with_name("nursery.py")


class Nursery:
    """Makes processes; see nursery.py. One for all tests of a session."""

    def __init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="hark-nursery-"))
        self._socket = self.home / "socket"
        self._process = subprocess.Popen(
            [sys.executable, str(_NURSERY), str(self._socket)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n", "the nursery did not start"

    def close(self) -> None:
        """End it, and remove what it left; the daemons have ended before."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(PATIENCE_S)
        shutil.rmtree(self.home, ignore_errors=True)

    async def bear(self, environment: Mapping[str, str], arguments: list[str], log: Path) -> Life:
        """Make a process that runs `hark` with these arguments."""
        reader, writer = await asyncio.open_unix_connection(str(self._socket))
        request = {"environment": dict(environment), "arguments": arguments, "log": str(log)}
        writer.write(json.dumps(request).encode() + b"\n")
        pid = int(await reader.readline())
        return Life(pid, reader, writer)


class Life:
    """A process of the nursery's."""

    def __init__(self, pid: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.pid = pid
        self.killed = False
        self._ending = asyncio.create_task(self._wait(reader, writer))

    async def _wait(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
        try:
            return int(await reader.readline() or -1)
        finally:
            writer.transport.abort()

    @property
    def ended(self) -> bool:
        """Whether it is over."""
        return self._ending.done()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, unless it is over."""
        if not self.ended:
            self.killed = self.killed or number is signal.SIGKILL
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def end(self, number: signal.Signals | None = None) -> int:
        """Wait for its end, which a signal may bring; returns its status, negative for a signal."""
        if number is not None:
            self.signal(number)
        async with asyncio.timeout(PATIENCE_S):
            return await asyncio.shield(self._ending)


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a process takes."""

    memory_mib: float
    descriptors: int

    def __str__(self) -> str:
        return f"{self.memory_mib:.0f} MiB {self.descriptors} files"


@dataclass(frozen=True, slots=True)
class Form:
    """How the instances of a site stand to each other."""

    hosts_apart: bool = False
    """Each takes the others for processes of other hosts, of which it cannot see whether they have ended."""
    share_home: bool = False
    """All have one data directory."""


BESIDE = Form()
"""Processes of one host, with a directory each."""


class Instance:
    """One daemon at one database, through a proxy. `name` is what its connections are known by to the witness."""

    def __init__(
        self, nursery: Nursery, name: str, proxy: Proxy, home: Path, environment: Mapping[str, str], host: str = ""
    ) -> None:
        self.name = name
        self._host = host
        self.proxy = proxy
        self.lives = 0
        self.life: Life | None = None
        self.url = ""
        self.home = home
        self._nursery = nursery
        self._environment = environment

    @property
    def writer(self) -> str:
        """What the present process is called in the witness's log."""
        return f"{self.name}.{self.lives}"

    @property
    def runs(self) -> bool:
        """Whether there is a process."""
        return self.life is not None and not self.life.ended

    @property
    def pid(self) -> int:
        """The process."""
        assert self.life is not None
        return self.life.pid

    @property
    def log(self) -> str:
        """All that its processes have said."""
        file = self.home / "log"
        return file.read_text(encoding="utf-8") if file.exists() else ""

    @property
    def headers(self) -> dict[str, str]:
        """What a request to its API needs."""
        return {"Authorization": f"Bearer {(self.home / 'data' / 'admin.key').read_text(encoding='utf-8').strip()}"}

    async def begin(self, **settings: str) -> None:
        """Make a process, without waiting for anything; settings are for this one only."""
        assert not self.runs
        self.lives += 1
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("HARK_")},
            "HARK_DATA_DIR": str(self.home / "data"),
            "HARK_DATABASE_URL": self.proxy.url(faults__instance=self.writer, faults__host=self._host),
            "HARK_PORT": str(port),
            "HARK_LOG_FORMAT": "json",
            **self._environment,
            **settings,
        }
        self.life = await self._nursery.bear(environment, ["run"], self.home / "log")

    async def ready(self) -> None:
        """Wait until it takes work, or somebody has killed it before it came to that."""
        life, url = self.life, self.url
        assert life is not None
        async with aiohttp.ClientSession() as session, asyncio.timeout(PATIENCE_S):
            while not await _answers(session, f"{url}/readyz") and not life.killed:
                assert not life.ended, f"{self.name} has ended:\n{self.log[-4000:]}"
                await asyncio.sleep(0.02)

    async def start(self, **settings: str) -> None:
        """Make a process and wait until it takes work."""
        await self.begin(**settings)
        await self.ready()

    async def kill(self) -> None:
        """End it as a crash does."""
        assert self.life is not None
        await self.life.end(signal.SIGKILL)

    def freeze(self) -> None:
        """Stop it in the middle of whatever it does, as a swapping machine or a paused container does."""
        assert self.life is not None
        self.life.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on as if nothing had been."""
        assert self.life is not None
        self.life.signal(signal.SIGCONT)

    async def stop(self) -> int:
        """Ask it to stop; returns its status."""
        assert self.life is not None
        return await self.life.end(signal.SIGTERM)

    def trap(self, point: Point, *, most: int = 1) -> Trap:
        """Have it killed at a point."""

        async def kill() -> Verdict:
            await self.kill()
            return Verdict.CUT

        return self.proxy.lay(point, kill, most=most)

    def lay(self, point: Point, verdict: Verdict, *, most: int = 1, after_s: float = 0) -> Trap:
        """Have its connection cut, or go dark, or wait, at a point."""

        async def act() -> Verdict:
            await asyncio.sleep(after_s)
            return verdict

        return self.proxy.lay(point, act, most=most)

    def footprint(self) -> Footprint:
        """Return what it takes now."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()[1])
        files = len(list(Path(f"/proc/{self.pid}/fd").iterdir()))
        return Footprint(pages * os.sysconf("SC_PAGESIZE") / 2**20, files)


@asynccontextmanager
async def instances(
    nursery: Nursery, url: str, names: list[str], environment: Mapping[str, str], form: Form
) -> AsyncIterator[list[Instance]]:
    """Prepare daemons, which the caller starts; they are gone afterwards."""
    home = Path(tempfile.mkdtemp(prefix="hark-faults-"))
    made = []
    try:
        for name in names:
            place = home / (names[0] if form.share_home else name)
            place.mkdir(exist_ok=True)
            proxy = Proxy(url)
            await proxy.start()
            host = f"host of {name}" if form.hosts_apart else ""
            made.append(Instance(nursery, name, proxy, place, environment, host))
        yield made
    finally:
        for one in made:
            if one.runs:
                await one.kill()
            await one.proxy.stop()
        shutil.rmtree(home, ignore_errors=True)


async def _answers(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(url) as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False
