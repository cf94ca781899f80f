"""What webhooks are answered: at once, with what a workflow came to, and for many CloudEvents all or nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from support.api import ApiUnderTest, running_api

from hark.client import ApiError

HOOKS = """
id: quote
name: Quote
inputs: {item: {type: string, default: ""}}
triggers:
  - type: webhook
    path: quotes
    inputs: {item: "${{ event.data.body.item }}"}
    respond:
      status: "${{ output.price > 0.0 ? 200 : 404 }}"
      headers: {X-Item: "${{ steps.quote.output.item }}"}
      body: {price: "${{ output.price }}", id: "${{ execution.id }}", asked: "${{ event.data.body }}"}
      timeout: 10s
      failed: {status: 502, body: "no: ${{ error.message }}"}
steps:
  - id: hold
    action: probe
    with: {hold: "${{ inputs.item == 'slow' }}", fail: "${{ inputs.item == 'bad' ? 'broken' : '' }}"}
  - {id: quote, set: {item: "${{ inputs.item }}", price: "${{ inputs.item == 'none' ? 0.0 : 2.5 }}"}}
output: {price: "${{ vars.price }}"}
---
id: beside
name: Beside
triggers: [{type: webhook, path: quotes}]
steps: [{id: a, set: {x: 1}}]
---
id: plain
name: Plain
triggers: [{type: webhook, path: plain, respond: {body: "${{ steps.a.output.text }}", timeout: 200ms}}]
steps: [{id: a, set: {text: "häi"}}, {id: b, action: probe, with: {hold: "${{ event.data.body == 'wait' }}"}}]
---
id: early
name: Early
triggers: [{type: webhook, path: early, respond: {early: true, status: 201, body: "${{ steps.a.output.text }}"}}]
steps: [{id: a, set: {text: soon}}, {id: b, action: probe, with: {hold: true, fail: "${{ event.data.body }}"}}]
---
id: broken
name: Broken
triggers: [{type: webhook, path: broken, respond: {headers: {X-A: "${{ event.data.body }}"}}}]
steps: [{id: a, set: {x: 1}}]
---
id: cloud
name: Cloud
triggers: [{type: webhook, path: cloud}]
steps: [{id: a, set: {n: "${{ event.data.body.n }}", t: "${{ event.data.cloudevent.type }}"}}]
"""


@pytest.fixture
async def api(database_url: str, tmp_path: Path) -> AsyncIterator[ApiUnderTest]:
    """Serve webhooks that answer."""
    async with running_api(database_url, tmp_path) as served:
        await served.client.apply({"hooks.yaml": HOOKS})
        yield served


async def post(api: ApiUnderTest, path: str, **options: Any) -> tuple[int, str, Any]:
    """Send a webhook; return status, text and headers."""
    async with api.http.post(f"{api.url}/hooks/{path}", **options) as response:
        return response.status, await response.text(), response.headers


async def test_a_webhook_is_answered_with_what_its_workflow_came_to(api: ApiUnderTest) -> None:
    key = {"Idempotency-Key": "1"}
    status, text, headers = await post(api, "quotes", json={"item": "tea"}, headers=key)
    answer = json.loads(text)
    assert (status, headers["X-Item"], headers["Content-Type"]) == (200, "tea", "application/json")
    assert (answer["price"], answer["asked"]) == (2.5, {"item": "tea"})
    assert (await api.client.execution(answer["id"])).status == "completed"
    # The same delivery is the same answer, and starts nothing.
    assert (await post(api, "quotes", json={"item": "tea"}, headers=key))[:2] == (200, text)
    assert len((await api.client.executions()).items) == 2  # the other workflow on the path
    assert (await post(api, "quotes", json={"item": "none"}))[0] == 404
    assert (await post(api, "quotes", json={"item": "bad"}))[:2] == (502, "no: broken")
    status, text, headers = await post(api, "plain", data=b"x", headers={"Content-Type": "text/plain"})
    assert (status, text, headers["Content-Type"]) == (200, "häi", "text/plain; charset=utf-8")


async def test_who_has_waited_long_enough_is_told_where_to_look(api: ApiUnderTest) -> None:
    status, text, headers = await post(api, "plain", data=b"wait", headers={"Content-Type": "text/plain"})
    [execution] = json.loads(text)["executions"]
    assert (status, headers["Location"]) == (202, f"/api/executions/{execution}")
    api.hark.probe.release.set()
    await api.hark.ended(execution)
    # What an expression makes of a request cannot break out of its line.
    status, text, headers = await post(api, "broken", data=b"a\r\nX-B: 1", headers={"Content-Type": "text/plain"})
    assert (status, "X-B" in headers) == (500, False)
    assert "its answer cannot be made" in json.loads(text)["detail"]


async def test_an_early_answer_does_not_wait_for_what_it_does_not_read(api: ApiUnderTest) -> None:
    plain = {"Content-Type": "text/plain", "Idempotency-Key": "1"}
    assert (await post(api, "early", data=b"late", headers=plain))[:2] == (201, "soon")
    [running] = (await api.client.executions()).items
    assert running.completed_at is None
    api.hark.probe.release.set()
    assert (await api.hark.ended(running.id))["status"] == "failed"
    # The same delivery is the same answer, whatever has become of the rest.
    assert (await post(api, "early", data=b"late", headers=plain))[:2] == (201, "soon")


async def test_those_who_wait_are_not_all_requests_that_there_may_be(api: ApiUnderTest) -> None:
    """Also when all come at the same moment, before any of them is stored."""
    api.services.most_in_flight = 12
    burst = [asyncio.create_task(post(api, "quotes", json={"item": "slow"})) for _ in range(10)]
    await api.hark.until(lambda: sum(task.done() for task in burst) == 4)
    assert [task.result()[0] for task in burst if task.done()] == [429] * 4
    await api.hark.until(lambda: len(api.hark.probe.calls) == 6)
    assert len((await api.client.events()).items) == 6
    api.services.stopping = True  # who stops keeps nobody waiting
    assert sorted([status for status, _, _ in await asyncio.gather(*burst)]) == [202] * 6 + [429] * 4
    api.services.stopping = False
    api.hark.probe.release.set()
    assert (await post(api, "quotes", json={"item": "tea"}))[0] == 200  # their places are free again


async def test_one_workflow_of_a_path_answers_and_what_it_reads_is_checked(api: ApiUnderTest) -> None:
    text = """
id: {id}
name: Second
triggers: [{{type: webhook, path: {path}, respond: {{body: "{body}"}}}}]
steps: [{{id: a, set: {{x: 1}}}}]
"""
    for options, said in (
        ({"id": "second", "path": "quotes", "body": "x"}, "answers the requests of this path already"),
        ({"id": "second", "path": "other", "body": "${{ steps.b.output }}"}, "there is no step `b`"),
        ({"id": "second", "path": "other", "body": "${{ secrets.key }}"}, "unknown name secrets"),
    ):
        with pytest.raises(ApiError) as refused:
            await api.client.apply({"second.yaml": text.format(**options)})
        assert said in str(refused.value.problem.model_dump())
    await api.client.apply({"second.yaml": text.format(id="second", path="other", body="${{ steps.a.output.x }}")})


# ---- CloudEvents

EVENT = {"specversion": "1.0", "type": "n", "source": "/crm"}
BATCH = {"Content-Type": "application/cloudevents-batch+json"}
STRUCTURED = {"Content-Type": "application/cloudevents+json; charset=utf-8"}


def numbered(*numbers: int) -> str:
    return json.dumps([{**EVENT, "id": str(n), "data": {"n": n}} for n in numbers])


async def stored(api: ApiUnderTest) -> list[Any]:
    return [await api.client.event(str(one.id)) for one in reversed((await api.client.events()).items)]


async def test_cloudevents_come_to_webhooks_in_every_mode(api: ApiUnderTest) -> None:
    more = {"id": "1", "subject": "client/7", "time": "2026-01-31T09:00:00+01:00", "traceparent": "a", "zone": 5}
    body = json.dumps({**EVENT, **more, "data": {"n": 1}})
    first = await post(api, "cloud", data=body, headers=STRUCTURED)
    assert first[0] == 202
    again = json.dumps({**EVENT, **more, "traceparent": "b", "data": {"n": 1}})
    assert (await post(api, "cloud", data=again, headers=STRUCTURED))[:2] == first[:2]
    other = json.dumps({**EVENT, **more, "data": {"n": 2}})
    assert (await post(api, "cloud", data=other, headers=STRUCTURED))[0] == 409
    binary = {f"ce-{name}": value for name, value in {**EVENT, "id": "2", "note": "%C3%A4"}.items()}
    assert (await post(api, "cloud", json={"n": 2}, headers=binary))[0] == 202
    one, two = await stored(api)
    assert (one.subject.kind, one.subject.id, one.occurred_at.isoformat()) == (
        "client",
        "7",
        "2026-01-31T08:00:00+00:00",
    )
    assert one.data["cloudevent"] == {**EVENT, **more}
    assert (one.data["body"], one.data["encoding"]) == ({"n": 1}, "json")
    assert two.data["cloudevent"] == {**EVENT, "id": "2", "note": "ä", "datacontenttype": "application/json"}
    assert two.data["body"] == {"n": 2}
    for headers, body, said in (
        (STRUCTURED, json.dumps(EVENT), "id: a CloudEvent needs it"),
        ({**binary, "ce-id": ""}, "{}", "id: a CloudEvent needs it"),
        ({**binary, "ce-note": "%00"}, "{}", "U+0000"),
        ({"Content-Type": "application/cloudevents+avro"}, "x", "JSON formats"),
        (STRUCTURED, json.dumps({**EVENT, "id": "9", "time": "2026-02-30T00:00:00Z"}), "time"),
        (STRUCTURED, json.dumps({**EVENT, "id": "9", "data_base64": "?"}), "data_base64"),
        (BATCH, "{}", "a JSON array"),
        (BATCH, json.dumps([{**EVENT, "id": "9"}, 7]), "event 1: "),
    ):
        status, text, _ = await post(api, "cloud", data=body, headers=headers)
        assert (status, said in text) == (422, True), text
    assert len(await stored(api)) == 2


async def test_bytes_that_are_no_text_in_the_headers_of_a_cloudevent(api: ApiUnderTest) -> None:
    async def send(more: bytes) -> bytes:
        host, port = api.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(
            b"POST /hooks/cloud HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n"
            b"ce-specversion: 1.0\r\nce-id: 1\r\nce-source: s\r\n" + more + b"\r\n\r\n{}"
        )
        answer = await reader.read()
        writer.close()
        return answer

    for wrong in (b"ce-type: \xff", b"ce-type: t\r\nce-subject: a\xff", b"ce-type: t\r\nce-note: a%FF"):
        answer = await send(wrong)
        assert (answer[9:12], b"is no UTF-8" in answer) == (b"422", True), answer
    assert (await send(b"ce-type: t\r\nContent-Type: text/x\xff"))[9:12] == b"202"
    [event] = await stored(api)
    assert event.data["cloudevent"]["datacontenttype"] == "text/x\ufffd"
    assert (await send("ce-id: 2\r\nce-type: ä".encode()))[9:12] == b"202"
    assert (await stored(api))[-1].data["cloudevent"]["type"] == "ä"


@pytest.mark.parametrize("way", ["/hooks/cloud", "/api/events"])
async def test_a_batch_is_stored_whole_or_not_at_all(api: ApiUnderTest, way: str) -> None:
    async def send(*numbers: int, change: bool = False) -> tuple[int, Any]:
        text = numbered(*numbers).replace('"n": 3', '"n": 33') if change else numbered(*numbers)
        status, answer = await api.send("POST", way, data=text, headers=BATCH)
        return status, answer.get("events") or answer.get("items") or answer

    assert (await send())[0] == 202
    status, first = await send(1, 2, 3)
    assert (status, len({one["event_id"] for one in first})) == (202, 3)
    status, second = await send(3, 4, 4)
    assert (status, second[0]["event_id"]) == (202, first[2]["event_id"])
    assert second[1]["event_id"] == second[2]["event_id"]
    assert second[0]["executions"] == first[2]["executions"]
    # Three is another one than before: then five and six are not stored either.
    status, refused = await send(5, 3, 6, change=True)
    assert (status, refused["title"]) == (409, "Conflict")
    assert len(await stored(api)) == 4
    assert (await send(5, 6))[0] == 202
    text = numbered(7, 7).replace('"n": 7}', '"n": 8}', 1)
    assert (await api.send("POST", way, data=text, headers=BATCH))[0] == 409
    assert len(await stored(api)) == 6
    # Places that were kept for what was not stored are free again.
    await api.hark.until(lambda: api.hark.engine.executor.in_flight == 0)
    assert api.hark.engine.executor.free == api.hark.engine.settings.max_running


async def test_the_same_delivery_a_thousand_times_at_once_is_one_event(api: ApiUnderTest) -> None:
    """Fifty connections with twenty requests each: one event, one execution, and the same answer to all."""
    one = b"POST /hooks/cloud HTTP/1.1\r\nHost: x\r\nIdempotency-Key: once\r\nContent-Length: 8\r\n\r\n"
    last = one.replace(b"Host: x", b"Host: x\r\nConnection: close")
    host, port = api.url.removeprefix("http://").split(":")

    async def send() -> bytes:
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write((one + b'{"n": 1}') * 19 + last + b'{"n": 1}')
        answer = await reader.read()
        writer.close()
        return answer

    text = b"".join(await asyncio.gather(*(send() for _ in range(50))))
    assert text.count(b"HTTP/1.1 202 Accepted") == 1000
    [event] = (await api.client.events()).items
    [execution] = (await api.client.executions()).items
    answer = json.dumps({"event_id": str(event.id), "executions": [str(execution.id)]}, separators=(",", ":"))
    assert text.count(answer.encode()) == 1000
    assert (await post(api, "cloud", json={"n": 2}, headers={"Idempotency-Key": "once"}))[0] == 409
