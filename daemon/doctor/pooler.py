"""What stands between Hark and its database, and what that keeps it from."""

from __future__ import annotations

from collections.abc import AsyncIterator

from hark.actions.pooled_connection import Way
from hark.daemon.doctor.active import active_triggers
from hark.daemon.doctor.checking import Case
from hark.daemon.doctor.report import Finding, error, ok, warning
from hark.daemon.store.database import PER_TRANSACTION, PER_TRANSACTION_BUT_HEARD
from hark.daemon.store.listening import CANNOT_HEAR
from hark.workflows.connections import is_home

_ADVICE = (
    "for full speed let HARK_DATABASE_URL name the server itself, or a pooler with pool_mode = session; "
    "to hear at once, HARK_LISTEN_URL"
)


async def look_at_pooler(case: Case) -> AsyncIterator[Finding]:
    """Say how the database is reached."""
    if case.way is Way.DIRECT:
        yield ok("no pooler stands before the database", pooler="none")
    elif case.way is Way.SESSION:
        yield ok("a pooler that works per session stands before the database", pooler=case.way.value)
    else:
        means = PER_TRANSACTION if case.settings.listen_url is None else PER_TRANSACTION_BUT_HEARD
        yield warning(means, _ADVICE, pooler=case.way.value)


async def look_at_hearing(case: Case) -> AsyncIterator[Finding]:
    """Find triggers that wait for notifications which cannot be heard."""
    if case.way is Way.TRANSACTION and case.settings.listen_url is None:
        for active in await active_triggers(case):
            if active.kind == "notify" and is_home(active.config.get("connection")):
                yield error(f"{active.workflow}/{active.id}: nothing is heard", CANNOT_HEAR)
