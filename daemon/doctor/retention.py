"""Checks of what history leaves by: whether weeks that are past are dropped, and the archive takes them."""

from __future__ import annotations

from collections.abc import AsyncIterator

from hark.daemon.doctor.checking import Case
from hark.daemon.doctor.report import Finding, error, warning
from hark.daemon.store.database import sql
from hark.workflows.counting import counted

_LONG_S = 86_400


async def look_at_retention(case: Case) -> AsyncIterator[Finding]:
    """Find history that should be gone, and why it is not."""
    row = await case.connection.fetchrow(sql("doctor_get_retention"), case.settings.retention)
    if row is None:
        return
    if row["problem"]:
        yield error(
            f"the archive cannot be written, so no history is dropped: {row['problem']}",
            "see to it that the daemon can write where `archive` says; it tries again every ten minutes, "
            "or at once with `hark prune`",
        )
    if row["lag_s"] > _LONG_S:
        yield warning(
            f"the oldest week of the history could have been dropped {row['lag_s'] / _LONG_S:.1f} days ago",
            "the daemon's log says why (retention.*): does an instance run, does a long transaction hold the tables, "
            "does much of the week have to stay?",
            lag_s=round(row["lag_s"]),
        )
    if row["not_removed"]:
        yield warning(
            f"{counted(row['not_removed'], 'old file')} of the archive left where an erasure was to remove it",
            "see to it that the daemon can delete where `archive` says",
        )
    if row["cut_off"]:
        yield error(
            f"{counted(row['cut_off'], 'erasure')} decided more than an hour ago and not carried out yet",
            "the daemon's log says why (erasure.postponed, erasure.waits_for_its_end): does an instance run, does it "
            "reach all files of the archive (`hark archive list`), is something of it open (`hark erase --force`)?",
        )
