"""What a webhook trigger says: the path, who may call it, and how much."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, ByteSize, ConfigDict, Field, PlainSerializer, StringConstraints

from hark.triggers.webhook_auth_config import Auth, NoAuth
from hark.triggers.webhook_keys import KEYS, OTHER_KEYS, KeySource
from hark.triggers.webhook_paths import normalise_path
from hark.triggers.webhook_respond import Respond
from hark.triggers.webhook_secrets import HeaderName
from hark.workflows.catalogue import Config
from hark.workflows.durations import Duration

SHARED = ("auth", "dedupe", "remember", "max_body", "rate", "allow_from", "cors", "request_origins")
"""What triggers on one path must agree on, since they take a request in together."""

_ORIGIN = r"^(\*|https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?)$"
_SENDER = r"^(\*|[A-Za-z0-9.-]{1,253})$"


def as_list(value: Any) -> Any:
    """Let one of a list stand for the list."""
    return [value] if isinstance(value, str) else value


def _method(text: str) -> str:
    return "*" if text.upper() in ("*", "ANY") else text.upper()


def _network(value: Any) -> Any:
    return ip_network(value, strict=False) if isinstance(value, str) else value


def _positive(value: timedelta) -> timedelta:
    if not timedelta(seconds=1) <= value <= timedelta(days=1):
        raise ValueError("write 1s to 1d")
    return value


def _an_hour_to_a_year(value: timedelta) -> timedelta:
    if not timedelta(hours=1) <= value <= timedelta(days=366):
        raise ValueError("write 1h to 366d")
    return value


Method = Annotated[str, StringConstraints(pattern=r"^([A-Za-z]{1,20}|\*)$"), AfterValidator(_method)]
Methods = Annotated[list[Method], BeforeValidator(as_list), Field(min_length=1, max_length=20)]
Network = Annotated[
    IPv4Network | IPv6Network, BeforeValidator(_network), PlainSerializer(str, return_type=str, when_used="json")
]
Origins = Annotated[
    list[Annotated[str, Field(pattern=_ORIGIN)]], BeforeValidator(as_list), Field(min_length=1, max_length=50)
]
Senders = Annotated[
    list[Annotated[str, Field(pattern=_SENDER)]], BeforeValidator(as_list), Field(min_length=1, max_length=50)
]


class Rate(Config):
    """At most `limit` requests in every `per`; all of them may come at once."""

    limit: Annotated[int, Field(ge=1, le=1_000_000)]
    per: Annotated[Duration, AfterValidator(_positive)]


class Cors(Config):
    """Which web pages may call this path from a browser."""

    origins: Origins
    """Such as `https://app.example.org`; `*` is any page."""
    headers: Annotated[list[HeaderName], BeforeValidator(as_list), Field(max_length=50)] = Field(
        default_factory=lambda: ["Content-Type", "Authorization", "Idempotency-Key"]
    )
    """The request headers that they may set."""
    max_age: Duration = Field(default="10m", validate_default=True)
    """How long a browser need not ask again."""


class WebhookConfig(Config):
    """Which requests start a workflow."""

    # The outermost model decides whether a refusal shows its input, and so the secret.
    model_config = ConfigDict(hide_input_in_errors=True)

    path: Annotated[str, AfterValidator(normalise_path)]
    """What follows `/hooks/`; a segment such as `{id}` takes any value, which is `event.data.params.id`."""
    methods: Methods = Field(default_factory=lambda: ["POST"])
    """HTTP methods; `ANY` takes all."""
    auth: Auth = Field(default_factory=NoAuth)
    """How the sender proves who it is; without it anybody who knows the path may call."""
    dedupe: Annotated[list[KeySource], BeforeValidator(as_list), Field(max_length=5)] | None = None
    """Headers, or fields such as `body.id`, that name a delivery: the first that is there counts. `[]`: none.

    `A+B` means both together. Default: what the sender of `auth` documents, else `Idempotency-Key`.
    """
    remember: Annotated[Duration, AfterValidator(_an_hour_to_a_year)] = Field(default="7d", validate_default=True)
    """How long a delivery's name is remembered; longer than the sender goes on trying."""
    max_body: Annotated[ByteSize, Field(ge=1, le=100 * 1024 * 1024)] | None = None
    """Largest body, such as `64KiB`; the daemon's own limit if absent."""
    rate: Rate | None = None
    """How many requests are taken, by each instance; more are answered with 429 and `Retry-After`."""
    allow_from: Annotated[list[Network], BeforeValidator(as_list), Field(max_length=500)] | None = None
    """Addresses or networks from which requests are taken, such as `192.30.252.0/22`; others are answered with 403."""
    cors: Cors | None = None
    """Lets web pages of other origins call the path."""
    request_origins: Senders | None = None
    """Senders of CloudEvents that may register this path (`WebHook-Request-Origin`), or `*`."""
    respond: Respond | None = None
    """Wait for the execution and answer with what it came to; without it the answer is 202 at once."""

    def takes(self, method: str) -> bool:
        """Say whether requests of this method concern the trigger."""
        return method in self.methods or "*" in self.methods

    def key_sources(self) -> Sequence[str]:
        """Return where to look for the delivery's id."""
        return self.dedupe if self.dedupe is not None else KEYS.get(self.auth.type, OTHER_KEYS)
