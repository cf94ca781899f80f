"""What a webhook's sender calls a delivery, so that one that comes again is known."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import StringConstraints

from hark.triggers.webhook_request import WebhookRequest, whole_text

_LONGEST_KEY = 200
_SOURCE = r"(body(\.[A-Za-z0-9_-]+)+|[A-Za-z0-9!#$%&'*.^_`|~-]+)"
KeySource = Annotated[str, StringConstraints(pattern=rf"^{_SOURCE}(\+{_SOURCE}){{0,3}}$", max_length=300)]

KEYS = {
    "github": ("X-GitHub-Delivery",),
    # Both are the same; with a signing token only the second is signed.
    "gitlab": ("webhook-id", "Idempotency-Key"),
    "stripe": ("body.id",),
    "slack": ("body.event_id",),
    "standard_webhooks": ("webhook-id",),
    # One action of a merchant is one event, and may be told about under several topics.
    "shopify": ("X-Shopify-Topic+X-Shopify-Event-Id", "X-Shopify-Webhook-Id"),
    "twilio": ("I-Twilio-Idempotency-Token",),
}
SIGNED_KEYS = frozenset({"gitlab", "stripe", "slack", "standard_webhooks"})
"""Those who sign what names a delivery: nothing else that comes with it may name it."""
OTHER_KEYS = ("Idempotency-Key",)


def delivery_key(sources: Sequence[str], headers: Mapping[str, str], body: Any) -> str | None:
    """Return the sender's id of this delivery, None when it gives none."""
    for source in sources:
        key = _joined(source.split("+"), headers, body) if "+" in source else _part(source, headers, body)
        if key:
            return storable_key(key)
    return None


def _joined(sources: Sequence[str], headers: Mapping[str, str], body: Any) -> str | None:
    parts = [part for part in (_part(source, headers, body) for source in sources) if part]
    return "+".join(parts) if len(parts) == len(sources) else None


def _part(source: str, headers: Mapping[str, str], body: Any) -> str | None:
    value = _field(body, source.split(".")[1:]) if source.startswith("body.") else headers.get(source.lower())
    return str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else None


def _field(value: Any, names: Sequence[str]) -> Any:
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def storable_key(key: str) -> str:
    """Return a key as it is, or its digest when it is too long or no Unicode that can be stored."""
    if len(key) <= _LONGEST_KEY and key == whole_text(key) and "\0" not in key:
        return key
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def fingerprint(request: WebhookRequest) -> bytes:
    """Digest what a sender repeats when it repeats a delivery: all but the headers."""
    digest = hashlib.blake2b(digest_size=16)
    for part in (request.method, request.path, *(text for pair in request.query for text in pair)):
        raw = part.encode("utf-8", "surrogatepass")
        digest.update(len(raw).to_bytes(4, "big") + raw)
    digest.update(request.body)
    return digest.digest()
