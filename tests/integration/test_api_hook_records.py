"""What people see of webhooks: paths, deliveries, refusals, trying one out, delivering again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from support.api import ApiUnderTest, running_api
from support.program import Program

from hark.client import ApiError
from hark.daemon.api.hook_tests import TESTS
from hark.daemon.api.hooks import HOOKS
from hark.daemon.cli import hooks as cli
from hark.daemon.store.hooks import MOST_ARRIVALS, MOST_UNKNOWN, HookRecords

HOOKS_YAML = """
id: lead
name: Lead
inputs: {who: {type: string}}
triggers:
  - type: webhook
    path: "leads/{source}"
    auth: {type: github, secret: "${{ secrets.gh }}"}
    when: has(event.data.body.who)
    inputs: {who: "${{ event.data.body.who }}"}
steps: [{id: a, action: probe, with: {say: "${{ inputs.who }}"}}]
---
id: open
name: Open
triggers: [{type: webhook, path: open, max_body: 1KiB}]
steps: [{id: a, set: {x: 1}}]
"""


@pytest.fixture
async def api(database_url: str, tmp_path: Path) -> AsyncIterator[ApiUnderTest]:
    """Serve webhooks; what is refused is written when a test says so."""
    async with running_api(database_url, tmp_path, secrets={"gh": "s3cret"}) as served:
        await served.client.apply({"hooks.yaml": HOOKS_YAML})
        yield served


def signed(body: bytes) -> dict[str, str]:
    import hashlib
    import hmac

    digest = hmac.new(b"s3cret", body, hashlib.sha256).hexdigest()
    return {"X-Hub-Signature-256": f"sha256={digest}", "Content-Type": "application/json"}


async def written(api: ApiUnderTest) -> dict[tuple[str, int], Any]:
    """Return what was refused, by path and status."""
    hooks = api.server._runner.app[HOOKS]  # type: ignore[union-attr]
    await hooks.refusals.write()
    return {(one.path, one.status): one for one in (await api.client.hook_refusals()).items}


async def test_what_is_refused_is_counted_and_the_last_of_each_kind_is_told(api: ApiUnderTest) -> None:
    async def send(path: str, **options: Any) -> int:
        return (await api.send(options.pop("method", "POST"), f"/hooks/{path}", key="", **options))[0]

    for _ in range(3):
        assert await send("leads/web", data=b"{}") == 401
    assert await send("leads/web", method="DELETE") == 405
    assert await send("open", data=b"x" * 2000) == 413
    assert await send("open", data=b"{", headers={"Content-Type": "application/json"}) == 422
    key = {"Idempotency-Key": "1"}
    assert [await send("open", data=data, headers=key) for data in (b"1", b"2")] == [202, 409]
    assert await send("lead%00s/w%FFeb") == 404
    refusals = await written(api)
    wrong = refusals["leads/{source}", 401]
    assert (wrong.count, wrong.method, wrong.client) == (3, "POST", "127.0.0.1")
    assert "signature" in wrong.detail
    assert {status for path, status in refusals if path == "open"} == {413, 422, 409}
    assert [status for path, status in refusals if path.startswith("lead\ufffds")] == [404]
    assert await send("leads/web", data=b"{}") == 401
    assert (await written(api))["leads/{source}", 401].count == 4
    listed = {hook.path: hook for hook in (await api.client.hooks()).items}
    assert (listed["leads/{source}"].refused, listed["leads/{source}"].last_delivery_at) == (5, None)
    assert listed["leads/{source}"].last_outcome is None
    assert listed["open"].last_delivery_at is not None
    assert listed["open"].last_outcome in {"running", "completed"}


async def test_a_flood_of_unknown_paths_is_bounded(api: ApiUnderTest) -> None:
    hooks = api.server._runner.app[HOOKS]  # type: ignore[union-attr]
    for number in range(300):
        await api.send("POST", f"/hooks/none/{number}", key="")
    assert len(hooks.refusals._found) == 201
    await hooks.refusals.write()
    pool = api.services.database.pool
    counts = dict(await pool.fetch("SELECT path, count FROM hark.hook_refusals WHERE status = 404"))
    assert (len(counts), counts["…"]) == (MOST_UNKNOWN, 100)
    assert sum(counts.values()) == 300 - 1  # one path made room for the rest
    await pool.execute("UPDATE hark.hook_refusals SET last_at = now() - interval '25 hours'")
    await HookRecords(api.services.database).prune()
    assert await pool.fetchval("SELECT count(*) FROM hark.hook_refusals") == 0


async def test_deliveries_are_listed_with_what_they_started_and_delivered_again(api: ApiUnderTest) -> None:
    bodies = [b'{"who": "ann"}', b'{"other": 1}']
    for number, body in enumerate(bodies):
        headers = {**signed(body), "X-GitHub-Delivery": f"d-{number}"}
        await api.send("POST", "/hooks/leads/web", data=body, headers=headers, key="")
    await api.hark.until(lambda: api.hark.engine.executor.in_flight == 0)
    refused, taken = (await api.client.deliveries("leads/{source}")).items
    assert (refused.dedupe_key, refused.matched, refused.executions) == ("d-1", False, [])
    assert [(one.workflow, one.status) for one in taken.executions] == [("lead", "completed")]
    page = await api.client.deliveries("leads/{source}", limit=1)
    assert (await api.client.deliveries("leads/{source}", cursor=page.next_cursor)).items == [taken]
    again = await api.client.redeliver(taken.id)
    assert len(again.executions) == 1
    assert (await api.hark.ended(again.executions[0]))["inputs"] == {"who": "ann"}
    event = await api.client.event(again.event_id)
    assert (event.route, event.data["body"]) == ("webhook:leads/{source}", {"who": "ann"})
    assert str(taken.id) in str(event.dedupe_key)
    started = await api.client.start("open")
    with pytest.raises(ApiError, match="retry or replay"):
        await api.client.redeliver(started.event_id)


async def test_a_path_that_is_tried_out_shows_what_arrives_and_starts_nothing(
    api: ApiUnderTest, tmp_path: Path
) -> None:
    assert (await api.send("POST", "/hooks-test/leads/web", key=""))[0] == 404
    opened = await api.client.test_hook("leads/{source}")
    assert opened.url.endswith("/hooks-test/leads/{source}")
    api.server._runner.app[TESTS]._looked_at = -1000  # type: ignore[union-attr]  # as after a second

    async def arrived(body: bytes, headers: dict[str, str], path: str = "leads/web?x=%00") -> dict[str, Any]:
        status, answer = await api.send("POST", f"/hooks-test/{path}", data=body, headers=headers, key="")
        assert (status, answer) == (200, {"test": True})
        return (await api.client.arrivals("leads/{source}")).items[-1].data

    good = await arrived(
        b'{"who": "ann"}', {**signed(b'{"who": "ann"}'), "X-GitHub-Delivery": "7", "Cookie": "c=1"}, "leads/web"
    )
    assert (good["params"], good["body"]) == ({"source": "web"}, {"who": "ann"})
    assert (good["headers"]["cookie"], good["headers"]["x-hub-signature-256"]) == ("***", "***")
    assert good["answer"] == {"status": 202}
    [outcome] = good["events"]
    assert outcome["key"] == "7"
    assert outcome["would_start"] == [{"workflow": "lead", "trigger_id": "webhook", "inputs": {"who": "ann"}}]
    none = await arrived(b"{}", signed(b"{}"), "leads/web")
    assert [(one["workflow"], one["reason"]) for one in none["events"][0]["would_not"]] == [("lead", "when_false")]
    wrong = await arrived(b"\xff\xfe", {"X-Api-Token": "t0k3n", "Content-Type": "application/json"})
    assert (wrong["answer"]["status"], wrong["headers"]["x-api-token"]) == (401, "***")
    assert "unreadable" in wrong
    assert (await api.client.events()).items == []
    for _ in range(MOST_ARRIVALS - 3):
        await arrived(b"", {})
    assert (await api.send("POST", "/hooks-test/leads/web", key=""))[0] == 429
    reader = await api.add_key("read")
    assert (await api.send("GET", "/api/hooks/arrivals?path=x", key=reader))[0] == 403
    pool = api.services.database.pool
    await pool.execute("UPDATE hark.hook_tests SET expires_at = now() - interval '1 second'")
    await HookRecords(api.services.database).prune()
    assert await pool.fetchval("SELECT count(*) FROM hark.hook_arrivals") == 0


async def test_the_command_line_shows_what_arrives(api: ApiUnderTest, capsys: pytest.CaptureFixture[str]) -> None:
    opened = await api.client.test_hook("open")
    await api.send("POST", "/hooks-test/open", json={"n": 1}, key="")
    await cli._follow(api.client, "open", "1m", 1)
    shown = capsys.readouterr()
    assert json.loads(shown.out[shown.out.index("{\n") :])["data"]["body"] == {"n": 1}
    assert opened.url in shown.err.replace("\n", "")


async def test_the_command_line_tells_of_webhooks(api: ApiUnderTest, tmp_path: Path) -> None:
    hark = Program(api, tmp_path)
    await api.send("POST", "/hooks/open", data=b"1", key="")
    await api.send("GET", "/hooks/open", key="")
    await written(api)
    [event] = (await api.client.events()).items
    listed, shown, again = await asyncio.gather(
        hark("hooks", "--json"),
        hark("hooks", "deliveries", "open"),
        hark("hooks", "redeliver", str(event.id), "--json"),
    )
    assert [(one["path"], one["refused"]) for one in listed.json["items"]] == [("leads/{source}", 0), ("open", 1)]
    assert all(word in shown.out for word in (str(event.id), "405", "GET is not taken here"))
    assert len(again.json["executions"]) == 1
