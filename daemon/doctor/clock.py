"""Time: this machine's clock against the database's, and what both know about time zones."""

from __future__ import annotations

import zoneinfo
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, date, datetime, timedelta
from importlib.metadata import version
from pathlib import Path

import asyncpg

from hark.daemon.doctor.active import active_triggers
from hark.daemon.doctor.checking import Case
from hark.daemon.doctor.report import Finding, error, ok, warning
from hark.daemon.settings import Settings
from hark.daemon.store.database import sql

TOLERATED_S = 2.0
UNBEARABLE_S = 30.0
OLD_TZDATA = timedelta(days=548)
_SAMPLES = 3


async def look_at_clock(case: Case) -> AsyncIterator[Finding]:
    """Measure how far this machine's clock is from the database's."""
    offset_s, doubt_s = min([await _sample(case) for _ in range(_SAMPLES)], key=lambda sample: sample[1])
    detail = {"offset_s": round(offset_s, 3), "uncertainty_s": round(doubt_s, 3)}
    certain_s = max(abs(offset_s) - doubt_s, 0)
    direction = "behind" if offset_s > 0 else "ahead of"
    message = f"this machine's clock is {abs(offset_s):.1f} s {direction} the database's"
    advice = "let NTP set both clocks (`timedatectl`); signed webhooks and time-outs are judged by this machine's clock"
    if certain_s > UNBEARABLE_S:
        yield error(message, advice, **detail)
    elif certain_s > TOLERATED_S:
        yield warning(message, advice, **detail)
    else:
        yield ok(f"the clocks agree to {abs(offset_s) + doubt_s:.3f} s", **detail)


async def _sample(case: Case) -> tuple[float, float]:
    """Return by how many seconds the database's clock is ahead, and half the round trip: the doubt about it."""
    before = case.wall()
    there: datetime = await case.connection.fetchval("SELECT clock_timestamp()")
    after = case.wall()
    return there.timestamp() - (before + after) / 2, (after - before) / 2


def look_at_tzdata(_settings: Settings) -> Iterator[Finding]:
    """Find out how old the rules of time zones are that schedules are computed with."""
    found, source = _tzdata()
    issued = issue_date(found)
    if issued is None:
        yield warning(f"which release of the time zone rules {source} holds is not known", "install the package tzdata")
    elif datetime.now(UTC).date() - issued > OLD_TZDATA:
        yield warning(
            f"the time zone rules ({source}, release {found}) are older than 18 months: "
            "schedules miss what governments changed since",
            "upgrade the system's tzdata, or the Python package tzdata where the system has none",
            release=found,
            source=source,
        )
    else:
        yield ok(f"the time zone rules are those of release {found} ({source})", release=found, source=source)


def _tzdata() -> tuple[str, str]:
    """Return the release, `""` if it does not say, and the place where Python finds its zones first."""
    for folder in map(Path, zoneinfo.TZPATH):
        if (rules := folder / "tzdata.zi").is_file():
            with rules.open(encoding="utf-8", errors="replace") as file:
                return file.readline().removeprefix("# version ").strip(), str(folder)
        if (folder / "Etc" / "UTC").is_file():
            return "", str(folder)
    return version("tzdata"), "the Python package tzdata"


def issue_date(release: str) -> date | None:
    """Estimate when a release such as `2026c`, in Python's package `2026.3`, came out.

    There is no list of dates in it. Releases come as laws change, about eight a year at the most: the estimate is
    early rather than late, by some months.
    """
    year, mark = release[:4], release[4:].removeprefix(".")
    if not year.isdigit() or not mark:
        return None
    number = int(mark.partition(".")[0]) if mark[0].isdigit() else ord(mark[0]) - ord("a") + 1
    return date(int(year), 1, 1) + timedelta(days=45 * min(max(number, 1), 8))


async def look_at_zones(case: Case) -> AsyncIterator[Finding]:
    """Find zones of active schedules about which PostgreSQL and Python disagree in the next 400 days."""
    names = {trigger.config.get("timezone", "UTC") for trigger in await active_triggers(case) if trigger.kind == "cron"}
    for name in sorted(names):
        try:
            rows = await case.connection.fetch(sql("doctor_list_offsets"), name)
            zone = zoneinfo.ZoneInfo(name)
        except (asyncpg.InvalidParameterValueError, zoneinfo.ZoneInfoNotFoundError, ValueError) as failure:
            yield warning(f"time zone {name} is not known everywhere ({failure})", "upgrade tzdata")
            continue
        different = [row["moment"] for row in rows if _offset_s(row["moment"], zone) != row["offset_s"]]
        if different:
            yield warning(
                f"PostgreSQL and Python disagree about {name}, first on {different[0]:%Y-%m-%d}: "
                "schedules follow Python, SQL in steps follows PostgreSQL",
                "upgrade tzdata on the side that is older",
                zone=name,
                days=len(different),
            )


def _offset_s(moment: datetime, zone: zoneinfo.ZoneInfo) -> int:
    offset = moment.astimezone(zone).utcoffset()
    return 0 if offset is None else round(offset.total_seconds())
