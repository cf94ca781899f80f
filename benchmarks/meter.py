"""Meters: wall time, and the CPU time of this process and of PostgreSQL, which a shared machine disturbs less."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


class _Stat(NamedTuple):
    parent: int
    own_s: float
    ended_children_s: float


@dataclass(slots=True)
class Reading:
    """What a piece of work took."""

    count: int
    wall_s: float = 0.0
    python_s: float = 0.0
    postgres_s: float = 0.0

    @property
    def rate(self) -> float:
        """How many a second."""
        return self.count / self.wall_s

    @property
    def python_us(self) -> float:
        """CPU time of this process for each, in microseconds."""
        return self.python_s / self.count * 1e6

    @property
    def postgres_us(self) -> float:
        """CPU time of the server's processes for each, in microseconds."""
        return self.postgres_s / self.count * 1e6


@contextmanager
def metered(count: int, postmaster: int) -> Iterator[Reading]:
    """Measure what happens in the block; `count` is how many pieces of work that is."""
    reading = Reading(count)
    server, process, began = server_cpu_s(postmaster), time.process_time(), time.perf_counter()
    yield reading
    reading.wall_s = time.perf_counter() - began
    reading.python_s = time.process_time() - process
    reading.postgres_s = server_cpu_s(postmaster) - server


def server_cpu_s(postmaster: int) -> float:
    """Return the CPU time that a server has taken so far, with all its processes, also those that have ended."""
    total = 0.0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            stat = _stat(path)
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(path.parent.name) == postmaster:
            total += stat.own_s + stat.ended_children_s
        elif stat.parent == postmaster:
            total += stat.own_s
    return total


def resident_mib() -> float:
    """Return how much memory this process holds right now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _stat(path: Path) -> _Stat:
    # The name in parentheses may hold anything; after it, field 4 is the parent, 14 to 17 the times (proc_pid_stat(5)).
    fields = path.read_text().rpartition(")")[2].split()
    return _Stat(int(fields[1]), sum(map(int, fields[11:13])) * _TICK_S, sum(map(int, fields[13:15])) * _TICK_S)
