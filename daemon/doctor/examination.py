"""The examination: every check in its turn, each bounded in time."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

import asyncpg

from hark.daemon.doctor.access import reach
from hark.daemon.doctor.capture import look_at_capture
from hark.daemon.doctor.checking import Case, Check, LocalCheck, run, run_local
from hark.daemon.doctor.clock import look_at_clock, look_at_tzdata, look_at_zones
from hark.daemon.doctor.elsewhere import look_elsewhere
from hark.daemon.doctor.installation import look_at_data_dir, look_at_disk, look_at_variables
from hark.daemon.doctor.listening import look_at_listening
from hark.daemon.doctor.objects import look_at_objects
from hark.daemon.doctor.pooler import look_at_hearing, look_at_pooler
from hark.daemon.doctor.process import look_at_daemon, look_at_port
from hark.daemon.doctor.report import Finding, Level, healthy
from hark.daemon.doctor.retention import look_at_retention
from hark.daemon.doctor.schema import look_at_privileges, look_at_schema
from hark.daemon.doctor.sealing import look_at_sealing
from hark.daemon.doctor.server import (
    look_at_connections,
    look_at_durability,
    look_at_encoding,
    look_at_recovery,
    look_at_transactions,
    look_at_version,
)
from hark.daemon.doctor.trials import look_at_cascades, look_at_lookups, look_at_sizes
from hark.daemon.doctor.work import (
    look_at_ends,
    look_at_executions,
    look_at_instances,
    look_at_lanes,
    look_at_outbox,
    look_at_partitions,
    look_at_secrets,
)
from hark.daemon.settings import Settings

LOCAL = (
    LocalCheck("variables", look_at_variables, "every HARK_ variable is a setting"),
    LocalCheck("data_dir", look_at_data_dir, "the data directory and what is private in it are closed to others"),
    LocalCheck("disk", look_at_disk, "there is room on the disk"),
    LocalCheck("tzdata", look_at_tzdata),
    LocalCheck("daemon", look_at_daemon),
    LocalCheck("listening", look_at_listening),
    LocalCheck("port", look_at_port, "the address to serve on is free, or the daemon's own"),
)
SERVER = (
    Check("pooler", look_at_pooler),
    Check("version", look_at_version),
    Check("encoding", look_at_encoding, "the database can hold every text (UTF8)"),
    Check("recovery", look_at_recovery, "the server takes writes"),
    Check("durability", look_at_durability, "what is committed survives a crash"),
    Check("connections", look_at_connections),
    Check("clock", look_at_clock),
    Check("transactions", look_at_transactions, "no old transaction holds what was deleted"),
)
SCHEMA = Check("schema", look_at_schema)
CONTENT = (
    Check("privileges", look_at_privileges, "the database user may do all that it needs in the schema"),
    Check("capture", look_at_capture, "what `row` triggers watch is captured"),
    Check("hearing", look_at_hearing, "what others notify is heard, where somebody waits for it"),
    Check("other_databases", look_elsewhere, "what is watched in other databases is captured"),
    Check("zones", look_at_zones, "PostgreSQL and Python agree about the time zones of schedules"),
    Check("secrets", look_at_secrets, "the secrets that triggers name are set"),
    Check("sealing", look_at_sealing, "secrets of executions can be sealed and opened here"),
    Check("partitions", look_at_partitions, "the history has partitions for the weeks to come"),
    Check("retention", look_at_retention, "history goes when it is past"),
    Check("instances", look_at_instances),
    Check("executions", look_at_executions, "no execution waits in vain"),
    Check("limits", look_at_lanes, "the slots of limits add up"),
    Check("outbox", look_at_outbox, "row changes become events in time"),
    Check("ends", look_at_ends, "what starts after other workflows can"),
)
DEEP = (
    Check("objects", look_at_objects, limit_s=60),
    Check("sizes", look_at_sizes),
    Check("cascades", look_at_cascades),
    Check("look_ups", look_at_lookups),
)
"""What `--schema` adds."""


async def examine(settings: Settings, *, schema: bool = False) -> list[Finding]:
    """Run all checks; with `schema` those of the live schema as well. Starts nothing and changes nothing.

    What goes wrong is a finding, never an exception. Works with the daemon up or down.
    """
    findings = [finding for check in LOCAL for finding in await run_local(check, settings)]
    access = await reach(settings)
    findings.append(access.finding)
    content = CONTENT + DEEP if schema else CONTENT
    if access.connection is None:
        level: Level = "ok" if access.finding.level == "ok" else "warning"
        return [*findings, _skipped((*SERVER, SCHEMA, *content), "there is no database to look at", level)]
    try:
        return findings + await _examine_database(Case(settings, access.connection, access.way), content)
    finally:
        with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            await access.connection.close(timeout=2)


async def _examine_database(case: Case, content: Iterable[Check]) -> list[Finding]:
    findings = [finding for check in SERVER for finding in await run(check, case)]
    standing = await run(SCHEMA, case)
    findings += standing
    if not healthy(standing):
        return [*findings, _skipped(content, "the schema cannot be used", "warning")]
    return findings + [finding for check in content for finding in await run(check, case)]


def _skipped(checks: Iterable[Check], reason: str, level: Level) -> Finding:
    names = [check.name for check in checks]
    message = f"not looked at, because {reason}: {', '.join(names)}"
    advice = "" if level == "ok" else "put right what is said above, and look again"
    return Finding("skipped", level, message, advice, {"checks": names})
