"""Twilio's signature: over the address and the fields of the form, or over the address with the digest of the body."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from urllib.parse import parse_qsl, urlsplit

from hark.triggers.webhook_request import WebhookRequest

HEADER = "x-twilio-signature"
_FORM = "application/x-www-form-urlencoded"
_MOST_FIELDS = 1000
_PORTS = {"https": 443, "http": 80}


def is_signed_by_twilio(keys: list[str], request: WebhookRequest, url: str | None, given: bytes | None) -> bool:
    """Check a signature (already decoded) with every key, for every way in which Twilio may have written the address.

    `url` replaces the address up to its query.
    """
    signed = [payload for address in _addresses(request, url) for payload in _payloads(address, request)]
    right = [hmac.digest(key.encode(), payload, "sha1") for key in keys for payload in signed]
    return given is not None and sum(hmac.compare_digest(one, given) for one in right) > 0


def _addresses(request: WebhookRequest, url: str | None) -> Iterator[str]:
    """Yield the address with and without the scheme's own port: Twilio's products do not sign the same."""
    _, mark, query = request.url.partition("?")
    address = request.url if url is None else f"{url}{mark}{query}"
    yield address
    parts = urlsplit(address)
    port = _PORTS.get(parts.scheme)
    host = parts.netloc.rpartition("@")[2]
    if host.endswith(f":{port}"):
        yield address.replace(parts.netloc, parts.netloc.removesuffix(f":{port}"), 1)
    elif ":" not in host.rpartition("]")[2]:
        yield address.replace(parts.netloc, f"{parts.netloc}:{port}", 1)


def _payloads(address: str, request: WebhookRequest) -> Iterator[bytes]:
    raw = address.encode("utf-8", "surrogateescape")
    digests = [value for name, value in request.query if name == "bodySHA256"]
    if digests:
        if hmac.compare_digest(digests[0].lower().encode("utf-8", "replace"), _digest(request.body)):
            yield raw
    elif not request.body or request.headers.get("content-type", "").partition(";")[0].strip().lower() == _FORM:
        fields = _fields(request.body)
        if fields is not None:
            yield raw + fields


def _digest(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest().encode()


def _fields(body: bytes) -> bytes | None:
    """Write a form as it is signed: names in order, each with its values, each value once. None if it is no form."""
    try:
        pairs = set(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="strict"))
    except ValueError:
        return None
    return "".join(name + value for name, value in sorted(pairs)).encode("utf-8", "surrogateescape")
