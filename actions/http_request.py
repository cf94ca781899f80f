"""The action `http_request`: call an HTTP API."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, ClassVar
from urllib.parse import urlencode, urlsplit, urlunsplit

from pydantic import Field, WithJsonSchema, model_validator

from hark.actions.config import ActionConfig, Timeout, as_text
from hark.actions.http_answers import failure, is_expected, read_body
from hark.actions.http_config import (
    SAFE_METHODS,
    Auth,
    Headers,
    Method,
    Status,
    StatusClass,
    Url,
    encode_body,
    encode_json,
    has_header,
)
from hark.workflows.catalogue import Action, ActionContext, ActionSpec, Effect, HttpAnswer

FormValue = str | int | float | bool | None
Fields = Annotated[dict[str, FormValue | list[FormValue]], WithJsonSchema({"type": "object"})]


class HttpRequestConfig(ActionConfig):
    """The request, and which answers are good."""

    method: Method = "GET"
    """The method, in any case."""
    url: Url
    """The whole address, `https://…` or `http://…`."""
    headers: Headers = Field(default_factory=dict)
    """Headers by name; one whose value is null is left out."""
    query: Fields = Field(default_factory=dict)
    """Query parameters, added to those in `url`; a list repeats its parameter, null leaves it out."""
    json_: Any = Field(default=None, alias="json")
    """A body to send as JSON."""
    form: Fields | None = None
    """A body to send as an HTML form does (`application/x-www-form-urlencoded`)."""
    body: Any = None
    """A body to send: a string as it is (say its `Content-Type` in `headers`), everything else as JSON."""
    auth: Auth | None = None
    """Who is asking: `basic`, `bearer` or `header`."""
    timeout: Timeout = Field(default="30s", validate_default=True)
    """How long one attempt may take, with all redirects."""
    expect: list[Status | StatusClass] = Field(default_factory=list)
    """Statuses that are a success, such as `[200, 404]` or `[2xx]`; without it, everything below 400."""
    follow_redirects: bool = True
    """Follow up to five redirects. To another origin, only harmless headers go along."""
    max_bytes: Annotated[int, Field(ge=0, le=16 * 1024 * 1024)] = 1024 * 1024
    """The largest answer that is taken, in bytes after decompression."""

    @model_validator(mode="after")
    def _has_one_body(self) -> HttpRequestConfig:
        given = [name.rstrip("_") for name in ("json_", "form", "body") if name in self.model_fields_set]
        if len(given) > 1:
            raise ValueError(f"a request has one body: write {' or '.join(f'`{name}`' for name in given)}, not both")
        return self

    def content(self) -> tuple[bytes | None, str]:
        """Return the body and its content type; None without a body."""
        if "json_" in self.model_fields_set:
            return encode_json(self.json_)
        if self.form is not None:
            return encode_fields(self.form).encode(), "application/x-www-form-urlencoded"
        return encode_body(self.body) if self.body is not None else (None, "")

    def full_url(self) -> str:
        """Return `url` with `query` added to it."""
        if not self.query:
            return self.url
        parts = urlsplit(self.url)
        query = "&".join(filter(None, (parts.query, encode_fields(self.query))))
        return urlunsplit(parts._replace(query=query))


def encode_fields(fields: dict[str, Any]) -> str:
    """Write fields the way a form does; lists repeat their name, null is left out."""
    pairs = [
        (name, as_text(item))
        for name, value in fields.items()
        for item in (value if isinstance(value, list) else [value])
        if item is not None
    ]
    return urlencode(pairs)


class HttpRequest(Action[HttpRequestConfig]):
    """Call an HTTP API and return its answer."""

    spec: ClassVar[ActionSpec] = ActionSpec(
        type="http_request",
        name="HTTP request",
        description="Call an HTTP API and return its answer; a JSON body comes parsed.",
        category="data",
        effect=Effect.EXTERNAL,
        config=HttpRequestConfig,
        example={
            "id": "enrich",
            "action": "http_request",
            "with": {
                "method": "POST",
                "url": "https://api.example.org/v1/companies/search",
                "auth": {"type": "bearer", "token": "${{ secrets.companies }}"},
                "json": {"email": "${{ inputs.email }}"},
                "timeout": "10s",
            },
            "retry": {"retries": 3, "delay": "2s"},
        },
        output_schema={
            "type": "object",
            "properties": {
                "status": {"type": "integer"},
                "headers": {"type": "object", "additionalProperties": {"type": "string"}},
                "body": {"description": "Parsed when it is JSON, else text; base64 when it is neither."},
                "encoding": {"const": "base64", "description": "There when `body` is base64."},
                "url": {"type": "string", "description": "Where the answer came from, after redirects."},
                "duration_ms": {"type": "integer"},
            },
            "required": ["status", "headers", "body", "url", "duration_ms"],
        },
        permissions=("http.request",),
        practice=(
            (
                "Give the step a `retry`: broken connections, time-outs, 408, 425, 429 and 5xx are tried again, as the"
                " server's `Retry-After` has it; other failures are final."
            ),
            (
                "Methods other than GET, HEAD and OPTIONS carry an `Idempotency-Key`, the same for every attempt: a"
                " server that knows it does the work once, even when an answer was lost."
            ),
            "Use `expect: [200, 404]` when a 404 is an answer and not a failure, and branch on `output.status`.",
        ),
        security=(
            (
                "Private, loopback, link-local and reserved addresses are refused, whatever name leads there and after"
                " every redirect; an operator opens networks of their own in the settings."
            ),
            ("Write credentials as `${{ secrets.NAME }}`: they do not follow a redirect to another origin."),
            "No proxy settings of the environment are used and no cookies are kept.",
        ),
    )

    async def run(self, config: HttpRequestConfig, context: ActionContext) -> dict[str, Any]:
        clock = asyncio.get_running_loop().time
        started = clock()
        answer = await _send(config, context)
        if not is_expected(answer.status, config.expect):
            raise failure(config.method, answer, context.now)
        return {
            "status": answer.status,
            "headers": dict(answer.headers),
            **read_body(answer),
            "url": answer.url,
            "duration_ms": round((clock() - started) * 1000),
        }


async def _send(config: HttpRequestConfig, context: ActionContext) -> HttpAnswer:
    body, content_type = config.content()
    return await context.http.request(
        config.method,
        config.full_url(),
        headers=_headers(config, content_type, context.idempotency_key),
        body=body,
        timeout_s=config.timeout.total_seconds(),
        max_bytes=config.max_bytes,
        max_redirects=5 if config.follow_redirects else 0,
    )


def _headers(config: HttpRequestConfig, content_type: str, idempotency_key: str) -> dict[str, str]:
    headers = dict(config.headers)
    if content_type and not has_header(headers, "content-type"):
        headers["Content-Type"] = content_type
    if config.method not in SAFE_METHODS and not has_header(headers, "idempotency-key"):
        headers["Idempotency-Key"] = idempotency_key
    if config.auth is not None:
        name, value = config.auth.header()
        headers = {key: text for key, text in headers.items() if key.lower() != name.lower()} | {name: value}
    return headers
