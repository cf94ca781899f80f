"""The config models of a webhook's `auth`."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Discriminator, Field, field_validator, model_validator

from hark.triggers.webhook_jwt import JwtAuth
from hark.triggers.webhook_secrets import STANDARD_PREFIX, HeaderName, Keyed, is_filled_in, standard_key
from hark.workflows.catalogue import Config
from hark.workflows.durations import Duration

PLACEHOLDER = re.compile(r"(\{\w+\})")


def _web_address(text: str) -> str:
    if urlsplit(text).scheme not in ("http", "https") or not urlsplit(text).netloc or "?" in text:
        raise ValueError("write the whole address without its query: https://example.org/hooks/sms")
    return text


class NoAuth(Config):
    """Anybody who knows the path may call."""

    type: Literal["none"] = "none"


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
        for key in self.written():
            if is_filled_in(key) and (self.type == "standard_webhooks" or self.is_signing_token(key)):
                standard_key(key)
        return self

    def is_signing_token(self, key: str) -> bool:
        """Say whether a secret of GitLab's is one that it signs with, and does not send along."""
        return self.type == "gitlab" and key.startswith(STANDARD_PREFIX)


class TwilioAuth(Keyed):
    """Twilio's signature over the address and the form, or over the digest of another body; the secret is its token."""

    type: Literal["twilio"]
    url: Annotated[str, AfterValidator(_web_address)] | None = None
    """The address as Twilio has it, without its query, where a proxy has changed it: `https://example.org/sms`.

    Default: the setting `url` and the path, else what a trusted proxy says, else the `Host` of the request.
    """


Auth = Annotated[
    NoAuth | BasicAuth | BearerAuth | HeaderAuth | HmacAuth | PresetAuth | TwilioAuth | JwtAuth,
    Discriminator("type"),
]
