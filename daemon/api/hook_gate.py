"""The gate before a webhook's path: who may come, how often, and what browsers and event brokers ask beforehand."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from time import monotonic

from aiohttp import web

from hark.daemon.api.origin import Address, is_within
from hark.daemon.api.problems import problem_response
from hark.triggers.webhook import Hook
from hark.triggers.webhook_config import Cors, Rate
from hark.workflows.errors import ForbiddenError, UnavailableError
from hark.workflows.ids import TenantId

_MOST_PATHS = 10_000


class Rates:
    """Counts the requests of each path, of this instance: a bucket that holds `limit` and is full again after `per`."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._empty_at: dict[tuple[TenantId, str], float] = {}
        """When each bucket will have run empty, which is all that there is to know of one."""

    def take(self, hook: Hook) -> None:
        """Count a request. Raises UnavailableError (429) when there have been too many."""
        rate = hook.config.rate
        if rate is None:
            return
        now, key = self._clock(), (hook.tenant_id, hook.template)
        span = rate.per.total_seconds()
        empty_at = max(self._empty_at.get(key, now), now) + span / rate.limit
        if empty_at - now > span * (1 + 1e-9):
            message = f"more than {rate.limit} requests in {span:g} s"
            raise UnavailableError(message, retry_after_s=empty_at - now - span, overloaded=True)
        if len(self._empty_at) >= _MOST_PATHS:
            self._empty_at = {key: moment for key, moment in self._empty_at.items() if moment > now}
        self._empty_at[key] = empty_at


def check_address(hook: Hook, client: Address | None) -> None:
    """Refuse a request from elsewhere than `allow_from`. Raises ForbiddenError."""
    allowed = hook.config.allow_from
    if allowed is not None and not is_within(client, allowed):
        raise ForbiddenError(f"requests from {client or 'there'} are not taken on this path")


def answer_beforehand(hook: Hook, headers: Mapping[str, str]) -> web.Response | None:
    """Answer an OPTIONS request that asks what may be sent; None when it is not one of these questions."""
    if "Access-Control-Request-Method" in headers and hook.config.cors is not None:
        return _preflight(hook, hook.config.cors, headers)
    if "WebHook-Request-Origin" in headers and hook.config.request_origins is not None:
        return _handshake(hook, hook.config.request_origins, headers["WebHook-Request-Origin"].strip())
    return None


def _preflight(hook: Hook, cors: Cors, headers: Mapping[str, str]) -> web.Response:
    answer = web.Response(status=204)
    if share_with_page(hook, headers, answer):
        answer.headers["Access-Control-Allow-Methods"] = ", ".join(hook.methods())
        answer.headers["Access-Control-Allow-Headers"] = ", ".join(cors.headers)
        answer.headers["Access-Control-Max-Age"] = str(int(cors.max_age.total_seconds()))
    return answer


def share_with_page(hook: Hook, headers: Mapping[str, str], answer: web.StreamResponse) -> bool:
    """Let the page that has asked read an answer, if it may; tells whether it may."""
    cors, origin = hook.config.cors, headers.get("Origin", "")
    if cors is None or not origin:
        return False
    answer.headers["Vary"] = "Origin"
    anybody = "*" in cors.origins
    if not anybody and origin not in cors.origins:
        return False
    answer.headers["Access-Control-Allow-Origin"] = "*" if anybody else origin
    answer.headers["Access-Control-Expose-Headers"] = "Retry-After, Location"
    return True


def _handshake(hook: Hook, senders: list[str], origin: str) -> web.Response:
    """Agree to be sent events (CloudEvents' HTTP 1.1 Web Hooks, chapter 4), which says nothing of who may."""
    anybody = "*" in senders
    if not anybody and origin.lower() not in (sender.lower() for sender in senders):
        return problem_response(403, "Forbidden", "this path does not take events from that origin")
    allowed = {
        "Allow": ", ".join(hook.methods()),
        "WebHook-Allowed-Origin": "*" if anybody else origin,
        "WebHook-Allowed-Rate": _per_minute(hook.config.rate),
    }
    return web.Response(status=200, headers=allowed)


def _per_minute(rate: Rate | None) -> str:
    return "*" if rate is None else str(max(1, math.floor(rate.limit * 60 / rate.per.total_seconds())))
