"""What a webhook's body says: from bytes and headers to a value that the database and the expressions can hold."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping
from email.message import Message
from email.parser import HeaderParser
from email.utils import collapse_rfc2231_value
from typing import Any
from urllib.parse import parse_qsl

from hark.triggers.json_text import read_json, refuse_nul
from hark.workflows.charsets import checked_charset
from hark.workflows.errors import Problem, UnprocessableError

_MOST_FIELDS = 1000
_TEXT = frozenset(
    {"application/xml", "application/yaml", "application/x-yaml", "application/javascript", "application/x-ndjson"}
)
_GUESSED = frozenset({"", "*/*"})
_PLAIN_JSON = frozenset({"application/json", "application/json; charset=utf-8", "application/json;charset=utf-8"})
"""How nearly all senders write it: no parser is needed to see what that means."""


_NOTHING_SAID = Message()


def parse_body(headers: Mapping[str, str], raw: bytes) -> tuple[Any, str | None]:
    """Return a body and how it was read: `json`, `form`, `multipart`, `text`, `base64`, or None when there is none.

    A form is an object; a field that comes several times is a list; a file is `{filename, content_type, size, base64}`.
    Text that is not in its charset, or holds U+0000, is given in base64. Raises UnprocessableError.
    """
    if not raw:
        return None, None
    if headers.get("content-type", "") in _PLAIN_JSON:
        return _read("application/json", _NOTHING_SAID, raw)
    content = _content(headers.get("content-type", ""))
    kind = content.get_content_type() if headers.get("content-type", "").strip() else ""
    return _read(kind, content, raw)


def _read(kind: str, content: Message, raw: bytes) -> tuple[Any, str]:
    try:
        return _parse(kind, content, raw)
    except ValueError as error:
        what = "JSON" if _is_json(kind) else kind
        message = f"the body is not {what} that can be stored: {error}"
        raise UnprocessableError(message, [Problem(str(error), path=("body",))]) from error


def grouped(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of fields: a name that comes several times has a list of its values."""
    fields: dict[str, list[Any]] = {}
    for name, value in pairs:
        fields.setdefault(name, []).append(value)
    return {name: values[0] if len(values) == 1 else values for name, values in fields.items()}


def _parse(kind: str, content: Message, raw: bytes) -> tuple[Any, str]:
    if _is_json(kind):
        return read_json(raw), "json"
    if kind == "application/x-www-form-urlencoded":
        return _form(raw, _charset(content)), "form"
    if kind == "multipart/form-data":
        return _multipart(raw, content), "multipart"
    if kind in _GUESSED:
        return _guess(raw)
    if kind in _TEXT or kind.startswith("text/") or kind.endswith("+xml"):
        return _text(raw, _charset(content))
    return _base64(raw), "base64"


def _is_json(kind: str) -> bool:
    return kind == "application/json" or kind.endswith("+json")


def _guess(raw: bytes) -> tuple[Any, str]:
    """Read what a sender did not name: JSON if it is, else text."""
    if raw.lstrip()[:1] in b"{[":
        try:
            return read_json(raw), "json"
        except ValueError:
            pass
    return _text(raw, "utf-8")


def _text(raw: bytes, charset: str) -> tuple[str, str]:
    try:
        text = raw.decode(charset)
    except UnicodeDecodeError:
        return _base64(raw), "base64"
    if "\0" in text:
        return _base64(raw), "base64"
    return text, "text"


def _form(raw: bytes, charset: str) -> dict[str, Any]:
    text = raw.decode(charset)
    pairs = parse_qsl(text, keep_blank_values=True, encoding=charset, errors="strict", max_num_fields=_MOST_FIELDS)
    form = grouped(pairs)
    refuse_nul(form)
    return form


def _multipart(raw: bytes, content: Message) -> dict[str, Any]:
    boundary = content.get_boundary()
    if not boundary:
        raise ValueError("its content-type names no boundary")
    form = grouped(_fields(raw, boundary.encode("ascii", "replace")))
    refuse_nul(form)
    return form


def _fields(raw: bytes, boundary: bytes) -> Iterator[tuple[str, Any]]:
    """Yield the fields of a multipart form (RFC 7578): its parts are flat, so nothing nests here."""
    pieces = (b"\r\n" + raw).split(b"\r\n--" + boundary, _MOST_FIELDS + 1)
    if len(pieces) > _MOST_FIELDS + 1:
        raise ValueError(f"it has more than {_MOST_FIELDS} fields")
    if not pieces[-1].startswith(b"--"):
        raise ValueError("it breaks off before its last boundary")
    for piece in pieces[1:-1]:
        head, found, value = piece.lstrip(b" \t").partition(b"\r\n\r\n")
        if not found:
            raise ValueError("one of its parts has no header")
        part = HeaderParser().parsestr(head.decode("utf-8", "replace").lstrip("\r\n"))
        name = _disposition(part, "name")
        if name is None:
            raise ValueError("one of its parts has no name")
        yield name, _value(part, value)


def _value(part: Message, value: bytes) -> Any:
    filename = _disposition(part, "filename")
    if filename is None:
        return value.decode(_charset(part))
    kind = part.get_content_type() if "content-type" in part else "application/octet-stream"
    return {
        "filename": filename,
        "content_type": kind,
        "size": len(value),
        "base64": _base64(value),
    }


def _content(content_type: str) -> Message:
    message = Message()
    message["content-type"] = content_type.replace("\r", " ").replace("\n", " ")
    return message


def _charset(content: Message) -> str:
    """Return the charset of a content-type; UTF-8 without one. Raises ValueError for one that is unknown."""
    name = content.get_param("charset")
    return checked_charset(name) if name and isinstance(name, str) else "utf-8"


def _disposition(part: Message, name: str) -> str | None:
    """Return a parameter of a part's content-disposition. Raises ValueError for an unknown charset (RFC 2231)."""
    value = part.get_param(name, header="content-disposition")
    if isinstance(value, tuple):
        checked_charset(value[0] or "us-ascii")
    return None if value is None else collapse_rfc2231_value(value).strip()


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")
