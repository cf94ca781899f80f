"""A webhook's sender proves who it is: published vectors, rotation, replay, and what must not pass."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from hark.triggers.webhook_auth import authenticate, challenge, secret_headers
from hark.triggers.webhook_auth_config import Auth
from hark.triggers.webhook_config import WebhookConfig
from hark.triggers.webhook_request import WebhookRequest, joined_headers
from hark.workflows.errors import ConfigurationError, UnauthorizedError

NOW = datetime(2026, 1, 1, tzinfo=UTC)
BODY = b'{"id": "evt_1"}'
AUTH: TypeAdapter[Any] = TypeAdapter(Auth)


def request(headers: dict[str, str], body: bytes = BODY) -> WebhookRequest:
    return WebhookRequest("POST", "leads", (), joined_headers(headers.items()), body)


def passes(auth: dict[str, Any], headers: dict[str, str], body: bytes = BODY, now: datetime = NOW) -> bool:
    try:
        authenticate(AUTH.validate_python(auth), request(headers, body), now)
    except UnauthorizedError:
        return False
    return True


def basic(credentials: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(credentials.encode()).decode()}


def sign(text: bytes, key: str = "s3cret", algorithm: str = "sha256") -> str:
    return hmac.new(key.encode(), text, algorithm).hexdigest()


SLACK_BODY = (
    b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar"
    b"&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com"
    b"%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121."
    b"803a0bc887a14d10d2c447fce8b6703c"
)
# As published: docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries (testing the validation),
# api.slack.com/authentication/verifying-requests-from-slack (the example), and the tests of
# github.com/standard-webhooks/standard-webhooks. Stripe, Shopify and GitLab publish none: theirs are computed below,
# by what docs.stripe.com/webhooks#verify-manually, shopify.dev/docs/apps/build/webhooks/subscribe/https and GitLab say.
VECTORS = [
    (
        {"type": "github", "secret": "It's a Secret to Everybody"},
        {"X-Hub-Signature-256": "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"},
        b"Hello, World!",
        0,
    ),
    (
        {"type": "slack", "secret": "8f742231b10e8888abcd99yyyzzz85a5"},
        {
            "X-Slack-Request-Timestamp": "1531420618",
            "X-Slack-Signature": "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
        },
        SLACK_BODY,
        1531420618,
    ),
    (
        {"type": "standard_webhooks", "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"},
        {
            "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
            "webhook-timestamp": "1614265330",
            "webhook-signature": "v1,bm9wZQ== v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE= v1a,AAAA",
        },
        b'{"test": 2432232314}',
        1614265330,
    ),
]


@pytest.mark.parametrize("auth, headers, body, signed_at", VECTORS, ids=lambda value: str(value)[:24])
def test_published_vectors_pass_and_nothing_else(
    auth: dict[str, Any], headers: dict[str, str], body: bytes, signed_at: int
) -> None:
    now = datetime.fromtimestamp(signed_at + 60, UTC)
    assert passes(auth, headers, body, now)
    assert not passes(auth, headers, body + b" ", now)
    wrong = "whsec_" + base64.b64encode(b"wrong").decode() if auth["type"] == "standard_webhooks" else "wrong"
    assert not passes({**auth, "secret": wrong}, headers, body, now)
    for left_out in headers:
        assert not passes(auth, {name: value for name, value in headers.items() if name != left_out}, body, now)
    if signed_at:
        assert not passes(auth, headers, body, now + timedelta(minutes=5))
        assert not passes(auth, headers, body, now - timedelta(minutes=7))
        assert passes({**auth, "tolerance": "1h"}, headers, body, now + timedelta(minutes=5))


def test_stripe_signs_the_time_and_sends_several_signatures() -> None:
    stamp = str(int(NOW.timestamp()))
    good = sign(stamp.encode() + b"." + BODY)
    auth = {"type": "stripe", "secret": "s3cret"}
    assert passes(auth, {"Stripe-Signature": f"t={stamp},v1={'0' * 64},v1={good},v0={'1' * 64}"})
    assert not passes(auth, {"Stripe-Signature": f"t={stamp},v0={good}"})
    assert not passes(auth, {"Stripe-Signature": f"t={int(stamp) + 1},v1={good}"})
    assert not passes(auth, {"Stripe-Signature": f"v1={good}"})
    old = str(int(NOW.timestamp()) - 301)
    assert not passes(auth, {"Stripe-Signature": f"t={old},v1={sign(old.encode() + b'.' + BODY)}"})


def test_shopify_and_gitlab() -> None:
    digest = base64.b64encode(hmac.new(b"s3cret", BODY, hashlib.sha256).digest()).decode()
    assert passes({"type": "shopify", "secret": "s3cret"}, {"X-Shopify-Hmac-Sha256": digest})
    assert not passes({"type": "shopify", "secret": "s3cret"}, {"X-Shopify-Hmac-Sha256": digest[:-4] + "AAA="})
    assert passes({"type": "gitlab", "secret": "s3cret"}, {"X-Gitlab-Token": "s3cret"})
    assert not passes({"type": "gitlab", "secret": "s3cret"}, {"X-Gitlab-Token": "S3cret"})


@pytest.mark.parametrize(
    "auth, headers",
    [
        ({"type": "basic", "username": "ann", "password": "s3cret"}, basic("ann:s3cret")),
        ({"type": "basic", "username": "ann", "secret": "s3:cret"}, basic("ann:s3:cret")),
        ({"type": "basic", "secret": "ann:s3cret"}, basic("ann:s3cret")),
        ({"type": "basic", "username": "änn", "secret": "s3cret"}, basic("änn:s3cret")),
        ({"type": "bearer", "secret": "s3cret"}, {"authorization": "bearer s3cret"}),
        ({"type": "header", "header": "X-Key", "secret": "s3cret"}, {"x-key": "s3cret"}),
        ({"type": "hmac", "secret": "s3cret"}, {"X-Signature": sign(BODY)}),
        ({"type": "hmac", "secret": "s3cret"}, {"X-Signature": sign(BODY).upper()}),
        ({"type": "hmac", "secret": "s3cret", "prefix": "sha256="}, {"X-Signature": "sha256=" + sign(BODY)}),
        ({"type": "hmac", "secret": "s3cret"}, {"X-Signature": "sha256=" + sign(BODY)}),
        (
            {"type": "hmac", "secret": "s3cret", "algorithm": "sha1", "header": "X-Sig"},
            {"X-Sig": sign(BODY, algorithm="sha1")},
        ),
        (
            {"type": "hmac", "secret": "s3cret", "encoding": "base64", "algorithm": "sha512"},
            {"X-Signature": base64.b64encode(hmac.digest(b"s3cret", BODY, "sha512")).decode()},
        ),
        (
            {"type": "hmac", "secret": "s3cret", "timestamp_header": "X-Time"},
            {
                "X-Time": str(int(NOW.timestamp())),
                "X-Signature": sign(str(int(NOW.timestamp())).encode() + b"." + BODY),
            },
        ),
    ],
)
def test_right_credentials_pass_and_wrong_or_missing_ones_do_not(auth: dict[str, Any], headers: dict[str, str]) -> None:
    assert passes(auth, headers)
    assert not passes(auth, {})
    assert not passes(auth, dict.fromkeys(headers, ""))
    assert not passes(auth, {name: value[:-2] + "zz" for name, value in headers.items()})
    changed = {"password": "other", "secret": "other:x"}
    wrong = {key: changed.get(key, value) for key, value in auth.items()}
    assert not passes(wrong, headers)


def test_several_secrets_are_good_while_they_are_being_changed() -> None:
    auth = {"type": "hmac", "secrets": ["old", "new"]}
    assert passes(auth, {"X-Signature": sign(BODY, "old")})
    assert passes(auth, {"X-Signature": sign(BODY, "new")})
    assert not passes(auth, {"X-Signature": sign(BODY, "older")})


def test_no_auth_lets_everybody_in() -> None:
    assert passes({"type": "none"}, {})


def test_a_secret_that_was_not_filled_in_lets_nobody_in() -> None:
    """Otherwise the text `${{ secrets.gh }}`, which anybody can read, would be the key."""
    text = "${{ secrets.gh }}"
    auth = AUTH.validate_python({"type": "hmac", "secret": text})
    with pytest.raises(ConfigurationError):
        authenticate(auth, request({"X-Signature": sign(BODY, text)}), NOW)


@pytest.mark.parametrize(
    "garbage", ["Basic", "Basic ???", "Basic " + base64.b64encode(b"\xff:\xff").decode(), "Basic \udcff", "Digest x"]
)
def test_garbage_in_the_header_is_a_refusal(garbage: str) -> None:
    assert not passes({"type": "basic", "username": "ann", "secret": "s3cret"}, {"authorization": garbage})
    assert not passes({"type": "bearer", "secret": "s3cret"}, {"authorization": garbage})
    assert not passes({"type": "hmac", "secret": "s3cret", "encoding": "base64"}, {"x-signature": garbage})
    assert not passes({"type": "hmac", "secret": "s3cret"}, {"x-signature": garbage})


@pytest.mark.parametrize(
    "auth, says",
    [
        ({"type": "github"}, "give `secret`"),
        ({"type": "github", "secret": ""}, "at least 1 character"),
        ({"type": "twilio"}, "give `secret`"),
        ({"type": "twilio", "secret": "x", "url": "example.org"}, "write the whole address"),
        ({"type": "gitlab", "secret": "whsec_???"}, "is base64"),
        ({"type": "githup", "secret": "x"}, "'github'"),
        ({"type": "header", "secret": "x"}, "header"),
        ({"type": "header", "secret": "x", "header": "a b"}, "pattern"),
        ({"type": "hmac", "secret": "x", "payload": "{timestamp}"}, "payload holds {body}"),
        ({"type": "hmac", "secret": "x", "payload": "{timestamp}{body}"}, "belong together"),
        ({"type": "hmac", "secret": "x", "timestamp_header": "X-Time", "payload": "{body}"}, "belong together"),
        ({"type": "standard_webhooks", "secret": "whsec_???"}, "is base64"),
        ({"type": "none", "secret": "x"}, "Extra inputs"),
    ],
)
def test_a_bad_auth_is_refused(auth: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError) as refused:
        AUTH.validate_python(auth)
    assert says in str(refused.value)


def test_neither_errors_nor_repr_show_a_secret() -> None:
    with pytest.raises(ValidationError) as refused:
        WebhookConfig(path="leads", auth={"type": "header", "secret": "s3cret"})
    assert "s3cret" not in str(refused.value)
    assert "s3cret" not in repr(AUTH.validate_python({"type": "hmac", "secret": "s3cret", "secrets": ["s3cret"]}))


def test_which_headers_hold_the_proof() -> None:
    assert secret_headers(AUTH.validate_python({"type": "header", "header": "X-Key", "secret": "x"})) == {"x-key"}
    gitlab = secret_headers(AUTH.validate_python({"type": "gitlab", "secret": "x"}))
    assert gitlab == {"x-gitlab-token", "webhook-signature"}
    assert secret_headers(AUTH.validate_python({"type": "stripe", "secret": "x"})) == {"stripe-signature"}
    assert str(challenge(AUTH.validate_python({"type": "basic", "secret": "a:b"}))).startswith("Basic ")
    assert challenge(AUTH.validate_python({"type": "github", "secret": "x"})) is None
