"""Commands about the daemon itself: run it, look after it."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from hark._version import __version__
from hark.daemon.cli.connection import Json, Url, target_of
from hark.daemon.cli.output import compact, complain, fail, hint, is_terminal, print_json, say, state, table

if TYPE_CHECKING:
    from hark.daemon.doctor.report import Finding
    from hark.daemon.settings import Settings

DataDir = Annotated[Path | None, typer.Option(help="Where Hark keeps what is its own.", show_default=False)]
DatabaseUrl = Annotated[str | None, typer.Option(help="A PostgreSQL ≥ 15 instead of the embedded one.")]
Config = Annotated[Path | None, typer.Option(help="A settings file instead of hark.toml.", show_default=False)]


def _load(config: Path | None = None, **flags: Any) -> Settings:
    from hark.daemon.configuration import load_settings
    from hark.workflows.errors import ConfigurationError

    try:
        return load_settings(flags, config=config)
    except ConfigurationError as error:
        raise fail(str(error)) from None


def run(
    workflows: Annotated[Path | None, typer.Option(help="A directory of definitions, applied at start.")] = None,
    setup: Annotated[Path | None, typer.Option(help="A file of repeatable SQL, run before the workflows.")] = None,
    host: Annotated[str | None, typer.Option(help="The address to serve HTTP on.")] = None,
    port: Annotated[int | None, typer.Option(help="The port; 0 takes a free one.")] = None,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.")] = None,
    log_format: Annotated[str | None, typer.Option(help="auto, console or json.")] = None,
    config: Config = None,
) -> None:
    """Run the daemon until it is told to stop (SIGTERM, Ctrl-C)."""
    settings = _load(
        config,
        workflows=workflows,
        setup=setup,
        host=host,
        port=port,
        data_dir=data_dir,
        database_url=database_url,
        log_level=log_level,
        log_format=log_format,
    )
    from hark.daemon.app import main
    from hark.daemon.configuration import unknown_variables

    for name in unknown_variables():
        complain(f"warning: {name} is set and means nothing to Hark (`hark settings` lists what does)")
    raise typer.Exit(main(settings))


def settings(
    show_secrets: Annotated[bool, typer.Option("--show-secrets", help="Do not mask passwords and keys.")] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Show the settings that count here, and where each comes from."""
    from hark.daemon.configuration import describe
    from hark.daemon.settings import Settings

    described = describe(_load(config), show_secrets=show_secrets)
    if as_json:
        print_json(described)
        return
    known = Settings.model_fields
    table(
        ["setting", "value", "origin", "meaning"],
        [
            [
                name, "" if entry["value"] in (None, []) else str(entry["value"]),
                Text(entry["origin"], style="dim" if entry["origin"] == "default" else "cyan"),
                known[name].description,
            ]
            for name, entry in described.items()
        ],
    )  # fmt: skip


def migrate(data_dir: DataDir = None, database_url: DatabaseUrl = None, config: Config = None) -> None:
    """Create the schema, or bring an older one up to date; `hark run` does it by itself."""
    import logging

    import structlog

    from hark.actions.pooled_connection import Way
    from hark.daemon.store.schema import ensure_schema
    from hark.workflows.errors import HarkError

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    loaded = _load(config, data_dir=data_dir, database_url=database_url)

    async def bring() -> str:
        from hark.daemon.postgres.server import EmbeddedPostgres

        if loaded.database_url is not None:
            return str(await ensure_schema(loaded.database_url, Way.said(loaded.database_pooler)))
        server = EmbeddedPostgres(loaded.data_dir)
        try:
            return str(await ensure_schema(await server.start(), Way.DIRECT))
        finally:
            await server.stop()

    try:
        say(asyncio.run(bring()))
    except HarkError as error:
        raise fail(str(error)) from None


def doctor(
    schema: Annotated[bool, typer.Option("--schema", help="Compare the live schema with what it should be.")] = False,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Look for what is wrong and say what to do about it; works with the daemon down. Exit status 1 if anything is."""
    from hark.daemon.doctor.examination import examine
    from hark.daemon.doctor.report import document, healthy

    loaded = _load(config, data_dir=data_dir, database_url=database_url)
    findings = asyncio.run(examine(loaded, schema=schema))
    if as_json:
        print_json(document(findings))
    else:
        for finding in findings:
            _show_finding(finding, with_figures=schema)
    if not healthy(findings):
        raise typer.Exit(1)


def _show_finding(finding: Finding, *, with_figures: bool) -> None:
    level = state(finding.level).append(" " * (9 - len(finding.level)))
    say(Text.assemble(level, (finding.check, "bold"), f"  {finding.message}"))
    if finding.advice:
        say(Text(f"{'':9}→ {finding.advice}", style="cyan"))
    for name, value in finding.detail.items() if with_figures or finding.level != "ok" else ():
        lines = [compact(one, 200) for one in value] if isinstance(value, list) else [compact(value, 200)]
        for index, line in enumerate(lines):
            say(Text.assemble((f"{'':11}{'' if index else name:<24}  ", "dim"), line))


def open_(
    url: Url = None,
    show: Annotated[bool, typer.Option("--print", help="Only print the address.")] = False,
) -> None:
    """Open the daemon's page in a browser, or print its address where there is none."""
    address = target_of(url).url
    sys.stdout.write(f"{address}\n")
    if show or not is_terminal():
        return
    import webbrowser

    if not webbrowser.open(address):
        hint("no browser was found: open the address yourself")


def version(as_json: Json = False) -> None:
    """Print the version."""
    if as_json:
        import platform

        print_json({"version": __version__, "python": platform.python_version()})
    else:
        sys.stdout.write(f"hark {__version__}\n")


def psql(context: typer.Context) -> None:
    """Open psql on Hark's database; arguments are psql's own: `hark psql -c "SELECT 1"`."""
    from hark.daemon.configuration import describe, without_password
    from hark.daemon.postgres.binaries import find_psql

    url = describe(_load(), show_secrets=True)["database_url"]["value"]
    if url is None:
        raise fail("there is no database yet: start the daemon once (`hark run`)")
    program = find_psql()
    if program is None:
        raise fail("there is no psql here: install PostgreSQL's client")
    # In the environment and not among the arguments: those can be read by everybody on the machine.
    shown, password = without_password(url)
    environment = os.environ if password is None else {**os.environ, "PGPASSWORD": password}
    os.execve(program, [str(program), "--no-psqlrc", shown, *context.args], environment)  # noqa: S606 - that is the point
