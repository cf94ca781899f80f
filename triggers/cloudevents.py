"""CloudEvents 1.0 over HTTP: binary, structured and batched mode, read to one shape."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote_to_bytes

from hark.triggers.json_text import read_json
from hark.triggers.webhook_request import whole_text
from hark.workflows.errors import Problem, UnprocessableError

STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
MOST_IN_BATCH = 1000
_DATA = frozenset({"data", "data_base64"})
_REQUIRED = ("id", "source", "type")
_LONGEST_SUBJECT = 500
_RFC3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)

CloudEvent = dict[str, Any]
"""An event in the form of structured mode: the attributes, and `data` or `data_base64`."""


def subject_pair(text: str | None) -> tuple[str, str] | None:
    """Read a subject, `kind/id` or any other name. Raises UnprocessableError for one that is too long."""
    if not text:
        return None
    if len(text) > _LONGEST_SUBJECT:
        raise UnprocessableError(f"subject: kind/id has at most {_LONGEST_SUBJECT} characters")
    kind, slash, identifier = text.partition("/")
    return (kind, identifier) if slash and kind and identifier else ("subject", text)


def time_of(event: CloudEvent) -> datetime | None:
    """Return when an event occurred, in UTC. Raises UnprocessableError for a day that no calendar has."""
    if event.get("time") is None:
        return None
    try:
        return datetime.fromisoformat(event["time"].upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise UnprocessableError("time: there is no such time") from None


def mode_of(headers: Mapping[str, str]) -> str | None:
    """Return `structured`, `batch` or `binary` by the headers (names in lower case), None for what is no CloudEvent."""
    content_type = headers.get("content-type", "")
    if "cloudevents" in content_type.lower():
        kind = content_type.partition(";")[0].strip().lower()
        if kind.startswith("application/cloudevents"):
            return {STRUCTURED: "structured", BATCH: "batch"}.get(kind, "unknown")
    return "binary" if "ce-specversion" in headers else None


def read_cloudevents(mode: str, headers: Mapping[str, str], raw: bytes) -> list[CloudEvent]:
    """Return the events of a request, checked. Raises UnprocessableError that says which one is wrong, and how."""
    if mode == "batch":
        events = _json(raw)
        if not isinstance(events, list) or len(events) > MOST_IN_BATCH:
            raise UnprocessableError(f"a batch is a JSON array of at most {MOST_IN_BATCH} CloudEvents")
        return [checked_cloudevent(event, f"event {index}: ") for index, event in enumerate(events)]
    if mode == "unknown":
        raise UnprocessableError(f"of CloudEvents the JSON formats are accepted: {STRUCTURED} and {BATCH}")
    return [checked_cloudevent(_json(raw) if mode == "structured" else _binary(headers, raw))]


def content_of(event: CloudEvent) -> tuple[Any, str | None]:
    """Return an event's data, and how it was read: `json`, `base64`, or None when there is none."""
    if "data_base64" in event:
        return event["data_base64"], "base64"
    return event.get("data"), "json" if event.get("data") is not None else None


def attributes_of(event: CloudEvent) -> dict[str, Any]:
    """Return what an event says beside its data, extensions too."""
    return {name: value for name, value in event.items() if name not in _DATA and value is not None}


def _binary(headers: Mapping[str, str], raw: bytes) -> CloudEvent:
    """Read attributes from `ce-` headers, percent-decoded, and data from the body."""
    event: CloudEvent = {name[3:]: _decoded(name, value) for name, value in headers.items() if name.startswith("ce-")}
    content_type = whole_text(headers.get("content-type", "").strip())
    if content_type:
        event["datacontenttype"] = content_type
    if not raw:
        return event
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "application/json" or kind.endswith("+json"):
        return {**event, "data": _json(raw)}
    text = _text(raw)
    return {**event, "data_base64": base64.b64encode(raw).decode()} if text is None else {**event, "data": text}


def _decoded(name: str, value: str) -> str:
    """Read a percent-encoded header. Two that are no text must not become one, so nothing is put in place of bytes."""
    try:
        return unquote_to_bytes(value.encode("utf-8", "surrogateescape")).decode()
    except UnicodeError:
        detail = f"{name}: its value is no UTF-8; percent-encode what is not ASCII"
        raise UnprocessableError(detail, [Problem(detail, path=("headers",))]) from None


def _text(raw: bytes) -> str | None:
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text


def _json(raw: bytes) -> Any:
    try:
        return read_json(raw)
    except ValueError as error:
        message = f"the body is not JSON that can be stored: {error}"
        raise UnprocessableError(message, [Problem(str(error), path=("body",))]) from error


def checked_cloudevent(event: Any, place: str = "") -> CloudEvent:
    """Return an event that is one. Raises UnprocessableError; `place` stands before what is wrong."""
    if not isinstance(event, dict):
        raise UnprocessableError(f"{place}a CloudEvent is a JSON object")
    fault = _fault(event)
    if fault is not None:
        raise UnprocessableError(place + fault)
    return event


def _fault(event: Mapping[str, Any]) -> str | None:
    if event.get("specversion") != "1.0":
        return "specversion: only CloudEvents 1.0 are accepted"
    for name in _REQUIRED:
        if not isinstance(event.get(name), str) or not event[name]:
            return f"{name}: a CloudEvent needs it, as a string"
    if event.get("subject") is not None and not isinstance(event["subject"], str):
        return "subject: it is a string"
    if event.get("time") is not None and not _is_time(event["time"]):
        return "time: write it as RFC 3339 does, such as 2026-01-31T09:00:00Z"
    if "data_base64" in event and not _is_base64(event["data_base64"]):
        return "data_base64: it is no base64"
    return None


def _is_time(value: Any) -> bool:
    return isinstance(value, str) and _RFC3339.fullmatch(value) is not None


def _is_base64(value: Any) -> bool:
    try:
        return bool(base64.b64decode(value, validate=True)) or value == ""
    except (TypeError, ValueError, binascii.Error):
        return False
