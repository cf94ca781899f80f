"""Runs the command line in processes that have its modules already: `python zygote.py`, a request a line.

To import them takes ten times as long as a command. A request is {id, args, env, cwd, out, err}; the answer, when the
process has ended, {id, status}. Each is a process of its own with descriptors of its own, as the program is.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import io
import json
import os
import pkgutil
import select
import signal
import sys
import traceback
from typing import Any

import hark.daemon.cli
from hark.daemon.cli import main as run_command  # before a module of that name takes its place

_ALSO = (
    "hark.actions.builtin", "hark.client", "hark.daemon.configuration", "hark.daemon.engine.cases",
    "hark.daemon.runtime_file", "hark.daemon.store.key_file", "hark.triggers.builtin", "hark.workflows.loading",
    "rich.table",
)  # fmt: skip


def preload() -> None:
    """Import what commands import when they run."""
    for module in pkgutil.iter_modules(hark.daemon.cli.__path__, "hark.daemon.cli."):
        importlib.import_module(module.name)
    for name in _ALSO:
        importlib.import_module(name)
    sys.argv = ["hark", "list", "--help"]  # what is made when the first command runs
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
        run_command()
    gc.freeze()


def serve() -> None:
    """Take requests until the input ends."""
    ended, told = os.pipe()
    for descriptor in (ended, told):
        os.set_blocking(descriptor, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(told)
    running: dict[int, int] = {}
    rest = b""
    while True:
        readable, _, _ = select.select([0, ended], [], [])
        if ended in readable:
            os.read(ended, 65536)
            report(running)
        if 0 in readable:
            if not (chunk := os.read(0, 65536)):
                return
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                request = json.loads(line)
                running[fork(request)] = request["id"]


def report(running: dict[int, int]) -> None:
    """Tell of all that have ended."""
    for process in [*running]:
        found, status = os.waitpid(process, os.WNOHANG)
        if found:
            answer = {"id": running.pop(process), "status": os.waitstatus_to_exitcode(status)}
            os.write(1, json.dumps(answer).encode() + b"\n")


def fork(request: dict[str, Any]) -> int:
    """Run a command in a process of its own; returns its number."""
    if process := os.fork():
        return process
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for descriptor, path in ((1, request["out"]), (2, request["err"])):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), descriptor)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.argv = ["hark", *request["args"]]
    os._exit(finished())


def finished() -> int:
    """Run the command to its end; returns its exit status.

    Python's own way out would take apart all that was imported, as long as the command itself.
    """
    status: Any = 0
    try:
        run_command()
    except SystemExit as end:
        status = end.code or 0
    except BaseException:  # noqa: BLE001 - it ends as Python would end it
        traceback.print_exc()
        status = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return status if isinstance(status, int) else 1


if __name__ == "__main__":
    preload()
    serve()
