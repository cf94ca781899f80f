"""What an engine tells of itself: whether its parts work, and figures for /metrics."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from hark.daemon.engine.figures import Figure
from hark.daemon.engine.tending import TEND_S
from hark.workflows.catalogue import Health

if TYPE_CHECKING:
    from hark.daemon.engine.engine import Engine
    from hark.daemon.engine.instance import Instance
    from hark.daemon.engine.registry import Registry


def health_of(engine: Engine) -> dict[str, Health]:
    """Tell what of this instance works; it is ready when all of it is attached."""
    return {
        "engine": Health(engine.started, "" if engine.started else "not started, or stopping"),
        "database": _database_health(engine.instance),
        "listening": engine.hearing.health(),
        "triggers": _trigger_health(engine.registry),
        **engine.listeners.health(),
    }


def _database_health(instance: Instance) -> Health:
    detail = f"last heartbeat {instance.silent_s:.1f} s ago"
    if instance.trouble:
        detail = f"{instance.trouble}; {detail}"
    return Health(instance.silent_s < 2 * TEND_S and not instance.read_only, detail)


def _trigger_health(registry: Registry) -> Health:
    broken = registry.broken
    return Health(not broken, "; ".join(f"{one.workflow}/{one.trigger}: {one.reason}" for one in broken[:5]))


def stats_of(engine: Engine) -> dict[str, float]:
    """Return the figures that have no label."""
    return {
        "executions_in_flight": engine.executor.in_flight,
        "executions_free_places": engine.executor.free,
        **engine.tending.held_back,
        "ingest_backlog": engine.ingest.backlog,
        "record_flushes_total": engine.recorder.flushes,
        "executions_reclaimed_total": engine.instance.reclaimed,
        "heartbeat_age_seconds": engine.instance.silent_s,
        "listening_rebuilt_total": engine.listening.rebuilt,
        "active_workflows": len(engine.registry),
        "clock_skew_seconds": engine.clock.skew_s,
        **engine.lag.stats(),
        **engine.retention.figures.stats(),
        **engine.retention.archive.figures.stats(),
    }


def figures_of(engine: Engine) -> Iterator[Figure]:
    """Give the figures that have a label."""
    yield from engine.lag.figures()
    health = engine.listeners.health()
    polls = {"ends": engine.ends.unannounced, "claims": engine.claimer.unannounced}
    yield Figure(
        "polls_unannounced_total",
        "Looks that found what no wake-up had told of.",
        "part",
        polls | {part: one.unannounced for part, one in health.items() if part.partition("@")[0] == "row"},
    )
    heard = engine.listening.heard
    yield Figure("wakeups_total", "Notifications heard.", "channel", {name: one.number for name, one in heard.items()})
    yield Figure(
        "last_wakeup_timestamp_seconds",
        "When the last notification was heard.",
        "channel",
        {name: one.last_at for name, one in heard.items()},
    )
