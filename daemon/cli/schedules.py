"""Commands about due times: showing those to come, making up for those that are past."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from hark.daemon.cli import row_backfill
from hark.daemon.cli.connection import Json, Url, ask
from hark.daemon.cli.handing_over import json_value
from hark.daemon.cli.output import ago, fail, hint, print_json, say, short_id, table
from hark.workflows.counting import counted

if TYPE_CHECKING:
    from pydantic import ValidationError

    from hark.client import HarkClient
    from hark.daemon.api.models.answer import Page
    from hark.daemon.api.models.backfill import BackfillAnswer, BackfillItem
    from hark.daemon.api.models.schedules import Slot
    from hark.triggers.slots import Schedule


def schedules(
    expression: Annotated[str | None, typer.Option(help="A cron expression; without it, of the workflows.")] = None,
    timezone: Annotated[str, typer.Option(help="Its time zone.")] = "UTC",
    calendar: Annotated[str | None, typer.Option(help="On which days: DE-BY, or the JSON of a calendar.")] = None,
    after: Annotated[str | None, typer.Option(help="From when on: 2026-01-31T09:00:00Z; now if absent.")] = None,
    next: Annotated[int | None, typer.Option(min=1, max=1000, help="How many due times.")] = None,
    workflow: Annotated[str | None, typer.Option(help="Only of this workflow.")] = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Show the next due times: of the active workflows, or of an expression, for which no daemon is needed."""
    if expression is not None:
        _show_expression(expression, timezone, calendar, after, next or 10, as_json=as_json)
        return
    if calendar is not None:
        raise typer.BadParameter("it belongs to an expression; workflows have their own", param_hint="--calendar")

    async def get(client: HarkClient) -> Page[Slot]:
        return await client.schedules(after=after, next=next, workflow=workflow)

    page = ask(url, get)
    if as_json:
        print_json(page)
        return
    table(
        ["next", "utc", "local", "workflow", "trigger", "schedule", "time zone", "note"],
        [
            [ago(one.utc), f"{one.utc.astimezone(UTC):%Y-%m-%d %H:%M:%S}", f"{one.local:%a %Y-%m-%d %H:%M:%S}",
             one.workflow, one.trigger_id, one.schedule, one.timezone, _note(one)]
            for one in page.items
        ],
        empty="no active workflow has a schedule",
    )  # fmt: skip


def _note(slot: Slot) -> Text:
    paused = "paused: will not run" if slot.paused else ""
    later = f"fires at {slot.fires_at.astimezone(UTC):%H:%M:%S}Z by its jitter" if slot.fires_at else ""
    return Text("; ".join(filter(None, (paused, slot.note, later))), style="yellow")


def _show_expression(
    expression: str, timezone: str, calendar: str | None, after: str | None, count: int, *, as_json: bool
) -> None:
    moment = _moment(after)
    try:
        found = list(islice(_built(expression, timezone, calendar).after(moment), count))
    except ValueError as error:
        raise fail(str(error)) from None
    if as_json:
        print_json({"items": [{"utc": _utc(one.utc), "local": one.local, "note": one.note} for one in found]})
        return
    table(
        ["utc", "local", "note"],
        [[_utc(one.utc), f"{one.local:%a %Y-%m-%d %H:%M:%S %Z}", Text(one.note, style="yellow")] for one in found],
    )


def _built(expression: str, timezone: str, calendar: str | None) -> Schedule:
    """Build a schedule. Raises ValueError."""
    from pydantic import ValidationError

    from hark.triggers.cron_config import CronConfig
    from hark.triggers.slots import build

    if calendar is None:
        return build(expression, timezone)
    days = json_value(calendar, "--calendar") if calendar.lstrip().startswith("{") else calendar
    try:
        given = {"schedule": expression, "timezone": timezone, "calendar": days}
        return CronConfig.model_validate(given).built()
    except ValidationError as error:
        raise ValueError("; ".join(_told_of(error))) from None


def _told_of(error: ValidationError) -> list[str]:
    """Return what is wrong, each with its place."""
    return [".".join(map(str, one["loc"])) + ": " + one["msg"].removeprefix("Value error, ") for one in error.errors()]


def _moment(text: str | None) -> datetime:
    if text is None:
        return datetime.now(UTC)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter("write a time such as 2026-01-31T09:00:00Z", param_hint="--after") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _utc(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def backfill(
    workflow: Annotated[str, typer.Argument(metavar="WORKFLOW", help="Its slug.")],
    since: Annotated[
        str | None, typer.Option("--from", help="Slots from this time on: 2026-01-31T09:00:00Z, or 2d.")
    ] = None,
    until: Annotated[str | None, typer.Option("--to", help="Slots before this time; all that are past.")] = None,
    rows: Annotated[
        bool, typer.Option("--rows", help="Rows that are in the table of a row trigger, not slots.")
    ] = False,
    trigger: Annotated[str | None, typer.Option(help="Only of this trigger.")] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="How many slots at most, oldest first (1000), or how many rows (all).")
    ] = None,
    spread: Annotated[str | None, typer.Option(help="Spread the starts of slots over this time: 2h.")] = None,
    unrecorded: Annotated[
        bool, typer.Option("--unrecorded", help="Also slots so old that history does not tell whether they ran.")
    ] = False,
    where: Annotated[str | None, typer.Option(help="Only rows for which this holds: 'new.country == \"DE\"'.")] = None,
    rate: Annotated[float | None, typer.Option(min=0.2, help="Start so many rows in a second, at most.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of a backfill of rows; each row is run once under it.")] = None,
    after: Annotated[str | None, typer.Option(help="Go on behind a row: the JSON that an earlier run told.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show which ones it would be.")] = False,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Run the slots of a schedule that have not run, or (--rows) the rows that were there before the workflow was.

    The same command again goes on where it ended: what has run does not run again.
    """
    of_slots = {"--from": since, "--to": until, "--spread": spread, "--unrecorded": unrecorded or None}
    of_rows = {"--where": where, "--rate": rate, "--name": name, "--after": after}
    for option, value in (of_slots if rows else of_rows).items():
        if value is not None:
            raise typer.BadParameter("it belongs to slots" if rows else "it belongs to --rows", param_hint=option)
    if rows:
        behind = None if after is None else json_value(after, "--after")
        how = {"trigger": trigger, "where": where, "rate": rate, "name": name, "after": behind, "dry_run": dry_run}
        row_backfill.run(url, workflow, how, limit, as_json=as_json)
        return
    if since is None:
        raise typer.BadParameter("say from when on, or --rows for the rows of a table", param_hint="--from")
    how = {"since": since, "until": until, "trigger": trigger, "limit": limit or 1000, "dry_run": dry_run}
    how |= {"unrecorded": unrecorded, **({} if spread is None else {"spread": spread})}
    given = {key: value for key, value in how.items() if value is not None}
    answer: BackfillAnswer = ask(url, lambda client: client.backfill(workflow, **given))
    if as_json:
        print_json(answer)
    else:
        _show_backfill(answer)
    if answer.refused:
        raise typer.Exit(1)


def _show_backfill(answer: BackfillAnswer) -> None:
    rows = [[_utc(one.slot), one.trigger_id, _became(one, answer), ago(one.due_at)] for one in answer.items]
    table(["slot", "trigger", "execution", "starts"], rows, empty="no slot is left to make up for")
    told = f"{answer.matched} would run" if answer.dry_run else f"{answer.done} fired, {answer.refused} refused"
    say(f"{told}, {answer.already} had run already")
    if answer.unrecorded and answer.unrecorded_before is not None:
        reach = f"{answer.unrecorded_before:%Y-%m-%d %H:%M}Z"
        slots = counted(answer.unrecorded, "slot is", "slots are")
        hint(f"{slots} older than history reaches ({reach}) and may have run: see --unrecorded")
    if answer.more:
        hint("there are more: the same command goes on with them")


def _became(one: BackfillItem, answer: BackfillAnswer) -> str:
    if one.refused or one.executions or answer.dry_run:
        return one.refused or ", ".join(short_id(execution) for execution in one.executions)
    return f"none: hark event {one.event_id}"
