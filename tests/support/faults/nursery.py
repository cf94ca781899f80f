"""A process that has loaded the daemon and makes a new one of itself whenever it is asked: `python nursery.py SOCKET`.

To load it takes two to three seconds of a core, which this suite would spend a hundred times over; a fork takes
some milliseconds. What runs is the same: `hark run`, in a process of its own, with its own environment and output.

A request is a line of JSON on a connection: `{environment, arguments, log}`. Answered is the pid, in a line of its own,
and once that process has ended its status as `os.waitstatus_to_exitcode` gives it.
"""

from __future__ import annotations

import gc
import json
import os
import selectors
import signal
import socket
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    """Serve until the socket that the nursery's input is has been closed."""
    import hark.daemon.app
    import hark.daemon.cli.main  # noqa: F401 - to have them loaded is what this is for

    assert len(list(Path("/proc/self/task").iterdir())) == 1, "a process with threads must not be forked"
    gc.freeze()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(sys.argv[1])
    listener.listen(64)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    _serve(listener)


def _serve(listener: socket.socket) -> None:
    born: dict[int, socket.socket] = {}
    bell, ring = socket.socketpair()
    ring.setblocking(False)
    signal.set_wakeup_fd(ring.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    with selectors.DefaultSelector() as selector:
        for source in (listener, bell, sys.stdin):
            selector.register(source, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is sys.stdin:
                    return
                if key.fileobj is bell:
                    bell.recv(4096)
                    _bury(born)
                else:
                    _bear(listener, born, (listener.fileno(), bell.fileno(), ring.fileno()))


def _bear(listener: socket.socket, born: dict[int, socket.socket], ours: tuple[int, ...]) -> None:
    connection, _ = listener.accept()
    with connection.makefile() as file:
        wanted = json.loads(file.readline())
    pid = os.fork()
    if pid == 0:
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for descriptor in (*ours, connection.fileno(), *(other.fileno() for other in born.values())):
                os.close(descriptor)
            _live(wanted)
        finally:
            os._exit(70)  # never back into the nursery's loop
    born[pid] = connection
    connection.sendall(f"{pid}\n".encode())


def _live(wanted: dict[str, Any]) -> None:
    """Become the daemon."""
    log = os.open(wanted["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for descriptor in (1, 2):
        os.dup2(log, descriptor)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.clear()
    os.environ.update(wanted["environment"])
    sys.argv = ["hark", *wanted["arguments"]]
    gc.unfreeze()
    from hark.daemon.cli.main import run

    status = 0
    try:
        run()
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _bury(born: dict[int, socket.socket]) -> None:
    """Tell of those that have ended."""
    for pid in list(born):
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            with born.pop(pid) as connection:
                connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())


if __name__ == "__main__":
    main()
