"""How commands find the daemon and what they say when there is none."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Annotated, TypeVar
from urllib.parse import urlsplit

import typer

from hark.daemon.cli.output import complain, fail

if TYPE_CHECKING:
    from hark.client import ApiError, HarkClient
    from hark.daemon.api.models.problems import ProblemItem
    from hark.daemon.settings import Settings

ResultT = TypeVar("ResultT")

Url = Annotated[
    str | None, typer.Option("--url", help="The daemon's address; without it HARK_URL, else the local one.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@dataclass(frozen=True, slots=True)
class Target:
    """Where requests go, and with which key."""

    url: str
    key: str | None
    advice: str
    """What to do when nobody answers there."""


def find_target(url: str | None, settings: Settings) -> Target:
    """Find the daemon: the flag, then HARK_URL, then what the daemon wrote into the data directory.

    The local admin key goes nowhere but to the daemon of this data directory, or to this machine.
    """
    from hark.daemon.runtime_file import read_running
    from hark.daemon.store.key_file import ADMIN_KEY_FILE, read_key

    running = read_running(settings.data_dir)
    local = running.url if running is not None else f"http://{_loopback(settings.host)}:{settings.port}"
    address = url or settings.url or local
    if settings.api_key is not None:
        key: str | None = settings.api_key.get_secret_value()
    elif address.rstrip("/") == local or _is_loopback(address):
        key = read_key(settings.data_dir / ADMIN_KEY_FILE)
    else:
        key = None
    if address == local:
        advice = f"start Hark with `hark run` (its data directory is {settings.data_dir}), or name another with --url"
    else:
        advice = "is the address right, and is Hark running there?"
    return Target(address, key, advice)


def _loopback(host: str) -> str:
    return "127.0.0.1" if host in ("0.0.0.0", "::", "") else f"[{host}]" if ":" in host else host  # noqa: S104


def _is_loopback(url: str) -> bool:
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def ask(url: str | None, question: Callable[[HarkClient], Awaitable[ResultT]]) -> ResultT:
    """Put a question to the daemon; prints what is wrong and ends the command when there is no answer."""
    from hark.client import ApiError, HarkClient, UnreachableError

    target = target_of(url)

    async def put() -> ResultT:
        async with HarkClient(target.url, target.key) as client:
            return await question(client)

    try:
        return asyncio.run(put())
    except UnreachableError as error:
        raise fail(f"{error}\n{target.advice}") from None
    except ApiError as error:
        raise refused(error) from None


def target_of(url: str | None) -> Target:
    """Find the daemon by flag, settings and data directory; ends the command when the settings are wrong."""
    from hark.daemon.configuration import load_settings
    from hark.workflows.errors import ConfigurationError

    try:
        return find_target(url, load_settings())
    except ConfigurationError as error:
        raise fail(str(error)) from None


def _located(problem: ProblemItem) -> str:
    """Write a problem with the place where it is."""
    place = ":".join(str(part) for part in (problem.file, problem.line, problem.column) if part)
    return ": ".join(part for part in (place, problem.path, problem.message) if part)


def refused(error: ApiError) -> typer.Exit:
    """Print a refusal with all its problems, each once; raise what this returns."""
    said, told = str(error), [(_located(one), f" ({one.hint})" if one.hint else "") for one in error.problem.problems]
    if len(told) == 1 and (said.endswith(told[0][0]) or told[0][0].endswith(said)):
        text, hint = told.pop()
        said = max(said, text, key=len) + hint
    end = fail(said)
    for text, hint in told:
        if hint or not said.endswith(text):
            complain(f"  {text}{hint}")
    if error.status == 401:
        complain("set HARK_API_KEY, or be the user who owns admin.key in the data directory")
    return end
