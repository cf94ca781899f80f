"""Links by which people answer an approval: made from a key and the step, so that nobody has to store one."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass
from functools import cached_property
from uuid import UUID

from hark.daemon.data_dir import kept_key, make_data_dir
from hark.daemon.settings import Settings

LINK_KEY_FILE = "link.key"
PREFIX = "/approve/"
_DIGEST_BYTES = 32


@dataclass(frozen=True, slots=True)
class Token:
    """What a link says: which execution it is about, and the digest under which its wait is found."""

    execution_id: UUID
    digest: bytes


class ApprovalLinks:
    """Makes the links of approvals. A token is the execution's id and an HMAC-SHA256 over tenant, execution and step.

    Whoever waits stores the token's digest alone: what the database holds opens nothing, and any instance can look a
    token up. The key is in the settings, or in the data directory, made when it is first needed.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def token(self, tenant_id: UUID, execution_id: UUID, path: str) -> str:
        """Return the token of a step."""
        about = b"approve\0" + tenant_id.bytes + execution_id.bytes + path.encode()
        mac = hmac.new(self._key, about, hashlib.sha256).digest()
        return base64.urlsafe_b64encode(execution_id.bytes + mac).decode()

    def url(self, tenant_id: UUID, execution_id: UUID, path: str) -> str:
        """Return the address of the page on which a step is answered."""
        return self._settings.base_url.rstrip("/") + PREFIX + self.token(tenant_id, execution_id, path)

    def known_url(self, tenant_id: UUID, execution_id: UUID, path: str, digest: bytes | None) -> str | None:
        """Return the address, None when the wait was opened under another key."""
        token = self.token(tenant_id, execution_id, path)
        if digest is None or not hmac.compare_digest(digest_of(token), digest):
            return None
        return self._settings.base_url.rstrip("/") + PREFIX + token

    @cached_property
    def _key(self) -> bytes:
        if self._settings.link_key is not None:
            return self._settings.link_key.get_secret_value().encode()
        path = make_data_dir(self._settings.data_dir) / LINK_KEY_FILE
        return kept_key(path, consequence="older links end with it").encode()


def read_token(text: str) -> Token | None:
    """Read a token; None when it cannot be one."""
    try:
        raw = base64.b64decode(text, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    if len(raw) != 16 + _DIGEST_BYTES:
        return None
    return Token(UUID(bytes=raw[:16]), digest_of(text))


def digest_of(token: str) -> bytes:
    """Return the digest under which a token's wait is found."""
    return hashlib.sha256(token.encode()).digest()
