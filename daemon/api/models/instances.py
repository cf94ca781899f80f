"""The daemon processes on a database, their health and their figures."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from hark.daemon.api.models.answer import Answer


class InstanceRow(Answer):
    """A daemon process on the database."""

    id: UUID
    host: str
    pid: int
    version: str
    state: str
    started_at: datetime
    heartbeat_at: datetime
    silent_s: float
    running: int
    """Executions in hand."""


class Stats(Answer):
    """How much there is; totals of history are estimates."""

    workflows: int
    active_workflows: int
    instances: int
    open_executions: dict[str, int]
    estimated_rows: dict[str, int] | None
    engine: dict[str, float]


class HealthPart(Answer):
    """Whether one part of the daemon can do its work."""

    ok: bool
    detail: str = ""


class Readiness(Answer):
    """Whether this daemon can take work, and if not, why."""

    ready: bool
    parts: dict[str, HealthPart]
