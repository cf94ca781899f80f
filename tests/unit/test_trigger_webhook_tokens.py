"""Proofs that are more than a header: Twilio's address and form, GitLab's two kinds of token, JSON Web Tokens."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlencode

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import OKPAlgorithm
from pydantic import TypeAdapter, ValidationError

from hark.triggers.webhook_auth import authenticate, challenge, secret_headers
from hark.triggers.webhook_auth_config import Auth
from hark.triggers.webhook_jwt import UnknownKeyError, read_keys
from hark.triggers.webhook_request import WebhookRequest, joined_headers
from hark.workflows.errors import UnauthorizedError

NOW = datetime(2026, 1, 1, tzinfo=UTC)
AUTH: TypeAdapter[Any] = TypeAdapter(Auth)


def proven(
    auth: dict[str, Any],
    headers: dict[str, str],
    body: bytes = b"",
    url: str = "",
    now: datetime = NOW,
    keys: Any = lambda _url: None,
) -> Mapping[str, Any] | bool:
    """Return what the proof says, True when it says nothing, False when there is none."""
    query = tuple(parse_qsl(url.partition("?")[2]))
    request = WebhookRequest("POST", "x", query, joined_headers(headers.items()), body, url)
    try:
        claims = authenticate(AUTH.validate_python(auth), request, now, keys)
    except UnknownKeyError:
        raise
    except UnauthorizedError:
        return False
    return True if claims is None else claims


# ---- Twilio. The vectors are those of the request validator's own tests in github.com/twilio/twilio-python
# (tests/unit/test_request_validator.py); the scheme: twilio.com/docs/usage/security#validating-requests.

TWILIO = {"type": "twilio", "secret": "12345"}
ADDRESS = "https://mycompany.com/myapp.php?foo=1&bar=2"
FORM = {
    "CallSid": "CA1234567890ABCDE",
    "Digits": "1234",
    "From": "+14158675309",
    "To": "+18005551212",
    "Caller": "+14158675309",
}
SIGNED_FORM = "RSOYDt4T1cUTdK1PDd93/VVr8B8="
JSON_BODY = b'{"property": "value", "boolean": true}'
JSON_ADDRESS = ADDRESS + "&bodySHA256=0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620"
SIGNED_JSON = "a9nBmqA0ju/hNViExpshrM61xv4="
TYPES = {"form": "application/x-www-form-urlencoded", "json": "application/json"}


def twilio(signature: str, kind: str, body: bytes, address: str, **auth: Any) -> bool:
    headers = {"X-Twilio-Signature": signature, "Content-Type": TYPES[kind]}
    return proven({**TWILIO, **auth}, headers, body, address) is True


def test_twilio_signs_the_address_and_the_form() -> None:
    body = urlencode(FORM).encode()
    assert twilio(SIGNED_FORM, "form", body, ADDRESS)
    assert twilio(SIGNED_FORM, "form", body, ADDRESS, secret=None, secrets=["new", "12345"])
    assert twilio(SIGNED_FORM, "form", body, ADDRESS.replace(".com/", ".com:443/"))
    assert twilio(SIGNED_FORM, "form", body, ADDRESS.replace("https://mycompany.com", "http://10.0.0.7:8470"),
                  url="https://mycompany.com/myapp.php")  # fmt: skip
    assert not twilio(SIGNED_FORM, "form", body, ADDRESS.replace("https", "http"))
    assert not twilio(SIGNED_FORM, "form", body, ADDRESS + "3")
    assert not twilio(SIGNED_FORM, "form", body + b"&More=1", ADDRESS)
    assert not twilio(SIGNED_FORM, "form", body, ADDRESS, secret="other")
    assert not twilio(SIGNED_FORM, "json", body, ADDRESS)
    assert not twilio("", "form", body, ADDRESS)
    assert not twilio("???", "form", body, ADDRESS)


def test_twilio_signs_another_body_by_its_digest_in_the_address() -> None:
    assert twilio(SIGNED_JSON, "json", JSON_BODY, JSON_ADDRESS)
    assert not twilio(SIGNED_JSON, "json", JSON_BODY + b" ", JSON_ADDRESS)
    assert not twilio(SIGNED_JSON, "json", JSON_BODY, ADDRESS)


def test_twilio_signs_each_value_of_a_field_once() -> None:
    payload = ADDRESS + "MediaUrl" + "1" + "MediaUrl" + "2"
    signature = base64.b64encode(hmac.digest(b"12345", payload.encode(), "sha1")).decode()
    assert twilio(signature, "form", b"MediaUrl=2&MediaUrl=1&MediaUrl=2", ADDRESS)
    assert not twilio(signature, "form", b"MediaUrl=2&MediaUrl=3", ADDRESS)
    assert not twilio(signature, "form", b"\xff=\xff", ADDRESS)


# ---- GitLab: a token that is sent along, or a signing token (Standard Webhooks).


def test_gitlab_signs_with_a_signing_token_and_sends_the_other_kind_along() -> None:
    key = b"k" * 32
    token = "whsec_" + base64.b64encode(key).decode()
    stamp = str(int(NOW.timestamp()))
    digest = hmac.digest(key, f"id-1.{stamp}.".encode() + JSON_BODY, hashlib.sha256)
    signed = {
        "webhook-id": "id-1",
        "webhook-timestamp": stamp,
        "webhook-signature": "v1," + base64.b64encode(digest).decode(),
    }
    gitlab = {"type": "gitlab", "secret": token}
    assert proven(gitlab, signed, JSON_BODY)
    assert not proven(gitlab, signed, JSON_BODY + b" ")
    assert not proven(gitlab, signed, JSON_BODY, now=NOW + timedelta(minutes=6))
    # What is a key for signatures is no password: whoever knows it could not have been told by a request.
    assert not proven(gitlab, {"X-Gitlab-Token": token}, JSON_BODY)
    both = {"type": "gitlab", "secrets": [token, "plain"]}
    assert proven(both, signed, JSON_BODY)
    assert proven(both, {"X-Gitlab-Token": "plain"}, JSON_BODY)
    assert not proven(both, {"X-Gitlab-Token": ""}, JSON_BODY)
    assert not proven({"type": "gitlab", "secret": "plain"}, signed, JSON_BODY)


# ---- JWT. Tokens and keys are those of RFC 7515, appendices A.2 (RS256) and A.3 (ES256).

CLAIMS = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
RSA = {
    "kty": "RSA",
    "e": "AQAB",
    "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS"
    "-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg66"
    "5xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpo"
    "Q",
}
RSA_TOKEN = (
    f"eyJhbGciOiJSUzI1NiJ9.{CLAIMS}.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt"
    "_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB"
    "_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVm"
    "tVrBp0igcN_IoypGlUPQGe77Rw"
)
EC = {
    "kty": "EC",
    "crv": "P-256",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
}
EC_TOKEN = (
    f"eyJhbGciOiJFUzI1NiJ9.{CLAIMS}.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1"
    "Q"
)
GOOD_UNTIL = datetime.fromtimestamp(1300819380, UTC)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize("token", [RSA_TOKEN, EC_TOKEN], ids=["RS256", "ES256"])
def test_the_tokens_of_the_standard_pass_until_they_expire(token: str) -> None:
    auth = {"type": "jwt", "keys": {"keys": [RSA, EC]}, "issuer": "joe"}
    good = GOOD_UNTIL - timedelta(minutes=1)
    assert proven(auth, bearer(token), now=good) == {
        "iss": "joe",
        "exp": 1300819380,
        "http://example.com/is_root": True,
    }
    assert proven(auth, {"authorization": token}, now=good)
    assert proven(auth, bearer(token), now=GOOD_UNTIL + timedelta(seconds=59))  # clocks differ
    assert not proven(auth, bearer(token), now=GOOD_UNTIL + timedelta(seconds=60))
    assert not proven(auth, bearer(token[:-4] + "AAAA"), now=good)
    assert not proven({**auth, "issuer": "ann"}, bearer(token), now=good)
    assert not proven({**auth, "audience": "us"}, bearer(token), now=good)
    assert not proven({**auth, "max_age": "1h"}, bearer(token), now=good)  # it does not say when it was issued
    assert proven({**auth, "claims": {"http://example.com/is_root": True}}, bearer(token), now=good)
    assert not proven({**auth, "claims": {"http://example.com/is_root": 1}}, bearer(token), now=good)
    assert not proven({**auth, "algorithms": ["PS512", "ES384"]}, bearer(token), now=good)


SECRET = "s" * 64


def token(algorithm: str = "HS256", **claims: Any) -> str:
    claims = {"exp": NOW.timestamp() + 60, "iat": NOW.timestamp(), **claims}
    return jwt.encode({name: value for name, value in claims.items() if value is not None}, SECRET, algorithm=algorithm)


@pytest.mark.parametrize(
    "claims, auth, good",
    [
        ({}, {}, True),
        ({"aud": ["us", "them"]}, {"audience": "us"}, True),
        ({"aud": "them"}, {"audience": ["us", "we"]}, False),
        ({}, {"audience": "us"}, False),
        ({"aud": "them"}, {}, True),
        ({"exp": None}, {}, False),
        ({"exp": "soon"}, {}, False),
        ({"exp": True}, {}, False),
        ({"nbf": NOW.timestamp() + 61}, {}, False),
        ({"nbf": NOW.timestamp() + 61}, {"tolerance": "2m"}, True),
        ({"iat": NOW.timestamp() + 3600}, {}, False),
        ({"iat": NOW.timestamp() - 3600}, {"max_age": "10m"}, False),
        ({"iat": NOW.timestamp() - 600}, {"max_age": "10m"}, True),
        ({"role": "admin"}, {"claims": {"role": "admin"}}, True),
        ({"role": "guest"}, {"claims": {"role": "admin"}}, False),
    ],
)
def test_what_a_token_claims_is_held_against_the_trigger(
    claims: dict[str, Any], auth: dict[str, Any], good: bool
) -> None:
    assert bool(proven({"type": "jwt", "secret": SECRET, **auth}, bearer(token(**claims)))) is good


def test_only_the_algorithms_that_are_allowed_are_taken() -> None:
    auth = {"type": "jwt", "secrets": ["o" * 64, SECRET]}
    assert proven(auth, bearer(token()))
    assert not proven(auth, bearer(token("HS512")))
    assert proven({**auth, "algorithms": ["HS256", "HS512"]}, bearer(token("HS512")))
    assert not proven(auth, bearer(jwt.encode({"exp": 9e9}, "", algorithm="none")))
    # The classic confusion: the public key, which everybody has, as the secret of an HMAC.
    public = read_keys({"keys": [RSA]})[0]
    pem = public.key.public_bytes(*_pem())
    head = base64.urlsafe_b64encode(b'{"alg":"HS256"}').rstrip(b"=")
    signed = head + b"." + base64.urlsafe_b64encode(b'{"exp":9999999999}').rstrip(b"=")
    forged = signed + b"." + base64.urlsafe_b64encode(hmac.digest(pem, signed, "sha256")).rstrip(b"=")
    assert not proven({"type": "jwt", "keys": [RSA]}, bearer(forged.decode()))


def _pem() -> tuple[Any, Any]:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return Encoding.PEM, PublicFormat.SubjectPublicKeyInfo


@pytest.mark.parametrize(
    "garbage",
    [
        "",
        "Bearer",
        "a.b.c",
        "..",
        "\udcff.\udcff.\udcff",
        base64.urlsafe_b64encode(b"[" * 5000).decode() + ".e30.x",
        base64.urlsafe_b64encode(b'{"alg":[],"kid":{}}').decode().rstrip("=") + ".e30.x",
        base64.urlsafe_b64encode(b'{"alg":"ES256","kid":1}').decode().rstrip("=") + ".e30.x",
    ],
)
def test_garbage_is_no_token(garbage: str) -> None:
    assert not proven({"type": "jwt", "secret": SECRET}, {"authorization": garbage})
    assert not proven({"type": "jwt", "keys": [RSA, EC]}, {"authorization": garbage})


def test_a_key_that_is_not_known_has_to_be_fetched_and_is_found_by_its_name() -> None:
    old, new = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()

    def public(key: Ed25519PrivateKey, name: str) -> dict[str, Any]:
        return {**OKPAlgorithm.to_jwk(key.public_key(), as_dict=True), "kid": name, "use": "sig"}

    def signed(key: Ed25519PrivateKey, name: str | None) -> dict[str, str]:
        headers = {"kid": name} if name else None
        return bearer(jwt.encode({"exp": NOW.timestamp() + 60}, key, algorithm="EdDSA", headers=headers))

    auth = {"type": "jwt", "jwks_url": "https://issuer.example.org/keys", "audience": []}
    before = read_keys({"keys": [public(old, "old")]})
    after = read_keys({"keys": [public(old, "old"), public(new, "new"), {"kty": "oct", "k": "AAAA"}, {"kty": "?"}]})
    with pytest.raises(UnknownKeyError):
        proven(auth, signed(old, "old"))
    assert proven(auth, signed(old, "old"), keys=lambda _url: before)
    with pytest.raises(UnknownKeyError) as unknown:
        proven(auth, signed(new, "new"), keys=lambda _url: before)
    assert unknown.value.url == auth["jwks_url"]
    assert proven(auth, signed(new, "new"), keys=lambda _url: after)
    assert proven(auth, signed(new, None), keys=lambda _url: after)
    assert not proven(auth, signed(old, "new"), keys=lambda _url: after)


@pytest.mark.parametrize(
    "auth, says",
    [
        ({}, "give one of `secret`"),
        ({"secret": SECRET, "keys": [RSA]}, "give one of `secret`"),
        ({"secret": "short"}, "has 32 bytes or more"),
        ({"secret": "s" * 40, "algorithms": ["HS256", "HS512"]}, "has 64 bytes or more"),
        ({"secret": SECRET, "algorithms": ["RS256"]}, "go with a secret"),
        ({"keys": [RSA], "algorithms": ["HS256"]}, "go with a secret"),
        ({"keys": [{"kty": "oct", "k": "AAAA"}]}, "no public key"),
        ({"keys": [], "issuer": "joe"}, "no public key"),
        ({"jwks_url": "file:///etc/passwd"}, "pattern"),
        ({"secret": SECRET, "algorithms": ["none"]}, "'HS256'"),
    ],
)
def test_a_jwt_auth_that_cannot_work_is_refused(auth: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError) as refused:
        AUTH.validate_python({"type": "jwt", **auth})
    assert says in str(refused.value)


def test_a_token_is_kept_out_of_the_record_wherever_it_stands() -> None:
    elsewhere = AUTH.validate_python({"type": "jwt", "secret": SECRET, "header": "X-Token"})
    assert secret_headers(elsewhere) == {"x-token"}
    assert challenge(elsewhere) is None
    assert challenge(AUTH.validate_python({"type": "jwt", "secret": SECRET})) == 'Bearer realm="hark"'
    assert secret_headers(AUTH.validate_python(TWILIO)) == {"x-twilio-signature"}
