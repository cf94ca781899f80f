"""What a webhook's body says, and what the database cannot hold is refused with its place."""

from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hark.triggers.json_text import DEEPEST, read_json
from hark.triggers.webhook_body import parse_body
from hark.workflows.errors import UnprocessableError

FORM = "application/x-www-form-urlencoded"


def parse(content_type: str, raw: bytes) -> tuple[Any, str | None]:
    return parse_body({"content-type": content_type}, raw)


@pytest.mark.parametrize(
    "content_type, raw, body, encoding",
    [
        ("application/json", b'{"a": [1, 2.5, null, "\xc3\xa4"]}', {"a": [1, 2.5, None, "ä"]}, "json"),
        ("application/json; charset=utf-8", b"\xef\xbb\xbf[]", [], "json"),
        ("application/cloudevents+json", b'{"id": 1, "id": 2}', {"id": 2}, "json"),
        ("APPLICATION/JSON", b"true", True, "json"),
        ("application/json", rb'"\\u0000 is no NUL"', r"\u0000 is no NUL", "json"),
        ("application/json", b'{"n": 9223372036854775807, "s": "12345678901234567890"}',
         {"n": 2**63 - 1, "s": "12345678901234567890"}, "json"),
        ("application/json", b"", None, None),
        ("application/x-www-form-urlencoded", b"a=1&b=%C3%A4+x&a=2&c=", {"a": ["1", "2"], "b": "ä x", "c": ""}, "form"),
        ("application/x-www-form-urlencoded; charset=latin-1", b"b=%E4", {"b": "ä"}, "form"),
        ("text/plain", "grün".encode(), "grün", "text"),
        ("text/plain; charset=iso-8859-1", "grün".encode("latin-1"), "grün", "text"),
        ("text/plain", b"a\0b", base64.b64encode(b"a\0b").decode(), "base64"),
        ("text/plain", b"\xff", "/w==", "base64"),
        ("application/xml", b"<a/>", "<a/>", "text"),
        ("image/svg+xml", b"<svg/>", "<svg/>", "text"),
        ("application/octet-stream", b"abc", "YWJj", "base64"),
        ("", b'{"a": 1}', {"a": 1}, "json"),
        ("", b"{a: 1}", "{a: 1}", "text"),
        ("", b"\xff\xfe", "//4=", "base64"),
        ("nonsense", b"hello", "hello", "text"),
    ],
)  # fmt: skip
def test_a_body_is_read_by_its_content_type(content_type: str, raw: bytes, body: Any, encoding: str | None) -> None:
    assert parse(content_type, raw) == (body, encoding)


def test_a_multipart_form_gives_fields_and_files() -> None:
    raw = (
        b'preamble\r\n--x\r\nContent-Disposition: form-data; name="name"\r\n\r\nJ\xc3\xbcrgen\r\n'
        b'--x\r\nContent-Disposition: form-data; name="tag"\r\n\r\na\r\n'
        b'--x\r\nContent-Disposition: form-data; name="tag"\r\n\r\n\r\n'
        b'--x\r\nContent-Disposition: form-data; name="doc"; filename="\xc3\xa4.bin"\r\nContent-Type: image/png\r\n\r\n'
        b"\r\n\0\xff\r\n\r\n--x--\r\nepilogue"
    )
    assert parse('multipart/form-data; boundary="x"', raw) == (
        {
            "name": "Jürgen",
            "tag": ["a", ""],
            "doc": {
                "filename": "ä.bin",
                "content_type": "image/png",
                "size": 6,
                "base64": base64.b64encode(b"\r\n\0\xff\r\n").decode(),
            },
        },
        "multipart",
    )


@pytest.mark.parametrize(
    "content_type, raw, says",
    [
        ("application/json", b'{"a": [{"b": "x\\u0000y"}]}', "a[0].b holds the character U+0000"),
        ("application/json", b'{"a\\u0000": 1}', "U+0000"),
        ("application/json", b'{"a": "\\ud800"}', "line 1, column"),
        ("application/json", b'{"a": 1e999}', "line 1, column"),
        ("application/json", b'{"a": NaN}', "line 1, column"),
        ("application/json", b'{"a": {"id": 9223372036854775808}}', "a.id is an integer beyond 64 bits"),
        ("application/json", b"[" + b"9" * 5000 + b"]", "line 1, column 2"),
        ("application/json", b"[" * 500 + b"]" * 500, "200 levels deep"),
        ("application/json", b"[" * 5000 + b"]" * 5000, "line 1, column"),
        ("application/json", b'{\n  "a": oops}', "line 2, column"),
        ("application/json", b"\xff", "line 1"),
        ("application/x-www-form-urlencoded", b"a=%00", "a holds the character U+0000"),
        ("application/x-www-form-urlencoded", b"a=%FF", "decode"),
        ("application/x-www-form-urlencoded", b"&".join([b"a=1"] * 1001), "fields"),
        ("text/plain; charset=nonsense", b"x", "unknown charset"),
        ("multipart/form-data", b"x", "no boundary"),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\n1", "breaks off"),
        ("multipart/form-data; boundary=x", b"--x\r\n\r\n1\r\n--x--", "no name"),
    ],
)
def test_what_cannot_be_stored_is_refused_with_its_place(content_type: str, raw: bytes, says: str) -> None:
    with pytest.raises(UnprocessableError) as refused:
        parse(content_type, raw)
    assert says in str(refused.value)
    assert refused.value.problems[0].path == ("body",)


def test_json_as_deep_as_allowed_can_be_written_again() -> None:
    value = read_json(b"[" * DEEPEST + b"]" * DEEPEST)
    assert orjson.dumps({"data": {"body": value}})
    with pytest.raises(ValueError, match="levels deep"):
        read_json(b"[" * (DEEPEST + 1) + b"]" * (DEEPEST + 1))


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)
TYPES = [
    "application/json",
    "application/x-www-form-urlencoded",
    "text/plain",
    "",
    "multipart/form-data; boundary=a",
    "image/png",
]


@given(JSON)
def test_whatever_json_can_be_stored_is_read_unchanged(value: Any) -> None:
    assert read_json(orjson.dumps(value)) == value


@given(st.binary(max_size=200), st.sampled_from(TYPES))
def test_any_bytes_are_read_or_refused(raw: bytes, content_type: str) -> None:
    try:
        body, _ = parse(content_type, raw)
    except UnprocessableError:
        return
    assert b"\\u0000" not in orjson.dumps(body).replace(b"\\\\", b"")


@pytest.mark.parametrize(
    "charset", ["punycode", "PunyCode", "idna", "unicode_escape", "utf-7", "U7", "undefined", "hex"]
)
def test_a_charset_that_no_document_is_in_decodes_nothing(charset: str) -> None:
    part = (
        f'--x\r\ncontent-disposition: form-data; name="a"\r\ncontent-type: text/plain; charset={charset}\r\n\r\n1\r\n'
    )
    names = [
        f"--x\r\ncontent-disposition: form-data; {name}*={charset}''abc; {other}=b\r\n\r\n1\r\n"
        for name, other in (("name", "filename"), ("filename", "name"))
    ]
    bodies = [(f"text/plain; charset={charset}", b"abc-a"), (f"{FORM}; charset={charset}", b"a=b")]
    bodies += [("multipart/form-data; boundary=x", f"{piece}--x--\r\n".encode()) for piece in (part, *names)]
    for content_type, raw in bodies:
        with pytest.raises(UnprocessableError, match="unknown charset"):
            parse(content_type, raw)
