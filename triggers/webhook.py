"""The `webhook` kind: a workflow starts when a request comes to its path."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import Any

from hark.triggers.cloudevents import (
    attributes_of,
    content_of,
    read_cloudevents,
    subject_pair,
    time_of,
)
from hark.triggers.webhook_auth import secret_headers
from hark.triggers.webhook_auth_config import NoAuth, TwilioAuth
from hark.triggers.webhook_body import grouped, parse_body
from hark.triggers.webhook_config import SHARED, WebhookConfig
from hark.triggers.webhook_delivery import Content, cloudevents_mode, name_of
from hark.triggers.webhook_jwt import JwtAuth
from hark.triggers.webhook_paths import PathTable, shape
from hark.triggers.webhook_request import WebhookRequest, whole_text
from hark.workflows.catalogue import ActiveTrigger, NewEvent, TriggerKind, TriggerSpec
from hark.workflows.errors import Problem, UnprocessableError
from hark.workflows.ids import TenantId, WorkflowId

_MASK = "***"
_ALWAYS_SECRET = frozenset({"authorization", "proxy-authorization", "cookie", "x-api-key"})


class WebhookTrigger(TriggerKind[WebhookConfig]):
    """Starts a workflow when a request comes to a path under `/hooks/`."""

    spec = TriggerSpec(
        kind="webhook",
        name="Webhook",
        description="When an HTTP request comes to a path under /hooks/, proven by signature, password or token.",
        config=WebhookConfig,
        example={
            "type": "webhook",
            "path": "github/push",
            "methods": ["POST"],
            "auth": {"type": "github", "secret": "${{ secrets.github }}"},
        },
        data_fields=("method", "path", "params", "query", "headers", "body", "encoding", "claims", "cloudevent"),
        late=frozenset({"respond"}),
    )

    def route(self, config: WebhookConfig, workflow_id: WorkflowId, trigger_id: str) -> str:
        return route_of(config.path)

    def refusal(self, config: WebhookConfig, event: NewEvent) -> str | None:
        method = event.data["method"]
        return None if config.takes(method) else f"the method is {method}, not {' or '.join(config.methods)}"

    def warnings(self, config: WebhookConfig) -> Sequence[str]:
        auth = config.auth
        if isinstance(auth, NoAuth):
            return ("anybody who knows the path can start this workflow: give the webhook an `auth`",)
        if isinstance(auth, JwtAuth) and not auth.written() and not auth.audience:
            return ("tokens that the issuer has made for others are good here too: give `auth` an `audience`",)
        return ()


@dataclass(frozen=True)
class Hook:
    """All triggers on one path of a tenant: they take a request in together."""

    tenant_id: TenantId
    template: str
    triggers: tuple[ActiveTrigger, ...]

    @cached_property
    def config(self) -> WebhookConfig:
        """The config for what all triggers have in common: `auth`, `dedupe`, `max_body`."""
        config: WebhookConfig = self.triggers[0].config
        return config

    @cached_property
    def route(self) -> str:
        """The route of its events."""
        return route_of(self.template)

    @cached_property
    def is_open(self) -> bool:
        """Whether anybody may call."""
        return isinstance(self.config.auth, NoAuth)

    @cached_property
    def is_plain(self) -> bool:
        """Whether a POST to it is an event and nothing else: nothing but its proof has to be asked for."""
        config = self.config
        special = (config.rate, config.allow_from, config.cors, self.responder)
        return self.takes("POST") and not any(special) and config.auth.type not in ("slack", "twilio")

    @cached_property
    def responder(self) -> ActiveTrigger | None:
        """The one trigger whose execution its senders wait for."""
        return next((trigger for trigger in self.triggers if trigger.config.respond is not None), None)

    @cached_property
    def wants_address(self) -> bool:
        """Whether the proof is about the address of the request too."""
        return isinstance(self.config.auth, TwilioAuth)

    @cached_property
    def hidden(self) -> frozenset[str]:
        """The headers that are not stored as they come."""
        return _ALWAYS_SECRET | secret_headers(self.config.auth)

    @cached_property
    def _methods(self) -> frozenset[str]:
        return frozenset(method for trigger in self.triggers for method in trigger.config.methods)

    def takes(self, method: str) -> bool:
        """Say whether any trigger is concerned; else the answer is 405."""
        return method in self._methods or "*" in self._methods

    def methods(self) -> list[str]:
        """Return the methods for the Allow header of a 405."""
        return sorted(self._methods)


def route_of(template: str) -> str:
    """Return the route of a path."""
    return f"webhook:{template}"


def path_of_route(route: str) -> str:
    """Return the path of a route."""
    return route.removeprefix("webhook:")


def hook_table(triggers: Iterable[ActiveTrigger]) -> PathTable[Hook]:
    """Make the table that finds the Hook of a request's path, from the active triggers (others are passed over)."""
    hooks: dict[tuple[TenantId, str], Hook] = {}
    for trigger in triggers:
        if trigger.kind == "webhook":
            key = trigger.tenant_id, trigger.config.path
            known = hooks.get(key) or Hook(*key, ())
            hooks[key] = replace(known, triggers=(*known.triggers, trigger))
    return PathTable((hook.tenant_id, hook.template, hook) for hook in hooks.values())


def contents_of(request: WebhookRequest, config: WebhookConfig | None = None) -> tuple[Sequence[Content], bool]:
    """Read what a request says to a webhook; tells whether that is a batch. Raises UnprocessableError."""
    mode = cloudevents_mode(config, request.headers)
    if mode is None:
        return (Content(*parse_body(request.headers, request.body)),), False
    events = read_cloudevents(mode, request.headers, request.body)
    is_batch = mode == "batch"
    contents = [Content(*content_of(event), event, place if is_batch else None) for place, event in enumerate(events)]
    return contents, is_batch


def event_for(
    hook: Hook,
    request: WebhookRequest,
    params: Mapping[str, str],
    content: Content,
    claims: Mapping[str, Any] | None = None,
) -> NewEvent:
    """Make the event of an authenticated request. Raises UnprocessableError when path or query cannot be stored."""
    headers = dict(_storable(request.headers.items(), "headers"))
    for name in hook.hidden & headers.keys():
        headers[name] = _MASK
    data = {
        "method": request.method,
        "path": whole_text(request.path),
        "params": dict(_storable(params.items(), "params")) if params else {},
        "query": grouped(_storable(request.query, "query")) if request.query else {},
        "headers": headers,
        "body": content.body,
        "encoding": content.encoding,
    }
    if claims is not None:
        data["claims"] = dict(claims)
    key, told = name_of(hook.config, request, content)
    event = NewEvent(
        tenant_id=hook.tenant_id,
        kind="webhook",
        type="webhook.received",
        source=hook.route,
        route=hook.route,
        data=data,
        dedupe_key=key,
        dedupe_ttl=hook.config.remember,
        fingerprint=told,
    )
    if content.cloudevent is not None:
        event.data["cloudevent"] = attributes_of(content.cloudevent)
        event.subject = subject_pair(content.cloudevent.get("subject"))
        event.occurred_at = time_of(content.cloudevent)
    return event


def slack_challenge(config: WebhookConfig, body: Any) -> str | None:
    """Return what Slack wants to hear, when a request only asks whether this is the right address."""
    if config.auth.type != "slack" or not isinstance(body, dict) or body.get("type") != "url_verification":
        return None
    return str(body.get("challenge", ""))[:1000]


def conflicts(active: Iterable[ActiveTrigger], new: Sequence[ActiveTrigger]) -> list[tuple[ActiveTrigger, Problem]]:
    """Find the new triggers that cannot share their path with another, each with its problem.

    Triggers on one path take a request in together, so they must agree on how. Versions of the workflows in `new` that
    are active now do not count. A problem's path begins inside the trigger: `("auth",)`.
    """
    replaced = {trigger.workflow_id for trigger in new}
    others = [trigger for trigger in active if trigger.workflow_id not in replaced]
    first: dict[tuple[TenantId, str], ActiveTrigger] = {}
    responders: dict[tuple[TenantId, str], ActiveTrigger] = {}
    found = []
    for trigger in (*others, *new):
        if trigger.kind == "webhook":
            place = trigger.tenant_id, shape(trigger.config.path)
            problems = _differences(first.setdefault(place, trigger), trigger)
            if trigger.config.respond is not None and responders.setdefault(place, trigger) is not trigger:
                problems.append(_second_answer(responders[place]))
            found += [(trigger, problem) for problem in problems]
    return [(trigger, problem) for trigger, problem in found if trigger not in others]


def _second_answer(known: ActiveTrigger) -> Problem:
    return Problem(
        f"workflow {known.workflow!r} (trigger {known.id!r}) answers the requests of this path already",
        path=("respond",),
        hint="leave `respond` out here: the workflow starts all the same",
    )


def _differences(known: ActiveTrigger, trigger: ActiveTrigger) -> list[Problem]:
    there = f"workflow {known.workflow!r} (trigger {known.id!r})"
    if known.config.path != trigger.config.path:
        message = f"the path takes the same requests as {known.config.path!r} of {there}, with another parameter name"
        return [Problem(message, path=("path",), hint=f"write {known.config.path}")]
    return [
        Problem(
            f"{name!r} differs from that of {there} on the same path {known.config.path!r}",
            path=(name,),
            hint=f"use the same {name} in both, or another path",
        )
        for name in SHARED
        if getattr(known.config, name) != getattr(trigger.config, name)
    ]


def _storable(pairs: Collection[tuple[str, str]], where: str) -> Collection[tuple[str, str]]:
    text = "".join(chain.from_iterable(pairs))
    if "\0" in text:
        detail = f"{where} holds the character U+0000, which cannot be stored"
        raise UnprocessableError(detail, [Problem(detail, path=(where,))])
    return pairs if text.isascii() else [(whole_text(name), whole_text(value)) for name, value in pairs]
