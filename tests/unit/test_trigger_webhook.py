"""The webhook kind: paths, the event of a request, delivery ids, triggers that share a path."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from support.triggers import active

from hark.triggers.webhook import (
    Hook,
    WebhookTrigger,
    conflicts,
    contents_of,
    event_for,
    hook_table,
)
from hark.triggers.webhook_config import WebhookConfig
from hark.triggers.webhook_delivery import Content
from hark.triggers.webhook_keys import delivery_key
from hark.triggers.webhook_paths import PathTable, normalise_path
from hark.triggers.webhook_request import WebhookRequest, joined_headers
from hark.workflows.catalogue import ActiveTrigger, NewEvent
from hark.workflows.errors import UnprocessableError
from hark.workflows.ids import DEFAULT_TENANT, TenantId, WorkflowId

SHOPIFY = {"type": "shopify", "secret": "x"}
GITHUB = {"type": "github", "secret": "${{ secrets.gh }}"}


def hook(path: str = "leads", workflow: str = "report", **config: Any) -> ActiveTrigger:
    trigger = active("webhook", WebhookConfig(path=path, **config), workflow=workflow)
    return replace(trigger, workflow_id=WorkflowId(UUID(int=hash(workflow) % 2**64)))


def request(**fields: Any) -> WebhookRequest:
    headers = joined_headers(fields.pop("headers", {}).items())
    return WebhookRequest(**{"method": "POST", "path": "leads", "query": (), "body": b"", **fields, "headers": headers})


def find(table: PathTable[Hook], path: str) -> tuple[str, dict[str, str]] | None:
    found = table.find(DEFAULT_TENANT, path)
    return (found[0].template, found[1]) if found else None


@pytest.mark.parametrize("path, normal", [("leads", "leads"), ("/a/{id}/b/", "a/{id}/b"), ("Über/x.y~z", "Über/x.y~z")])
def test_a_path_is_normalised(path: str, normal: str) -> None:
    assert normalise_path(path) == normal


@pytest.mark.parametrize(
    "path", ["", "/", "a//b", "a/../b", "a?b", "a b", "a/%2F", "{a}/{a}", "{1a}", "x{a}", "a\0", "x" * 501, "a/" * 21]
)
def test_a_bad_path_is_refused(path: str) -> None:
    with pytest.raises(ValidationError):
        WebhookConfig(path=path)


def test_the_table_finds_templates_literals_first() -> None:
    paths = ["leads", "leads/new", "leads/{id}", "leads/{id}/notes", "{any}/new/x"]
    table = hook_table([hook(path, workflow=f"w{index}") for index, path in enumerate(paths)])
    assert find(table, "leads") == ("leads", {})
    assert find(table, "/leads/") == ("leads", {})
    assert find(table, "leads/new") == ("leads/new", {})
    assert find(table, "leads/42") == ("leads/{id}", {"id": "42"})
    assert find(table, "leads/new/notes") == ("leads/{id}/notes", {"id": "new"})
    assert find(table, "leads/new/x") == ("{any}/new/x", {"any": "leads"})
    assert find(table, "leads/a%2Fb%20c") == ("leads/{id}", {"id": "a/b c"})
    for unknown in ("", "lead", "leads//notes", "leads/42/x", "Leads", "/".join("a" * 30)):
        assert find(table, unknown) is None


def test_the_table_keeps_tenants_apart() -> None:
    other = TenantId(UUID(int=7))
    table = hook_table([hook(), replace(hook(workflow="theirs"), tenant_id=other)])
    mine, theirs = (table.find(tenant, "leads") for tenant in (DEFAULT_TENANT, other))
    assert mine is not None
    assert theirs is not None
    assert (mine[0].triggers[0].workflow, theirs[0].triggers[0].workflow) == ("report", "theirs")
    assert table.find(TenantId(UUID(int=8)), "leads") is None


@given(st.lists(st.lists(st.sampled_from(["a", "b", "{p}"]), min_size=1, max_size=4).map("/".join), max_size=12))
def test_the_table_finds_what_trying_every_template_finds(texts: list[str]) -> None:
    templates = []
    for text in dict.fromkeys(texts):
        names = iter("pqrs")
        templates.append("/".join(f"{{{next(names)}}}" if part == "{p}" else part for part in text.split("/")))
    table = PathTable((DEFAULT_TENANT, template, template) for template in templates)
    for path in ("a", "b", "c", "a/b", "c/b", "a/c/b", "b/b/b", "a/b/c/a"):
        fitting = [template for template in templates if fits(template, path)]
        best = min(fitting, key=lambda template: ["{" in part for part in template.split("/")], default=None)
        found = table.find(DEFAULT_TENANT, path)
        assert (found[0] if found else None) == best


def fits(template: str, path: str) -> bool:
    pairs = list(zip(template.split("/"), path.split("/"), strict=False))
    return template.count("/") == path.count("/") and all("{" in one or one == other for one, other in pairs)


def test_the_event_says_all_but_the_secrets() -> None:
    trigger = hook("leads/{id}", auth=GITHUB)
    arrived = request(
        path="leads/42",
        query=(("a", "1"), ("b", "2"), ("a", "3")),
        headers={
            "X-Hub-Signature-256": "sha256=00",
            "Authorization": "Basic x",
            "X-GitHub-Delivery": "d-1",
            "User-Agent": "x\udcff",
        },
        body=b"{}",
    )
    event = event_for(Hook(DEFAULT_TENANT, "leads/{id}", (trigger,)), arrived, {"id": "42"}, Content({"n": 1}, "json"))
    assert event.data == {
        "method": "POST",
        "path": "leads/42",
        "params": {"id": "42"},
        "query": {"a": ["1", "3"], "b": "2"},
        "headers": {
            "x-hub-signature-256": "***",
            "authorization": "***",
            "x-github-delivery": "d-1",
            "user-agent": "x\ufffd",
        },
        "body": {"n": 1},
        "encoding": "json",
    }
    assert event.route == WebhookTrigger().route(trigger.config, trigger.workflow_id, trigger.id) == event.source
    assert event.dedupe_key == "d-1"


def test_a_delivery_sent_again_is_the_same_and_another_body_is_not() -> None:
    shared = Hook(DEFAULT_TENANT, "leads", (hook(),))

    def fingerprint(headers: dict[str, str] | None = None, **fields: Any) -> bytes | None:
        delivery = {"idempotency-key": "1", **(headers or {})}
        return event_for(shared, request(headers=delivery, **fields), {}, Content(None, None)).fingerprint

    first = fingerprint(body=b"1", headers={"Date": "then"})
    assert first is not None
    assert fingerprint(body=b"1", headers={"Date": "now"}) == first
    assert fingerprint(body=b"2") != first
    assert fingerprint(body=b"1", method="PUT") != first
    assert fingerprint(body=b"1", query=(("a", ""),)) != first
    # Without a delivery id there is nothing to compare it with.
    assert event_for(shared, request(body=b"1"), {}, Content(None, None)).fingerprint is None


@pytest.mark.parametrize("fields", [{"query": (("a", "\0"),)}, {"query": (("\0", ""),)}])
def test_nul_in_the_query_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(UnprocessableError, match="query holds"):
        event_for(Hook(DEFAULT_TENANT, "leads", (hook(),)), request(**fields), {}, Content(None, None))


@pytest.mark.parametrize(
    "config, headers, body, key",
    [
        ({"auth": GITHUB}, {"x-github-delivery": "g", "idempotency-key": "i"}, None, "g"),
        ({"auth": {"type": "stripe", "secret": "x"}}, {}, {"id": "evt_1"}, "evt_1"),
        ({"auth": {"type": "slack", "secret": "x"}}, {}, {"event_id": "Ev1"}, "Ev1"),
        ({"auth": {"type": "gitlab", "secret": "x"}}, {"webhook-id": "w"}, None, "w"),
        ({"auth": SHOPIFY}, {"x-shopify-topic": "orders/paid", "x-shopify-event-id": "e"}, None, "orders/paid+e"),
        ({"auth": SHOPIFY}, {"x-shopify-event-id": "e", "x-shopify-webhook-id": "w"}, None, "w"),
        ({"auth": {"type": "twilio", "secret": "x"}}, {"i-twilio-idempotency-token": "t"}, None, "t"),
        ({"auth": {"type": "standard_webhooks", "secret": "eA=="}}, {"webhook-id": "m"}, None, "m"),
        ({}, {"idempotency-key": " i "}, None, "i"),
        ({}, {}, {"id": 1}, None),
        ({"dedupe": "X-Id"}, {"x-id": "x", "idempotency-key": "i"}, None, "x"),
        ({"dedupe": ["X-Id", "body.order.id"]}, {}, {"order": {"id": 7}}, "7"),
        ({"dedupe": ["body.order.id"]}, {}, {"order": [7]}, None),
        ({"dedupe": ["body.flag"]}, {}, {"flag": True}, None),
        ({"dedupe": []}, {"idempotency-key": "i"}, None, None),
    ],
)
def test_a_delivery_has_the_id_that_its_sender_gives(
    config: dict[str, Any], headers: dict[str, str], body: Any, key: str | None
) -> None:
    assert delivery_key(WebhookConfig(path="leads", **config).key_sources(), headers, body) == key


def test_a_long_delivery_id_is_digested() -> None:
    sources = WebhookConfig(path="a").key_sources()
    keys = [delivery_key(sources, {"idempotency-key": "x" * 5000 + end}, None) for end in "ab"]
    assert keys[0] != keys[1]
    assert all(key is not None and len(key) == 64 for key in keys)


def test_a_delivery_id_that_is_no_unicode_is_digested() -> None:
    sources = WebhookConfig(path="a").key_sources()
    keys = [delivery_key(sources, {"idempotency-key": key}, None) for key in ("\udcff", "\udcfe", "\udcff")]
    assert keys[0] == keys[2] != keys[1]
    assert all(key is not None and key.isascii() for key in keys)


def test_methods_decide_whom_a_request_concerns() -> None:
    get, every = hook(methods="get"), hook(workflow="any", methods=["ANY"])
    shared = Hook(DEFAULT_TENANT, "leads", (get,))
    assert shared.takes("GET")
    assert not shared.takes("POST")
    assert shared.methods() == ["GET"]
    assert Hook(DEFAULT_TENANT, "leads", (get, every)).takes("DELETE")
    event = event_for(shared, request(), {}, Content(None, None))
    assert WebhookTrigger().refusal(get.config, event) == "the method is POST, not GET"
    assert WebhookTrigger().refusal(every.config, event) is None


def test_a_webhook_that_anybody_may_call_is_remarked_upon() -> None:
    assert "anybody" in WebhookTrigger().warnings(WebhookConfig(path="a"))[0]
    assert WebhookTrigger().warnings(WebhookConfig(path="a", auth=GITHUB)) == ()


def test_workflows_share_a_path_only_with_the_same_auth() -> None:
    first = hook(auth=GITHUB)
    assert conflicts([first], [hook(workflow="same", auth=GITHUB, methods=["PUT"])]) == []
    assert conflicts([first], [hook("other", workflow="elsewhere")]) == []
    assert conflicts([first], [replace(hook(workflow="theirs"), tenant_id=TenantId(UUID(int=7)))]) == []
    second = hook(workflow="open")
    [(trigger, problem)] = conflicts([first], [second])
    assert trigger is second
    assert problem.path == ("auth",)
    assert "'auth' differs from that of workflow 'report'" in problem.message
    assert "secret" not in str(problem)


def test_a_new_version_does_not_conflict_with_the_old_one() -> None:
    assert conflicts([hook(auth=GITHUB)], [hook()]) == []


def test_conflicts_are_found_among_the_new_ones_too() -> None:
    found = conflicts([], [hook(), hook(workflow="b", dedupe=["X-Id"], max_body="1KiB")])
    assert [problem.path for _, problem in found] == [("dedupe",), ("max_body",)]


def test_one_shape_of_path_has_one_set_of_names() -> None:
    [(_, problem)] = conflicts([hook("leads/{id}")], [hook("leads/{lead}", workflow="b")])
    assert problem.path == ("path",)
    assert problem.hint == "write leads/{id}"


@pytest.mark.parametrize(
    "config, says",
    [
        ({"methods": []}, "at least 1 item"),
        ({"methods": ["PO ST"]}, "pattern"),
        ({"dedupe": ["a b"]}, "pattern"),
        ({"max_body": "1GiB"}, "less than or equal"),
        ({"auth": {"type": "twilio"}}, "give `secret`"),
        ({"remember": "1m"}, "write 1h to 366d"),
        ({"rate": {"limit": 0, "per": "1m"}}, "greater than or equal"),
        ({"rate": {"limit": 1, "per": "2d"}}, "write 1s to 1d"),
        ({"allow_from": "10.0.0.0/99"}, "network"),
        ({"cors": {"origins": "example.org"}}, "pattern"),
        ({"dedupe": "X-A++X-B"}, "pattern"),
    ],
)
def test_a_bad_config_is_refused(config: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        WebhookConfig(path="leads", **config)


SIGNED_EVENT = {"specversion": "1.0", "id": "1", "source": "s", "type": "t"}


def events_of(content_type: str, body: Any, **config: Any) -> list[NewEvent]:
    """Read one delivery of a sender that signs its id, with headers that it has not signed."""
    trigger = hook(auth={"type": "standard_webhooks", "secret": "eA=="}, **config)
    attributes = {f"ce-{name}": "x" for name in ("id", "source", "type")}
    headers = {"webhook-id": "w", "content-type": content_type, "ce-specversion": "1.0", **attributes}
    arrived = request(headers=headers, body=orjson.dumps(body))
    contents, _ = contents_of(arrived, trigger.config)
    return [event_for(Hook(DEFAULT_TENANT, "leads", (trigger,)), arrived, {}, content) for content in contents]


def test_what_names_a_delivery_is_what_its_sender_signed() -> None:
    [plain] = events_of("application/json", SIGNED_EVENT)
    [structured] = events_of("application/cloudevents+json", SIGNED_EVENT)
    assert (plain.dedupe_key, "cloudevent" in plain.data) == ("w", False)
    assert (structured.dedupe_key, structured.data["cloudevent"]) == ("w", SIGNED_EVENT)
    assert structured.fingerprint == plain.fingerprint
    [read] = events_of("application/json", {}, dedupe="ce-id")
    assert (read.dedupe_key, read.data["cloudevent"]["source"]) == ("x", "x")


def test_a_signed_batch_is_not_stored_again_as_one_event_nor_the_other_way_round() -> None:
    body = [SIGNED_EVENT, {**SIGNED_EVENT, "id": "2"}]
    [plain] = events_of("application/json", body)
    batch = events_of("application/cloudevents-batch+json", body)
    assert [event.dedupe_key for event in batch] == ["w", "w+1"]
    assert plain.dedupe_key == "w"
    assert plain.fingerprint not in [event.fingerprint for event in batch]


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "x/y", ""])
def test_a_field_that_names_a_delivery_is_found_whatever_the_content_type(content_type: str) -> None:
    trigger = hook(dedupe="body.id")
    arrived = request(headers={"content-type": content_type}, body=b'{"id": "a", "b": "&id=c"}')
    [content], _ = contents_of(arrived, trigger.config)
    assert event_for(Hook(DEFAULT_TENANT, "leads", (trigger,)), arrived, {}, content).dedupe_key == "a"
