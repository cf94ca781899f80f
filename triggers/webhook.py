"""The `webhook` kind: a workflow starts when a request comes to its path."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property
from itertools import chain
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, ByteSize, ConfigDict, Field, StringConstraints

from hark.triggers.webhook_auth import secret_headers
from hark.triggers.webhook_auth_config import Auth, NoAuth
from hark.triggers.webhook_body import grouped
from hark.triggers.webhook_paths import PathTable, normalise_path, shape
from hark.triggers.webhook_request import WebhookRequest
from hark.workflows.catalogue import ActiveTrigger, Config, NewEvent, TriggerKind, TriggerSpec
from hark.workflows.errors import Problem, UnprocessableError
from hark.workflows.ids import TenantId, WorkflowId

_REMEMBERED = timedelta(days=7)
"""Longer than any known sender goes on sending the same delivery."""
_LONGEST_KEY = 200
_MASK = "***"
_ALWAYS_SECRET = frozenset({"authorization", "proxy-authorization", "cookie", "x-api-key"})
_KEY_SOURCE = r"^(body(\.[A-Za-z0-9_-]+)+|[A-Za-z0-9!#$%&'*+^_`|~-]+)$"
_KEYS = {
    "github": ("X-GitHub-Delivery",),
    "gitlab": ("Idempotency-Key",),
    "stripe": ("body.id",),
    "slack": ("body.event_id",),
    "standard_webhooks": ("webhook-id",),
    "shopify": ("X-Shopify-Webhook-Id",),
}
_OTHER_KEYS = ("Idempotency-Key",)


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _method(text: str) -> str:
    return "*" if text.upper() in ("*", "ANY") else text.upper()


Method = Annotated[str, StringConstraints(pattern=r"^([A-Za-z]{1,20}|\*)$"), AfterValidator(_method)]
KeySource = Annotated[str, StringConstraints(pattern=_KEY_SOURCE, max_length=100)]


class WebhookConfig(Config):
    """Which requests start a workflow."""

    # The outermost model decides whether a refusal shows its input, and so the secret.
    model_config = ConfigDict(hide_input_in_errors=True)

    path: Annotated[str, AfterValidator(normalise_path)]
    """What follows `/hooks/`; a segment such as `{id}` takes any value, which is `event.data.params.id`."""
    methods: Annotated[list[Method], BeforeValidator(_as_list), Field(min_length=1, max_length=20)] = Field(
        default_factory=lambda: ["POST"]
    )
    """HTTP methods; `ANY` takes all."""
    auth: Auth = Field(default_factory=NoAuth)
    """How the sender proves who it is; without it anybody who knows the path may call."""
    dedupe: Annotated[list[KeySource], BeforeValidator(_as_list), Field(max_length=5)] | None = None
    """Headers, or fields such as `body.id`, that name a delivery: the first that is there counts. `[]`: none.

    Default: the header that the sender of `auth` documents, else `Idempotency-Key`.
    """
    max_body: Annotated[ByteSize, Field(ge=1, le=100 * 1024 * 1024)] | None = None
    """Largest body, such as `64KiB`; the daemon's own limit if absent."""

    def takes(self, method: str) -> bool:
        """Say whether requests of this method concern the trigger."""
        return method in self.methods or "*" in self.methods

    def key_sources(self) -> Sequence[str]:
        """Return where to look for the delivery's id."""
        return self.dedupe if self.dedupe is not None else _KEYS.get(self.auth.type, _OTHER_KEYS)


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
        data_fields=("method", "path", "params", "query", "headers", "body", "encoding"),
    )

    def route(self, config: WebhookConfig, workflow_id: WorkflowId, trigger_id: str) -> str:
        return route_of(config.path)

    def refusal(self, config: WebhookConfig, event: NewEvent) -> str | None:
        method = event.data["method"]
        return None if config.takes(method) else f"the method is {method}, not {' or '.join(config.methods)}"

    def warnings(self, config: WebhookConfig) -> Sequence[str]:
        if isinstance(config.auth, NoAuth):
            return ("anybody who knows the path can start this workflow: give the webhook an `auth`",)
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


def hook_table(triggers: Iterable[ActiveTrigger]) -> PathTable[Hook]:
    """Make the table that finds the Hook of a request's path, from the active triggers (others are passed over)."""
    hooks: dict[tuple[TenantId, str], Hook] = {}
    for trigger in triggers:
        if trigger.kind == "webhook":
            key = trigger.tenant_id, trigger.config.path
            known = hooks.get(key) or Hook(*key, ())
            hooks[key] = replace(known, triggers=(*known.triggers, trigger))
    return PathTable((hook.tenant_id, hook.template, hook) for hook in hooks.values())


def delivery_key(config: WebhookConfig, headers: Mapping[str, str], body: Any) -> str | None:
    """Return the sender's id of this delivery, None when it gives none."""
    for source in config.key_sources():
        value = _field(body, source.split(".")[1:]) if source.startswith("body.") else headers.get(source.lower())
        if isinstance(value, str | int) and not isinstance(value, bool) and (key := str(value).strip()):
            return _storable_key(key)
    return None


def _storable_key(key: str) -> str:
    """Return a key as it is, or its digest when it is too long or no Unicode."""
    if len(key) <= _LONGEST_KEY and key == _whole(key):
        return key
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def event_for(
    hook: Hook, request: WebhookRequest, params: Mapping[str, str], body: Any, encoding: str | None
) -> NewEvent:
    """Make the event of an authenticated request. Raises UnprocessableError when path or query cannot be stored."""
    key = delivery_key(hook.config, request.headers, body)
    headers = dict(_storable(request.headers.items(), "headers"))
    for name in hook.hidden & headers.keys():
        headers[name] = _MASK
    return NewEvent(
        tenant_id=hook.tenant_id,
        kind="webhook",
        type="webhook.received",
        source=hook.route,
        route=hook.route,
        data={
            "method": request.method,
            "path": _whole(request.path),
            "params": dict(_storable(params.items(), "params")) if params else {},
            "query": grouped(_storable(request.query, "query")) if request.query else {},
            "headers": headers,
            "body": body,
            "encoding": encoding,
        },
        dedupe_key=key,
        dedupe_ttl=_REMEMBERED,
        fingerprint=None if key is None else _fingerprint(request),
    )


def conflicts(active: Iterable[ActiveTrigger], new: Sequence[ActiveTrigger]) -> list[tuple[ActiveTrigger, Problem]]:
    """Find the new triggers that cannot share their path with another, each with its problem.

    Triggers on one path take a request in together, so they must agree on how. Versions of the workflows in `new` that
    are active now do not count. A problem's path begins inside the trigger: `("auth",)`.
    """
    replaced = {trigger.workflow_id for trigger in new}
    others = [trigger for trigger in active if trigger.workflow_id not in replaced]
    first: dict[tuple[TenantId, str], ActiveTrigger] = {}
    for trigger in others:
        if trigger.kind == "webhook":
            first.setdefault((trigger.tenant_id, shape(trigger.config.path)), trigger)
    found = []
    for trigger in new:
        if trigger.kind == "webhook":
            known = first.setdefault((trigger.tenant_id, shape(trigger.config.path)), trigger)
            found += [(trigger, problem) for problem in _differences(known, trigger)]
    return found


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
        for name in ("auth", "dedupe", "max_body")
        if getattr(known.config, name) != getattr(trigger.config, name)
    ]


def _field(value: Any, names: Sequence[str]) -> Any:
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _fingerprint(request: WebhookRequest) -> bytes:
    """Digest what a sender repeats when it repeats a delivery: all but the headers."""
    digest = hashlib.blake2b(digest_size=16)
    for part in (request.method, request.path, *(text for pair in request.query for text in pair)):
        raw = part.encode("utf-8", "surrogatepass")
        digest.update(len(raw).to_bytes(4, "big") + raw)
    digest.update(request.body)
    return digest.digest()


def _storable(pairs: Collection[tuple[str, str]], where: str) -> Collection[tuple[str, str]]:
    text = "".join(chain.from_iterable(pairs))
    if "\0" in text:
        detail = f"{where} holds the character U+0000, which cannot be stored"
        raise UnprocessableError(detail, [Problem(detail, path=(where,))])
    return pairs if text.isascii() else [(_whole(name), _whole(value)) for name, value in pairs]


def _whole(text: str) -> str:
    """Replace what is no Unicode: half surrogate pairs, and bytes that an HTTP library could not decode."""
    return text if text.isascii() else re.sub("[\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", text)
