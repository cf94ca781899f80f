"""Publication: versions, what is refused, and that what is refused leaves nothing behind."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from support.engine import EngineUnderTest, running_engine

from hark.workflows.errors import ConflictError, DefinitionError, NotFoundError, Place
from hark.workflows.ids import DEFAULT_TENANT

PLAIN = """
id: plain
name: Plain
triggers: [{type: event, event: GO}]
steps: [{id: a, set: {x: 1}}]
"""


@pytest.fixture
async def hark(database_url: str) -> AsyncIterator[EngineUnderTest]:
    """Run an engine for the test."""
    async with running_engine(database_url, secrets={"one": "first-secret", "two": "second-secret"}) as engine:
        yield engine


def hook(slug: str, secret: str, path: str = "in") -> str:
    """Write a workflow on a webhook path."""
    return f"""
id: {slug}
name: {slug}
triggers:
  - type: webhook
    path: {path}
    auth:
      type: bearer
      secret: "${{{{ secrets.{secret} }}}}"
steps: [{{id: a, set: {{x: 1}}}}]
"""


async def versions(hark: EngineUnderTest) -> int:
    """Count the versions there are."""
    count: int = await hark.database.pool.fetchval("SELECT count(*) FROM hark.workflow_versions")
    return count


async def test_the_same_definition_makes_no_new_version_however_it_is_written(hark: EngineUnderTest) -> None:
    [created] = await hark.apply(PLAIN)
    assert (created.outcome, created.version) == ("created", 1)
    [again] = await hark.apply(PLAIN.replace("\n", "\n# a comment\n"))
    assert (again.outcome, again.version) == ("unchanged", 1)
    [changed] = await hark.apply(PLAIN.replace("x: 1", "x: 2"))
    assert (changed.outcome, changed.version) == ("updated", 2)
    assert await versions(hark) == 2


async def test_a_dry_run_says_what_would_happen_and_does_nothing(hark: EngineUnderTest) -> None:
    [would] = await hark.apply(PLAIN, dry_run=True)
    assert would.outcome == "created"
    assert await versions(hark) == 0
    assert (await hark.emit("GO")).executions == ()


async def test_nothing_of_a_set_is_applied_when_one_of_it_is_refused(hark: EngineUnderTest) -> None:
    bad = """
id: bad
name: Bad
triggers:
  - type: row
    table: public.nowhere
steps: [{id: a, set: {x: 1}}]
"""
    with pytest.raises(DefinitionError) as refused:
        await hark.apply(PLAIN + "---\n" + bad)
    [problem] = refused.value.problems
    assert "nowhere" in problem.message
    assert problem.place is not None
    assert problem.place.line > 8
    assert await versions(hark) == 0


async def test_an_unknown_column_is_refused_with_a_suggestion(hark: EngineUnderTest) -> None:
    await hark.database.pool.execute("CREATE TABLE public.clients (id bigint PRIMARY KEY, status text)")
    with pytest.raises(DefinitionError) as refused:
        await hark.apply(
            "id: r\nname: R\ntriggers:\n  - {type: row, table: public.clients, when: 'new.statuss == \"lead\"'}\n"
            "steps: [{id: a, set: {x: 1}}]\n"
        )
    assert "statuss" in str(refused.value)
    assert "status" in refused.value.problems[0].hint


async def test_two_workflows_on_one_path_need_the_same_auth(hark: EngineUnderTest) -> None:
    await hark.apply(hook("first", "one"))
    await hark.apply(hook("same", "one"))
    with pytest.raises(DefinitionError) as refused:
        await hark.apply(hook("other", "two"))
    [problem] = refused.value.problems
    assert "first" in problem.message
    assert problem.place is not None
    assert "first-secret" not in str(refused.value)
    with pytest.raises(DefinitionError):
        await hark.apply(hook("a", "one", "fresh") + "---\n" + hook("b", "two", "fresh"))


async def test_a_missing_secret_is_found_when_it_is_applied(hark: EngineUnderTest) -> None:
    with pytest.raises(DefinitionError) as refused:
        await hark.apply(hook("lost", "nowhere"))
    assert "nowhere" in str(refused.value)


ELSEWHERE = """
id: elsewhere
name: Elsewhere
triggers: [{type: event, event: GO}]
steps:
  - id: each
    for_each: "[1]"
    do:
      - id: write
        action: update_database
        with: {sql: SELECT 1 AS n, connection: CRM}
"""


async def test_steps_on_connections_that_are_not_known_are_refused_with_their_place(
    hark: EngineUnderTest, database_url: str
) -> None:
    with pytest.raises(DefinitionError, match="none is configured: set HARK_CONNECTION_CRM") as refused:
        await hark.apply(ELSEWHERE + "---\n" + PLAIN, dry_run=True)
    (problem,) = refused.value.problems
    assert problem.message == "there is no connection 'crm'"
    assert (problem.path, problem.place) == (("steps", 0, "do", 0, "with", "connection"), Place(11, 48))
    async with running_engine(database_url, connections={"crn": database_url}) as other:
        with pytest.raises(DefinitionError, match="did you mean crn"):
            await other.apply(ELSEWHERE)
        [kept] = await other.apply(ELSEWHERE.replace("steps:", "on_error:"))
        assert kept.status == "draft"
    assert await versions(hark) == 1


async def test_a_workflow_whose_connection_went_away_stays_and_fails_when_it_gets_there(
    hark: EngineUnderTest, database_url: str
) -> None:
    """An instance that no longer knows the connection starts as ever; only publishing it again is refused there."""
    async with running_engine(database_url, connections={"crm": database_url}) as knowing:
        [stored] = await knowing.apply(ELSEWHERE)
        assert stored.status == "active"
        assert (await knowing.run("GO"))["output"] is None
    async with running_engine(database_url) as later:
        execution = await later.run("GO")
        assert execution["status"] == "failed"
        assert execution["steps"]["each[0].write"]["error"]["class"] == "sql_connection_unknown"
        with pytest.raises(DefinitionError, match="no connection 'crm'"):
            await later.apply(ELSEWHERE)
    [row] = await hark.database.pool.fetch("SELECT status FROM hark.workflows")
    assert row["status"] == "active"


async def test_pause_resume_archive_and_prune_switch_the_triggers(hark: EngineUnderTest) -> None:
    publisher = hark.engine.publisher
    await hark.apply(PLAIN)
    await publisher.pause(DEFAULT_TENANT, "plain")
    assert (await hark.emit("GO")).executions == ()
    [unchanged] = await hark.apply(PLAIN)
    assert unchanged.outcome == "unchanged"
    assert (await hark.emit("GO")).executions == (), "applying the same again does not switch it on"
    await publisher.resume(DEFAULT_TENANT, "plain")
    assert len((await hark.emit("GO")).executions) == 1
    applied = await hark.apply(PLAIN.replace("id: plain", "id: other"), prune=True)
    assert {one.slug: one.outcome for one in applied} == {"other": "created", "plain": "archived"}
    with pytest.raises(ConflictError):
        await publisher.pause(DEFAULT_TENANT, "plain")
    with pytest.raises(NotFoundError):
        await publisher.pause(DEFAULT_TENANT, "nobody")
    [back] = await hark.apply(PLAIN)
    assert (back.outcome, back.version) == ("updated", 1)
    assert len((await hark.emit("GO")).executions) == 2


async def test_a_definition_without_steps_stays_a_draft(hark: EngineUnderTest) -> None:
    [draft] = await hark.apply('{"workflowId": "empty", "name": "Empty", "nodes": [], "edges": []}')
    assert (draft.status, draft.version) == ("draft", 1)
    with pytest.raises(ConflictError):
        await hark.engine.start_workflow(DEFAULT_TENANT, "empty")


async def test_versions_never_change(hark: EngineUnderTest) -> None:
    await hark.apply(PLAIN)
    with pytest.raises(Exception, match="never changes"):
        await hark.database.pool.execute("UPDATE hark.workflow_versions SET definition = '{}'")
