"""Reading request bodies: bounded in size, in time, and in what all of them together may hold."""

from __future__ import annotations

import asyncio

from aiohttp import web
from aiohttp.http_exceptions import PayloadEncodingError

from hark.workflows.errors import RequestError, UnavailableError

_SMALL = 64 * 1024
_ALL_BODIES = 64 * 1024**2
"""Bytes that all bodies being read may hold together; an open request of 1 MiB costs little more than that."""


class TooLargeError(RequestError):
    """The body has more bytes than are accepted."""

    status, title = 413, "Content too large"


class TooSlowError(RequestError):
    """The body did not come within the deadline."""

    status, title = 408, "Request timeout"


class CompressedError(RequestError):
    """The body is compressed: what it would become is not known before it has filled the memory."""

    status, title = 415, "Unsupported media type"


class BadBodyError(RequestError):
    """The body ended early, or its encoding is broken."""


class BodyReader:
    """Reads bodies of one process."""

    def __init__(self, *, timeout_s: float, most_at_once: int, most_bytes: int = _ALL_BODIES) -> None:
        self._timeout_s = timeout_s
        self._most_at_once = most_at_once
        self._most_bytes = most_bytes
        self._reading = 0
        self.held_bytes = 0

    async def read(self, request: web.Request, max_bytes: int) -> bytes:
        """Return the whole body.

        Raises CompressedError, TooLargeError, TooSlowError, BadBodyError, and UnavailableError when too many others are
        being read.
        """
        declared = request.content_length
        if declared is not None and declared > max_bytes:
            raise TooLargeError(f"the body has {declared:,} bytes; at most {max_bytes:,} are accepted")
        if request.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise CompressedError("send the body without Content-Encoding: compressed ones are not accepted")
        if declared == 0 or not request.can_read_body:
            return b""
        try:
            if request.content.is_eof() and (declared or _SMALL) < _SMALL:
                # All of it came along with the headers, as small webhooks do: there is nothing to wait for.
                return request.content.read_nowait()
            async with asyncio.timeout(self._timeout_s):
                return await self._await(request, max_bytes)
        except TimeoutError as error:
            raise TooSlowError(f"the body did not come within {self._timeout_s:g} s") from error
        except (web.RequestPayloadError, PayloadEncodingError) as error:
            raise BadBodyError(f"the body cannot be read: {error}") from error
        except (ConnectionError, RuntimeError) as error:
            if request.transport is not None:
                raise
            raise BadBodyError("the sender hung up before the body was whole") from error

    async def _await(self, request: web.Request, max_bytes: int) -> bytes:
        """Read a body that is still on its way. Those who send theirs slowly may not take all places."""
        if self._reading >= self._most_at_once:
            raise _too_many()
        self._reading += 1
        try:
            return await self._collect(request, max_bytes)
        finally:
            self._reading -= 1

    async def _collect(self, request: web.Request, max_bytes: int) -> bytes:
        chunks: list[bytes] = []
        size = 0
        try:
            async for chunk in request.content.iter_any():
                size += len(chunk)
                self.held_bytes += len(chunk)
                if size > max_bytes:
                    raise TooLargeError(f"the body has more than the {max_bytes:,} bytes that are accepted")
                if self.held_bytes > self._most_bytes:
                    raise _too_many()
                chunks.append(chunk)
        finally:
            self.held_bytes -= size
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _too_many() -> UnavailableError:
    return UnavailableError("too many request bodies are being received", overloaded=True)
