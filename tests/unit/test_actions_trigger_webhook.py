"""The action trigger_webhook: what receivers get, and when it counts as delivered."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import orjson
import pytest
from pydantic import ValidationError
from support.actions import NOW, FakeHttp, make_context, run_action

from hark.actions.trigger_webhook import TriggerWebhook, TriggerWebhookConfig, sign
from hark.workflows.catalogue import HttpAnswer
from hark.workflows.errors import ActionError

URL = "https://crm.example.org/hooks"


def answering(status: int, **headers: str) -> FakeHttp:
    return FakeHttp(HttpAnswer(status, headers, b"", URL))


async def trigger(http: FakeHttp, **config: Any) -> Any:
    return await run_action(TriggerWebhook(), {"url": URL, **config}, make_context(http=http))


def test_the_signature_is_that_of_the_standards_own_example() -> None:
    """From the test vectors of the Standard Webhooks specification's reference implementations."""
    signature = sign(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
    )
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


async def test_a_signed_webhook_has_id_timestamp_and_signature() -> None:
    http = answering(204)
    output = await trigger(http, body={"a": 1}, secret="s3cret", headers={"X-From": "hark"})
    request = http.requests[0]
    timestamp = int(NOW.timestamp())
    assert request["headers"] == {
        "X-From": "hark",
        "Content-Type": "application/json",
        "Idempotency-Key": "key-1",
        "webhook-id": "key-1",
        "webhook-timestamp": str(timestamp),
        "webhook-signature": sign("s3cret", "key-1", timestamp, b'{"a":1}'),
    }
    assert (request["method"], request["body"], request["max_redirects"]) == ("POST", b'{"a":1}', 0)
    assert output == {"status": 204, "message_id": "key-1"}


async def test_without_a_secret_there_is_no_signature() -> None:
    http = answering(200)
    await trigger(http, body="text", method="put")
    assert "webhook-signature" not in http.requests[0]["headers"]
    assert (http.requests[0]["method"], http.requests[0]["body"]) == ("PUT", b"text")


async def test_without_a_body_it_says_who_sent_it() -> None:
    http = answering(200)
    await trigger(http)
    assert orjson.loads(http.requests[0]["body"]) == {
        "workflow": "welcome-lead",
        "execution_id": str(UUID(int=7)),
        "step": "each[3].mail",
    }


@pytest.mark.parametrize(
    "status, error_class, retryable",
    [
        (302, "http_redirect", False),
        (410, "http_status", False),
        (429, "http_status", True),
        (503, "http_status", True),
    ],
)
async def test_only_2xx_is_delivered(status: int, error_class: str, retryable: bool) -> None:
    with pytest.raises(ActionError) as caught:
        await trigger(answering(status, location="https://elsewhere.example.org/"))
    assert (caught.value.error_class, caught.value.retryable) == (error_class, retryable)


@pytest.mark.parametrize("config", [{"secret": "whsec_!!"}, {"url": "crm"}, {"headers": {"a b": "c"}}, {"method": "X"}])
def test_a_wrong_config_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TriggerWebhookConfig.model_validate({"url": URL, **config})
