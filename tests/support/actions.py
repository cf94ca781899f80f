"""What tests hand to actions: a context, and an outside world that records what was asked of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from hark.workflows.catalogue import Action, ActionContext, HttpAnswer
from hark.workflows.ids import DEFAULT_TENANT, ExecutionId

NOW = datetime(2030, 1, 31, 8, 0, tzinfo=UTC)


@dataclass
class FakeHttp:
    """Answers every request the same way and keeps the requests."""

    answer: HttpAnswer = field(default_factory=lambda: HttpAnswer(200, {}, b"", "https://api.example.org/"))
    requests: list[dict[str, Any]] = field(default_factory=list)

    async def request(self, method: str, url: str, **rest: Any) -> HttpAnswer:
        self.requests.append({"method": method, "url": url, **rest})
        return self.answer


@dataclass
class FakeSql:
    """Keeps the statements; `rows` is what a fetch gives, cut at `max_rows`."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    count: int = 0
    statements: list[tuple[Any, ...]] = field(default_factory=list)
    connections: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def connect(self, name: str) -> AsyncIterator[FakeSql]:
        self.connections.append(name)
        yield self

    async def fetch(
        self, sql: str, *args: Any, max_rows: int | None = None, timeout_s: float | None = None
    ) -> list[dict[str, Any]]:
        self.statements.append((sql, *args))
        return self.rows[:max_rows]

    async def execute(self, sql: str, *args: Any, timeout_s: float | None = None) -> int:
        self.statements.append((sql, *args))
        return self.count


def _forget(level: str, message: str, data: Any) -> None:
    """Write to logs that nobody reads."""


def make_context(*, idempotency_key: str = "key-1", **changes: Any) -> ActionContext:
    """Return a context of a first attempt; `changes` are fields of it."""
    fields: dict[str, Any] = {
        "tenant_id": DEFAULT_TENANT,
        "execution_id": ExecutionId(UUID(int=7)),
        "workflow": "welcome-lead",
        "step": "each[3].mail",
        "attempt": 1,
        "identify": lambda: idempotency_key,
        "now": NOW,
        "log": _forget,
        "http": FakeHttp(),
        "settings": {},
        "connect": FakeSql().connect,
    }
    return ActionContext(**(fields | changes))


async def run_action(action: Action[Any], config: Mapping[str, Any], context: ActionContext | None = None) -> Any:
    """Check a config and run the action with it, as the engine does."""
    return await action.run(action.spec.config.model_validate(config), context or make_context())
