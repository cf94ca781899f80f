"""Outgoing HTTP: one client for all actions, guarded against private addresses and against large answers."""

from __future__ import annotations

import asyncio
import errno
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from hark._version import __version__
from hark.actions.network_guard import Network, NetworkGuard
from hark.workflows.catalogue import HttpAnswer
from hark.workflows.errors import ActionError

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_FRAMING = frozenset(
    {
        "connection",
        "content-length",
        "host",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_HARMLESS = frozenset(
    {"accept", "accept-charset", "accept-encoding", "accept-language", "content-encoding", "content-type", "user-agent"}
)
"""Headers that follow a redirect to another origin. All others may be a secret, whatever their name is."""
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


def refusal(message: str, error_class: str = "http_request_invalid") -> ActionError:
    """Make the error for a request that no repetition makes right."""
    return ActionError(message, error_class=error_class, retryable=False)


def check_header_name(name: str) -> str:
    """Refuse a name that would break out of its line, or that belongs to the connection. Raises ValueError."""
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"{name!r} is no header name: write letters, digits and hyphens")
    if name.lower() in _FRAMING:
        raise ValueError(f"the header {name} belongs to the connection and cannot be set")
    return name


def check_header_value(value: str) -> str:
    """Refuse a value that would break out of its line. Raises ValueError."""
    if _CONTROL.search(value):
        raise ValueError("a header contains no line breaks or control characters")
    return value


def check_url(text: str) -> URL:
    """Read an absolute http or https URL without user and password. Raises ValueError with what would be right."""
    if _CONTROL.search(text):
        raise ValueError("a URL contains no line breaks or control characters")
    try:
        url = URL(text.strip())
        port_is_good = url.port is None or 0 < url.port < 65536
        (url.raw_host or "").encode("idna")  # as the resolver does: no label is empty or longer than 63
    except ValueError as error:
        raise ValueError(f"this is no URL: {error}") from error
    if url.scheme not in {"http", "https"} or not url.host or not port_is_good:
        raise ValueError("write a whole URL that begins with https:// or http://")
    if url.user is not None or url.password is not None:
        raise ValueError("user and password do not belong into a URL: use `auth`")
    return url.with_fragment(None)


@dataclass(frozen=True, slots=True)
class _Request:
    """One hop of a request on its way through redirects."""

    method: str
    url: URL
    headers: CIMultiDict[str]
    body: bytes | None

    def redirected(self, status: int, location: str) -> _Request:
        """Return the request for a redirect's target, as Fetch and RFC 9110 15.4 have it; secrets stay at home."""
        target = _redirect_target(self.url, location)
        turns_to_get = (status == 303 and self.method != "HEAD") or (status in {301, 302} and self.method == "POST")
        headers = self.headers if _same_origin(self.url, target) else _only(self.headers, _HARMLESS)
        if not turns_to_get:
            return replace(self, url=target, headers=headers)
        kept = {name for name in headers if not name.lower().startswith("content-")}
        return _Request("GET", target, _only(headers, {name.lower() for name in kept}), None)


def _redirect_target(origin: URL, location: str) -> URL:
    try:
        return check_url(str(origin.join(URL(location))))
    except ValueError as error:
        raise refusal(f"{_label(origin)} redirects to where Hark does not go: {error}", "http_redirect") from error


def _same_origin(one: URL, other: URL) -> bool:
    """Compare origins; a step up from http to https on the usual ports of one host counts as the same."""
    upgraded = one.host == other.host and (one.port, other.port) == (80, 443) and other.scheme == "https"
    return one.origin() == other.origin() or upgraded


def _only(headers: CIMultiDict[str], names: frozenset[str] | set[str]) -> CIMultiDict[str]:
    return CIMultiDict((name, value) for name, value in headers.items() if name.lower() in names)


def _label(url: URL) -> str:
    """Name a URL in a message: without query, which may hold secrets."""
    return str(url.with_query(None))


class HttpClient:
    """The daemon's outgoing HTTP, an implementation of the `Http` protocol. Starts at the first request.

    `allow_networks` opens private networks, such as `10.0.0.0/8` or, in tests, `127.0.0.0/8`. No more than
    `concurrency` connections are open at a time; who waits for one does so within its own time limit.
    """

    def __init__(
        self,
        *,
        allow_networks: Sequence[Network | str] = (),
        concurrency: int = 200,
        connect_timeout_s: float = 10.0,
    ) -> None:
        self._guard = NetworkGuard(allow_networks)
        self._concurrency = concurrency
        self._connect_timeout_s = connect_timeout_s
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Open the session now rather than at the first request; idempotent."""
        self._open()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._concurrency, socket_factory=self._guard.make_socket),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": f"hark/{__version__}"},
                trust_env=False,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._connect_timeout_s),
            )
        return self._session

    async def stop(self) -> None:
        """Close all connections; idempotent, safe before start."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes | None,
        timeout_s: float,
        max_bytes: int,
        max_redirects: int = 5,
    ) -> HttpAnswer:
        """Send one request and follow its redirects, all within `timeout_s`; with no redirects, return the 3xx.

        `max_bytes` bounds the body as it is after decompression. Raises ActionError, retryable where that may help.
        """
        request = _first_request(method, url, headers, body)
        try:
            async with asyncio.timeout(timeout_s):
                return await self._follow(request, max_bytes, max_redirects)
        except TimeoutError as error:
            raise ActionError(
                f"{method} {_label(request.url)} was not answered within {timeout_s:g} s", error_class="http_timeout"
            ) from error
        except aiohttp.ClientError as error:
            raise _connection_error(request, error) from error

    async def _follow(self, request: _Request, max_bytes: int, max_redirects: int) -> HttpAnswer:
        for _ in range(max_redirects + 1):
            answer, location = await self._send(request, max_bytes)
            if location is None or not max_redirects:
                return answer
            request = request.redirected(answer.status, location)
        raise refusal(f"{_label(request.url)}: more than {max_redirects} redirects", "http_redirect")

    async def _send(self, request: _Request, max_bytes: int) -> tuple[HttpAnswer, str | None]:
        async with self._open().request(
            request.method, request.url, headers=request.headers, data=request.body, allow_redirects=False
        ) as response:
            location = response.headers.get("Location") if response.status in _REDIRECTS else None
            body = await _read(response, max_bytes)
            return HttpAnswer(response.status, _joined(response), body, str(response.url)), location


def _first_request(method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> _Request:
    try:
        for name, value in headers.items():
            check_header_name(name)
            check_header_value(value)
        return _Request(method, check_url(url), CIMultiDict(headers), body)
    except ValueError as error:
        raise refusal(str(error)) from error


async def _read(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    """Read a body piece by piece: a small compressed one may unfold to any size."""
    pieces: list[bytes] = []
    room = max_bytes
    async for piece in response.content.iter_any():
        room -= len(piece)
        if room < 0:
            response.close()
            raise refusal(f"{_label(response.url)} answered with more than {max_bytes} bytes", "http_too_large")
        pieces.append(piece)
    return b"".join(pieces)


def _joined(response: aiohttp.ClientResponse) -> dict[str, str]:
    """Return the headers, each once; bytes that are no UTF-8 are replaced, for a result must be storable."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in response.headers.items():
        name, value = raw_name.lower(), _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", raw_value)
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _connection_error(request: _Request, error: aiohttp.ClientError) -> ActionError:
    """Say what went wrong on the way; the address that a name stands for is not told."""
    label = f"{request.method} {_label(request.url)}"
    if isinstance(error, aiohttp.ClientConnectorError) and error.errno == errno.EACCES:
        return refusal(
            f"{label}: the host has a private or reserved address; an operator can open networks for requests",
            "http_blocked",
        )
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return refusal(f"{label}: the server's certificate is not valid: {error.certificate_error}", "http_tls")
    if isinstance(error, aiohttp.InvalidURL):
        return refusal(f"{label}: this is no URL")
    reason = error.strerror if isinstance(error, aiohttp.ClientOSError) and error.strerror else type(error).__name__
    return ActionError(f"{label}: {reason}", error_class="http_connection")
