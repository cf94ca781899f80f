"""The notify protocol against a fake service manager, the watchdog, and sockets that were handed over."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hark.daemon.systemd import Notifier, Watchdog, listen_sockets, watchdog_interval


class Manager:
    """A fake service manager: a datagram socket, and what arrived on it."""

    def __init__(self, address: str) -> None:
        self.environment = {"NOTIFY_SOCKET": address.replace("\0", "@")}
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.socket.setblocking(False)

    async def hear(self) -> list[str]:
        async with asyncio.timeout(5):
            return (await asyncio.get_running_loop().sock_recv(self.socket, 4096)).decode().split("\n")

    def is_silent(self) -> bool:
        try:
            self.socket.recv(4096)
        except BlockingIOError:
            return True
        return False


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    """Listen on a socket in the file system, or on an abstract one."""
    if request.param == "abstract" and sys.platform != "linux":
        pytest.skip("abstract sockets are Linux's")
    manager = Manager(str(tmp_path / "notify") if request.param == "path" else f"\0hark-test-{os.getpid()}")
    yield manager
    manager.socket.close()


async def test_each_notification_is_one_datagram(manager: Manager) -> None:
    with Notifier(manager.environment) as notifier:
        notifier.ready("serving\non 8470")
        assert await manager.hear() == ["READY=1", "STATUS=serving on 8470"]
        notifier.extend_timeout(2.5)
        assert await manager.hear() == ["EXTEND_TIMEOUT_USEC=2500000"]
        notifier.status("draining")
        assert await manager.hear() == ["STATUS=draining"]
        notifier.watchdog()
        assert await manager.hear() == ["WATCHDOG=1"]
        notifier.stopping()
        assert await manager.hear() == ["STOPPING=1"]


def test_without_a_manager_nothing_is_said() -> None:
    notifier = Notifier({})
    notifier.ready()
    notifier.close()
    assert not notifier.enabled


def test_a_manager_that_has_gone_does_no_harm(tmp_path: Path) -> None:
    with Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}) as notifier:
        notifier.ready()
        assert notifier.enabled


@pytest.mark.parametrize(
    "environment,expected",
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_interval_counts_only_when_it_is_meant_for_us(environment: dict[str, str], expected: float | None) -> None:
    assert watchdog_interval(environment) == expected


async def test_the_watchdog_is_fed_while_there_is_progress_and_only_then(manager: Manager) -> None:
    asked = asyncio.Event()
    moving = True

    async def progress() -> bool:
        asked.set()
        return moving

    with Notifier(manager.environment) as notifier:
        watchdog = Watchdog(notifier, progress, interval_s=0.06)
        await watchdog.start()
        assert [await manager.hear(), await manager.hear()] == [["WATCHDOG=1"]] * 2
        moving = False
        asked.clear()
        await asked.wait()
        asked.clear()
        while not manager.is_silent():
            pass
        await asked.wait()
        assert manager.is_silent()
        moving = True
        assert await manager.hear() == ["WATCHDOG=1"]
        await watchdog.stop()
        await watchdog.stop()


def _fail() -> bool:
    raise ConnectionError("no database")


async def _hang() -> bool:
    await asyncio.sleep(3600)
    return True


@pytest.mark.parametrize("progress", [_fail, _hang, lambda: False])
async def test_a_check_that_fails_or_hangs_is_no_progress(manager: Manager, progress: Callable[[], bool]) -> None:
    asked: asyncio.Queue[None] = asyncio.Queue()

    def counted() -> bool:
        asked.put_nowait(None)
        return progress()

    with Notifier(manager.environment) as notifier:
        watchdog = Watchdog(notifier, counted, interval_s=0.03)
        await watchdog.start()
        async with asyncio.timeout(5):
            for _ in range(3):
                await asked.get()
        await watchdog.stop()
    assert manager.is_silent()


async def test_without_an_interval_nothing_runs(manager: Manager) -> None:
    with Notifier(manager.environment) as notifier:
        watchdog = Watchdog(notifier, lambda: True, interval_s=None)
        await watchdog.stop()
        await watchdog.start()
        await watchdog.stop()
    assert manager.is_silent()


_TAKE_OVER = """
import os, sys
from hark.daemon.systemd import listen_sockets
os.environ["LISTEN_PID"] = os.environ["LISTEN_PID"] or str(os.getpid())
for listener in listen_sockets():
    print(listener.getsockname()[1], listener.family.name, os.get_inheritable(listener.fileno()))
    listener.close()
"""


@pytest.mark.parametrize("pid,expected", [("", True), ("1", False)])
def test_sockets_are_taken_over_when_they_are_meant_for_us(pid: str, expected: bool) -> None:
    """A process of its own, because the descriptors start at 3."""
    with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
        handed = (first.fileno(), second.fileno())

        def place() -> None:
            saved = [os.dup(descriptor) for descriptor in handed]
            for target, descriptor in enumerate(saved, start=3):
                os.dup2(descriptor, target)

        result = subprocess.run(
            [sys.executable, "-c", _TAKE_OVER],
            env={**os.environ, "LISTEN_FDS": "2", "LISTEN_PID": pid},
            preexec_fn=place,
            close_fds=False,
            capture_output=True,
            check=True,
            text=True,
        )
        lines = [f"{listener.getsockname()[1]} AF_INET False" for listener in (first, second)]
    assert result.stdout.splitlines() == (lines if expected else [])


def test_without_activation_there_are_no_sockets() -> None:
    assert listen_sockets({}) == []
