"""JSON Web Tokens as a webhook's proof: PyJWT checks signature, audience and issuer; the times go by Hark's clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Annotated, Any, Literal, Self

import jwt
import orjson
from pydantic import BeforeValidator, Field, model_validator

from hark.triggers.webhook_request import WebhookRequest
from hark.triggers.webhook_secrets import HeaderName, Secrets, is_filled_in
from hark.workflows.durations import Duration
from hark.workflows.errors import UnauthorizedError

Algorithm = Literal[
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"
]
Name = Annotated[str, Field(min_length=1, max_length=500)]
KeyFinder = Callable[[str], "tuple[jwt.PyJWK, ...] | None"]
"""Returns the keys that were fetched from an address, None when they have to be fetched (again)."""

_PUBLIC: tuple[Algorithm, ...] = ("RS256", "ES256", "EdDSA")
_MOST_KEYS = 50
_MOST_TRIED = 5
"""Keys that a token without `kid` is tried with."""
_SHORTEST = {"HS256": 32, "HS384": 48, "HS512": 64}
"""Bytes of a secret (RFC 7518, 3.2): whoever sees one token can try shorter ones at leisure."""
_WRONG = "the token is missing or wrong"


class UnknownKeyError(UnauthorizedError):
    """The token is signed with a key that is not among those known from `url`: they may have changed."""

    def __init__(self, url: str) -> None:
        super().__init__(_WRONG)
        self.url = url


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _key_list(value: Any) -> Any:
    """Take a whole key set, as issuers publish it, for its list."""
    return value["keys"] if isinstance(value, dict) and set(value) == {"keys"} else value


Names = Annotated[list[Name], BeforeValidator(_as_list), Field(max_length=20)]


class JwtAuth(Secrets):
    """A signed JSON Web Token. It proves who sends, not what: the body is not signed."""

    type: Literal["jwt"]
    keys: Annotated[list[dict[str, Any]], BeforeValidator(_key_list), Field(max_length=_MOST_KEYS)] | None = None
    """Public keys as a JSON Web Key Set; instead of `secret`."""
    jwks_url: Annotated[str, Field(max_length=2000, pattern=r"^https?://[^\s]+$")] | None = None
    """Where the issuer publishes its key set; fetched when needed, and again when a token names an unknown key."""
    algorithms: Annotated[list[Algorithm], BeforeValidator(_as_list), Field(min_length=1)] | None = None
    """The algorithms that are taken. Default: `[HS256]` with a secret, else `[RS256, ES256, EdDSA]`."""
    issuer: Names = Field(default_factory=list)
    """The token's `iss` must be one of these."""
    audience: Names = Field(default_factory=list)
    """The token's `aud` must name one of these."""
    claims: dict[str, str | int | bool] = Field(default_factory=dict)
    """Claims that the token must have with exactly these values."""
    header: HeaderName = "Authorization"
    """Holds the token, with or without `Bearer` before it."""
    tolerance: Duration = Field(default="1m", validate_default=True)
    """How far the sender's clock may be from Hark's."""
    max_age: Duration | None = None
    """How long ago the token may have been issued (`iat`), however long it is good."""

    @model_validator(mode="after")
    def _has_one_kind_of_key(self) -> Self:
        kinds = [bool(self.written()), self.keys is not None, self.jwks_url is not None]
        if sum(kinds) != 1:
            raise ValueError("give one of `secret` (or `secrets`), `keys` and `jwks_url`")
        if any((name.startswith("HS")) != kinds[0] for name in self.accepted):
            raise ValueError("HS256, HS384 and HS512 go with a secret, all other algorithms with `keys` or `jwks_url`")
        shortest = max(_SHORTEST.get(name, 0) for name in self.accepted)
        if any(is_filled_in(key) and len(key.encode()) < shortest for key in self.written()):
            raise ValueError(f"for {' and '.join(self.accepted)} a secret has {shortest} bytes or more")
        if self.keys is not None:
            read_keys({"keys": self.keys})
        return self

    @property
    def accepted(self) -> Sequence[Algorithm]:
        """The algorithms that are taken."""
        return self.algorithms or (("HS256",) if self.written() else _PUBLIC)


def read_keys(document: Any) -> tuple[jwt.PyJWK, ...]:
    """Read a JSON Web Key Set, without what is no public key for signatures. Raises ValueError when none is left."""
    found = document.get("keys") if isinstance(document, Mapping) else None
    if not isinstance(found, list):
        raise ValueError("a key set is an object with a list `keys`")
    usable = [key for key in found[:_MOST_KEYS] if isinstance(key, dict) and _is_public(key)]
    try:
        return tuple(jwt.PyJWKSet(usable).keys)
    except jwt.PyJWTError:
        raise ValueError("the key set holds no public key that can be used") from None


def _is_public(key: Mapping[str, Any]) -> bool:
    return key.get("kty") in ("RSA", "EC", "OKP") and key.get("use", "sig") == "sig" and "d" not in key


@lru_cache(maxsize=256)
def _handed_keys(text: bytes) -> tuple[jwt.PyJWK, ...]:
    return read_keys({"keys": orjson.loads(text)})


def check_token(auth: JwtAuth, request: WebhookRequest, now: datetime, fetched: KeyFinder) -> Mapping[str, Any]:
    """Return the claims of a request's token. Raises UnauthorizedError, UnknownKeyError, ConfigurationError."""
    token = _token(request.headers.get(auth.header.lower(), ""))
    claims = _verified(auth, token, _keys_for(auth, token, fetched))
    _check_times(auth, claims, now.timestamp())
    if any(name not in claims or not _same(claims[name], value) for name, value in auth.claims.items()):
        raise UnauthorizedError(_WRONG)
    return claims


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and bool(one == other)


def _token(value: str) -> str:
    scheme, space, token = value.strip().partition(" ")
    return token.strip() if space and scheme.lower() == "bearer" else value.strip()


def _keys_for(auth: JwtAuth, token: str, fetched: KeyFinder) -> Sequence[Any]:
    """Return the keys with which the token may be signed."""
    if auth.written():
        return auth.known()
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise UnauthorizedError(_WRONG) from None
    known = _handed_keys(orjson.dumps(auth.keys)) if auth.jwks_url is None else fetched(auth.jwks_url)
    fitting = [key.key for key in known or () if _fits(key, header)]
    if not fitting and auth.jwks_url is not None:
        raise UnknownKeyError(auth.jwks_url)
    return fitting[:_MOST_TRIED]


def _fits(key: jwt.PyJWK, header: Mapping[str, Any]) -> bool:
    alg = header.get("alg")
    named = header.get("kid")
    same_kind = isinstance(alg, str) and _KINDS.get(alg[:2]) == key.key_type
    return same_kind and (named is None or named == key.key_id)


_KINDS = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}


def _verified(auth: JwtAuth, token: str, keys: Sequence[Any]) -> Mapping[str, Any]:
    for key in keys:
        try:
            return jwt.decode(
                token,
                key,
                algorithms=list(auth.accepted),
                audience=auth.audience or None,
                issuer=auth.issuer or None,
                options={
                    "require": ["exp"],
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                    "verify_aud": bool(auth.audience),
                    "verify_iss": bool(auth.issuer),
                    "enforce_minimum_key_length": True,
                },
            )
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            continue
    raise UnauthorizedError(_WRONG)


def _check_times(auth: JwtAuth, claims: Mapping[str, Any], now: float) -> None:
    """Hold `exp`, `nbf` and `iat` against Hark's clock, which is the database's."""
    slack = auth.tolerance.total_seconds()
    moments = {name: claims.get(name) for name in ("exp", "nbf", "iat")}
    for name, moment in moments.items():
        if moment is not None and (isinstance(moment, bool) or not isinstance(moment, int | float)):
            raise UnauthorizedError(_WRONG)
        if moment is not None and (now >= moment + slack if name == "exp" else now < moment - slack):
            raise UnauthorizedError("the token is not good at this time, or a clock is wrong")
    if auth.max_age is not None:
        issued = moments["iat"]
        if issued is None or now > issued + slack + auth.max_age.total_seconds():
            raise UnauthorizedError("the token is too old")
