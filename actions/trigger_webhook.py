"""The action `trigger_webhook`: tell another system that something happened, signed if it is to be trusted."""

from __future__ import annotations

import binascii
import hashlib
import hmac
from base64 import b64decode, b64encode
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from hark.actions.config import ActionConfig, Text, Timeout
from hark.actions.http_answers import failure
from hark.actions.http_client import refusal
from hark.actions.http_config import Headers, Url, encode_body, has_header, upper_case
from hark.workflows.catalogue import Action, ActionContext, ActionSpec, Effect, HttpAnswer

_PREFIX = "whsec_"
_ANSWER_BYTES = 64 * 1024


def signing_key(secret: str) -> bytes:
    """Return the key of a secret: base64 after `whsec_` (Standard Webhooks), else the text itself."""
    if not secret.startswith(_PREFIX):
        return secret.encode()
    try:
        return b64decode(secret.removeprefix(_PREFIX), validate=True)
    except binascii.Error as error:
        raise ValueError("a secret that begins with whsec_ goes on with base64") from error


def sign(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """Return the value of `webhook-signature` as of Standard Webhooks 1.0: `v1,` and base64 of HMAC-SHA256."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + b64encode(hmac.digest(signing_key(secret), signed, hashlib.sha256)).decode()


def _checked_secret(secret: str) -> str:
    signing_key(secret)
    return secret


class TriggerWebhookConfig(ActionConfig):
    """Where to send what."""

    url: Url
    """The receiver's address."""
    method: Annotated[Literal["POST", "PUT", "PATCH", "GET", "DELETE"], BeforeValidator(upper_case)] = "POST"
    """The method, in any case."""
    headers: Headers = Field(default_factory=dict)
    """Headers by name; one whose value is null is left out."""
    body: Any = None
    """What to send: a string as it is, everything else as JSON; without it, which workflow and execution sent it."""
    secret: Annotated[Text, AfterValidator(_checked_secret)] | None = None
    """Sign the request with this secret: text, or `whsec_` and base64."""
    timeout: Timeout = Field(default="15s", validate_default=True)
    """How long one attempt may take."""


class TriggerWebhook(Action[TriggerWebhookConfig]):
    """Send a webhook."""

    spec: ClassVar[ActionSpec] = ActionSpec(
        type="trigger_webhook",
        name="Trigger webhook",
        description="Send a webhook to another system, signed as Standard Webhooks has it when there is a secret.",
        category="notification",
        effect=Effect.EXTERNAL,
        config=TriggerWebhookConfig,
        example={
            "id": "tell_crm",
            "action": "trigger_webhook",
            "with": {
                "url": "https://crm.example.org/hooks/leads",
                "body": {"type": "lead.created", "data": {"email": "${{ inputs.email }}"}},
                "secret": "${{ secrets.crm_webhook }}",
            },
            "retry": {"retries": 5, "delay": "10s"},
        },
        output_schema={
            "type": "object",
            "properties": {
                "status": {"type": "integer"},
                "message_id": {"type": "string", "description": "What was sent as `webhook-id`."},
            },
            "required": ["status", "message_id"],
        },
        permissions=("http.request",),
        practice=(
            "Receivers should drop a `webhook-id` they have seen: it is the same for every attempt of a step.",
            "Only 2xx counts as delivered. Time-outs, 408, 425, 429 and 5xx are tried again under the step's `retry`.",
        ),
        security=(
            (
                "With `secret`, the receiver can check `webhook-signature` over id, timestamp and body; give each"
                " receiver a secret of its own."
            ),
            "Redirects are not followed and private addresses are refused, as for `http_request`.",
        ),
    )

    async def run(self, config: TriggerWebhookConfig, context: ActionContext) -> dict[str, Any]:
        body, content_type = encode_body(_origin(context) if config.body is None else config.body)
        answer = await context.http.request(
            config.method,
            config.url,
            headers=_headers(config, context, body, content_type),
            body=body,
            timeout_s=config.timeout.total_seconds(),
            max_bytes=_ANSWER_BYTES,
            max_redirects=0,
        )
        _require_success(config, answer, context)
        return {"status": answer.status, "message_id": context.idempotency_key}


def _origin(context: ActionContext) -> dict[str, Any]:
    return {"workflow": context.workflow, "execution_id": str(context.execution_id), "step": context.step}


def _headers(config: TriggerWebhookConfig, context: ActionContext, body: bytes, content_type: str) -> dict[str, str]:
    headers = dict(config.headers)
    if not has_header(headers, "content-type"):
        headers["Content-Type"] = content_type
    if not has_header(headers, "idempotency-key"):
        headers["Idempotency-Key"] = context.idempotency_key
    timestamp = int(context.now.timestamp())
    headers |= {"webhook-id": context.idempotency_key, "webhook-timestamp": str(timestamp)}
    if config.secret is not None:
        headers["webhook-signature"] = sign(config.secret, context.idempotency_key, timestamp, body)
    return headers


def _require_success(config: TriggerWebhookConfig, answer: HttpAnswer, context: ActionContext) -> None:
    if 300 <= answer.status < 400:
        raise refusal(
            f"{config.url} answered {answer.status}, a redirect to {answer.headers.get('location', 'nowhere')}:"
            " write the receiver's own address",
            "http_redirect",
        )
    if not 200 <= answer.status < 300:
        raise failure(config.method, answer, context.now)
