"""A bucket of S3, or of anything that speaks its protocol."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from hark.daemon.archive.place import CHUNK, ArchiveError

try:
    from aiobotocore.config import AioConfig
    from aiobotocore.session import get_session
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError as error:  # pragma: no cover - the extra is installed where tests run
    raise ArchiveError("an archive in S3 needs the extra: pip install 'hark[s3]'") from error

_SETTINGS = AioConfig(connect_timeout=10, read_timeout=60, retries={"max_attempts": 5, "mode": "standard"})


class Bucket:
    """`s3://bucket/prefix`. Keys, region, another endpoint: from AWS_* variables, AWS's files, the machine's role."""

    def __init__(self, location: str) -> None:
        parts = urlsplit(location)
        self._location = location
        self._bucket = parts.netloc
        self._prefix = parts.path.strip("/")
        self._session = get_session()

    def scratch(self) -> Path:
        """Make the file among the temporary ones of this machine."""
        handle, path = tempfile.mkstemp(prefix="hark-", suffix=".part")
        os.close(handle)
        return Path(path)

    async def put(self, name: str, file: Path) -> None:
        """Upload the file; the library sends a checksum along, which the other side compares."""
        async with self._client() as client:
            with file.open("rb") as body:
                await client.put_object(**self._named(name), Body=body)
        await asyncio.to_thread(file.unlink)

    async def read(self, name: str) -> AsyncIterator[bytes]:
        """Download in pieces."""
        async with self._client() as client:
            answer = await client.get_object(**self._named(name))
            async with answer["Body"] as body:
                while chunk := await body.read(CHUNK):
                    yield chunk

    async def remove(self, name: str) -> None:
        """Delete the object; S3 says the same whether it was there or not."""
        async with self._client() as client:
            await client.delete_object(**self._named(name))

    def _named(self, name: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": f"{self._prefix}/{name}" if self._prefix else name}

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[Any]:
        made: AbstractAsyncContextManager[Any] = self._session.create_client("s3", config=_SETTINGS)
        try:
            async with made as client:
                yield client
        except (BotoCoreError, ClientError, OSError) as error:
            raise ArchiveError(f"archive {self._location}: {error}") from error
