"""Commands about workflows: from a first file to publication and away again."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text
from rich.tree import Tree

from hark.daemon.cli.connection import Json, Url, ask, refused, target_of
from hark.daemon.cli.output import (
    ago,
    compact,
    complain,
    fail,
    fields,
    hint,
    is_terminal,
    print_json,
    say,
    state,
    table,
)
from hark.daemon.cli.sources import problem_items, read_files, show_problems
from hark.workflows.counting import counted

if TYPE_CHECKING:
    from hark.client import ApiError, HarkClient
    from hark.daemon.api.models.answer import Page
    from hark.daemon.api.models.workflows import Applied, WorkflowDetail, WorkflowSummary

Paths = Annotated[list[str], typer.Argument(help="Files, directories, or - for stdin.", show_default=False)]
Name = Annotated[str, typer.Argument(metavar="WORKFLOW", help="Slug or id.", show_default=False)]


def init(
    directory: Annotated[Path, typer.Argument(help="Where to; the present directory if absent.")] = Path(),
) -> None:
    """Write a first workflow and a hark.toml, both commented; what is there is never overwritten."""
    from hark.daemon.cli.first_files import FIRST_FILES

    for name, content in FIRST_FILES.items():
        path = directory / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as file:
                file.write(content)
        except FileExistsError:
            say(f"kept     {path}")
        except OSError as error:
            raise fail(f"{path}: {error.strerror}") from None
        else:
            say(f"written  {path}")
    hint('next: `hark run` here, and in another terminal `hark emit GREETING --data \'{"name": "Ada"}\'`')


def validate(
    paths: Paths,
    as_json: Json = False,
) -> None:
    """Check definitions without a daemon; tells every mistake with its place and what would be right."""
    from hark.daemon.cli.local import local_catalogue
    from hark.workflows.errors import DefinitionError, Problem
    from hark.workflows.loading import Loaded, load_files

    texts = read_files(paths)
    problems: Sequence[Problem] = ()
    loaded: list[Loaded] = []
    try:
        loaded = load_files(texts.items(), local_catalogue())
    except DefinitionError as error:
        problems = error.problems
    warnings = [warning for one in loaded for warning in one.warnings]
    items = problem_items([*problems, *warnings])
    if as_json:
        workflows = [{"workflow": one.workflow.id, "file": one.document.file} for one in loaded]
        print_json({"valid": not problems, "items": [] if problems else workflows, "problems": items})
    else:
        show_problems(items, texts)
        if problems:
            complain(f"{counted(len(problems), 'problem')} in {counted(len(texts), 'file')}")
        else:
            say(f"{counted(len(loaded), 'workflow')} in {counted(len(texts), 'file')}: good")
    if problems:
        raise typer.Exit(1)


def apply(
    paths: Paths,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
    prune: Annotated[bool, typer.Option("--prune", help="Archive the workflows that are not among these.")] = False,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Publish definitions: all of them, or none."""
    from hark.client import ApiError

    texts = read_files(paths)

    async def put(client: HarkClient) -> Applied | ApiError:
        try:
            return await client.apply(texts, dry_run=dry_run, prune=prune)
        except ApiError as error:
            return error

    applied = ask(url, put)
    if isinstance(applied, ApiError):
        raise _not_applied(applied, texts)
    if as_json:
        print_json(applied)
        return
    show_problems(applied.warnings, texts)
    table(
        ["workflow", "outcome", ">version", "file"],
        [[one.workflow, state(one.outcome), str(one.version or ""), one.file] for one in applied.items],
    )
    if dry_run:
        hint("a dry run: nothing was changed")


def _not_applied(error: ApiError, texts: dict[str, str]) -> typer.Exit:
    if not error.problem.problems:
        return refused(error)
    show_problems(error.problem.problems, texts)
    return fail("nothing was applied")


def list_(
    active: Annotated[bool | None, typer.Option("--active/--inactive", help="Only those that may start.")] = None,
    category: Annotated[str | None, typer.Option(help="Only of this category.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="Only with this tag; may be repeated.")] = None,
    status: Annotated[str | None, typer.Option(help="draft, active, archived or all.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 100,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """List workflows."""

    async def get(client: HarkClient) -> Page[WorkflowSummary]:
        return await client.workflows(
            is_active=active, category=category, tags=tag or None, status=status, limit=limit,
            order_by="slug", order_direction="asc",
        )  # fmt: skip

    page = ask(url, get)
    if as_json:
        print_json(page)
        return
    table(
        ["workflow", "name", "status", "triggers", ">version", "last run"],
        [
            [one.slug, one.name, state(_status(one)), _triggers(one), str(one.latest_version), _last(one)]
            for one in page.items
        ],
        empty="no workflows yet: `hark init` writes a first one, `hark apply FILE` publishes it",
    )
    if page.next_cursor:
        hint("there are more: --limit")


def _status(one: WorkflowSummary) -> str:
    return "paused" if one.status == "active" and not one.is_active else one.status


def _triggers(one: WorkflowSummary) -> str:
    shown = [trigger.route if trigger.kind in ("row", "webhook", "event") else trigger.kind for trigger in one.triggers]
    return ", ".join(dict.fromkeys(shown))


def _last(one: WorkflowSummary) -> Text | None:
    if one.last_execution is None:
        return None
    return Text.assemble(state(one.last_execution.status), f" {ago(one.last_execution.created_at)}")


def show(name: Name, url: Url = None, as_json: Json = False) -> None:
    """Show one workflow: what starts it, what it does, how it went lately."""

    async def get(client: HarkClient) -> tuple[WorkflowDetail, Any]:
        workflow = await client.workflow(name)
        return workflow, await client.executions(workflow=str(workflow.id), limit=5)

    workflow, latest = ask(url, get)
    if as_json:
        print_json(workflow)
        return
    say(Text(workflow.name, style="bold"))
    fields(
        {
            "slug": workflow.slug,
            "id": str(workflow.id),
            "status": state(_status(workflow)),
            "version": f"{workflow.published_version or '-'} published, {workflow.latest_version} latest",
            "description": workflow.description,
            "category": workflow.category,
            "tags": ", ".join(workflow.tags),
            "updated": ago(workflow.updated_at),
        }
    )
    if workflow.triggers:
        say()
        table(
            ["trigger", "kind", "config"],
            [[one.id, one.kind, compact(one.config)] for one in workflow.triggers],
        )
    say()
    _show_steps((workflow.definition or {}).get("steps") or [])
    if latest.items:
        from hark.daemon.cli.executions import show_executions

        say()
        show_executions(latest.items)


def _show_steps(steps: list[dict[str, Any]]) -> None:
    root = Tree(Text("steps", style="bold"), guide_style="dim")
    _grow(root, steps)
    say(root)


def _grow(tree: Tree, steps: list[dict[str, Any]]) -> None:
    from hark.workflows.shape import blocks
    from hark.workflows.steps import verb_of

    for step in steps:
        verb = verb_of(step) or "?"
        what = step.get("action", "if" if verb == "then" else verb)
        label = Text.assemble((step["id"], "bold"), " ", (what, "cyan"))
        if "if" in step:
            label.append(f" if {step['if']}", "dim")
        branch = tree.add(label)
        for path, block in blocks(step):
            if block:
                _grow(branch.add(Text(" ".join(map(str, path)), style="dim")), block)


def export(
    name: Name,
    format: Annotated[str, typer.Option(help="yaml or json.")] = "yaml",
    version: Annotated[int | None, typer.Option(min=1, help="Another version than the published one.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A file; stdout if absent.")] = None,
    url: Url = None,
) -> None:
    """Write a workflow's definition as a file that can be applied again."""
    if format not in ("yaml", "json"):
        raise typer.BadParameter("write yaml or json", param_hint="--format")

    async def get(client: HarkClient) -> str:
        return await client.export(name, format=format, version=version)

    text = ask(url, get)
    if output is None:
        sys.stdout.write(text)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise fail(f"{output}: {error.strerror}") from None


def pause(name: Name, url: Url = None, as_json: Json = False) -> None:
    """Switch a workflow's triggers off; what runs goes on."""

    async def put(client: HarkClient) -> WorkflowDetail:
        return await client.pause(name)

    _switched(ask(url, put), as_json=as_json)


def resume(name: Name, url: Url = None, as_json: Json = False) -> None:
    """Switch a workflow's triggers on again. What its schedules would have done in the pause is not made up for."""

    async def put(client: HarkClient) -> tuple[WorkflowDetail, WorkflowDetail]:
        return await client.workflow(name), await client.resume(name)

    before, after = ask(url, put)
    _switched(after, as_json=as_json)
    if not as_json and before.paused_at is not None and any(one.kind == "cron" for one in after.triggers):
        since = f"{before.paused_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
        hint(f"its schedules were silent meanwhile; to make up for that: hark backfill {after.slug} --from {since}")


def _switched(workflow: WorkflowDetail, *, as_json: bool) -> None:
    if as_json:
        print_json(workflow)
    else:
        say(Text.assemble(f"{workflow.slug} is ", state(_status(workflow))))


def delete(
    name: Name,
    archive: Annotated[bool, typer.Option("--archive", help="Only take it out of service; keep its history.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Cancel the executions that are open.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Delete a workflow with all its executions and logs; while some are open, only with --force."""
    if not archive and not yes and is_terminal() and sys.stdin.isatty():
        typer.confirm(f"Delete {name} with all its history at {target_of(url).url}?", abort=True)

    async def put(client: HarkClient) -> Any:
        return await client.delete(name, archive=archive, force=force)

    answer = ask(url, put)
    if as_json:
        print_json(answer)
    else:
        say(f"{name} is {'archived' if archive else 'deleted'}")
