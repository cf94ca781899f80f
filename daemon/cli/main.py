"""The commands, gathered; and the edge where errors become exit statuses."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from hark._version import __version__
from hark.daemon.cli import (
    approvals,
    archive,
    catalogue,
    context,
    definitions,
    dry_run,
    erasing,
    executions,
    history,
    hooks,
    process,
    repeating,
    schedules,
    starting,
    testing,
    watching,
    why,
)
from hark.daemon.cli.output import complain, fail

app = typer.Typer(
    name="hark",
    help="Hark listens to rows, clocks and webhooks, and runs workflows on them.",
    epilog="Exit status: 0 done, 1 failed, 2 misuse. Settings: `hark settings`. Everything about a command: --help.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)

_FIRST, _DEFINE, _RUN, _LOOK, _OWN = "Begin", "Workflows", "Run", "Look", "The daemon itself"

for _panel, _commands in (
    (_FIRST, (process.run, definitions.init)),
    (
        _DEFINE,
        (
            definitions.apply,
            definitions.validate,
            testing.test,
            dry_run.dry_run,
            definitions.list_,
            definitions.show,
            definitions.export,
            definitions.pause,
            definitions.resume,
            definitions.delete,
        ),
    ),
    (
        _RUN,
        (
            starting.emit,
            starting.start,
            repeating.cancel,
            repeating.retry,
            repeating.replay,
            schedules.backfill,
            approvals.approve,
            approvals.reject,
            context.context,
        ),
    ),
    (
        _LOOK,
        (
            executions.executions,
            executions.execution,
            approvals.approvals,
            executions.logs,
            executions.events,
            executions.event,
            erasing.erasures,
            schedules.schedules,
            why.why,
            watching.watch,
            catalogue.actions,
            catalogue.triggers,
        ),
    ),
    (
        _OWN,
        (
            process.doctor,
            history.prune,
            erasing.erase,
            process.migrate,
            process.settings,
            process.open_,
            process.version,
        ),
    ),
):
    for _command in _commands:
        app.command(_command.__name__.rstrip("_").replace("_", "-"), rich_help_panel=_panel)(_command)
app.add_typer(hooks.app, rich_help_panel=_LOOK)
app.add_typer(archive.app, rich_help_panel=_LOOK)
app.command(
    "psql",
    rich_help_panel=_OWN,
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)(process.psql)


def _show_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"hark {__version__}\n")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def run() -> None:
    """Run the command that the arguments name; ends the process."""
    from hark.daemon.streams import discard
    from hark.workflows.errors import HarkError

    try:
        app()
    except HarkError as error:
        fail(str(error))
        sys.exit(1)
    except KeyboardInterrupt:
        complain("")
        sys.exit(130)
    except BrokenPipeError:
        # Whoever read the output has seen enough; nothing may be written at exit either.
        discard(sys.stdout)
        sys.exit(0)
