"""The HTTP client against a real server on loopback."""

from __future__ import annotations

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.test_utils import TestServer

from hark.actions.http_client import HttpClient
from hark.workflows.catalogue import HttpAnswer
from hark.workflows.errors import ActionError

MEBIBYTE = 1024 * 1024
SECRETS = {"Authorization": "Bearer s3cret", "Cookie": "a=b", "X-Api-Key": "s3cret", "Accept": "text/plain"}


@dataclass
class Site:
    """A server that keeps what it was asked."""

    server: TestServer | None = None
    seen: list[dict[str, Any]] = field(default_factory=list)
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    hang: asyncio.Event = field(default_factory=asyncio.Event)

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        assert self.server is not None
        return f"http://{host}:{self.server.port}{path}"

    async def note(self, request: web.Request) -> dict[str, Any]:
        note = {"method": request.method, "headers": request.headers, "body": await request.read()}
        self.seen.append(note)
        return note

    async def echo(self, request: web.Request) -> web.Response:
        await self.note(request)
        return web.Response(text="hello", headers={"X-Twice": "1", "Set-Cookie": "sid=1"})

    async def redirect(self, request: web.Request) -> web.Response:
        await self.note(request)
        return web.Response(status=int(request.match_info["status"]), headers={"Location": request.query["to"]})

    async def bomb(self, request: web.Request) -> web.Response:
        return web.Response(body=gzip.compress(bytes(20 * MEBIBYTE)), headers={"Content-Encoding": "gzip"})

    async def slow(self, request: web.Request) -> web.Response:
        self.reached.set()
        await self.hang.wait()
        return web.Response()

    async def drip(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"x")
        await self.hang.wait()
        return response

    async def raw(self, request: web.Request) -> web.Response:
        """Answer with a header that is no UTF-8, which the server's own writer does not make."""
        assert request.transport is not None
        request.transport.write(b"HTTP/1.1 200 OK\r\nX-Raw: a\xffb\r\nContent-Length: 0\r\n\r\n")
        request.transport.close()
        return web.Response()

    async def cut(self, request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.close()
        return web.Response()


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    app = web.Application()
    app.router.add_route("*", "/echo", site.echo)
    app.router.add_route("*", "/redirect/{status}", site.redirect)
    handlers: dict[str, Callable[[web.Request], Awaitable[web.StreamResponse]]] = {
        "/bomb": site.bomb,
        "/slow": site.slow,
        "/drip": site.drip,
        "/cut": site.cut,
        "/raw": site.raw,
    }
    for path, handler in handlers.items():
        app.router.add_get(path, handler)
    site.server = TestServer(app)
    async with site.server:
        yield site
        site.hang.set()


@pytest.fixture
async def client() -> AsyncIterator[HttpClient]:
    async with HttpClient(allow_networks=["127.0.0.0/8", "::1"]) as client:
        yield client


async def send(client: HttpClient, url: str, method: str = "GET", **changes: Any) -> HttpAnswer:
    options: dict[str, Any] = {"headers": {}, "body": None, "timeout_s": 5.0, "max_bytes": MEBIBYTE}
    return await client.request(method, url, **(options | changes))


async def refused(client: HttpClient, url: str, method: str = "GET", **changes: Any) -> ActionError:
    with pytest.raises(ActionError) as caught:
        await send(client, url, method, **changes)
    return caught.value


async def test_an_answer_has_status_headers_body_and_where_it_came_from(client: HttpClient, site: Site) -> None:
    answer = await send(client, site.url("/echo?q=1#part"), "POST", headers={"X-One": "ä"}, body=b"data")
    assert (answer.status, answer.body, answer.headers["x-twice"]) == (200, b"hello", "1")
    assert answer.url == site.url("/echo?q=1")
    assert (site.seen[0]["method"], site.seen[0]["body"]) == ("POST", b"data")
    assert site.seen[0]["headers"]["User-Agent"].startswith("hark/")


async def test_it_starts_by_itself_and_stops_more_than_once(site: Site) -> None:
    client = HttpClient(allow_networks=["127.0.0.0/8"])
    await client.stop()
    assert (await send(client, site.url("/echo"))).status == 200
    await client.stop()
    await client.stop()


async def test_no_cookie_is_kept(client: HttpClient, site: Site) -> None:
    await send(client, site.url("/echo", "localhost"))
    await send(client, site.url("/echo", "localhost"))
    assert "Cookie" not in site.seen[1]["headers"]


async def test_the_proxy_of_the_environment_is_not_used(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    async with HttpClient(allow_networks=["127.0.0.0/8"]) as client:
        assert (await send(client, site.url("/echo"))).status == 200


@pytest.mark.parametrize(
    "host, error_class",
    [
        *((host, "http_blocked") for host in ("127.0.0.1", "localhost", "0x7f000001", "[::ffff:127.0.0.1]", "[::1]")),
        *((host, "http_request_invalid") for host in ("2130706433", "0177.0.0.1", "127.1")),
    ],
)
async def test_however_a_private_address_is_spelled_it_is_not_reached(site: Site, host: str, error_class: str) -> None:
    async with HttpClient() as client:
        error = await refused(client, site.url("/echo", host))
    assert not site.seen
    assert (error.error_class, error.retryable) == (error_class, False)


class Rebinding(AbstractResolver):
    """A name that is public when looked at and private when connected to would give its last answer here."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
        return [
            ResolveResult(hostname=host, host=address, port=port, family=socket.AF_INET, proto=0, flags=0)
            for address in self.addresses
        ]

    async def close(self) -> None:
        """Nothing to close."""


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["10.0.0.1", "127.0.0.1"]], ids=["one", "several"])
async def test_a_name_that_leads_to_private_addresses_is_not_reached(
    site: Site, addresses: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with HttpClient() as client:
        monkeypatch.setattr(client._open().connector, "_resolver", Rebinding(*addresses))
        error = await refused(client, site.url("/echo", "innocent.example.org"))
    assert error.error_class == "http_blocked"
    assert not site.seen


async def test_every_redirect_is_checked_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    async with HttpClient(allow_networks=["127.0.0.1/32"]) as client:
        monkeypatch.setattr(client._open().connector, "_resolver", Rebinding("127.0.0.2"))
        error = await refused(client, site.url("/redirect/302?to=" + site.url("/echo", "inside.example.org")))
    assert error.error_class == "http_blocked"
    assert len(site.seen) == 1


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://example.org/", "http://u:p@127.0.0.1/", "http://"])
async def test_a_redirect_leads_to_http_only(client: HttpClient, site: Site, target: str) -> None:
    error = await refused(client, site.url("/redirect/302?to=" + target))
    assert (error.error_class, error.retryable) == ("http_redirect", False)


@pytest.mark.parametrize(
    "status, method, after, body",
    [
        (301, "POST", "GET", b""),
        (302, "POST", "GET", b""),
        (303, "PUT", "GET", b""),
        (303, "HEAD", "HEAD", b""),
        (301, "PUT", "PUT", b"data"),
        (307, "POST", "POST", b"data"),
        (308, "DELETE", "DELETE", b"data"),
    ],
)
async def test_a_redirect_changes_the_method_as_the_standard_has_it(
    client: HttpClient, site: Site, status: int, method: str, after: str, body: bytes
) -> None:
    sent = None if method == "HEAD" else b"data"
    headers = {"Content-Type": "text/plain"} if sent else {}
    await send(client, site.url(f"/redirect/{status}?to=/echo"), method, headers=headers, body=sent)
    assert (site.seen[1]["method"], site.seen[1]["body"]) == (after, body)
    assert (site.seen[1]["headers"].get("Content-Type") == "text/plain") == bool(body)


async def test_secrets_stay_with_their_origin(client: HttpClient, site: Site) -> None:
    await send(client, site.url("/redirect/307?to=/echo"), headers=SECRETS)
    assert site.seen[1]["headers"]["Authorization"] == "Bearer s3cret"
    await send(client, site.url("/redirect/307?to=" + site.url("/echo", "localhost")), headers=SECRETS)
    moved = site.seen[3]["headers"]
    assert not {"Authorization", "Cookie", "X-Api-Key"} & set(moved)
    assert moved["Accept"] == "text/plain"


async def test_a_redirect_to_a_host_with_an_empty_label_is_refused(client: HttpClient, site: Site) -> None:
    error = await refused(client, site.url("/redirect/302?to=http://a..b/"))
    assert (error.error_class, error.retryable) == ("http_redirect", False)


async def test_bytes_that_are_no_text_are_replaced_in_headers(client: HttpClient, site: Site) -> None:
    assert (await send(client, site.url("/raw"))).headers["x-raw"] == "a\N{REPLACEMENT CHARACTER}b"


async def test_redirects_have_an_end(client: HttpClient, site: Site) -> None:
    loop = "/redirect/302?to=" + "/redirect/302%3Fto%3D/echo"
    assert (await send(client, site.url(loop), max_redirects=2)).status == 200
    assert (await refused(client, site.url(loop), max_redirects=1)).error_class == "http_redirect"


async def test_without_redirects_the_answer_is_the_redirect_itself(client: HttpClient, site: Site) -> None:
    answer = await send(client, site.url("/redirect/302?to=/echo"), max_redirects=0)
    assert (answer.status, answer.headers["location"]) == (302, "/echo")


async def test_a_small_answer_that_unfolds_without_end_is_refused(client: HttpClient, site: Site) -> None:
    error = await refused(client, site.url("/bomb"), max_bytes=MEBIBYTE)
    assert (error.error_class, error.retryable) == ("http_too_large", False)
    assert (await send(client, site.url("/echo"), max_bytes=5)).body == b"hello"
    assert (await refused(client, site.url("/echo"), max_bytes=4)).error_class == "http_too_large"


@pytest.mark.parametrize("path", ["/slow", "/drip"])
async def test_the_time_limit_holds_for_headers_and_body(client: HttpClient, site: Site, path: str) -> None:
    error = await refused(client, site.url(path), timeout_s=0.05)
    assert (error.error_class, error.retryable) == ("http_timeout", True)


async def test_a_broken_connection_may_be_tried_again(client: HttpClient, site: Site, unused_tcp_port: int) -> None:
    for url in (site.url("/cut"), f"http://127.0.0.1:{unused_tcp_port}/"):
        error = await refused(client, url)
        assert (error.error_class, error.retryable) == ("http_connection", True)


async def test_waiting_for_a_connection_counts_against_the_time_limit(site: Site) -> None:
    async with HttpClient(allow_networks=["127.0.0.0/8"], concurrency=1) as client:
        first = asyncio.create_task(send(client, site.url("/slow")), name="first")
        await site.reached.wait()
        error = await refused(client, site.url("/echo"), timeout_s=0.1)
        assert error.error_class == "http_timeout"
        site.hang.set()
        assert (await first).status == 200


@pytest.mark.parametrize(
    "url",
    [
        *("example.org", "/path", "ftp://example.org/", "file:///etc/passwd", "http://", "http://a:99999/"),
        *("http://user:secret@example.org/", "http://user@example.org/", "http://a\r\nb/", "javascript:alert(1)", ""),
        *("http://a..b/", "http://.a/", f"http://{'a' * 64}.org/"),
    ],
)
async def test_what_is_no_plain_http_url_is_refused_before_anything_is_sent(client: HttpClient, url: str) -> None:
    error = await refused(client, url)
    assert (error.error_class, error.retryable) == ("http_request_invalid", False)
    assert "secret" not in str(error)


@pytest.mark.parametrize(
    "headers", [{"X": "a\r\nY: b"}, {"X\n": "a"}, {"": "a"}, {"Host": "a"}, {"content-LENGTH": "3"}, {"X": "a\0"}]
)
async def test_a_header_cannot_break_out_of_its_line(client: HttpClient, site: Site, headers: dict[str, str]) -> None:
    assert (await refused(client, site.url("/echo"), headers=headers)).error_class == "http_request_invalid"
    assert not site.seen
