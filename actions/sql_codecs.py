"""How values travel to and from PostgreSQL for SQL actions: as text, so that any JSON value fits any column type.

With asyncpg's binary format a string cannot be bound to a timestamp. In text format the server itself reads it, with
all the spellings that it knows. Registered once per connection, without a round trip for the built-in types.

What the daemon's own statements use on such a connection keeps its Python type: UUID, datetime, date, Decimal, bytes,
JSON as str. Everything else (times, intervals, network addresses …) is text there. `to_json` makes JSON of all. Ranges
and composite types are beyond this: asyncpg has no text format for them.
"""

from __future__ import annotations

import math
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from hark.actions.json_documents import load_document

Encoder = Callable[[Any], str]
Decoder = Callable[[str], Any]


class JsonString(str):
    """A string argument of an action: a JSON value for json columns, base64 for bytea. The daemon's own are plain."""

    __slots__ = ()


class JsonDocument(str):
    """The text of a json or jsonb column."""

    __slots__ = ()


def to_argument(value: Any) -> Any:
    """Mark the strings in an action's argument, also those in lists, which may become arrays."""
    if isinstance(value, str):
        return JsonString(value)
    return [to_argument(item) for item in value] if isinstance(value, list) else value


def encode_text(value: Any) -> str:
    """Write a value for a column of any type but json and bytea."""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        # Expressions compute with floats: 3.0 is a good 3 for an integer column.
        return str(int(value)) if value.is_integer() and abs(value) < 2**63 else repr(value)
    if isinstance(value, bool | dict | list):
        return orjson.dumps(value).decode()
    return str(value)


def _encode_json(value: Any) -> str:
    if isinstance(value, str) and not isinstance(value, JsonString):
        return value
    return orjson.dumps(value).decode()


def _encode_bytea(value: Any) -> str:
    if isinstance(value, str):
        if value.startswith("\\x"):
            return value
        value = b64decode(value, validate=True)
    return "\\x" + bytes(value).hex()


def _or_text(decode: Decoder) -> Decoder:
    """Leave as text what Python has no value for: `infinity`, years before 1 or after 9999, another DateStyle."""

    def decoder(text: str) -> Any:
        try:
            return decode(text)
        except ValueError:
            return text

    return decoder


def _decode_bytea(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("\\x"))


_INTEGERS = ("int2", "int4", "int8", "oid")
_FLOATS = ("float4", "float8")
_MOMENTS = ("timestamp", "timestamptz")
_DOCUMENTS = ("json", "jsonb")
_PLAIN = (
    *("text", "varchar", "bpchar", "name", "xml", "cstring", "unknown", "refcursor"),
    *("time", "timetz", "interval", "money", "bit", "varbit", "inet", "cidr", "macaddr", "macaddr8"),
    *("point", "line", "lseg", "box", "path", "polygon", "circle", "tsvector", "tsquery", "jsonpath"),
    *("pg_lsn", "pg_snapshot", "txid_snapshot", "tid", "xid", "xid8", "cid", "record", "aclitem"),
    *("regclass", "regtype", "regproc", "regprocedure", "regrole", "regnamespace", "regconfig", "regdictionary"),
    *("regoper", "regoperator", "regcollation"),
)


def _codecs() -> Iterable[tuple[str, Encoder, Decoder]]:
    yield from ((name, encode_text, str) for name in _PLAIN)
    yield from ((name, encode_text, int) for name in _INTEGERS)
    yield from ((name, encode_text, float) for name in _FLOATS)
    yield from ((name, encode_text, _or_text(datetime.fromisoformat)) for name in _MOMENTS)
    yield from ((name, _encode_json, JsonDocument) for name in _DOCUMENTS)
    yield "date", encode_text, _or_text(date.fromisoformat)
    yield "numeric", encode_text, Decimal
    yield "bool", encode_text, "t".__eq__
    yield "uuid", encode_text, UUID
    yield "bytea", _encode_bytea, _decode_bytea


async def register_codecs(connection: Any) -> None:
    """Register the codecs on a connection, once."""
    for name, encoder, decoder in _codecs():
        await connection.set_type_codec(name, schema="pg_catalog", encoder=encoder, decoder=decoder, format="text")


def to_json(value: Any) -> Any:
    """Make a JSON value of what the codecs gave: ISO 8601, base64, numbers where they are exact."""
    converter = _TO_JSON.get(type(value))
    return value if converter is None else converter(value)


def _finite(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


def _number(value: Decimal) -> int | float | str:
    """Return an int or float when it is the very same number, else its digits."""
    if not value.is_finite():
        return str(value)
    if value == value.to_integral_value() and abs(value) < 2**63:
        return int(value)
    number = float(value)
    return number if math.isfinite(number) and Decimal(repr(number)) == value else str(value)


def _document(document: JsonDocument) -> Any:
    try:
        return load_document(document.encode())
    except ValueError:
        return str(document)


def _list(values: list[Any]) -> list[Any]:
    return [to_json(value) for value in values]


def _record(record: asyncpg.Record) -> dict[str, Any]:
    return {name: to_json(value) for name, value in record.items()}


def _bytes(value: bytes) -> str:
    return b64encode(value).decode()


_TO_JSON: dict[type, Callable[[Any], Any]] = {
    float: _finite,
    Decimal: _number,
    JsonDocument: _document,
    list: _list,
    tuple: _list,
    asyncpg.Record: _record,
    bytes: _bytes,
    UUID: str,
    datetime: datetime.isoformat,
    date: date.isoformat,
}
