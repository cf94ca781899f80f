"""The gate of webhooks over HTTP: addresses, rates, browsers, brokers, and proofs that need more than the request."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from time import time
from typing import Any
from urllib.parse import urlencode

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import OKPAlgorithm
from support.api import ApiUnderTest, running_api

from hark.daemon.api import key_sets
from hark.daemon.api.hooks import HOOKS
from hark.workflows.catalogue import HttpAnswer

HOOKS_YAML = """
id: slack
name: Slack
triggers: [{type: webhook, path: slack, auth: {type: slack, secret: "${{ secrets.key }}"}}]
steps: [{id: a, set: {x: 1}}]
---
id: sms
name: Sms
triggers: [{type: webhook, path: "sms/{line}", auth: {type: twilio, secret: "${{ secrets.key }}"}}]
steps: [{id: a, set: {x: 1}}]
---
id: tokens
name: Tokens
triggers:
  - {type: webhook, path: tokens, auth: {type: jwt, jwks_url: "https://issuer.example.org/keys", audience: hark}}
steps: [{id: a, set: {x: 1}}]
---
id: page
name: Page
triggers:
  - type: webhook
    path: page
    rate: {limit: 3, per: 1h}
    cors: {origins: "https://app.example.org", headers: [X-Form]}
    auth: {type: header, header: X-Form, secret: "${{ secrets.key }}"}
steps: [{id: a, set: {x: 1}}]
---
id: inside
name: Inside
triggers:
  - type: webhook
    path: inside
    methods: [POST, PUT]
    allow_from: [10.0.0.0/8, "2001:db8::1"]
    request_origins: broker.example.org
steps: [{id: a, set: {x: 1}}]
"""


@pytest.fixture
async def api(database_url: str, tmp_path: Path) -> AsyncIterator[ApiUnderTest]:
    """Serve webhooks behind a proxy on this machine."""
    proxies = "127.0.0.0/8,192.0.2.0/24"
    async with running_api(database_url, tmp_path, secrets={"key": "12345"}, trusted_proxies=proxies) as served:
        await served.client.apply({"hooks.yaml": HOOKS_YAML})
        yield served


async def post(api: ApiUnderTest, path: str, **options: Any) -> tuple[int, Any, Mapping[str, str]]:
    """Send a webhook; return status, text and headers of the answer."""
    async with api.http.request(options.pop("method", "POST"), f"{api.url}/hooks/{path}", **options) as response:
        return response.status, await response.text(), response.headers


async def count(api: ApiUnderTest) -> int:
    return len((await api.client.events()).items)


def slack(text: str) -> dict[str, Any]:
    """Return a request as Slack signs it."""
    stamp = str(int(time()))
    signature = "v0=" + hmac.digest(b"12345", f"v0:{stamp}:{text}".encode(), hashlib.sha256).hex()
    headers = {"X-Slack-Request-Timestamp": stamp, "X-Slack-Signature": signature, "Content-Type": "application/json"}
    return {"data": text.encode(), "headers": headers}


async def test_slack_is_told_that_the_address_is_right(api: ApiUnderTest) -> None:
    asked = slack(json.dumps({"type": "url_verification", "token": "t", "challenge": "3eZbrw1aB"}))
    assert (await post(api, "slack", **asked))[:2] == (200, "3eZbrw1aB")
    asked["headers"]["X-Slack-Signature"] = "v0=00"
    assert (await post(api, "slack", **asked))[0] == 401
    assert await count(api) == 0


@pytest.mark.parametrize("body", ['{"event_id": "Ev1"}', '{"a": 1}'])
async def test_headers_that_nobody_signed_make_no_new_delivery(api: ApiUnderTest, body: str) -> None:
    delivery = slack(body)
    first = await post(api, "slack", **delivery)
    assert first[0] == 202
    attributes = {"ce-specversion": "1.0", "ce-id": "9", "ce-source": "s", "ce-type": "t"}
    for more in (attributes, {"Content-Type": "text/plain"}, {"Content-Type": "x/y"}, {"Idempotency-Key": "9"}):
        again = await post(api, "slack", data=delivery["data"], headers={**delivery["headers"], **more})
        # It is the same event, or cannot be read.
        assert again[:2] == first[:2] or again[0] == 422
    assert await count(api) == 1
    assert (await post(api, "slack", **slack(body.replace("1", "2"))))[0] == 202
    assert await count(api) == 2


async def test_behind_a_proxy_twilio_s_address_is_the_public_one(api: ApiUnderTest) -> None:
    form = {"From": "+1", "Body": "hi there"}
    signed = "https://sms.example.org/hooks/sms/a%20b?x=1" + "Bodyhi there" + "From+1"
    signature = base64.b64encode(hmac.digest(b"12345", signed.encode(), "sha1")).decode()
    headers = {
        "X-Twilio-Signature": signature,
        "Content-Type": "application/x-www-form-urlencoded",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "sms.example.org",
        "I-Twilio-Idempotency-Token": "once",
    }
    data = urlencode(form)
    first = await post(api, "sms/a%20b?x=1", data=data, headers=headers)
    assert first[0] == 202
    assert (await post(api, "sms/a%20b?x=1", data=data, headers=headers))[:2] == first[:2]
    assert (await post(api, "sms/a%20b?x=2", data=data, headers=headers))[0] == 401
    assert (await post(api, "sms/a%20b?x=1", data=data, headers={**headers, "X-Forwarded-Host": "b.org"}))[0] == 401
    event = await api.client.event(json.loads(first[1])["event_id"])
    assert (event.data["body"], event.data["params"]) == (form, {"line": "a b"})
    assert event.data["headers"]["x-twilio-signature"] == "***"
    assert await count(api) == 1


async def test_an_issuer_s_keys_are_fetched_and_fetched_again_when_they_change(
    api: ApiUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = {name: Ed25519PrivateKey.generate() for name in ("old", "new")}
    published, asked = ["old"], []

    async def request(_method: str, url: str, **_options: Any) -> HttpAnswer:
        asked.append(url)
        document = [{**OKPAlgorithm.to_jwk(keys[name].public_key(), as_dict=True), "kid": name} for name in published]
        return HttpAnswer(200 if published else 500, {}, json.dumps({"keys": document}).encode(), url)

    async def call(name: str, **claims: Any) -> int:
        claims = {"aud": "hark", "exp": time() + 60, "sub": "ann", **claims}
        token = jwt.encode(claims, keys[name], algorithm="EdDSA", headers={"kid": name})
        return (await post(api, "tokens", json={}, headers={"Authorization": f"Bearer {token}"}))[0]

    monkeypatch.setattr(api.hark.engine.http, "request", request)
    now = 1000.0
    sets = api.server._runner.app[HOOKS].key_sets  # type: ignore[union-attr]
    monkeypatch.setattr(sets, "_clock", lambda: now)
    published.clear()
    assert await call("old") == 503
    published.append("old")
    assert await call("old") == 503  # asked a moment ago
    now += key_sets.PAUSE_S
    assert await asyncio.gather(*(call("old") for _ in range(20))) == [202] * 20
    assert len(asked) == 2
    assert await call("old", aud="them") == 401
    published.append("new")
    assert await call("new") == 401
    now += key_sets.PAUSE_S
    assert await call("new") == 202
    published[:] = ["new"]
    now += key_sets.FRESH_S
    assert await call("old") == 401
    published.clear()
    now += key_sets.FRESH_S
    assert await call("new") == 202  # the issuer is away
    now += key_sets.USABLE_S
    assert await call("new") == 503
    event = await api.client.event(str((await api.client.events()).items[0].id))
    assert event.data["claims"]["sub"] == "ann"
    assert event.data["headers"]["authorization"] == "***"


async def test_what_is_too_much_for_a_path_is_429_and_a_page_may_read_it(api: ApiUnderTest) -> None:
    proof, origin = {"X-Form": "12345"}, {"Origin": "https://app.example.org"}
    asking = {**origin, "Access-Control-Request-Method": "POST"}
    status, _, headers = await post(api, "page", method="OPTIONS", headers=asking)
    assert (status, headers["Access-Control-Allow-Methods"], headers["Access-Control-Allow-Headers"]) == (
        204,
        "POST",
        "X-Form",
    )
    stranger = {**asking, "Origin": "https://evil.example.org"}
    status, _, headers = await post(api, "page", method="OPTIONS", headers=stranger)
    assert "Access-Control-Allow-Origin" not in headers
    answers = [await post(api, "page", headers={**proof, **origin}) for _ in range(4)]
    assert [status for status, _, _ in answers] == [202, 202, 202, 429]
    assert 1000 < int(answers[3][2]["Retry-After"]) <= 1200
    for _, _, headers in answers:
        assert headers["Access-Control-Allow-Origin"] == "https://app.example.org"
    # Who has no proof takes nothing from those who have.
    status, _, headers = await post(api, "page", headers=origin)
    assert (status, headers["Access-Control-Allow-Origin"]) == (401, "https://app.example.org")
    assert await count(api) == 3


async def test_only_networks_that_are_allowed_come_in(api: ApiUnderTest) -> None:
    taken = {
        None: False,
        "10.1.2.3": True,
        "8.8.8.8": False,
        "10.1.2.3, 8.8.8.8": False,  # the left end anybody can write
        "8.8.8.8, 10.1.2.3": True,
        "10.1.2.3, 192.0.2.7, 127.0.0.1": True,
        "[2001:db8::1]:443": True,
        "::ffff:10.1.2.3": True,
        "10.1.2.3:1234": True,
        "10.1.2.3, nonsense": False,
        "unknown": False,
    }
    for forwarded, good in taken.items():
        headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
        assert (await post(api, "inside", headers=headers))[0] == (202 if good else 403), forwarded
    assert await count(api) == sum(taken.values())


async def test_a_broker_is_told_that_it_may_deliver(api: ApiUnderTest) -> None:
    asking = {"WebHook-Request-Origin": "Broker.example.org", "WebHook-Request-Rate": "120"}
    status, _, headers = await post(api, "inside", method="OPTIONS", headers=asking)
    assert (status, headers["Allow"]) == (200, "POST, PUT")
    assert headers["WebHook-Allowed-Origin"] == "Broker.example.org"
    assert headers["WebHook-Allowed-Rate"] == "*"
    asking["WebHook-Request-Origin"] = "other.example.org"
    assert (await post(api, "inside", method="OPTIONS", headers=asking))[0] == 403
    assert (await post(api, "slack", method="OPTIONS", headers=asking))[0] == 405
