"""What tells processes on one host apart: boot, process namespace, pid and start time."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """A process, so exactly that a reused pid or another container's pid is not taken for it."""

    host: str
    host_boot: str
    """Boot id and process namespace; empty where the system does not tell."""
    pid: int
    pid_started: int
    """Clock ticks since boot; 0 where the system does not tell."""

    def is_gone(self) -> bool:
        """Whether the process, known to be on this host, has ended."""
        return bool(self.pid_started) and _started(self.pid) != self.pid_started


def this_process() -> ProcessIdentity:
    """Return the identity of this process."""
    return ProcessIdentity(socket.gethostname(), _host_boot(), os.getpid(), _started(os.getpid()))


def _host_boot() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _started(pid: int) -> int:
    """Return field 22 of /proc/PID/stat (proc_pid_stat(5)); 0 when there is no such process, or a dead one."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in "ZX" else int(fields[19])
