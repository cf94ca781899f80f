"""Checks of triggers on named connections, before they are published."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

from hark.daemon.engine.remotes import Remotes, patiently
from hark.daemon.store.capture_checks import check_tables
from hark.daemon.store.database import Connection
from hark.daemon.store.remote_schema import DROP, HomeItselfError, second_name
from hark.triggers.by_connection import by_connection
from hark.workflows.catalogue import ActiveTrigger
from hark.workflows.connections import hint, unknown
from hark.workflows.errors import Problem, UnavailableError

_KINDS = frozenset({"row", "notify"})


class RemoteChecks:
    """Finds connections that do not exist or lead home, and what is wrong with `row` triggers in other databases.

    A database that does not answer within two seconds keeps nobody from publishing: that is a warning.
    """

    def __init__(self, remotes: Remotes) -> None:
        self._remotes = remotes

    async def __call__(self, _home: Connection, triggers: Sequence[ActiveTrigger]) -> list[Problem]:
        """Check all triggers that name a connection; paths start with (workflow, trigger id)."""
        there = by_connection(trigger for trigger in triggers if trigger.kind in _KINDS)
        there.pop("", None)
        found = await asyncio.gather(*(self._check(name, named) for name, named in there.items()))
        return [problem for problems in found for problem in problems]

    async def _check(self, name: str, triggers: Sequence[ActiveTrigger]) -> Sequence[Problem]:
        if name not in self._remotes.names:
            return list(_of_all(triggers, Problem(unknown(name), hint=hint(name, self._remotes.names))))
        try:
            problems = await patiently(self._look(name, triggers), name)
        except HomeItselfError as error:
            return list(_of_all(triggers, Problem(str(error), hint=DROP)))
        except UnavailableError as error:
            self._remotes.silent.add(name)
            later = "published without being checked; /readyz and `hark watch` tell when it is captured"
            return list(_of_all(triggers, Problem(str(error), hint=later, severity="warning")))
        self._remotes.silent.discard(name)
        return problems

    async def _look(self, name: str, triggers: Sequence[ActiveTrigger]) -> list[Problem]:
        rows = [trigger for trigger in triggers if trigger.kind == "row"]
        async with self._remotes.looking(name) as connection:
            second = await second_name(connection, self._remotes.home, name, frozenset(self._remotes.names))
            if second is not None:
                return list(_of_all(rows, Problem(f"connection {name}: {second}")))
            return await check_tables(connection, rows, self._remotes.prefix)


def _of_all(triggers: Sequence[ActiveTrigger], problem: Problem) -> Iterator[Problem]:
    """Say the same of each trigger."""
    for trigger in triggers:
        path = (trigger.workflow, trigger.id, "connection")
        yield Problem(problem.message, path, problem.hint, severity=problem.severity)
