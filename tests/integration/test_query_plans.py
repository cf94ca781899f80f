"""What every statement touches on a long history, planned while it was empty and planned with statistics.

Pages and rows are bounded, not times: they are the same on every machine. The bounds hold for any length of history.
`HARK_TEST_EXECUTIONS` says how long it is; without it there are 100,000 executions, and the planner is told of ten
times as many rows.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from support import history
from support.database import connected, fresh_database
from support.history_tables import HISTORY
from support.plans import Prepared, Touched

from hark.daemon.store.database import ENGINE_PLANNER, JOINING_PLANNER, POOL_PLANNER, sql

MILLION = 1_000_000
EXECUTIONS = int(os.environ.get("HARK_TEST_EXECUTIONS", "100000"))
ANY_ID = ("ffffffff-ffff-ffff-ffff-ffffffffffff", "00000000-0000-0000-0000-000000000000")
ROWS_PER_PAGE = 10
LATEST = (ANY_ID[0], "@recent_since")
WITHOUT, WITH = "planned while all was empty", "planned with statistics"


@dataclass(frozen=True, slots=True)
class Guard:
    """A statement with representative arguments (`@name`: a sample), and how many pages it may touch."""

    arguments: tuple[str | None, ...]
    pages: int
    planner: str = "pool"


def record(*arguments: str | None, pages: int) -> Guard:
    """Guard a statement of the connections for arrivals, records and looks."""
    return Guard(arguments, pages, "record")


def joining(*arguments: str | None, pages: int) -> Guard:
    """Guard a statement of the connection for claims."""
    return Guard(arguments, pages, "joining")


def pool(*arguments: str | None, pages: int) -> Guard:
    """Guard a statement of the general pool: planned each time it is run, so it is judged with statistics alone."""
    return Guard(arguments, pages)


ONE = ("@tenant", "@execution")
PLANNERS: dict[str, Mapping[str, str]] = {
    "record": ENGINE_PLANNER,
    "joining": JOINING_PLANNER,
    "pool": POOL_PLANNER,
}
# One row by its key is some ten pages, a page of fifty rows a few hundred, a flush of 200 executions a few thousand.
GUARDED: dict[str, Guard] = {
    # flushes and claims
    "ingest_events": record(
        "@instance", "@generation", "@keys", "@events", "@tenants_1", "@workflows_1", "@starts", "@refusals",
        "{}", "{}", "{}", pages=20_000,
    ),
    "ingest_events_alone": record("@instance", "@generation", "@events", "@refusals", pages=20_000),
    "record_progress": record(
        "@instance", "@steps", "@changes", "@logs", "@notes", "@memories", "@waits_begun", "@waits_over",
        "@folded", pages=6_000,
    ),
    "lock_held": record("@instance", "@changes", "@tenants", "@executions", pages=3_000),
    "record_step": record(
        "@instance", "@tenant", "@running", "first", "0", "action", "probe", "completed", "1", None, None, None, None,
        None, None, pages=50,
    ),
    "claim_executions": joining("@instance", "200", ANY_ID[1], pages=10_000),
    "pass_due": joining("200", pages=50),
    "next_due": joining(pages=60),
    "load_events": joining("@tenants", "@events_of", pages=2_000),
    "load_steps": joining("@tenants", "@executions", pages=2_500),
    "load_steps_around": joining("@tenants", "@executions", pages=2_000),
    "load_batches": joining("@tenants", "@executions", pages=2_000),
    "scan_events": record("@awaited", "200", pages=4_000),
    "load_event_hits": record("@tenants", "@executions", "@paths", "200", pages=1_500),
    "take_ends": record("100", "4194304", pages=2_500),
    "find_executions": pool("@tenants", "@executions", pages=2_000),
    "load_ends": record("@tenants", "@executions", pages=2_000),
    "get_ends": record("@tenants", "@executions", pages=2_000),
    "find_stored": record("@tenants", "@events_of", pages=2_000),
    "find_owned": pool("@instance", "@tenants", "@executions", pages=1_000),
    "find_starts": record("@tenants", "@executions", "@events_of", "@workflows_of", "@paths", pages=3_000),
    "find_executions_of_event": record("@tenant", "@event", "@event_from", "@event_to", pages=50),
    "find_cancelled": pool("@instance", pages=600),
    "find_woken": pool("@instance", pages=600),
    "list_owned": pool("@instance", pages=600),
    "release_stranded": pool("@instance", "@running_ids", "@running_versions", pages=4_000),
    "give_back": record("@instance", pages=4_000),
    "reclaim_executions": record(pages=2_500),
    "start_parts": record("@parts", pages=20_000),
    # a step, an approval, the context
    "get_step": pool(*ONE, "first", pages=50),
    "open_approval": pool("@instance", *ONE, "ask2", "@new", None, "{}", None, pages=30),
    "close_approval": pool("@instance", "@tenant", "@waiting", "ask", pages=50),
    "answer_approval": pool("@tenant", "@waiting", "ask", "{}", "test", "approval.answered", pages=200),
    "find_approval": pool("@waiting", "@digest", pages=60),
    "list_approvals": pool("@tenant", *ANY_ID, "50", None, pages=1_500),
    "list_approvals_of_execution": pool(*ONE, pages=60),
    "load_context": pool(*ONE, pages=50),
    "list_context": pool(*ONE, None, "1000", pages=50),
    "set_context": pool(*ONE, "key", "1", "test", "1000", pages=30),
    "delete_context": pool("@tenant", "@waiting", "seen", pages=30),
    # cancel, retry, replay
    "cancel_execution": pool("@tenant", "@waiting", "{}", pages=60),
    "cancel_children": pool(*ONE, None, pages=200),
    "insert_retry": pool(*ONE, "@new", "1", None, "1", None, "retry", None, None, pages=200),
    "last_ordinal": pool("@tenant", "@workflow", "@event", "@event_from", "@event_to", pages=50),
    "list_repeats": pool("@tenant", "@workflow", "@event", "@event_from", "@event_to", "@execution", pages=50),
    "list_recorded_steps": pool(*ONE, pages=50),
    "copy_steps": pool(*ONE, "@new", "second", "{}", pages=50),
    "copy_planned_steps": pool(*ONE, "@new", "{first}", "{second}", pages=50),
    "copy_context": pool(*ONE, "@new", None, pages=50),
    "copy_batch": pool("@batch_tenant", "@batch", "@new", pages=50),
    "find_executions_for_bulk": pool(
        "@tenant", None, "{failed}", *reversed(ANY_ID), "probed", "true", "500", pages=20_000
    ),
    "cancel_open_executions": pool("@tenant", "@archived", "{}", ANY_ID[1], "500", pages=12_000),
    "count_open_executions": pool("@tenant", "@workflow", "1000", pages=12_000),
    "count_pending_of_workflow": pool("@tenant", "@workflow", "1000", pages=12_000),
    "has_open_executions": pool("@tenant", "@workflow", pages=300),
    "note_timeline": pool(*ONE, "@new", "test", None, pages=50),
    # what people look at
    "get_execution": pool(*ONE, pages=50),
    "get_execution_state": pool(*ONE, pages=50),
    "get_repeated": pool(*ONE, pages=50),
    "get_hold": pool("@tenant", "@queued", pages=200),
    "get_event": pool("@tenant", "@event", pages=50),
    "list_executions": pool("@tenant", "@page", pages=1_200),
    "list_execution_ids": pool("@tenant", *ANY_ID, None, "50", "false", pages=100),
    "list_execution_ids_by_status": pool("@tenant", *ANY_ID, "{failed,waiting}", "50", None, "false", pages=400),
    "list_execution_ids_of_workflow": pool("@tenant", *ANY_ID, None, "50", "@workflow", "false", pages=300),
    "list_execution_ids_of_event": pool("@tenant", "@event", "@event_from", "@event_to", pages=50),
    "list_steps": pool(*ONE, "1000", pages=50),
    "list_timeline": pool(*ONE, "1000", pages=80),
    "list_logs": pool("@tenant", ANY_ID[1], ANY_ID[0], None, None, "50", pages=1_200),
    "list_logs_of_execution": pool(*ONE, *reversed(ANY_ID), None, "50", pages=50),
    "list_events": pool("@tenant", *ANY_ID, None, None, None, "50", pages=100),
    "list_events_of_route": pool("@tenant", *ANY_ID, None, None, None, "50", "@route", pages=300),
    "find_fired_slots": pool(
        "@tenant", "@route", "cron:w/t", "@recent_since", "2000-01-01", "2100-01-01", "2000", "2100", pages=1_000
    ),
    "list_deliveries": pool("@tenant", *ANY_ID, "@route", "50", pages=1_500),
    "list_last_deliveries": pool("@tenant", "{a,b,c}", pages=300),
    "list_decisions": pool("@tenant", "@event", pages=50),
    "list_started": pool("@tenant", "@event", "@event_from", "@event_to", pages=60),
    "page_events": pool("@tenant", "@route", *ANY_ID, "50", pages=300),
    "list_captured_ids": pool("@tenant", "@route", "rows:public.t", *reversed(ANY_ID), "200", pages=300),
    "load_captured": pool("@tenant", "@events_of", "65536", pages=2_000),
    "list_started_of_events": pool("@tenant", "@events_of", "@recent_since", ANY_ID[0], "10000", pages=3_000),
    "list_decisions_of_events": pool("@tenant", "@events_of", "10000", pages=2_000),
    "list_live_executions": pool("@tenant", "@recent_since", "@page", None, None, pages=12_000),
    "list_live_logs": pool("@tenant", "@recent_since", "@page", None, None, None, "@recent_since", pages=3_000),
    "list_workflows": pool("@tenant", *[None] * 6, "false", "50", "0", pages=3_000),
    "list_instances": pool(pages=600),
    "count_held_back": pool(pages=600),
    "get_lag": pool(pages=1_200),
    "get_outbox_lag": pool("0", pages=150),
    "get_stats": pool("@tenant", pages=12_000),
    "doctor_count_waiting": pool("00:05:00", pages=12_000),
    "doctor_list_sealed": pool(pages=100),
    "doctor_pick_sample": pool(pages=50),
    "doctor_count_remains": pool("@tenant", "@workflow", "@execution", pages=120),
    "list_approvals of one workflow": pool("@tenant", *ANY_ID, "50", "@slug", pages=4_000),
    "list_logs of one workflow": pool("@tenant", *reversed(LATEST), None, "@workflow", "50", pages=4_000),
    "list_execution_ids_of_workflow that failed": pool(
        "@tenant", *ANY_ID, "{failed}", "50", "@workflow", "false", pages=600
    ),
    "list_execution_ids_by_status of one workflow": pool(
        "@tenant", *ANY_ID, "{failed}", "50", "@workflow", "false", pages=12_000
    ),
    "find_executions_for_bulk that completed": pool(
        "@tenant", None, "{completed,failed}", *reversed(ANY_ID), None, "true", "500", pages=20_000
    ),
    # looking up: workflows by the type of an event, executions by workflow, steps and logs by execution
    "doctor_look_up_workflows": pool("@tenant", "@route", pages=50),
    "doctor_look_up_executions": pool("@tenant", "@workflow", pages=300),
    "doctor_look_up_steps": pool(*ONE, pages=50),
    # clearing up
    "prune_open": pool("00:00:00", "00:00:00", "@tenant", "waiting", ANY_ID[1], "100", pages=4_000),
    "prune_activations": pool("28 days", "28 days", "7 days", "500", pages=6_000),
    "prune_decisions": pool("28 days", "500", pages=8_000),
    "prune_unmatched_events": pool("28 days", "500", pages=20_000),
    "list_ended": pool("@tenant", *reversed(ANY_ID), "500", pages=2_000),
    "list_ended_of_workflow": pool("@tenant", *reversed(ANY_ID), "500", "@workflow", pages=4_000),
    "erase_some_history": pool("@tenant", "@archived", "100", pages=20_000),
    # erasing a subject
    "list_executions_of_subject": pool("@tenant", "@new", "client", "@client", *reversed(ANY_ID), "200", pages=400),
    "list_events_of_subject": pool("@tenant", "@new", "client", "@client", *reversed(ANY_ID), "200", pages=400),
    "reach_further": pool("@tenant", "@erasure", "client", "@client", "0", "200", pages=20_000),
    "list_open_of_erasure": pool("@tenant", "@executions", "@events_of", pages=4_000),
    "count_of_erasure": pool("@tenant", "@erasure", "@executions", "@events_of", pages=6_000),
    "cancel_executions": pool("@tenant", "@running_ids", "{}", pages=12_000),
    "erase_listed": pool("@tenant", "@erasure", "0", "200", pages=30_000),
    "erase_listed_events": pool("@tenant", "@erasure", "0", "200", pages=20_000),
}  # fmt: skip

NOT_GUARDED = {
    "create_partitions": "makes tables; reads no rows",
    "retire_week": "locks, moves and drops whole partitions, which is its work; see test_retention.py",
    "prepare_week": "marks a partition; reads no rows",
    "validate_oldest": "reads a partition through once a week, and locks nobody out",
    "note_needed": "goes through what is open, once a week",
    "note_staying": "goes through a week in slices by key; see test_retention.py",
    "list_walks": "goes through as many of a workflow as it counts, every ten minutes",
    "choose_past": "looks up the ids that it is given, from the few to the many",
    "erase_ended": "deletes the ids that it is given",
    "count_unmatched": "counts what a dry run is asked for",
    "foresee_week": "goes through a partition, for a dry run",
    "list_history_tables": "names tables; reads none of them",
    "list_weeks": "asks for the sizes of partitions; reads no rows",
    "get_retention_lag": "reads no history",
    "doctor_get_retention": "reads no history",
    "list_going": "goes through a week in slices by key; see test_archive.py",
    "export_executions": "looks up the ids that it is given, from the few to the many",
    "restore_executions": "inserts what it is given",
    "delete_workflow": "deletes what erase_some_history has left of the history, in the pieces of its trigger",
    "sweep_lanes": "looks at lanes, slots and who queues, once in ten minutes; test_limits.py bounds what it does",
    "doctor_count_bad_lanes": "the look of sweep_lanes",
    "place_capture_trigger": "makes triggers; reads no history",
    "remove_capture_trigger": "drops triggers; reads no history",
    "without_events": "changes the lines that it is given; reads no rows",
    "doctor_plant_workflow": "inserts a row into each table, in a transaction that is rolled back",
}

_SAMPLES = (Path(__file__).parents[1] / "support" / "plan_samples.sql").read_text(encoding="utf-8")

Measured = dict[str, dict[str, Touched]]


@pytest.fixture(scope="module")
def measured(server_url: str, template_database: str) -> Measured:
    """Run every guarded statement, prepared while all was empty: before and after there are statistics."""
    return asyncio.run(_measure(server_url, template_database))


async def _measure(server_url: str, template: str) -> Measured:
    found: Measured = {name: {} for name in GUARDED}
    async with fresh_database(server_url, template) as url:
        await history.age(url)
        lanes = {
            planner: await Prepared.open(
                url, settings, [name for name, guard in GUARDED.items() if guard.planner == planner]
            )
            for planner, settings in PLANNERS.items()
        }
        try:
            for name, guard in GUARDED.items():
                await lanes[guard.planner].plan(name)
            await history.fill(url, EXECUTIONS)
            async with connected(url) as connection:
                samples = dict(await connection.fetchrow(_SAMPLES))
            await _run_all(lanes, samples, found, WITHOUT)
            await _analyze(url)
            await _run_all(lanes, samples, found, WITH)
        finally:
            for lane in lanes.values():
                await lane.close()
    return found


async def _analyze(url: str) -> None:
    """Take statistics; of a short history such as a long one would have."""
    async with connected(url) as connection:
        await connection.execute("SET default_statistics_target = 20; ANALYZE")
        await connection.execute(
            "UPDATE pg_class SET reltuples = reltuples * $1::float8 WHERE relnamespace = 'hark'::regnamespace "
            "AND relname ~ '_([0-9]{4}w[0-9]{2}|oldest)' AND reltuples > 0",
            max(1.0, MILLION / EXECUTIONS),
        )


async def _run_all(lanes: Mapping[str, Prepared], samples: Mapping[str, Any], found: Measured, how: str) -> None:
    for name, guard in GUARDED.items():
        arguments = [samples[one[1:]] if one is not None and one[0] == "@" else one for one in guard.arguments]
        found[name][how] = await lanes[guard.planner].run(name, arguments)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", GUARDED)
def test_a_statement_touches_little_however_long_the_history_is(measured: Measured, name: str) -> None:
    """Plans that are kept have to be good whatever they were made on; more than one was bad for a connection's life."""
    guard = GUARDED[name]
    for how, found in measured[name].items():
        if guard.planner == "pool" and how == WITHOUT:
            continue
        assert not found.whole, f"{how}: reads whole partitions: {found.whole}\n{found.text}"
        assert found.buffers <= guard.pages, f"{how}: {found.buffers} pages\n{found.text}"
        assert found.rows <= guard.pages * ROWS_PER_PAGE, f"{how}: {found.rows} rows\n{found.text}"


def test_the_measure_sees_a_scan(measured: Measured) -> None:
    """What is found on a long history is not nothing: every statement did something."""
    idle = {name for name, found in measured.items() if not all(one.buffers for one in found.values())}
    assert not idle


_FUNCTIONS = """
SELECT proname, coalesce(pg_get_function_sqlbody(oid), prosrc) AS body
FROM pg_proc WHERE pronamespace = 'hark'::regnamespace
"""


async def test_every_statement_on_the_history_is_guarded_or_says_why_not(connection: asyncpg.Connection) -> None:
    """Also those that come to the history through a function."""
    tables = re.compile(rf"\b({'|'.join(HISTORY)})\b(?!\()")
    named = re.compile(rf"\bhark\.({'|'.join(HISTORY)})\b")
    bodies = {row["proname"]: row["body"] for row in await connection.fetch(_FUNCTIONS)}
    reaching = {name for name, body in bodies.items() if tables.search(body)}
    while more := {
        name
        for name, body in bodies.items()
        if name not in reaching and re.search(rf"\b({'|'.join(reaching)})\(", body)
    }:
        reaching |= more
    calls = re.compile(rf"\bhark\.({'|'.join(reaching)})\(")
    queries = resources.files("hark.daemon.store") / "queries"
    files = [file.name.removesuffix(".sql") for file in queries.iterdir()]
    concerned = {name for name in files if named.search(sql(name)) or calls.search(sql(name))}
    guarded = {name.partition(" ")[0] for name in GUARDED}
    assert not guarded & set(NOT_GUARDED)
    known = guarded | set(NOT_GUARDED)
    assert not concerned - known, f"{concerned - known}: guard it, or say in NOT_GUARDED why it may touch what it likes"
    assert not known - set(files)
