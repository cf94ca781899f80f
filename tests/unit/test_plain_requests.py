"""What is read without a parser means to aiohttp's parser exactly the same; whatever is special is left to that."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpRequestParser, HttpVersion11
from aiohttp.http_exceptions import HttpProcessingError
from hypothesis import given, settings
from hypothesis import strategies as st

from hark.daemon.api.plain import Plain, read_plain
from hark.triggers.webhook_request import joined_headers

PLAIN = b'POST /hooks/a HTTP/1.1\r\nHost: x\r\nX-Y:\t z \r\nContent-Length: 8\r\n\r\n{"n": 1}'
TARGETS = [
    "/hooks/a",
    "/hooks/a?b=1&b=2&c",
    "/hooks/%2f?x=%ff+y&z",
    "/?",
    "//x/y",
    "/a?b?c=%26",
    "/é",
    "/a#b",
    "/a b",
    "a",
]
NAMES = [
    *("Host", "host", "Content-Length", "Content-Length ", "Connection", "Proxy-Connection", "Transfer-Encoding"),
    *("Content-Encoding", "Upgrade", "Expect", "Sec-WebSocket-Key1", "X", "x", "X_y", "X y", " X", "", "Ü"),
]
VALUES = [
    *("", "x", "0", "2", "02", "+2", "2, 2", "a\tb", " a ", "ü", "a\x00", "a\rb", "a\nb", "close", "Keep-Alive"),
    *("chunked", "gzip", "h2c", "100-continue", "y" * 9000),
]
FIELD = st.tuples(st.sampled_from(NAMES), st.sampled_from([": ", ":", " : ", "", ":\r\n "]), st.sampled_from(VALUES))


def _by_aiohttp(data: bytes) -> Plain | None:
    """Read a request as its server would; None for what it refuses, and for what is not whole or not the only one."""
    loop = asyncio.new_event_loop()
    try:
        parser = HttpRequestParser(BaseProtocol(loop), loop, 2**16, auto_decompress=False)
        messages, _, _ = parser.feed_data(data)
        if len(messages) != 1 or not messages[0][1].is_eof():
            return None
        message, payload = messages[0]
        special = message.should_close or message.upgrade or message.chunked or "Content-Encoding" in message.headers
        if special or message.method != "POST" or message.version != HttpVersion11:
            return None
        body = payload.read_nowait() if payload.total_bytes else b""
        query = tuple(message.url.query.items())
        return Plain(message.url.raw_path, query, joined_headers(message.headers.items()), body)
    except HttpProcessingError:
        return None
    finally:
        loop.close()


def _written(target: str, fields: list[tuple[str, str, str]], body: bytes, rest: str, *, honest: bool) -> bytes:
    method, version, end = rest.split("|")
    lines = [f"{method} {target} HTTP/{version}", *map("".join, fields)]
    lines += ["Host: y", f"Content-Length: {len(body)}"] if honest else []
    return (end.join(lines) + end + end).encode("latin-1") + body


@given(
    st.builds(
        _written,
        st.sampled_from(TARGETS),
        st.lists(FIELD, max_size=2),
        st.sampled_from([b"", b"{}", b"{}\r\n", PLAIN]),
        st.sampled_from([*["POST|1.1|\r\n"] * 12, "GET|1.1|\r\n", "post|1.1|\r\n", "POST|1.0|\r\n", "POST|1.1|\n"]),
        honest=st.sampled_from([True, True, True, False]),
    )
)
@settings(max_examples=400)
def test_what_is_read_here_means_the_same_to_aiohttp(data: bytes) -> None:
    read = read_plain(data)
    assert read is None or read == _by_aiohttp(data)


def test_a_plain_request_is_read() -> None:
    headers = {"host": "x", "x-y": "z", "content-length": "8"}
    assert read_plain(PLAIN) == _by_aiohttp(PLAIN) == Plain("/hooks/a", (), headers, b'{"n": 1}')
    with_query = PLAIN.replace(b"/a", b"/a?b=%20&b=c")
    assert read_plain(with_query) == _by_aiohttp(with_query)
    assert read_plain(PLAIN.replace(b"X-Y", b"Connection").replace(b"z", b"Keep-Alive")) is not None


@pytest.mark.parametrize(
    "special",
    [
        b"Host: x\r\n",
        b"X-Y: again\r\n",
        b"Connection: close\r\n",
        b"Proxy-Connection: close\r\n",
        b"Connection: upgrade\r\nUpgrade: h2c\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Content-Encoding: gzip\r\n",
        b"Expect: 100-continue\r\n",
        b"X: \xe9\r\n",
        b"X: a\r\n b\r\n",
        b"X : a\r\n",
        b"X: " + b"a" * 8000 + b"\r\n",
        b"".join(b"X%d: a\r\n" % number for number in range(64)),
    ],
)
def test_what_has_anything_special_is_left_to_the_parser(special: bytes) -> None:
    assert read_plain(PLAIN.replace(b"X-Y:", special + b"X-Y:")) is None


def test_what_is_longer_or_shorter_than_it_says_is_left_to_the_parser() -> None:
    assert read_plain(PLAIN[:-1]) is None
    assert read_plain(PLAIN + b"\r\n") is None
    assert read_plain(PLAIN + PLAIN) is None
