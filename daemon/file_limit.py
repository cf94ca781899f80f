"""The limit of open files: many systems start a process with 1,024, which a thousand connections use up."""

from __future__ import annotations

import resource
from contextlib import suppress

ENOUGH = 65_536
"""What the systemd unit asks for; more costs, for some libraries go through all numbers."""


def raise_file_limit() -> None:
    """Raise the soft limit as far as the hard one lets; where that is refused, it stays."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH if hard == resource.RLIM_INFINITY else min(ENOUGH, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
