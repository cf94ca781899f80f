"""A server that speaks as much of S3 as the archive needs, and believes nobody whose signature is wrong.

The signature is computed here from the published description of AWS Signature Version 4, not by the library under test.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import quote, unquote

from aiohttp import web
from aiohttp.test_utils import TestServer

ACCESS, SECRET, REGION = "AKIDEXAMPLE", "a secret of the test", "eu-test-1"


class Bucket:
    """What is stored, and what was asked."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.refuses: set[str] = set()
        """Methods that fail with 503."""
        self.spoils = False
        """Whether what is stored is not what was sent."""

    async def handle(self, request: web.Request) -> web.Response:
        """Answer one request."""
        raw = await request.read()
        if problem := wrong_signature(request, raw):
            return _fault(403, "SignatureDoesNotMatch", problem)
        if request.method in self.refuses:
            return _fault(503, "SlowDown", "not now")
        key = unquote(request.rel_url.raw_path).removeprefix("/")
        return await getattr(self, f"_{request.method.lower()}")(request, key, raw)

    async def _put(self, request: web.Request, key: str, raw: bytes) -> web.Response:
        body = _unchunked(raw) if "aws-chunked" in request.headers.get("Content-Encoding", "") else raw
        self.objects[key] = body[:-1] if self.spoils else body
        return web.Response(headers={"ETag": f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'})

    async def _get(self, _request: web.Request, key: str, _raw: bytes) -> web.Response:
        if key not in self.objects:
            return _fault(404, "NoSuchKey", key)
        return web.Response(body=self.objects[key])

    async def _delete(self, _request: web.Request, key: str, _raw: bytes) -> web.Response:
        self.objects.pop(key, None)
        return web.Response(status=204)


def _fault(status: int, code: str, message: str) -> web.Response:
    text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return web.Response(status=status, text=text, content_type="application/xml")


def _unchunked(raw: bytes) -> bytes:
    """Take the body out of its chunks; checksums behind it are not looked at."""
    body = b""
    while raw:
        head, _, raw = raw.partition(b"\r\n")
        size = int(head.partition(b";")[0], 16)
        if size == 0:
            break
        body, raw = body + raw[:size], raw[size + 2 :]
    return body


def wrong_signature(request: web.Request, raw: bytes) -> str | None:
    """Say what is wrong with a request's signature; None if it is right."""
    scheme, _, rest = request.headers.get("Authorization", "").partition(" ")
    fields = dict(part.strip().split("=", 1) for part in rest.split(",") if "=" in part)
    if scheme != "AWS4-HMAC-SHA256" or {"Credential", "SignedHeaders", "Signature"} - fields.keys():
        return "it is not signed"
    access, *scope = fields["Credential"].split("/")
    if access != ACCESS or scope[1:] != [REGION, "s3", "aws4_request"]:
        return f"who is {fields['Credential']}"
    claimed = request.headers["x-amz-content-sha256"]
    if len(claimed) == 64 and claimed != hashlib.sha256(raw).hexdigest():
        return "the body is another one"
    names = fields["SignedHeaders"].split(";")
    if not {"host", "x-amz-date", "x-amz-content-sha256"} <= set(names):
        return "too little is signed"
    canonical = "\n".join(
        (
            request.method,
            request.rel_url.raw_path,
            "&".join(sorted(f"{quote(k, safe='-_.~')}={quote(v, safe='-_.~')}" for k, v in request.query.items())),
            *(f"{name}:{' '.join(','.join(request.headers.getall(name)).split())}" for name in names),
            "",
            ";".join(names),
            claimed,
        )
    )
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = "\n".join(("AWS4-HMAC-SHA256", request.headers["x-amz-date"], "/".join(scope), digest))
    key = b"AWS4" + SECRET.encode()
    for part in scope:
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    right = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    return None if hmac.compare_digest(right, fields["Signature"]) else "the signature is wrong"


@asynccontextmanager
async def s3_server() -> AsyncIterator[tuple[Bucket, dict[str, str]]]:
    """Serve buckets; gives what is stored, and the environment in which AWS's tools find it."""
    bucket = Bucket()
    application = web.Application(client_max_size=64 * 1024**2)
    application.router.add_route("*", "/{key:.*}", bucket.handle)
    async with TestServer(application) as server:
        yield (
            bucket,
            {
                "AWS_ENDPOINT_URL_S3": str(server.make_url("")).rstrip("/"),
                "AWS_ACCESS_KEY_ID": ACCESS,
                "AWS_SECRET_ACCESS_KEY": SECRET,
                "AWS_DEFAULT_REGION": REGION,
                "AWS_EC2_METADATA_DISABLED": "true",
                "AWS_CONFIG_FILE": "/dev/null",
                "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
            },
        )
