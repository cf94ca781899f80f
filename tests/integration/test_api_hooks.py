"""Webhooks over HTTP, and how the server behaves towards senders that are wrong, slow or too many."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from support.api import ApiUnderTest, running_api

from hark.daemon.engine.group_commit import Waiter
from hark.workflows.catalogue import NewEvent, Receipt
from hark.workflows.errors import UnavailableError

HOOKS = """
id: push
name: Push
triggers:
  - {type: webhook, path: "repos/{name}/push", methods: [POST, PUT], auth: {type: github, secret: "${{ secrets.gh }}"}}
steps: [{id: a, set: {who: "${{ event.data.params.name }}"}}]
---
id: open
name: Open
triggers: [{type: webhook, path: open, methods: [ANY], auth: {type: none}}]
steps: [{id: a, set: {x: 1}}]
"""


@pytest.fixture
async def api(database_url: str, tmp_path: Path) -> AsyncIterator[ApiUnderTest]:
    """Serve webhooks with short deadlines."""
    async with running_api(
        database_url, tmp_path, secrets={"gh": "s3cret"}, body_timeout="300ms", header_timeout="500ms"
    ) as served:
        await served.client.apply({"hooks.yaml": HOOKS})
        yield served


def signed(body: bytes, secret: str = "s3cret") -> dict[str, str]:
    """Return the headers of GitHub for a body."""
    digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return {"X-Hub-Signature-256": f"sha256={digest}", "Content-Type": "application/json"}


async def events(api: ApiUnderTest) -> int:
    """Count what is stored."""
    return len((await api.client.events()).items)


async def test_a_signed_webhook_starts_its_workflow_once(api: ApiUnderTest) -> None:
    body = b'{"ref": "main"}'
    headers = {**signed(body), "X-GitHub-Delivery": "d-1"}
    path = "/hooks/repos/a%2Fb/push"
    status, first = await api.send("POST", path, data=body, headers=headers, key="")
    assert (status, len(first["executions"])) == (202, 1)
    assert (await api.send("POST", path, data=body, headers=headers, key=""))[1] == first
    other = b'{"ref": "other"}'
    status, conflict = await api.send("POST", path, data=other, headers={**headers, **signed(other)}, key="")
    assert (status, conflict["title"]) == (409, "Conflict")
    event = await api.client.event(first["event_id"])
    assert (event.kind, event.data["params"], event.data["body"]) == ("webhook", {"name": "a/b"}, {"ref": "main"})
    assert event.data["headers"]["x-hub-signature-256"] == "***"
    assert await events(api) == 1


async def test_a_wrong_signature_is_401_and_stores_nothing(api: ApiUnderTest) -> None:
    body = b"{}"
    for headers in ({}, signed(body, "other"), signed(b"{ }")):
        status, problem = await api.send("POST", "/hooks/repos/x/push", data=body, headers=headers, key="")
        assert (status, problem["title"]) == (401, "Unauthorized")
    assert await events(api) == 0


@pytest.mark.parametrize(
    "method,path,body,headers,status",
    [
        ("POST", "/hooks/none", b"", {}, 404),
        ("POST", "/hooks/default/none", b"", {}, 404),
        ("POST", "/hooks/", b"", {}, 404),
        ("DELETE", "/hooks/repos/x/push", b"", {}, 405),
        ("POST", "/hooks/open", b'{"a": "\\u0000"}', {"Content-Type": "application/json"}, 422),
        ("POST", "/hooks/open", b"{nonsense", {"Content-Type": "application/json"}, 422),
        ("POST", "/hooks/open", b'"\\udc00"', {"Content-Type": "application/json"}, 422),
        ("GET", "/hooks/open?x=%00", b"", {}, 422),
    ],
)
async def test_what_is_refused_stores_nothing(
    api: ApiUnderTest, method: str, path: str, body: bytes, headers: dict[str, str], status: int
) -> None:
    found, problem = await api.send(method, path, data=body, headers=headers, key="")
    assert (found, problem["status"]) == (status, status)
    assert problem["detail"]
    assert await events(api) == 0


async def test_the_allowed_methods_are_named(api: ApiUnderTest) -> None:
    async with api.http.delete(f"{api.url}/hooks/repos/x/push") as response:
        assert (response.status, response.headers["Allow"]) == (405, "POST, PUT")


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_over_the_limit_is_413(api: ApiUnderTest, chunked: bool) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b"x" * 65536

    data = pieces() if chunked else BytesIO(b"x" * (1024**2 + 1))
    status, problem = await api.send("POST", "/hooks/open", data=data, key="")
    assert (status, "1,048,576" in problem["detail"]) == (413, True)
    assert api.services.bodies.held_bytes == 0


async def test_a_compressed_body_is_415_and_is_never_inflated(api: ApiUnderTest) -> None:
    bomb = gzip.compress(b"[" + b" " * 50_000_000 + b"]")
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    status, problem = await api.send("POST", "/hooks/open", data=bomb, headers=headers, key="")
    assert (status, problem["title"]) == (415, "Unsupported media type")
    assert await events(api) == 0


async def test_another_tenant_is_reached_by_its_name(api: ApiUnderTest) -> None:
    for path in ("/hooks/open", "/hooks/default/open"):
        assert (await api.send("GET", path, key=""))[0] == 202


async def raw(api: ApiUnderTest, *parts: bytes, every_s: float = 0.0, patience_s: float = 5.0) -> bytes:
    """Send bytes as they are, slowly if wanted, and read until the server closes."""
    host, port = api.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    answer = asyncio.create_task(reader.read())
    try:
        for part in parts:
            if answer.done():
                break
            writer.write(part)
            await asyncio.sleep(every_s)
        async with asyncio.timeout(patience_s):
            return await answer
    finally:
        answer.cancel()
        writer.close()


ONE = b'POST /hooks/open?a=1&a=2 HTTP/1.1\r\nHost: x\r\nX-N: \xc3\xa4\r\nContent-Length: 8\r\n\r\n{"n": 1}'
LAST = ONE.replace(b"Host: x", b"Host: x\r\nConnection: close")


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param([ONE, ONE, LAST], id="one by one"),
        pytest.param([ONE + ONE + LAST], id="all at once"),
        pytest.param([ONE, ONE[:50], ONE[50:], LAST], id="in pieces"),
        pytest.param([ONE + ONE[:50], ONE[50:] + LAST], id="across pieces"),
        pytest.param([b"\r\n\r\n" + ONE, ONE.replace(b"HTTP/1.1", b"HTTP/1.1 ") + LAST], id="with a bad one"),
    ],
)
@pytest.mark.parametrize("every_s", [0.0, 0.05])
async def test_however_a_request_arrives_it_is_the_same_event(
    api: ApiUnderTest, parts: list[bytes], every_s: float
) -> None:
    answer = await raw(api, *parts, every_s=every_s)
    stored = [await api.client.event(str(item.id)) for item in (await api.client.events()).items]
    assert len(stored) == answer.count(b"HTTP/1.1 202 Accepted\r\n")
    assert b" 400 Bad Request" in answer or len(stored) == 3
    for event in stored:
        del event.data["headers"]["host"]
        assert event.data["headers"].pop("connection", "close") == "close"
        assert event.data == {
            "method": "POST",
            "path": "open",
            "params": {},
            "query": {"a": ["1", "2"]},
            "headers": {"x-n": "ä", "content-length": "8"},
            "body": {"n": 1},
            "encoding": "json",
        }
        assert str(event.id).encode() in answer


async def test_what_follows_a_request_waits_for_its_answer(api: ApiUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[tuple[NewEvent, Waiter[Receipt]]] = []
    submit = api.hark.engine.submit
    monkeypatch.setattr(api.hark.engine, "submit", lambda event, waiter: held.append((event, waiter)))
    sending = asyncio.create_task(raw(api, ONE, LAST))
    await api.hark.until(lambda: len(held) == 1)
    await asyncio.sleep(0.05)
    assert len(held) == 1
    monkeypatch.undo()
    submit(*held[0])
    assert (await sending).count(b" 202 ") == 2
    assert api.services.in_flight == 0


async def test_a_sender_that_goes_away_leaves_nothing_behind(
    api: ApiUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[tuple[NewEvent, Waiter[Receipt]]] = []
    submit = api.hark.engine.submit
    monkeypatch.setattr(api.hark.engine, "submit", lambda event, waiter: held.append((event, waiter)))
    sending = asyncio.create_task(raw(api, ONE))
    await api.hark.until(lambda: len(held) == 1)
    sending.cancel()
    await asyncio.wait([sending])
    submit(*held[0])
    await api.hark.until(lambda: api.services.in_flight == 0)
    assert await events(api) == 1


async def test_a_stop_lets_those_hear_who_have_asked(api: ApiUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[tuple[NewEvent, Waiter[Receipt]]] = []
    submit = api.hark.engine.submit
    monkeypatch.setattr(api.hark.engine, "submit", lambda event, waiter: held.append((event, waiter)))
    asking, silent = asyncio.create_task(raw(api, ONE)), asyncio.create_task(raw(api))
    await api.hark.until(lambda: len(held) == 1)
    stopping = asyncio.create_task(api.server.stop())
    assert await silent == b""
    assert not stopping.done()
    submit(*held[0])
    assert b" 202 Accepted" in await asking
    await stopping


async def test_a_dripped_body_is_closed_at_the_deadline(api: ApiUnderTest) -> None:
    head = b"POST /hooks/open HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
    answer = await raw(api, head, *[b"x"] * 30, every_s=0.1)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"Connection: close" in answer
    assert await events(api) == 0


async def test_silent_and_dripped_headers_are_closed_at_the_deadline(api: ApiUnderTest) -> None:
    assert await raw(api) == b""
    assert b" 202 " not in await raw(api, b"POST /hooks/open HTTP/1.1\r\n", *[b"X: y\r\n"] * 30, every_s=0.1)
    assert await events(api) == 0


async def test_bodies_together_are_bounded(api: ApiUnderTest) -> None:
    api.services.bodies._most_bytes = 100_000
    status, problem = await api.send("POST", "/hooks/open", data=b"x" * 200_000, key="")
    assert (status, problem["title"]) == (429, "Too many requests")
    assert (await api.send("POST", "/hooks/open", data=b"x" * 50_000, key=""))[0] == 202


async def test_too_many_requests_at_once_are_refused_not_queued(
    api: ApiUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[tuple[NewEvent, Waiter[Receipt]]] = []
    submit = api.hark.engine.submit
    monkeypatch.setattr(api.hark.engine, "submit", lambda event, waiter: held.append((event, waiter)))
    api.services.most_in_flight = 2
    waiting = [asyncio.create_task(api.send("POST", "/hooks/open", key="")) for _ in range(2)]
    await api.hark.until(lambda: api.services.in_flight == 2)
    status, problem = await api.send("POST", "/hooks/open", key="")
    assert (status, problem["title"]) == (503, "Unavailable")
    for event, waiter in held:
        submit(event, waiter)
    assert [status for status, _ in await asyncio.gather(*waiting)] == [202, 202]


async def test_a_database_that_is_away_is_503_with_retry_after(
    api: ApiUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_event: NewEvent, _waiter: Waiter[Receipt]) -> None:
        raise UnavailableError("the database is not available", retry_after_s=2.2)

    monkeypatch.setattr(api.hark.engine, "submit", away)
    async with api.http.post(f"{api.url}/hooks/open") as response:
        assert (response.status, response.headers["Retry-After"]) == (503, "3")


async def test_a_mistake_of_ours_is_a_500_without_details(api: ApiUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_event: NewEvent, _waiter: Waiter[Receipt]) -> None:
        raise KeyError("internal detail")

    monkeypatch.setattr(api.hark.engine, "submit", broken)
    status, problem = await api.send("POST", "/hooks/open", key="")
    assert status == 500
    assert "internal detail" not in json.dumps(problem)


async def test_pausing_takes_the_path_away_and_resuming_brings_it_back(api: ApiUnderTest) -> None:
    await api.client.pause("open")
    assert (await api.send("POST", "/hooks/open", key=""))[0] == 404
    await api.client.resume("open")
    assert (await api.send("POST", "/hooks/open", key=""))[0] == 202
    hooks = (await api.client.hooks()).items
    assert [(hook.path, hook.auth, hook.methods) for hook in hooks] == [
        ("open", "none", ["*"]),
        ("repos/{name}/push", "github", ["POST", "PUT"]),
    ]


async def test_health_readiness_and_metrics_are_open(api: ApiUnderTest) -> None:
    async def get(path: str) -> tuple[int, Any]:
        return await api.get(path, key="")

    assert (await get("/healthz"))[1]["ok"] is True
    status, ready = await get("/readyz")
    assert (status, ready["ready"]) == (200, True), ready
    assert {"engine", "database", "schema"} <= set(ready["parts"])
    await api.send("POST", "/hooks/open", key="")
    await api.send("POST", "/hooks/none", key="")
    _, text = await get("/metrics")
    assert 'hark_http_requests_total{area="hooks",status="202"} 1.0' in text
    assert 'hark_http_requests_total{area="hooks",status="404"} 1.0' in text
    assert 'hark_part_up{part="engine"} 1.0' in text
    assert "hark_executions_in_flight" in text
    assert 'hark_unmatched_oldest_age_seconds{source="row_changes"}' in text
    assert 'hark_polls_unannounced_total{part="row"} 0.0' in text
    assert "<title>Hark</title>" in (await get("/"))[1]


async def test_not_ready_says_why(api: ApiUnderTest) -> None:
    pool = api.services.database.pool
    await pool.execute("INSERT INTO hark.schema_migrations (version, description) VALUES (999, 'from the future')")
    status, ready = await api.get("/readyz", key="")
    assert (status, ready["ready"], ready["parts"]["schema"]["ok"]) == (503, False, False)
    assert "newer" in ready["parts"]["schema"]["detail"]
    await api.services.database.stop()
    status, ready = await api.get("/readyz", key="")
    assert (status, ready["parts"]["database"]["ok"]) == (503, False)
    await api.services.database.start()
    api.services.stopping = True
    assert (await api.get("/readyz", key=""))[0] == 503
    assert (await api.send("POST", "/hooks/open", key=""))[0] == 503
