"""Which delivery a request is, by what its sender vouches for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from hark.triggers.cloudevents import CloudEvent, attributes_of, mode_of
from hark.triggers.json_text import read_json
from hark.triggers.webhook_auth import signed_digest
from hark.triggers.webhook_config import WebhookConfig
from hark.triggers.webhook_keys import SIGNED_KEYS, delivery_key, fingerprint, storable_key
from hark.triggers.webhook_request import WebhookRequest

_TRACES = frozenset({"traceparent", "tracestate"})
"""What a sender may say otherwise when it repeats a CloudEvent."""


@dataclass(slots=True)
class Content:
    """What a request says: its body as it was read, or one CloudEvent of it."""

    body: Any
    encoding: str | None
    cloudevent: CloudEvent | None = None
    place: int | None = None
    """Which of a batch it is."""


def cloudevents_mode(config: WebhookConfig | None, headers: Mapping[str, str]) -> str | None:
    """Return the mode of the CloudEvents that a request holds, None for any other.

    Where the sender signs what names a delivery, `ce-` headers make no CloudEvent unless `dedupe` reads one of them:
    whoever repeats a delivery may add some.
    """
    mode = mode_of(headers)
    if mode == "binary" and config is not None and config.auth.type in SIGNED_KEYS and not _reads_attributes(config):
        return None
    return mode


def _reads_attributes(config: WebhookConfig) -> bool:
    parts = (part for source in config.dedupe or () for part in source.split("+"))
    return any(part.lower().startswith("ce-") for part in parts)


def name_of(config: WebhookConfig, request: WebhookRequest, content: Content) -> tuple[str | None, bytes | None]:
    """Return the name of a proven delivery and what must be alike when it comes again; None twice: it has no name."""
    event = content.cloudevent
    if config.dedupe is None and config.auth.type in SIGNED_KEYS:
        return _signed_name(config, request, content)
    if config.dedupe is None and event is not None:
        key: str | None = storable_key(f"{event['source']}+{event['id']}")
    else:
        key = delivery_key(config.key_sources(), request.headers, _named_in(config, request, content))
    if key is None:
        return None, None
    return key, fingerprint(request) if event is None else _told(event, content.body)


def _signed_name(config: WebhookConfig, request: WebhookRequest, content: Content) -> tuple[str | None, bytes | None]:
    """Name a delivery by what was signed alone, however its unsigned headers say that the body is to be read.

    The first of a batch has the name that the same body has as one event, with another fingerprint: sent again as the
    other of both it is refused.
    """
    body = _json_of(request.body) if content.encoding != "json" or content.cloudevent is not None else content.body
    key = delivery_key(config.key_sources(), request.headers, body) or signed_digest(config.auth, request)
    if key is None:
        return None, None
    if content.place is None:
        return key, fingerprint(request)
    return storable_key(f"{key}+{content.place}") if content.place else key, fingerprint(request) + b"batch"


def _named_in(config: WebhookConfig, request: WebhookRequest, content: Content) -> Any:
    """Return where fields such as `body.id` are looked for: in JSON, whatever its Content-Type calls it."""
    if content.encoding == "json" or content.cloudevent is not None:
        return content.body
    if not any("body." in source for source in config.key_sources()):
        return content.body
    found = _json_of(request.body)
    return content.body if found is None else found


def _json_of(raw: bytes) -> Any:
    try:
        return read_json(raw)
    except ValueError:
        return None


def _told(event: CloudEvent, body: Any) -> bytes:
    """Return what a sender repeats when it repeats a CloudEvent."""
    told = {name: value for name, value in attributes_of(event).items() if name not in _TRACES}
    return orjson.dumps([told, body], option=orjson.OPT_SORT_KEYS)
