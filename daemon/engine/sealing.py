"""Secrets that are handed over for one execution: sealed before they are stored, opened where the execution runs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from hark.daemon.data_dir import kept_key, make_data_dir
from hark.daemon.engine.handed_over import HandedOver
from hark.daemon.settings import Settings
from hark.daemon.store.database import Database
from hark.workflows.errors import ConflictError

SECRET_KEY_FILE = "secret.key"  # noqa: S105 - the name of a file
_FORMAT = b"\x01"
_ID_BYTES = 8
_NONCE_BYTES = 12
_LENGTH_BYTES = 4
_HEAD_BYTES = len(_FORMAT) + _ID_BYTES + _NONCE_BYTES


class SealedError(ConflictError):
    """Secrets cannot be opened here, or must not be sealed here: the keys of the instances differ."""


@dataclass(frozen=True, slots=True, repr=False)
class Key:
    """A key, and the id by which it is told from others; the id gives nothing away."""

    id: str
    cipher: AESGCM

    @classmethod
    def of(cls, text: str) -> Key:
        """Derive it from the text of the setting or the file."""
        return cls(_derived(text, b"hark key id", _ID_BYTES).hex(), AESGCM(_derived(text, b"hark secrets", 32)))


def _derived(text: str, purpose: bytes, size: int) -> bytes:
    return HKDF(SHA256(), size, salt=None, info=purpose).derive(text.encode())


def key_of(sealed: bytes) -> str:
    """Return the id of the key that something was sealed with: it stands before the sealed value."""
    return sealed[len(_FORMAT) : len(_FORMAT) + _ID_BYTES].hex()


def names_of(sealed: bytes) -> list[str]:
    """Return the names of sealed secrets: they are no secret, and tell what has to be handed over again."""
    names: list[str] = orjson.loads(_names(sealed))
    return names


def _names(sealed: bytes) -> bytes:
    size = int.from_bytes(sealed[_HEAD_BYTES : _HEAD_BYTES + _LENGTH_BYTES])
    return sealed[_HEAD_BYTES + _LENGTH_BYTES : _HEAD_BYTES + _LENGTH_BYTES + size]


class KeyChain:
    """The keys of this instance: those of `secret_key`, else the one in the data directory, made when first needed."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._known: dict[str, Key] = {}

    @property
    def given(self) -> bool:
        """Whether there are keys already; else the first use makes one."""
        if self._known or self._settings.secret_key is not None:
            return True
        return (self._settings.data_dir / SECRET_KEY_FILE).exists()

    @property
    def keys(self) -> Mapping[str, Key]:
        """The keys by their ids; the first one seals. Read once. Raises ConfigurationError."""
        if not self._known:
            self._known = {key.id: key for key in map(Key.of, self._texts())}
        return self._known

    def _texts(self) -> list[str]:
        if self._settings.secret_key is not None:
            return [text.strip() for text in self._settings.secret_key.get_secret_value().split(",")]
        path = make_data_dir(self._settings.data_dir) / SECRET_KEY_FILE
        return [kept_key(path, consequence="what the old one has sealed cannot be opened any more")]

    @property
    def sealing(self) -> Key:
        """The key that seals."""
        return next(iter(self.keys.values()))

    def __repr__(self) -> str:
        return "KeyChain(…)"


class Vault:
    """Seals and opens. What is sealed is bound to its tenant and execution: copied elsewhere it cannot be opened."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self.chain = KeyChain(settings)
        self._database = database

    async def ready(self) -> None:
        """Make sure that what is sealed now can be opened by the other instances: all have the same key.

        The database remembers the id of the key that seals. One that comes first is noted; one that has that one
        among its older keys takes its place. Raises SealedError when this instance has another one.
        """
        noted = await self._database.fetchval("get_sealing_key")
        if noted is not None and not self.chain.given:
            raise SealedError(_differs(noted, "none"))
        keys = self.chain.keys
        sealing = self.chain.sealing.id
        if noted != sealing:
            noted = await self._database.fetchval("note_sealing_key", sealing, list(keys))
        if noted != sealing:
            raise SealedError(_differs(noted, sealing))

    def seal(self, tenant_id: UUID, execution_id: UUID, handed: HandedOver) -> bytes:
        """Seal what is secret of what one execution is handed; `ready` was asked before."""
        key, nonce = self.chain.sealing, os.urandom(_NONCE_BYTES)
        names = orjson.dumps(sorted(handed.secrets))
        text = orjson.dumps({"secrets": handed.secrets, "masked": handed.masked})
        sealed = key.cipher.encrypt(nonce, text, _bound(tenant_id, execution_id, names))
        return _FORMAT + bytes.fromhex(key.id) + nonce + len(names).to_bytes(_LENGTH_BYTES) + names + sealed

    def open(self, tenant_id: UUID, execution_id: UUID, sealed: bytes) -> HandedOver:
        """Return what is secret of what an execution was handed. Raises SealedError."""
        wanted = key_of(sealed)
        key = self.chain.keys.get(wanted) if self.chain.given else None
        if key is None:
            raise SealedError(
                f"its secrets are sealed with the key {wanted}, which this instance does not have; give all instances "
                "the same HARK_SECRET_KEY, then retry it"
            )
        nonce, names = sealed[_HEAD_BYTES - _NONCE_BYTES : _HEAD_BYTES], _names(sealed)
        text = sealed[_HEAD_BYTES + _LENGTH_BYTES + len(names) :]
        try:
            opened = orjson.loads(key.cipher.decrypt(nonce, text, _bound(tenant_id, execution_id, names)))
        except InvalidTag as error:
            raise SealedError(
                "its sealed secrets were changed, or belong to another execution; hand them over again"
            ) from error
        return HandedOver(secrets=opened["secrets"], masked=tuple(opened["masked"]))


def _bound(tenant_id: UUID, execution_id: UUID, names: bytes) -> bytes:
    return _FORMAT + b"secrets" + tenant_id.bytes + execution_id.bytes + names


def _differs(noted: str, here: str) -> str:
    return (
        f"secrets cannot be taken here: this database's are sealed with the key {noted}, and this instance has {here}; "
        "give all instances the same HARK_SECRET_KEY (without one it is the text of secret.key in the data directory "
        "of the instance that sealed first)"
    )
