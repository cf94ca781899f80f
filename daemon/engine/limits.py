"""Limits: how often a workflow may start and run, with the keys of one start evaluated, as the database keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Any
from uuid import UUID

import orjson

from hark.workflows.durations import parse_duration
from hark.workflows.errors import ExpressionError
from hark.workflows.expressions import ROOTS, compile_expression

SHOWN = 200
"""So much of a key is shown to people; told apart are keys by all of it."""
_RULES = ("idempotency", "rate_limit", "debounce", "batch", "throttle")


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one workflow version. `overlap` and `most` concern all its executions, the rest goes by key."""

    tenant_id: UUID
    workflow_id: UUID
    overlap: str | None
    """None: nobody counts how many run."""
    most: int
    concurrency: Mapping[str, Any] | None
    rules: Mapping[str, Mapping[str, Any]]
    timeout: timedelta | None

    @property
    def collects(self) -> bool:
        """Whether starts join an execution that others have made."""
        return "batch" in self.rules

    def evaluate(
        self,
        scope: Mapping[str, Any],
        overlap: str | None = None,
        *,
        only_waits: bool = False,
        not_before: datetime | None = None,
    ) -> Evaluated:
        """Evaluate the keys of one start; `overlap` is that of its trigger. Raises ExpressionError.

        `only_waits` leaves out what refuses events or collects them: a call has somebody who waits for its end. What is
        made up for, `not_before` a time, comes many at once: it queues where what is due now would be skipped.
        """
        lanes: list[dict[str, Any]] = []
        if self.overlap is not None:
            wanted = overlap or self.overlap
            own = {"limit": self.most, "overlap": "queue" if not_before and wanted != "allow" else wanted}
            lanes.append({"id": self._id("overlap", self.workflow_id, None), **own})
        if self.concurrency is not None:
            lanes.append(self._lane(self.concurrency, scope))
        found: dict[str, Any] = {"lanes": lanes} if lanes else {}
        for name, rule in self.rules.items():
            if only_waits and name != "throttle":
                continue
            found[name] = self._keyed(name, rule, self.workflow_id, scope)
        if self.timeout is not None:
            found["timeout_s"] = self.timeout.total_seconds()
        if not_before is not None:
            found["not_before"] = not_before.isoformat()
        locked = [*lanes, *(found[name] for name in ("rate_limit", "throttle") if name in found)]
        return Evaluated(orjson.dumps(found).decode(), tuple(UUID(one["id"]) for one in locked))

    def _lane(self, rule: Mapping[str, Any], scope: Mapping[str, Any]) -> dict[str, Any]:
        owner = self.tenant_id if rule.get("scope") == "tenant" else self.workflow_id
        return self._keyed("concurrency", rule, owner, scope)

    def _keyed(self, name: str, rule: Mapping[str, Any], owner: UUID, scope: Mapping[str, Any]) -> dict[str, Any]:
        source = rule.get("key")
        value = None if source is None else _value(name, source, scope)
        text = value if isinstance(value, str) else orjson.dumps(value).decode()
        shown = {} if source is None else {"key": text[:SHOWN]}
        return {"id": self._id(name, owner, value), **{key: rule[key] for key in rule if key != "key"}, **shown}

    @staticmethod
    def _id(name: str, owner: UUID, value: Any) -> str:
        named = orjson.dumps([name, str(owner), value], option=orjson.OPT_SORT_KEYS)
        return str(UUID(bytes=blake2b(named, digest_size=16).digest()))


@dataclass(frozen=True, slots=True)
class Evaluated:
    """The limits of one start, as `pass_gates` reads them."""

    encoded: str
    locks: tuple[UUID, ...]
    """Ids of its lanes and windows: a flush locks those of all its starts in one order."""


def limits_of(tenant_id: UUID, workflow_id: UUID, head: Mapping[str, Any]) -> Limits | None:
    """Return the limits of a definition; None when it has none."""
    overlap = head.get("overlap", "allow")
    most = head.get("max_running")
    own = any((trigger.get("overlap") or "allow") != "allow" for trigger in head.get("triggers", ()))
    concurrency = head.get("concurrency")
    rules = {name: _RULE_OF[name](head[name]) for name in _RULES if head.get(name) is not None}
    counted = overlap != "allow" or most is not None or own
    if not (counted or concurrency is not None or rules):
        return None
    if overlap == "allow" and most is not None:
        overlap = "queue"
    timeout = head.get("timeout")
    return Limits(
        tenant_id,
        workflow_id,
        overlap if counted else None,
        most or 1,
        None if concurrency is None else {"limit": 1, **concurrency},
        rules,
        None if timeout is None else parse_duration(timeout),
    )


def unlimited(tenant_id: UUID, workflow_id: UUID, timeout: timedelta | None) -> Limits:
    """Return the limits of a workflow that has none, for a start that has one of its own."""
    return Limits(tenant_id, workflow_id, None, 1, None, {}, timeout)


def _value(name: str, source: str, scope: Mapping[str, Any]) -> Any:
    try:
        return compile_expression(source, ROOTS).evaluate(scope)
    except ExpressionError as error:
        raise ExpressionError(f"the key of `{name}`: {source}: {error}") from error


def _seconds(value: Any) -> float:
    return parse_duration(value).total_seconds()


def _rate(rule: Mapping[str, Any]) -> dict[str, Any]:
    return {"key": rule.get("key"), "limit": rule["limit"], "per_s": _seconds(rule["per"])}


def _idempotency(rule: Mapping[str, Any]) -> dict[str, Any]:
    return {"key": rule["key"], "ttl_s": _seconds(rule.get("ttl", "24h"))}


def _debounce(rule: Mapping[str, Any]) -> dict[str, Any]:
    longest = {} if rule.get("timeout") is None else {"timeout_s": _seconds(rule["timeout"])}
    return {"key": rule.get("key"), "period_s": _seconds(rule["period"]), **longest}


def _batch(rule: Mapping[str, Any]) -> dict[str, Any]:
    return {"key": rule.get("key"), "size": rule["max_size"], "timeout_s": _seconds(rule["timeout"])}


_RULE_OF = {
    "idempotency": _idempotency,
    "rate_limit": _rate,
    "debounce": _debounce,
    "batch": _batch,
    "throttle": _rate,
}
