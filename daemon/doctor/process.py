"""The daemon as a process: whether it is where its file says, and whether it could start."""

from __future__ import annotations

import errno
import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.client import HTTPException, HTTPResponse
from typing import Any

from hark.daemon.doctor.report import Finding, error, ok, warning
from hark.daemon.runtime_file import NAME, Running, read_running
from hark.daemon.settings import Settings

_PATIENCE_S = 3.0
# Whatever proxy the environment names is for the world outside.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def look_at_daemon(settings: Settings) -> Iterator[Finding]:
    """Compare what the runtime file says with what is there."""
    running = read_running(settings.data_dir)
    if running is None:
        yield ok(f"no daemon runs on {settings.data_dir}; `hark run` starts one")
    elif not running.lives:
        yield warning(
            f"{settings.data_dir / NAME} names process {running.pid} as the daemon, which is gone: it was killed",
            "start it again: `hark run` takes up what it left",
            pid=running.pid,
        )
    else:
        yield _ask(running)


def _ask(running: Running) -> Finding:
    try:
        with _OPENER.open(f"{running.url}/readyz", timeout=_PATIENCE_S) as answer:
            said, missing = f"the daemon (process {running.pid}) is ready at {running.url}", _missing(answer)
        if missing:
            advice = "it does without, and goes on trying; its log and the findings below say more"
            return warning(f"{said}, but not all of it works: {missing}", advice, pid=running.pid, url=running.url)
        return ok(said, pid=running.pid, url=running.url)
    except urllib.error.HTTPError as answer:
        with answer:
            return error(
                f"the daemon at {running.url} is not ready: {_missing(answer) or f'it answers {answer.code}'}",
                "its log says more, and so do the findings below",
                pid=running.pid,
            )
    except (OSError, ValueError) as failure:
        return error(
            f"process {running.pid} lives, but no daemon answers at {running.url} ({failure})",
            "look into its log; if another program has the number by now, the daemon was killed: start it again",
            pid=running.pid,
        )


def _missing(answer: HTTPResponse | urllib.error.HTTPError) -> str:
    """Say which parts do not work and why, as `/readyz` has it; empty when all do, or when it is no such answer."""
    try:
        parts: dict[str, Any] = json.loads(answer.read())["parts"]
        return "; ".join(f"{name}: {part['detail']}" for name, part in parts.items() if not part["ok"])
    except (ValueError, KeyError, TypeError, AttributeError, OSError, HTTPException):
        return ""


def look_at_port(settings: Settings) -> Iterator[Finding]:
    """Find out whether the address to serve on is free, unless it is the daemon itself that has it."""
    running = read_running(settings.data_dir)
    if settings.port == 0 or (running is not None and running.lives):
        return
    try:
        for family, kind, protocol, _, address in socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            _try_to_bind(family, kind, protocol, address)
    except OSError as failure:
        yield _explain(settings, failure)


def _try_to_bind(family: int, kind: int, protocol: int, address: Any) -> None:
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        probe.bind(address)


def _explain(settings: Settings, failure: OSError) -> Finding:
    place = f"{settings.host} port {settings.port}"
    if failure.errno == errno.EADDRINUSE:
        return error(
            f"another program has {place}",
            f"`ss -ltnp 'sport = :{settings.port}'` names it; choose another port with HARK_PORT. If it is a Hark "
            "with another data directory, name that with HARK_DATA_DIR; hark.socket holds the port on purpose",
        )
    if failure.errno == errno.EACCES:
        return error(f"this user may not serve on {place}", "choose a port from 1024 on, or let hark.socket hold it")
    return error(f"Hark cannot serve on {place}: {failure}", "set HARK_HOST to an address of this machine")
