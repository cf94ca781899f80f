"""Processes of the benchmark: started in a group of their own, measured, and ended for certain."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
ROOT = Path(__file__).resolve().parent.parent
PATIENCE_S = 15.0


class ContestantError(Exception):
    """A contestant failed, or did not answer in time."""


class Process:
    """A program in a process group of its own, which ends with this process whatever happens."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self._process = process

    @classmethod
    async def start(
        cls, name: str, command: Sequence[str], environment: Mapping[str, str], log: Path, *, talks: bool = False
    ) -> Process:
        """Start a program; `talks` opens its standard input and output to us. Its words go to `log`."""
        log.parent.mkdir(parents=True, exist_ok=True)
        pipe = asyncio.subprocess.PIPE if talks else None
        with log.open("ab") as file:
            process = await asyncio.create_subprocess_exec(
                *_tied(command),
                cwd=ROOT,
                env=dict(environment),
                stdin=pipe or asyncio.subprocess.DEVNULL,
                stdout=pipe or file,
                stderr=file,
                limit=2**26,
                start_new_session=True,
            )
        return cls(name, process)

    @property
    def pid(self) -> int:
        """Its process id, and that of its group."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs, frozen or not."""
        return self._process.returncode is None

    async def ask(self, command: Mapping[str, object], limit_s: float) -> dict[str, Any]:
        """Send a command and return the answer; raises ContestantError."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(orjson.dumps(command) + b"\n")
            line = await asyncio.wait_for(self._process.stdout.readline(), limit_s)
        except TimeoutError:
            raise ContestantError(f"{self.name} did not answer to {command['do']} within {limit_s:.0f} s") from None
        except (ConnectionError, ValueError) as error:
            raise ContestantError(f"{self.name}: {error}") from error
        if not line:
            raise ContestantError(f"{self.name} ended in the middle of {command['do']}")
        answer: dict[str, Any] = orjson.loads(line)
        if "error" in answer:
            raise ContestantError(f"{self.name}: {answer['error']}")
        return answer

    def freeze(self) -> None:
        """Stop its threads where they are, so that it costs the others nothing."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def cpu_s(self) -> float:
        """Return the CPU time of it and its children so far."""
        return sum(_cpu_s(pid) for pid in self._members())

    def resident_mib(self) -> float:
        """Return how much memory it and its children hold."""
        return sum(_resident(pid) for pid in self._members()) / 2**20

    async def stop(self, limit_s: float = PATIENCE_S) -> None:
        """End it: politely, then for certain; idempotent."""
        self.thaw()
        if self._process.stdin is not None:
            self._process.stdin.close()
        else:
            self._signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._process.wait(), limit_s)
        except TimeoutError:
            self._signal(signal.SIGTERM)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), 3)
        finally:
            # Whatever it left behind is in its group.
            self._signal(signal.SIGKILL)
            await self._process.wait()

    def _members(self) -> list[int]:
        return [pid for pid, group in _groups() if group == self.pid]

    def _signal(self, number: signal.Signals) -> None:
        # The group lives as long as one of its members does, so its number is not given to somebody else meanwhile.
        with suppress(ProcessLookupError):
            if self.alive or self._members():
                os.killpg(self.pid, number)


async def ended(process: asyncio.subprocess.Process, limit_s: float, told: bytes | None = None) -> bytes | None:
    """Tell a program something, and return what it wrote when it has ended; in time, else it is ended: TimeoutError."""
    try:
        written, _ = await asyncio.wait_for(process.communicate(told), limit_s)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return written


def _tied(command: Sequence[str]) -> Sequence[str]:
    """Have the kernel end the program when this process dies, where there is a tool for it."""
    tool = shutil.which("setpriv")
    return [tool, "--pdeathsig", "KILL", *command] if tool else command


def _groups() -> list[tuple[int, int]]:
    """List all processes with their group."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        fields = _fields(path)
        if fields:
            found.append((int(path.parent.name), int(fields[2])))
    return found


def _fields(path: Path) -> list[str]:
    """Read what follows the name in a `stat` file (proc_pid_stat(5)): state, parent, group and so on."""
    try:
        return path.read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _cpu_s(pid: int) -> float:
    fields = _fields(Path(f"/proc/{pid}/stat"))
    return sum(map(int, fields[11:15])) * _TICK_S if fields else 0.0


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except (FileNotFoundError, ProcessLookupError):
        return 0
