"""Reading what a server answered: its body as a JSON value, whether it failed, and when to try again."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.message import Message
from email.utils import parsedate_to_datetime
from typing import Any

from hark.actions.json_documents import load_document
from hark.workflows.catalogue import HttpAnswer
from hark.workflows.charsets import checked_charset
from hark.workflows.errors import ActionError

LONGEST_RETRY_AFTER_S = 3600.0
"""A server's wish to wait is honoured up to here."""
EXCERPT_CHARACTERS = 2000

_PASSING = frozenset({408, 425, 429})
"""Client errors that another attempt may not meet again; beside them all of 5xx."""


def is_expected(status: int, expect: Sequence[int | str]) -> bool:
    """Tell whether a status is a success: one of `expect` (`404`, `2xx`); without these, everything below 400."""
    if not expect:
        return status < 400
    return status in expect or f"{status // 100}xx" in expect


def failure(method: str, answer: HttpAnswer, now: datetime) -> ActionError:
    """Make the error for an answer that is no success; only what may pass is retryable."""
    return ActionError(
        f"{method} {answer.url.partition('?')[0]} answered {answer.status}",
        error_class="http_status",
        retryable=answer.status in _PASSING or answer.status >= 500,
        retry_after_s=retry_after_s(answer.headers, now),
        details={"status": answer.status, "body": excerpt(answer)},
    )


def retry_after_s(headers: Mapping[str, str], now: datetime) -> float | None:
    """Read `Retry-After` (seconds or an HTTP date) as seconds from now, capped; None if absent or unreadable."""
    text = headers.get("retry-after", "").strip()
    if text.isdecimal():
        return min(float(text), LONGEST_RETRY_AFTER_S)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return min(max((aware - now).total_seconds(), 0.0), LONGEST_RETRY_AFTER_S)


def read_body(answer: HttpAnswer) -> dict[str, Any]:
    """Return `{body}`, with `encoding: base64` beside it when the body is no text."""
    if not answer.body:
        return {"body": None}
    media = _media_type(answer.headers)
    if media.get_content_subtype() == "json" or media.get_content_subtype().endswith("+json"):
        try:
            return {"body": load_document(answer.body)}
        except ValueError:
            pass  # it says JSON and is none that can be kept: its text is what there is to see
    text = _text(answer.body, media.get_content_charset("utf-8"))
    return {"body": b64encode(answer.body).decode(), "encoding": "base64"} if text is None else {"body": text}


def excerpt(answer: HttpAnswer) -> str:
    """Return the beginning of a body for an error's details."""
    text = _text(answer.body, _media_type(answer.headers).get_content_charset("utf-8"))
    return f"{len(answer.body)} bytes" if text is None else text[:EXCERPT_CHARACTERS]


def _media_type(headers: Mapping[str, str]) -> Message:
    media = Message()
    media["content-type"] = headers.get("content-type", "")
    return media


def _text(body: bytes, charset: str) -> str | None:
    """Return a body as text; None when it is not in its charset, or cannot be stored as text."""
    try:
        text = body.decode(checked_charset(charset))
        text.encode()  # half a surrogate pair cannot
    except ValueError:
        return None
    return None if "\0" in text else text
