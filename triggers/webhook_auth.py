"""How a webhook's sender proves who it is: the check, on the raw bytes.

All signature schemes are one algorithm over a table: which header, how the digest is written, what was signed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from hark.triggers.webhook_auth_config import (
    PLACEHOLDER,
    Auth,
    BasicAuth,
    BearerAuth,
    HeaderAuth,
    HmacAuth,
    NoAuth,
    PresetAuth,
    TwilioAuth,
)
from hark.triggers.webhook_jwt import JwtAuth, KeyFinder, check_token
from hark.triggers.webhook_request import WebhookRequest
from hark.triggers.webhook_secrets import standard_key
from hark.triggers.webhook_twilio import HEADER as TWILIO_HEADER
from hark.triggers.webhook_twilio import is_signed_by_twilio
from hark.workflows.errors import UnauthorizedError

_MANY_SIGNATURES = 20
_WRONG = "the signature is missing or wrong"


@dataclass(frozen=True, slots=True)
class Scheme:
    """How a sender signs: HMAC of `payload`, written to `header` as `prefix` and digest."""

    header: str
    prefix: str = ""
    algorithm: str = "sha256"
    encoding: str = "hex"
    payload: str = "{body}"
    timestamp_header: str | None = None
    timestamp_prefix: str | None = None
    """Marks the piece of `header` that holds the timestamp, where it has no header of its own."""
    id_header: str = ""
    separator: str | None = None
    """Between the pieces of `header`, where it holds several."""
    key: Callable[[str], bytes] = str.encode


SCHEMES = {
    "github": Scheme("x-hub-signature-256", prefix="sha256="),
    "shopify": Scheme("x-shopify-hmac-sha256", encoding="base64"),
    "slack": Scheme(
        "x-slack-signature",
        prefix="v0=",
        payload="v0:{timestamp}:{body}",
        timestamp_header="x-slack-request-timestamp",
    ),
    "stripe": Scheme(
        "stripe-signature", prefix="v1=", payload="{timestamp}.{body}", timestamp_prefix="t=", separator=","
    ),
    "standard_webhooks": Scheme(
        "webhook-signature",
        prefix="v1,",
        encoding="base64",
        payload="{id}.{timestamp}.{body}",
        timestamp_header="webhook-timestamp",
        id_header="webhook-id",
        separator=" ",
        key=standard_key,
    ),
}
_GITLAB_HEADER = "x-gitlab-token"
_SIGNING = (HmacAuth, PresetAuth)


def authenticate(
    auth: Auth, request: WebhookRequest, now: datetime, fetched: KeyFinder = lambda _url: None
) -> Mapping[str, Any] | None:
    """Check a request against a webhook's auth, in constant time for each secret; return what a token claims.

    Raises UnauthorizedError, the same for a missing and for a wrong proof, UnknownKeyError when keys have to be fetched
    first, and ConfigurationError when the secret has not been filled in.
    """
    if isinstance(auth, JwtAuth):
        return check_token(auth, request, now, fetched)
    if isinstance(auth, _SIGNING) and not _sends_its_secret(auth, request):
        _check_signature(auth, request, now)
    elif not _is_known(auth, request):
        raise UnauthorizedError("the credentials are missing or wrong")
    return None


def _is_known(auth: Auth, request: WebhookRequest) -> bool:
    match auth:
        case NoAuth():
            known = True
        case BasicAuth():
            known = _is_basic(auth, request)
        case BearerAuth():
            known = _is_bearer(auth, request)
        case TwilioAuth():
            given = _decoded(_from_base64, request.headers.get(TWILIO_HEADER, ""))
            known = is_signed_by_twilio(auth.known(), request, auth.url, given)
        case HeaderAuth():
            known = _is_any(auth.known(), request.headers.get(auth.header.lower(), ""))
        case PresetAuth():
            keys = [key for key in auth.known() if not auth.is_signing_token(key)]
            known = _is_any(keys, request.headers.get(_GITLAB_HEADER, ""))
        case _:
            known = False
    return known


def _sends_its_secret(auth: HmacAuth | PresetAuth, request: WebhookRequest) -> bool:
    """Say whether the sender proves itself with the secret itself, as GitLab does where it has no signing token."""
    if auth.type != "gitlab":
        return False
    signs = any(auth.is_signing_token(key) for key in auth.written())
    return not signs or "webhook-signature" not in request.headers


def challenge(auth: Auth) -> str | None:
    """Return the WWW-Authenticate header that goes with a 401."""
    match auth:
        case BasicAuth():
            return 'Basic realm="hark", charset="UTF-8"'
        case BearerAuth() | JwtAuth(header="Authorization"):
            return 'Bearer realm="hark"'
    return None


def secret_headers(auth: Auth) -> frozenset[str]:
    """Return the headers, in lower case, that must not be stored as they came."""
    match auth:
        case HeaderAuth() | JwtAuth():
            return frozenset({auth.header.lower()})
        case PresetAuth(type="gitlab"):
            return frozenset({_GITLAB_HEADER, scheme_of(auth).header})
        case TwilioAuth():
            return frozenset({TWILIO_HEADER})
        case HmacAuth() | PresetAuth():
            return frozenset({scheme_of(auth).header})
    return frozenset()


def scheme_of(auth: HmacAuth | PresetAuth) -> Scheme:
    """Return the scheme by which a sender signs."""
    if isinstance(auth, PresetAuth):
        return SCHEMES["standard_webhooks" if auth.type == "gitlab" else auth.type]
    return Scheme(
        auth.header.lower(),
        prefix=auth.prefix,
        algorithm=auth.algorithm,
        encoding=auth.encoding,
        payload=auth.payload or ("{timestamp}.{body}" if auth.timestamp_header else "{body}"),
        timestamp_header=auth.timestamp_header.lower() if auth.timestamp_header else None,
    )


def _is_basic(auth: BasicAuth, request: WebhookRequest) -> bool:
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    try:
        given = base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError):
        return False
    known = [f"{auth.username}:{key}" if auth.username else key for key in auth.known()]
    return scheme.lower() == "basic" and _is_any(known, given)


def _is_bearer(auth: BearerAuth, request: WebhookRequest) -> bool:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return scheme.lower() == "bearer" and _is_any(auth.known(), token.strip())


def _is_any(keys: list[str], given: str | bytes) -> bool:
    """Compare with every key, so that the time tells nothing."""
    raw = given if isinstance(given, bytes) else given.encode("utf-8", "surrogateescape")
    return sum(hmac.compare_digest(key.encode(), raw) for key in keys) > 0


def _check_signature(auth: HmacAuth | PresetAuth, request: WebhookRequest, now: datetime) -> None:
    scheme = scheme_of(auth)
    keys = [scheme.key(key) for key in _signing_keys(auth)]
    pieces = _pieces(scheme, request)
    timestamp = _timestamp(scheme, request, pieces)
    signed = _signed(scheme, request, timestamp)
    given = list(_digests(scheme, pieces))
    right = [hmac.digest(key, signed, scheme.algorithm) for key in keys]
    if not sum(hmac.compare_digest(one, other) for one in right for other in given):
        raise UnauthorizedError(_WRONG)
    if timestamp and abs(now.timestamp() - int(timestamp)) > auth.tolerance.total_seconds():
        raise UnauthorizedError("the signature is too old, or a clock is wrong")


def signed_digest(auth: Auth, request: WebhookRequest) -> str | None:
    """Return a digest of all that the sender of a proven request has signed; None where it has signed nothing."""
    if not isinstance(auth, _SIGNING) or _sends_its_secret(auth, request):
        return None
    scheme = scheme_of(auth)
    timestamp = _timestamp(scheme, request, _pieces(scheme, request))
    return hashlib.sha256(_signed(scheme, request, timestamp)).hexdigest()


def _pieces(scheme: Scheme, request: WebhookRequest) -> list[str]:
    """Return what the header of the signature holds."""
    value = request.headers.get(scheme.header, "")
    pieces = value.split(scheme.separator)[:_MANY_SIGNATURES] if scheme.separator else [value]
    return [piece.strip() for piece in pieces]


def _signing_keys(auth: HmacAuth | PresetAuth) -> list[str]:
    if auth.type != "gitlab":
        return auth.known()
    return [key for key in auth.known() if auth.is_signing_token(key)]


def _timestamp(scheme: Scheme, request: WebhookRequest, pieces: list[str]) -> str:
    """Return the Unix time of signing as it was sent; "" when the scheme has none."""
    if scheme.timestamp_header is not None:
        timestamp = request.headers.get(scheme.timestamp_header, "").strip()
    elif scheme.timestamp_prefix is not None:
        marked = [piece for piece in pieces if piece.startswith(scheme.timestamp_prefix)]
        timestamp = marked[0].removeprefix(scheme.timestamp_prefix) if marked else ""
    else:
        return ""
    if not re.fullmatch(r"[0-9]{1,12}", timestamp):
        raise UnauthorizedError(_WRONG)
    return timestamp


def _signed(scheme: Scheme, request: WebhookRequest, timestamp: str) -> bytes:
    """Return the bytes that the sender signed."""
    parts = {
        "{body}": request.body,
        "{timestamp}": timestamp.encode(),
        "{id}": request.headers.get(scheme.id_header, "").encode("utf-8", "surrogateescape"),
    }
    return b"".join(parts.get(piece, piece.encode()) for piece in PLACEHOLDER.split(scheme.payload))


def _digests(scheme: Scheme, pieces: list[str]) -> Iterator[bytes]:
    """Yield the signatures that the header holds; `sha256=` before one is understood also without `prefix`."""
    decode = bytes.fromhex if scheme.encoding == "hex" else _from_base64
    for piece in pieces:
        if piece.startswith(scheme.prefix):
            digest = _decoded(decode, piece.removeprefix(scheme.prefix).removeprefix(f"{scheme.algorithm}="))
            if digest is not None:
                yield digest


def _decoded(decode: Callable[[str], bytes], text: str) -> bytes | None:
    try:
        return decode(text)
    except ValueError:
        return None


def _from_base64(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
