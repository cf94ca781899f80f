"""The running daemon's ears: whether what it hears by comes through, by its own figures."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Iterator
from datetime import timedelta

from prometheus_client.parser import text_string_to_metric_families

from hark.daemon.doctor.report import Finding, ok, warning
from hark.daemon.runtime_file import read_running
from hark.daemon.settings import Settings
from hark.workflows.counting import counted

MOST_REBUILDS = 6
"""In an hour. A failover or a restart makes one; what makes more is in the way."""
MOST_UNANNOUNCED = 60
"""In an hour, of 720 looks. A rebuild, and a wake-up that was sent to a place just taken, make a few."""
_PATIENCE_S = 3.0
# Whatever proxy the environment names is for the world outside.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def look_at_listening(settings: Settings) -> Iterator[Finding]:
    """Find out whether the daemon's wake-ups come through."""
    running = read_running(settings.data_dir)
    if running is None or not running.lives:
        yield ok("no daemon runs here whose wake-ups could come through")
        return
    try:
        with _OPENER.open(f"{running.url}/metrics", timeout=_PATIENCE_S) as answer:
            figures = sums(answer.read().decode())
    except (OSError, ValueError):
        yield ok("the daemon shows no figures: `daemon` says why")
        return
    if "hark_listening_rebuilt" not in figures:
        yield ok("the daemon does not listen yet: `daemon` says why")
        return
    yield judge_listening(
        max(time.time() - figures["hark_start_time_seconds"], 1.0),
        int(figures["hark_listening_rebuilt"]),
        int(figures.get("hark_polls_unannounced", 0)),
    )


def sums(text: str) -> dict[str, float]:
    """Add the figures of a metric up, whatever their labels; counters are named without `_total`."""
    return {
        family.name: sum(sample.value for sample in family.samples) for family in text_string_to_metric_families(text)
    }


def judge_listening(served_s: float, rebuilt: int, unannounced: int) -> Finding:
    """Say what the figures since the start mean."""
    hours = max(served_s / 3600, 1.0)
    told = f"in {timedelta(seconds=round(served_s))} the listening connection was rebuilt {counted(rebuilt, 'time')}"
    detail = {"served_s": served_s, "rebuilt": rebuilt, "unannounced": unannounced}
    if rebuilt > MOST_REBUILDS * hours:
        return warning(
            f"{told}: something cuts it, or swallows what goes over it",
            "look for a proxy or a firewall that ends quiet connections, and into the daemon's log (listening.*); "
            "HARK_LISTEN_URL leads past a pooler",
            **detail,
        )
    if unannounced > MOST_UNANNOUNCED * hours:
        return warning(
            f"{counted(unannounced, 'look')} found what no wake-up had told of: all is seen up to five seconds late",
            "does a pooler that works per transaction stand before the database? HARK_LISTEN_URL leads past it",
            **detail,
        )
    return ok(f"wake-ups come through; {told}", **detail)
