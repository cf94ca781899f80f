"""The limit of open files: many systems start a process with 1,024, which a thousand connections use up."""

from __future__ import annotations

import resource
from contextlib import suppress

ENOUGH = 65_536
"""What the systemd unit asks for; more costs, for some libraries go through all numbers."""
_OTHERS = 1_000
"""Files for the database, for what actions call and write, and for the log."""


def raise_file_limit() -> None:
    """Raise the soft limit as far as the hard one lets; where that is refused, it stays."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH if hard == resource.RLIM_INFINITY else min(ENOUGH, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def room_for_connections(wanted: int) -> int:
    """Return how many connections may be open, as wanted at the most: files are needed for more than these."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return wanted if soft == resource.RLIM_INFINITY else min(wanted, max(soft - _OTHERS, soft // 2))
