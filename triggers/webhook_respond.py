"""What a webhook that waits for its execution is answered with."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from hark.triggers.webhook_secrets import HeaderName
from hark.workflows.catalogue import Config
from hark.workflows.durations import Duration
from hark.workflows.templates import has_expression

_CONNECTION = frozenset({"connection", "content-length", "keep-alive", "transfer-encoding", "upgrade", "trailer"})
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")
_LONGEST = timedelta(seconds=60)


def status_of(value: Any) -> int:
    """Read an HTTP status of a whole answer. Raises ValueError."""
    text = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
    if isinstance(value, bool) or not re.fullmatch("[2-5][0-9][0-9]", text):
        raise ValueError("a status is a number from 200 to 599")
    return int(text)


def header_value(text: str) -> str:
    """Check the value of a header. Raises ValueError for one that would break out of its line."""
    if _CONTROL.search(text) or not text.isascii():
        raise ValueError("the value of a header is ASCII without line breaks and control characters")
    return text


def _status(value: Any) -> Any:
    return value if isinstance(value, str) and has_expression(value) else status_of(value)


def _headers(headers: dict[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if name.lower() in _CONNECTION:
            raise ValueError(f"the header {name} belongs to the connection and cannot be set")
        if not has_expression(value):
            header_value(value)
    return headers


def _short(value: timedelta) -> timedelta:
    if not timedelta(milliseconds=100) <= value <= _LONGEST:
        raise ValueError("write 100ms to 60s: nobody waits longer for an answer")
    return value


class Answer(Config):
    """An answer; its expressions see `event`, `inputs`, `steps`, `output`, `error` and `execution`, as they ended."""

    status: Annotated[int | str, AfterValidator(_status)] = 200
    """The HTTP status, 200 to 599."""
    headers: Annotated[dict[HeaderName, str], AfterValidator(_headers), Field(max_length=50)] = Field(
        default_factory=dict
    )
    """Headers; without a `Content-Type` a text is `text/plain`, and everything else JSON."""
    body: Any = "${{ output }}"
    """The body; default the workflow's `output`."""


class Respond(Answer):
    """Makes the sender wait for the execution, and be answered with what it came to."""

    timeout: Annotated[Duration, AfterValidator(_short)] = Field(default="10s", validate_default=True)
    """How long the sender waits at the most; after that the answer is 202 with the execution's id."""
    early: bool = False
    """Answer as soon as the steps that the answer reads have completed, and let the execution go on."""
    failed: Answer | None = None
    """The answer when the execution has failed, timed out or was cancelled; default 500 with its id."""
