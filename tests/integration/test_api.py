"""The API over HTTP, on a real engine: definitions in, executions out, errors that say what is wrong."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from support.api import ApiUnderTest, running_api

from hark.client import ApiError, HarkClient, UnreachableError
from hark.daemon.api.models.executions import ExecutionDetail
from hark.daemon.api.models.watches import WatchRow
from hark.daemon.api.server import all_routes
from hark.workflows.ids import DEFAULT_TENANT

GREET = """
id: greet
name: Greet somebody
category: enrichment
tags: [sales, first]
triggers:
  - {id: by_event, type: event, event: GREET, when: event.data.name != ""}
inputs: {name: {type: string, default: nobody}}
steps:
  - {id: note, action: log_event, with: {level: warning, message: "hello ${{ inputs.name }}", data: {n: 1}}}
  - id: choose
    if: inputs.name == "Ada"
    then: [{id: praise, set: {word: first}}]
    else: [{id: plain, set: {word: other}}]
output: {said: "${{ inputs.name }}"}
"""
SLOW = """
id: slow
name: Slow
steps:
  - {id: before, set: {x: 1}}
  - {id: hold, action: probe, with: {hold: true}}
  - {id: after, set: {y: 2}}
"""
BROKEN = """
id: broken
name: Broken
steps: [{id: one, action: probe, with: {fail: no luck}}]
"""


@pytest.fixture
async def api(database_url: str, tmp_path: Path) -> AsyncIterator[ApiUnderTest]:
    """Serve the API of an engine."""
    async with running_api(database_url, tmp_path) as served:
        yield served


async def test_a_definition_goes_in_runs_and_is_told_about_in_full(api: ApiUnderTest) -> None:
    applied = await api.client.apply({"greet.yaml": GREET})
    assert [(one.workflow, one.outcome, one.version, one.file) for one in applied.items] == [
        ("greet", "created", 1, "greet.yaml")
    ]
    received = await api.client.emit("GREET", {"name": "Ada"}, key="k1", subject="client/7")
    again = await api.client.emit("GREET", {"name": "Ada"}, key="k1", subject="client/7")
    assert again.duplicate
    assert (again.event_id, again.executions) == (received.event_id, received.executions)
    started = await api.client.start("greet", {"name": "Ada"}, wait_s=10)
    assert (started.status, started.output) == ("completed", {"said": "Ada"})

    await api.hark.ended(received.executions[0])
    execution = await api.client.execution(received.executions[0])
    assert (execution.workflow, execution.status, execution.trigger_type) == ("greet", "completed", "event")
    assert execution.event_id == received.event_id
    assert [step.path for step in execution.steps] == ["note", "choose", "praise"]
    assert [line.message for line in execution.logs] == ["hello Ada"]
    assert execution.logs[0].data == {"n": 1}
    times = [entry.at for entry in execution.timeline]
    assert times == sorted(times)
    types = [entry.type for entry in execution.timeline]
    assert types[0] == "event.received"
    assert types[-1] == "execution.completed"
    assert "step.completed" in types


async def test_the_same_key_with_other_content_is_a_conflict(api: ApiUnderTest) -> None:
    await api.client.emit("GREET", {"name": "Ada"}, key="k1")
    with pytest.raises(ApiError) as refused:
        await api.client.emit("GREET", {"name": "Eve"}, key="k1")
    assert refused.value.status == 409


async def test_answers_have_the_shapes_that_openapi_promises(api: ApiUnderTest) -> None:
    """Ask every GET route of the table, and hold the answer to its model, unknown fields refused."""
    await api.client.apply({"all.yaml": f"{GREET}\n---\n{SLOW}"})
    started = await api.client.start("greet", {"name": "Ada"}, wait_s=10)
    await api.client.start("slow")
    await api.hark.probe.called.wait()
    names = {"workflow": "greet", "execution": started.execution_id, "event": started.event_id, "action": "log_event"}
    names |= {"key": "stage", "path": "leads"}
    await api.hark.database.pool.execute(
        "INSERT INTO hark.workflow_context (tenant_id, execution_id, key, value) VALUES ($1, $2, 'stage', '1')",
        DEFAULT_TENANT, started.execution_id,
    )  # fmt: skip
    asked = 0
    for route in all_routes():
        if route.path.startswith("/api/archives/"):
            continue  # test_archive.py asks these: something has to be archived for that
        if route.method == "GET" and route.answer is not str:
            wanted = {name: names[name] for name, field in route.query.model_fields.items() if field.is_required()}
            status, answer = await api.get(route.path.format(**names), params=wanted)
            assert status == 200, (route.path, answer)
            assert surplus(route.answer.model_validate(answer)) == [], route.path
            asked += 1
    assert asked >= 18


def surplus(model: BaseModel, path: str = "") -> list[str]:
    """List what an answer has that its model does not know."""
    found = [f"{path}.{name}" for name in model.model_extra or ()]
    for name in type(model).model_fields:
        value = getattr(model, name)
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, BaseModel):
                found += surplus(part, f"{path}.{name}")
    return found


async def test_the_openapi_document_names_every_route(api: ApiUnderTest) -> None:
    status, document = await api.get("/api/openapi.json", key="")
    assert status == 200
    assert document["openapi"] == "3.1.0"
    for route in all_routes():
        operation = document["paths"][route.path][route.method.lower()]
        assert operation["summary"]
        assert operation["responses"]
    text = json.dumps(document)
    for name in {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}:
        assert name in document["components"]["schemas"]


async def test_workflows_are_filtered_ordered_and_paged(api: ApiUnderTest) -> None:
    texts = [GREET, *(f"id: w{n}\nname: W{n}\ntags: [many]\nsteps: [{{id: a, set: {{x: 1}}}}]" for n in range(5))]
    await api.client.apply({"all.yaml": "\n---\n".join(texts)})
    await api.client.pause("w3")
    tagged = await api.client.workflows(tags="sales,first")
    assert [item.slug for item in tagged.items] == ["greet"]
    assert (await api.client.workflows(category="enrichment")).items[0].slug == "greet"
    assert [item.slug for item in (await api.client.workflows(is_active=False)).items] == ["w3"]
    first = await api.client.workflows(order_by="name", order_direction="desc", limit=4)
    second = await api.client.workflows(order_by="name", order_direction="desc", limit=4, cursor=first.next_cursor)
    assert [item.slug for item in [*first.items, *second.items]] == ["w4", "w3", "w2", "w1", "w0", "greet"]
    assert second.next_cursor is None
    await api.client.delete("w4", archive=True)
    assert "w4" not in [item.slug for item in (await api.client.workflows()).items]
    assert [item.slug for item in (await api.client.workflows(status="archived")).items] == ["w4"]
    assert len((await api.client.workflows(status="all")).items) == 6


async def test_a_workflow_is_created_read_replaced_exported_paused_and_deleted(api: ApiUnderTest) -> None:
    yaml = {"Content-Type": "application/yaml"}
    status, created = await api.send("POST", "/api/workflows", data=GREET, headers=yaml)
    assert (status, created["slug"], created["is_active"], created["version"]) == (201, "greet", True, 1)
    assert (await api.send("POST", "/api/workflows", data=GREET, headers=yaml))[0] == 409
    changed = {**created["definition"], "name": "Greet better"}
    status, replaced = await api.send("PUT", f"/api/workflows/{created['id']}", json=changed)
    assert (status, replaced["name"], replaced["version"]) == (200, "Greet better", 2)
    assert (await api.send("PUT", "/api/workflows/other", json=changed))[0] == 422
    versions = await api.client.versions("greet")
    assert [(one.version, one.is_published) for one in versions.items] == [(2, True), (1, False)]
    assert (await api.client.workflow("greet", version=1)).definition == created["definition"]
    text = await api.client.export("greet")
    assert (await api.client.apply({"again.yaml": text})).items[0].outcome == "unchanged"
    assert json.loads(await api.client.export("greet", format="json"))["id"] == "greet"
    back = await api.client.publish("greet", version=1)
    assert back.name == "Greet somebody"
    assert not (await api.client.pause("greet")).is_active
    assert (await api.client.emit("GREET", {"name": "Ada"})).executions == []
    assert (await api.client.resume("greet")).is_active
    assert (await api.send("DELETE", "/api/workflows/greet"))[1] == {"success": True}
    assert (await api.get("/api/workflows/greet"))[0] == 404


async def test_nothing_is_applied_when_one_of_several_files_is_wrong(api: ApiUnderTest) -> None:
    bad = "id: bad\nname: Bad\nsteps:\n  - {id: a, action: send_emial}\n"
    with pytest.raises(ApiError) as refused:
        await api.client.apply({"greet.yaml": GREET, "bad.yaml": bad, "worse.yaml": "id: x\nid: y\n"})
    assert refused.value.status == 422
    places = {(problem.file, problem.line) for problem in refused.value.problem.problems}
    assert {("bad.yaml", 4), ("worse.yaml", 2)} <= places
    assert any("send_email" in problem.hint for problem in refused.value.problem.problems)
    assert (await api.client.workflows()).items == []
    checked = await api.client.validate({"bad.yaml": bad})
    assert not checked.valid
    assert checked.problems[0].file == "bad.yaml"


async def test_a_dry_run_changes_nothing_and_prune_archives_the_rest(api: ApiUnderTest) -> None:
    planned = await api.client.apply({"greet.yaml": GREET}, dry_run=True)
    assert (planned.dry_run, planned.items[0].outcome) == (True, "created")
    assert (await api.client.workflows()).items == []
    await api.client.apply({"greet.yaml": GREET, "slow.yaml": SLOW})
    pruned = await api.client.apply({"greet.yaml": GREET}, prune=True)
    assert {(one.workflow, one.outcome) for one in pruned.items} == {("greet", "unchanged"), ("slow", "archived")}
    with pytest.raises(ApiError, match="every workflow would be archived"):
        await api.client.apply({}, prune=True)


async def test_steps_still_to_come_are_pending_and_cancelling_ends_it(api: ApiUnderTest) -> None:
    await api.client.apply({"slow.yaml": SLOW})
    started = await api.client.start("slow")
    assert started.execution_id is not None
    await api.hark.probe.called.wait()

    async def running() -> ExecutionDetail | None:
        found = await api.client.execution(started.execution_id or "")
        # The execution and its steps are read one after the other: either may be the older.
        both = found.current_step == "hold" and any(step.status == "running" for step in found.steps)
        return found if both else None

    execution = await api.hark.until(running)
    assert [(step.path, step.status) for step in execution.steps] == [
        ("before", "completed"),
        ("hold", "running"),
        ("after", "pending"),
    ]
    assert execution.current_step == "hold"
    assert [item.id for item in (await api.client.executions(status="running,waiting")).items] == [execution.id]
    await api.client.cancel(execution.id, "enough")
    assert (await api.hark.ended(execution.id))["status"] == "cancelled"
    with pytest.raises(ApiError) as refused:
        await api.client.cancel(execution.id)
    assert refused.value.status == 409


async def test_a_failed_execution_is_found_by_status_and_retried(api: ApiUnderTest) -> None:
    await api.client.apply({"broken.yaml": BROKEN})
    started = await api.client.start("broken", wait_s=10)
    assert (started.status, started.error and started.error["message"]) == ("failed", "no luck")
    found = (await api.client.executions(status="failed", workflow="broken", since="1h")).items
    assert [(item.id, item.error_message, item.current_step) for item in found] == [
        (started.execution_id, "no luck", "one")
    ]
    retried = await api.client.retry(found[0].id)
    again = await api.hark.ended(retried.execution_id)
    assert (again["status"], again["ordinal"], again["origin_id"]) == ("failed", 1, started.execution_id)


async def test_an_execution_is_replayed_and_both_name_each_other(api: ApiUnderTest) -> None:
    await api.client.apply({"greet.yaml": GREET})
    started = (await api.client.emit("GREET", {"name": "ada"})).executions[0]
    await api.hark.ended(started)
    replayed = await api.client.replay(started, version=1, input={"name": "bob"})
    await api.hark.ended(replayed.execution_id)
    first, second = await api.client.execution(started), await api.client.execution(replayed.execution_id)
    assert (first.repeated_by, first.origin_id) == ([second.id], None)
    assert (second.repeated_by, second.origin_id, second.inputs) == ([], first.id, {"name": "bob"})
    with pytest.raises(ApiError, match="no version 9"):
        await api.client.replay(started, version=9)


async def test_history_is_paged_without_gaps_or_repeats(api: ApiUnderTest) -> None:
    await api.client.apply({"greet.yaml": GREET})
    made = [(await api.client.emit("GREET", {"name": f"n{n}"})) for n in range(7)]
    for one in made:
        await api.hark.ended(one.executions[0])
    seen: list[Any] = []
    cursor = None
    while True:
        page = await api.client.executions(workflow="greet", limit=3, cursor=cursor)
        seen += [item.id for item in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert len(seen) == 7
    assert seen == sorted(seen, reverse=True)
    assert {one.executions[0] for one in made} == set(seen)
    assert (await api.client.executions(until="1h")).items == []
    assert len((await api.client.logs(workflow="greet", level="warning", limit=5)).items) == 5
    assert (await api.client.logs(level="error")).items == []
    assert len((await api.client.events(type="GREET", matched=True)).items) == 7
    assert len((await api.client.events(route="event:GREET", limit=2)).items) == 2


async def test_an_event_says_why_it_started_nothing(api: ApiUnderTest) -> None:
    await api.client.apply({"greet.yaml": GREET})
    received = await api.client.emit("GREET", {"name": ""})
    assert received.executions == []
    event = await api.client.event(received.event_id)
    assert not event.matched
    assert [(why.workflow, why.trigger_id, why.reason) for why in event.decisions] == [
        ("greet", "by_event", "when_false")
    ]
    assert event.data == {"name": ""}


async def test_cloudevents_come_structured_binary_and_in_batches(api: ApiUnderTest) -> None:
    await api.client.apply({"greet.yaml": GREET})
    event = {"specversion": "1.0", "id": "1", "source": "/crm", "type": "GREET", "subject": "client/7"}
    structured = {"Content-Type": "application/cloudevents+json"}
    body = json.dumps({**event, "time": "2026-01-31T09:00:00+01:00", "data": {"name": "Ada"}})
    status, first = await api.send("POST", "/api/events", data=body, headers=structured)
    assert status == 202
    assert (await api.send("POST", "/api/events", data=body, headers=structured))[1]["event_id"] == first["event_id"]
    stored = await api.client.event(first["event_id"])
    assert (stored.source, stored.subject and stored.subject.id) == ("/crm", "7")
    assert stored.occurred_at.isoformat() == "2026-01-31T08:00:00+00:00"
    binary = {"ce-specversion": "1.0", "ce-id": "2", "ce-source": "/crm", "ce-type": "GREET"}
    status, second = await api.send("POST", "/api/events", json={"name": "Bob"}, headers=binary)
    assert (status, len(second["executions"])) == (202, 1)
    batch = {"Content-Type": "application/cloudevents-batch+json"}
    several = json.dumps([{**event, "id": str(n), "data": {"name": "x"}} for n in range(3, 6)])
    status, third = await api.send("POST", "/api/events", data=several, headers=batch)
    assert (status, len(third["items"])) == (202, 3)
    status, refused = await api.send("POST", "/api/events", data=json.dumps({"id": "1"}), headers=structured)
    assert (status, refused["detail"].split(":")[0]) == (422, "specversion")


@pytest.mark.parametrize(
    "body,where",
    [
        (b'{"type": "A", "data": {"x": ["\\u0000"]}}', "data.x[0]"),
        (b'{"type": "A", "data": "\\ud800"}', "line 1"),
        (b'{"type": "A", "data": 1e999}', "infinity"),
        (b'{"type": "A", "data": 123456789012345678901234567890}', "64 bits"),
        (b'{"type": "A", "wrong": 1}', "wrong"),
        (b'{"type": "A*"}', "type"),
        (b'{"data": 1}', "type"),
        (b"[", "line 1"),
    ],
)
async def test_what_cannot_be_stored_is_refused_with_the_place(api: ApiUnderTest, body: bytes, where: str) -> None:
    status, problem = await api.send("POST", "/api/events", data=body, headers={"Content-Type": "application/json"})
    assert status == 422
    assert where in json.dumps(problem)
    assert (await api.client.events()).items == []


async def test_errors_are_problem_documents(api: ApiUnderTest) -> None:
    async def problem(method: str, path: str, **options: Any) -> dict[str, Any]:
        async with api.http.request(method, api.url + path, headers={"X-API-Key": api.key}, **options) as response:
            assert response.content_type == "application/problem+json", await response.text()
            return {**await response.json(content_type=None), "headers": response.headers}

    for path in ("/nothing", "/api/nothing", "/api/executions/no-id", "/api/workflows/none", "/hooks/none"):
        assert (await problem("GET", path))["status"] == 404
    wrong = await problem("PATCH", "/api/workflows")
    assert (wrong["status"], wrong["headers"]["Allow"]) == (405, "GET, POST")
    assert (await problem("GET", "/api/executions?limit=0"))["problems"][0]["path"] == "limit"
    assert "wrong" in (await problem("GET", "/api/executions?wrong=1"))["detail"]
    assert "cursor" in (await problem("GET", "/api/executions?cursor=xx"))["detail"]
    assert "one of: pending" in (await problem("GET", "/api/executions?status=done"))["detail"]
    assert "for so long ago" in (await problem("GET", "/api/executions?since=yesterday"))["detail"]
    assert (await problem("POST", "/api/workflows/none/execute", json={}))["status"] == 404
    assert (await problem("POST", "/api/events", data=BytesIO(b"x" * (2 * 1024**2))))["status"] == 413


async def test_schedules_are_computed_without_any_workflow(api: ApiUnderTest) -> None:
    found = await api.client.schedules(
        expression="30 2 * * *", timezone="Europe/Berlin", after="2026-03-28T12:00:00Z", next=2
    )
    assert [slot.utc.isoformat() for slot in found.items] == ["2026-03-29T01:00:00+00:00", "2026-03-30T00:30:00+00:00"]
    assert "does not exist" in found.items[0].note
    with pytest.raises(ApiError) as refused:
        await api.client.schedules(expression="61 * * * *")
    assert refused.value.status == 422
    cron = (
        "id: daily\nname: Daily\ntriggers: [{id: nine, type: cron, schedule: 0 9 * * *, jitter: 10m}]\n"
        "steps: [{id: a, set: {x: 1}}]"
    )
    await api.client.apply({"daily.yaml": cron})
    (slot,) = (await api.client.schedules()).items
    assert (slot.workflow, slot.trigger_id, slot.schedule) == ("daily", "nine", "0 9 * * *")
    assert slot.fires_at is not None
    assert timedelta() < slot.fires_at - slot.utc < timedelta(minutes=10)


@pytest.mark.parametrize(
    "path, expected",
    [
        ("/api/events?type=a%00b", 422),
        ("/api/events?a%00b=1", 422),
        ("/api/workflows?q=%00", 422),
        ("/api/executions?workflow=%00", 422),
        ("/api/workflows/a%00b", 404),
        ("/api/actions/a%00b", 404),
        ("/api/executions/a%00b", 404),
        ("/api/schedules?expression=@daily&after=9999-12-31T23:59:59Z", 422),
        ("/api/schedules?expression=@daily&after=0001-01-01T00:00:00Z&timezone=America/New_York", 422),
    ],
)
async def test_an_address_that_asks_for_the_impossible_is_refused(api: ApiUnderTest, path: str, expected: int) -> None:
    status, problem = await api.get(path)
    assert (status, problem["status"]) == (expected, expected)


async def test_bytes_that_are_no_text_are_refused_in_headers(api: ApiUnderTest) -> None:
    host, port = api.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"POST /api/events HTTP/1.1\r\nHost: {host}\r\nX-API-Key: {api.key}\r\nConnection: close\r\n"
    attributes = b"ce-specversion: 1.0\r\nce-id: \xff\r\nce-source: /crm\r\nce-type: GREET\r\n\r\n"
    writer.write(head.encode() + attributes)
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 422 ")
    assert (await api.client.events()).items == []


async def test_a_status_that_is_named_twice_brings_its_executions_once(api: ApiUnderTest) -> None:
    await api.client.apply({"broken.yaml": BROKEN})
    started = [(await api.client.start("broken", wait_s=10)).execution_id for _ in range(4)]
    found = await api.client.executions(status="failed,FAILED", limit=3)
    assert [item.id for item in found.items] == started[:0:-1]
    assert found.next_cursor is not None


async def test_watched_tables_tell_whether_their_changes_are_captured(api: ApiUnderTest) -> None:
    pool = api.services.database.pool
    await pool.execute("CREATE TABLE public.clients (id integer PRIMARY KEY, status text)")
    await api.client.apply(
        {
            "watch.yaml": """
id: watcher
name: Watcher
triggers: [{id: new, type: row, table: clients, operations: [insert, delete]}]
steps: [{id: a, set: {x: 1}}]
"""
        }
    )

    async def watch(*, attached: bool) -> WatchRow | None:
        (row,) = (await api.client.watches()).items
        return row if row.attached is attached else None

    row = await api.hark.until(lambda: watch(attached=True))
    assert (row.table, row.operations, row.workflows) == ("public.clients", ["delete", "insert"], ["watcher"])
    names = await pool.fetch(
        "SELECT tgname FROM pg_trigger WHERE tgrelid = 'public.clients'::regclass AND tgtype & 4 <> 0"
    )
    await pool.execute(f'ALTER TABLE public.clients DISABLE TRIGGER "{names[0]["tgname"]}"')
    row = await watch(attached=False)
    assert row is not None
    assert row.detail == "its capture trigger for insert is disabled"
    await pool.execute(f'DROP TRIGGER "{names[0]["tgname"]}" ON public.clients')
    row = await watch(attached=False)
    assert row is None or row.detail == "its capture trigger for insert is gone"  # the daemon may have put it back


async def test_the_live_tail_tells_what_happens_and_nothing_twice(api: ApiUnderTest) -> None:
    await api.client.apply({"all.yaml": f"{GREET}\n---\n{SLOW}"})
    await api.client.start("greet", {"name": "before"}, wait_s=10)
    told: list[tuple[str, dict[str, Any]]] = []

    async def listen() -> None:
        async for one in api.client.follow():
            told.append(one)  # noqa: PERF401 - looked at while it grows

    listener = asyncio.create_task(listen())
    try:
        await api.hark.until(lambda: api.services.listeners == 1)
        started = await api.client.start("greet", {"name": "Ada"}, wait_s=10)
        await api.hark.until(lambda: ("execution", "completed") in [(kind, row.get("status")) for kind, row in told])
        await api.client.start("slow")
        await api.hark.until(lambda: ("slow", "running") in [(row["workflow"], row.get("status")) for _, row in told])
        api.hark.probe.release.set()
        await api.hark.until(lambda: ("slow", "completed") in [(row["workflow"], row.get("status")) for _, row in told])
    finally:
        listener.cancel()
    lines = [row for kind, row in told if kind == "log"]
    assert [(row["message"], row["execution_id"]) for row in lines] == [("hello Ada", str(started.execution_id))]
    await api.hark.until(lambda: api.services.listeners == 0)


async def test_keys_open_what_their_scopes_say(api: ApiUnderTest) -> None:
    reader, emitter = await api.add_key("read"), await api.add_key("emit")
    assert (await api.get("/api/workflows", key=reader))[0] == 200
    status, refused = await api.send("POST", "/api/apply", json={"files": []}, key=reader)
    assert (status, "'write'" in refused["detail"]) == (403, True)
    assert (await api.send("POST", "/api/events", json={"type": "A"}, key=emitter))[0] == 202
    assert (await api.get("/api/workflows", key=emitter))[0] == 403
    for key in ("", "hark_" + "x" * 43, "nonsense", "hark_é"):
        status, refused = await api.get("/api/workflows", key=key)
        assert (status, refused["title"]) == (401, "Unauthorized")
    await api.services.database.pool.execute("UPDATE hark.api_keys SET revoked_at = now() WHERE scopes = '{emit}'")
    api.services.keys._known.clear()  # as five seconds do
    assert (await api.send("POST", "/api/events", json={"type": "A"}, key=emitter))[0] == 401


async def test_nobody_there_is_told_as_such(unused_port: int) -> None:
    async with HarkClient(f"http://127.0.0.1:{unused_port}") as client:
        with pytest.raises(UnreachableError, match="no answer from"):
            await client.workflows()


@pytest.fixture
def unused_port() -> int:
    """Find a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
