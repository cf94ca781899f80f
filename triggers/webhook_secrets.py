"""What the config models of a webhook's `auth` are made of: secrets that are filled in, and names of headers."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Self

from pydantic import Field, model_validator

from hark.workflows.catalogue import Config
from hark.workflows.errors import ConfigurationError

Secret = Annotated[str, Field(min_length=1, max_length=4096)]
HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$", max_length=100)]

STANDARD_PREFIX = "whsec_"


class Secrets(Config):
    """An auth that may have one secret, or several while they are being changed."""

    secret: Secret | None = Field(default=None, repr=False)
    """What the sender knows too; usually `${{ secrets.name }}`."""
    secrets: Annotated[list[Secret], Field(max_length=10)] = Field(default_factory=list, repr=False)
    """Several that are good at the same time, for rotation."""

    def written(self) -> list[str]:
        """Return all secrets as the definition has them, filled in or not."""
        return [self.secret, *self.secrets] if self.secret is not None else list(self.secrets)

    def known(self) -> list[str]:
        """Return all secrets. Raises ConfigurationError when one has not been filled in: it would be known to all."""
        keys = self.written()
        if any(not is_filled_in(key) for key in keys):
            raise ConfigurationError("the webhook's secret has not been filled in")
        return keys


class Keyed(Secrets):
    """An auth that needs a secret."""

    @model_validator(mode="after")
    def _has_one(self) -> Self:
        if not self.written():
            raise ValueError("give `secret`, or `secrets` with several, such as secret: ${{ secrets.name }}")
        return self


def is_filled_in(secret: str) -> bool:
    """Say whether a secret is one, and not the expression that names it."""
    return "${{" not in secret


def standard_key(secret: str) -> bytes:
    """Return the bytes of a Standard Webhooks secret: base64, usually after `whsec_`. Raises ValueError."""
    try:
        return base64.b64decode(secret.removeprefix(STANDARD_PREFIX), validate=True)
    except binascii.Error:
        raise ValueError("a standard_webhooks secret is base64, usually after whsec_") from None
