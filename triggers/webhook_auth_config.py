"""The config models of a webhook's `auth`."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, field_validator, model_validator

from hark.workflows.catalogue import Config
from hark.workflows.durations import Duration
from hark.workflows.errors import ConfigurationError

Secret = Annotated[str, Field(min_length=1, max_length=4096)]
HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$", max_length=100)]

_LATER = {"twilio": "verify it with hmac", "jwt": "use bearer or hmac"}
PLACEHOLDER = re.compile(r"(\{\w+\})")


class NoAuth(Config):
    """Anybody who knows the path may call."""

    type: Literal["none"] = "none"


class Keyed(Config):
    """An auth with one secret, or with several while they are being changed."""

    secret: Secret | None = Field(default=None, repr=False)
    """What the sender knows too; usually `${{ secrets.name }}`."""
    secrets: Annotated[list[Secret], Field(max_length=10)] = Field(default_factory=list, repr=False)
    """Several that are good at the same time, for rotation."""

    @model_validator(mode="after")
    def _has_one(self) -> Self:
        if self.secret is None and not self.secrets:
            raise ValueError("give `secret`, or `secrets` with several, such as secret: ${{ secrets.name }}")
        return self

    def known(self) -> list[str]:
        """Return all secrets. Raises ConfigurationError when one has not been filled in: it would be known to all."""
        keys = [self.secret, *self.secrets] if self.secret is not None else list(self.secrets)
        if any("${{" in key for key in keys):
            raise ConfigurationError("the webhook's secret has not been filled in")
        return keys


class BasicAuth(Keyed):
    """HTTP Basic: `username` and `secret` (also called `password`), or `user:password` as the secret."""

    type: Literal["basic"]
    username: Annotated[str, Field(min_length=1, max_length=200, pattern="^[^:]+$")] | None = None

    @model_validator(mode="before")
    @classmethod
    def _password(cls, data: Any) -> Any:
        if isinstance(data, dict) and "password" in data and "secret" not in data:
            return {("secret" if key == "password" else key): value for key, value in data.items()}
        return data


class BearerAuth(Keyed):
    """`Authorization: Bearer <secret>`."""

    type: Literal["bearer"]


class HeaderAuth(Keyed):
    """The secret stands in a header."""

    type: Literal["header"]
    header: HeaderName


class HmacAuth(Keyed):
    """A signature over the raw body, for senders without a preset of their own."""

    type: Literal["hmac"]
    header: HeaderName = "X-Signature"
    """Holds the signature."""
    algorithm: Literal["sha256", "sha512", "sha384", "sha1"] = "sha256"
    encoding: Literal["hex", "base64"] = "hex"
    prefix: Annotated[str, Field(max_length=50)] = ""
    """What stands before the signature in the header, such as `sha256=`."""
    timestamp_header: HeaderName | None = None
    """Holds the Unix time of signing, in seconds; needed for a replay window."""
    payload: Annotated[str, Field(max_length=200)] | None = None
    """What is signed; default `{body}`, with a timestamp `{timestamp}.{body}`."""
    tolerance: Duration = Field(default="5m", validate_default=True)
    """How far the timestamp may be from now."""

    @field_validator("payload")
    @classmethod
    def _known_parts(cls, payload: str | None) -> str | None:
        parts = set(PLACEHOLDER.findall(payload or "{body}"))
        if "{body}" not in parts or parts - {"{body}", "{timestamp}"}:
            raise ValueError("payload holds {body}, may hold {timestamp}, and no other braces")
        return payload

    @model_validator(mode="after")
    def _timestamp_is_signed(self) -> Self:
        if self.payload is not None and ("{timestamp}" in self.payload) != (self.timestamp_header is not None):
            raise ValueError("`timestamp_header` and {timestamp} in `payload` belong together")
        return self


class PresetAuth(Keyed):
    """The scheme of a well-known sender, as its documentation has it."""

    type: Literal["github", "gitlab", "stripe", "slack", "standard_webhooks", "shopify"]
    tolerance: Duration = Field(default="5m", validate_default=True)
    """How old a signature may be, where the scheme signs the time."""

    @model_validator(mode="after")
    def _has_real_keys(self) -> Self:
        if self.type == "standard_webhooks":
            for key in (self.secret, *self.secrets):
                if key is not None and "${{" not in key:
                    standard_key(key)
        return self


def _known_type(value: Any) -> Any:
    kind = value.get("type") if isinstance(value, dict) else None
    if isinstance(kind, str) and kind in _LATER:
        raise ValueError(f"auth type {kind!r} is not supported yet; {_LATER[kind]}")
    return value


Auth = Annotated[
    Annotated[
        NoAuth | BasicAuth | BearerAuth | HeaderAuth | HmacAuth | PresetAuth,
        Discriminator("type"),
    ],
    BeforeValidator(_known_type),
]


def standard_key(secret: str) -> bytes:
    """Return the bytes of a Standard Webhooks secret: base64, usually after `whsec_`."""
    try:
        return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except binascii.Error:
        raise ValueError("a standard_webhooks secret is base64, usually after whsec_") from None
