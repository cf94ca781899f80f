"""The documentation of all actions, generated from the catalogue: `python -m hark.actions.documentation > FILE`."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ruamel.yaml import YAML

from hark.actions.builtin import builtin_actions
from hark.workflows.catalogue import Action, Catalogue, Effect

_INTRODUCTION = """\
# Actions

<!-- Generated from the catalogue by `python -m hark.actions.documentation`; a test keeps it current. -->

An action is what a step does: `action` names it, `with` configures it. `SEND_EMAIL` is the same action as `send_email`,
and fields are also accepted in camel case (`replyTo`). A field takes `${{ … }}` unless it is marked *literal*. The
output of a step is `steps.ID.output`.

The *effect* says what can be promised when a step runs again after a crash: **pure** changes nothing but its output,
**transactional** commits together with the step's record, exactly once, **external** happens at least once, with an
idempotency key that is the same for every attempt (or at most once, with `effect: at_most_once`).
"""
_EFFECTS = {
    Effect.PURE: "pure",
    Effect.TRANSACTIONAL: "transactional on the home database, else external",
    Effect.EXTERNAL: "external",
}


def render_catalogue(catalogue: Catalogue) -> str:
    """Return the documentation of all actions as Markdown."""
    actions = list(catalogue.actions.values())
    parts = [_INTRODUCTION, _overview(actions), *(_section(action) for action in actions)]
    return "\n".join(parts)


def _overview(actions: list[Action[Any]]) -> str:
    rows = [
        (f"[`{action.spec.type}`](#{action.spec.type})", action.spec.category, action.spec.description)
        for action in actions
    ]
    return _table(("Action", "Category", "What it does"), rows)


def _section(action: Action[Any]) -> str:
    spec = action.spec
    facts = [f"Effect: {_EFFECTS[spec.effect]}."]
    if spec.permissions:
        facts.append(f"Permissions: {', '.join(f'`{name}`' for name in spec.permissions)}.")
    parts = [f"## {spec.type}\n", f"**{spec.name}.** {spec.description} {' '.join(facts)}\n"]
    parts += [f"```yaml\n{_yaml([dict(spec.example)])}```\n"]
    parts += _config(spec.config.model_json_schema(by_alias=True), spec.literal)
    parts += _output(spec.output_schema)
    parts += _advice("Good practice", spec.practice)
    parts += _advice("Security", spec.security)
    return "\n".join(parts)


def _config(schema: Mapping[str, Any], literal: frozenset[str]) -> Iterator[str]:
    """Describe the fields, and those of the models inside them."""
    if "properties" not in schema:
        yield f"Config: {schema.get('description', '')}\n"
        return
    yield _fields("Config", schema, literal)
    for name, inner in schema.get("$defs", {}).items():
        yield _fields(f"`{name}`: {inner.get('description', '')}", inner, frozenset())


def _fields(caption: str, schema: Mapping[str, Any], literal: frozenset[str]) -> str:
    required = schema.get("required", ())
    rows = []
    for name, field in schema["properties"].items():
        notes = field.get("description", "") + (" *Literal.*" if name in literal else "")
        default = "**required**" if name in required else _default(field.get("default"))
        rows.append((f"`{name}`", _type(field), default, notes))
    return f"{caption}\n\n" + _table(("Field", "Type", "Default", "Meaning"), rows)


def _output(schema: Mapping[str, Any]) -> Iterator[str]:
    if "properties" in schema:
        rows = [
            (f"`{name}`", _type(field), field.get("description", "")) for name, field in schema["properties"].items()
        ]
        yield "Output\n\n" + _table(("Field", "Type", "Meaning"), rows)


def _advice(caption: str, sentences: tuple[str, ...]) -> Iterator[str]:
    if sentences:
        yield f"{caption}\n\n" + "".join(f"- {sentence}\n" for sentence in sentences)


def _type(schema: Mapping[str, Any]) -> str:
    """Write a JSON Schema's type in a word or two."""
    for key in ("anyOf", "oneOf"):
        if key in schema:
            kinds = dict.fromkeys(_type(kind) for kind in schema[key] if kind.get("type") != "null")
            return " or ".join(kinds)
    if "$ref" in schema:
        return f"`{schema['$ref'].rpartition('/')[2]}`"
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    return _plain_type(schema)


def _plain_type(schema: Mapping[str, Any]) -> str:
    kind = schema.get("type", "any")
    if isinstance(kind, list):
        return "duration" if "10m" in schema.get("examples", ()) else " or ".join(kind)
    if kind == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"mapping to {_type(schema['additionalProperties'])}"
    return "mapping" if kind == "object" else str(kind)


def _default(value: Any) -> str:
    return "" if value in (None, "", [], {}) else f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def _yaml(value: Any) -> str:
    writer = YAML()
    writer.width = 100
    writer.indent(mapping=2, sequence=4, offset=2)
    stream = io.StringIO()
    writer.dump(value, stream)
    return stream.getvalue()


if __name__ == "__main__":
    sys.stdout.write(render_catalogue(Catalogue(builtin_actions())))
