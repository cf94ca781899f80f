"""Commands about what there is: actions, trigger kinds."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.text import Text

from hark.daemon.cli.connection import Json
from hark.daemon.cli.local import local_catalogue
from hark.daemon.cli.output import fail, fields, hint, print_json, say, table


def actions(
    type: Annotated[str | None, typer.Argument(metavar="TYPE", help="One action, in full.")] = None,
    as_json: Json = False,
) -> None:
    """List what steps can do, or explain one action. Needs no daemon."""
    known = local_catalogue()
    if type is None:
        entries = sorted((one.spec.document() for one in known.actions.values()), key=lambda one: one["type"])
        if as_json:
            print_json({"items": entries})
            return
        table(
            ["action", "category", "effect", "what it does"],
            [[Text(one["type"], style="bold"), one["category"], one["effect"], one["description"]] for one in entries],
        )
        hint("`hark actions TYPE` explains one")
        return
    action = known.action(type)
    if action is None:
        raise fail(f"there is no action {type!r}; {known.suggest_action(type)}")
    entry = action.spec.document()
    if as_json:
        print_json(entry)
        return
    _explain(entry["type"], entry, entry["config_schema"], "a step", {"effect": entry["effect"]})
    for title, sentences in (("Good practice", action.spec.practice), ("Security", action.spec.security)):
        if sentences:
            say()
            say(Text(title, style="bold"))
            for sentence in sentences:
                say(f"  {sentence}")


def triggers(
    kind: Annotated[str | None, typer.Argument(metavar="KIND", help="One kind, in full.")] = None,
    as_json: Json = False,
) -> None:
    """List what can start a workflow, or explain one kind. Needs no daemon."""
    known = local_catalogue()
    if kind is None:
        entries = sorted((one.spec.document() for one in known.triggers.values()), key=lambda one: one["kind"])
        if as_json:
            print_json({"items": entries})
            return
        table(
            ["trigger", "when"],
            [[Text(one["kind"], style="bold"), one["description"]] for one in entries],
        )
        hint("`hark triggers KIND` explains one")
        return
    found = known.trigger(kind)
    if found is None:
        raise fail(f"there is no trigger kind {kind!r}; {known.suggest_trigger(kind)}")
    entry = found.spec.document()
    if as_json:
        print_json(entry)
        return
    more = {"event.data": ", ".join(entry["event_data"]) or "the sender's own", "also": ", ".join(entry["other_names"])}
    _explain(entry["kind"], entry, entry["config_schema"], "a trigger", more)


def _explain(word: str, entry: dict[str, Any], schema: dict[str, Any], what: str, more: dict[str, str]) -> None:
    from hark.workflows.writing import dump_yaml

    say(Text.assemble((word, "bold"), f"  {entry['name']}"))
    say(entry["description"])
    say()
    fields({**more, "permissions": ", ".join(entry.get("permissions", ()))})
    say()
    required = set(schema.get("required", ()))
    table(
        ["field", "type", "", "meaning"],
        [
            [name, _type(found), "required" if name in required else None, found.get("description")]
            for name, found in schema.get("properties", {}).items()
        ],
    )
    say()
    say(Text(f"As {what}:", style="bold"))
    for line in dump_yaml([entry["example"]]).splitlines():
        say(f"  {line}")


def _type(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    if "anyOf" in schema:
        return " | ".join(dict.fromkeys(_type(one) for one in schema["anyOf"] if one.get("type") != "null"))
    kind = schema.get("type", "any")
    return " | ".join(kind) if isinstance(kind, list) else str(kind)
