"""The key that seals secrets of executions: whether this instance has the one that the others have."""

from __future__ import annotations

from collections.abc import AsyncIterator

from hark.daemon.doctor.checking import Case
from hark.daemon.doctor.report import Finding, error
from hark.daemon.engine.sealing import KeyChain
from hark.daemon.store.database import sql
from hark.workflows.counting import counted
from hark.workflows.errors import ConfigurationError

_SAME_KEY = (
    "give all instances the same HARK_SECRET_KEY, under systemd LoadCredential=secret_key:…; without one it is the "
    "text of secret.key in the data directory of the instance that sealed first"
)


async def look_at_sealing(case: Case) -> AsyncIterator[Finding]:
    """Find out whether what the database holds sealed can be opened here, and whether more may be sealed."""
    chain = KeyChain(case.settings)
    try:
        keys = chain.keys if chain.given else {}  # looking makes no key
    except ConfigurationError as failure:
        yield error(str(failure), _SAME_KEY)
        return
    noted = await case.connection.fetchval(sql("get_sealing_key"))
    if noted is not None and noted not in keys:
        here = ", ".join(keys) or "none"
        yield error(
            f"secrets of executions are sealed with the key {noted}, and here is {here}: none can be taken",
            _SAME_KEY + "; if that key is lost for good, empty the table hark.sealing_key",
            key=noted,
        )
    for row in await case.connection.fetch(sql("doctor_list_sealed")):
        if row["key_id"] not in keys:
            yield error(
                f"{counted(row['executions'], 'open execution')} with secrets sealed with the key {row['key_id']}, "
                "which is not here: whatever this instance takes up of that fails",
                _SAME_KEY + "; or add the old key behind the new one: HARK_SECRET_KEY=new,old",
                key=row["key_id"],
                executions=row["executions"],
            )
