"""The tests' side of `zygote.py`: one for the process, started when the first command is run."""

from __future__ import annotations

import atexit
import itertools
import json
import subprocess
import sys
import threading
from concurrent.futures import Future
from pathlib import Path


class Zygote:
    """A process that forks one for each command. Its answers are read by a thread, whatever event loop asks."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("zygote.py"))], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._numbers = itertools.count()
        self._asked: dict[int, Future[int]] = {}
        threading.Thread(target=self._read, name="zygote", daemon=True).start()
        atexit.register(self._stop)

    def run(self, args: tuple[str, ...], env: dict[str, str], cwd: Path, out: str, err: str) -> Future[int]:
        """Run a command with its output to files; the future has its exit status."""
        number = next(self._numbers)
        future = self._asked[number] = Future()
        request = {"id": number, "args": args, "env": env, "cwd": str(cwd), "out": out, "err": err}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()
        return future

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            answer = json.loads(line)
            self._asked.pop(answer["id"]).set_result(answer["status"])
        for future in self._asked.values():
            future.set_exception(RuntimeError("the process that runs commands has ended"))

    def _stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)


_zygotes: list[Zygote] = []


def zygote() -> Zygote:
    """Return the one of this process."""
    if not _zygotes:
        _zygotes.append(Zygote())
    return _zygotes[0]
