"""The command line as a process of its own, against a served API."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.api import ApiUnderTest
from support.zygotes import zygote


@dataclass(frozen=True, slots=True)
class Ended:
    """What a run of the program came to."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The output, parsed."""
        return json.loads(self.out)


class Program:
    """Runs `hark` as its own process against a daemon."""

    def __init__(self, api: ApiUnderTest, directory: Path) -> None:
        self.api = api
        self.environment = {
            **os.environ,
            "HARK_URL": api.url,
            "HARK_DATA_DIR": str(api.services.settings.data_dir),
            "HOME": str(directory),
            "COLUMNS": "140",
        }
        self.environment.pop("PYTHONUNBUFFERED", None)  # a user's is buffered
        self.directory = directory

    async def __call__(self, *args: str) -> Ended:
        """Run it with its output to files, in a process that is forked from one which has imported it."""
        with tempfile.TemporaryDirectory(prefix="hark-output-") as place:
            out, err = Path(place, "out"), Path(place, "err")
            running = zygote().run(args, self.environment, self.directory, str(out), str(err))
            status = await asyncio.wait_for(asyncio.wrap_future(running), 60)
            return Ended(status, out.read_text(), err.read_text())

    async def start(self, *args: str, stdout: int = asyncio.subprocess.PIPE) -> asyncio.subprocess.Process:
        """Start it as anybody would, with its output to a pipe."""
        # Tests that run in the background of a shell ignore the interrupt, and so would all that they start.
        code = (
            "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
            "from hark.daemon.cli import main; main()"
        )
        return await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, *args,
            stdout=stdout, stderr=asyncio.subprocess.PIPE, stdin=asyncio.subprocess.DEVNULL,
            env=self.environment, cwd=self.directory,
        )  # fmt: skip

    async def on_terminal(self, *args: str) -> str:
        """Run it with its output to a terminal; return what that shows."""
        ours, theirs = pty.openpty()
        process = await self.start(*args, stdout=theirs)
        os.close(theirs)
        shown = b""
        try:
            while chunk := await asyncio.to_thread(os.read, ours, 65536):
                shown += chunk
        except OSError:
            pass  # how Linux says that the other side of a terminal has gone
        finally:
            os.close(ours)
        await process.communicate()
        return shown.decode()
