"""Values on the command line: JSON, files, and secrets that need not be typed where others see them."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

Secret = Annotated[
    list[str] | None,
    typer.Option(
        help="NAME=@FILE, NAME=VALUE, or NAME alone to be asked for it: what secrets.NAME is in this execution alone; "
        "may be repeated. Others on this machine may see a VALUE.",
    ),
]


def json_value(text: str | None, option: str) -> Any:
    """Read JSON that is given, in a file (`@FILE`), or on stdin (`@-`). Raises BadParameter."""
    if text is None:
        return None
    try:
        if text == "@-":
            text = sys.stdin.read()
        elif text.startswith("@"):
            text = Path(text[1:]).read_text(encoding="utf-8")
        return json.loads(text, parse_constant=_refuse_constant)
    except OSError as error:
        raise typer.BadParameter(f"{error.filename}: {error.strerror}", param_hint=option) from None
    except ValueError as error:
        raise typer.BadParameter(f"this is no JSON: {error}", param_hint=option) from None


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def variables_of(given: Sequence[str] | None) -> dict[str, Any] | None:
    """Read `NAME=JSON`, several times. Raises BadParameter."""
    return {name: json_value(text, "--variable") for name, text in _pairs(given, "--variable")} if given else None


def secrets_of(given: Sequence[str] | None) -> dict[str, str] | None:
    """Read secrets: `NAME=VALUE`, `NAME=@FILE`, `NAME=@-`, or `NAME` to be asked for. Raises BadParameter."""
    if not given:
        return None
    asked = [name for name in given if "=" not in name]
    told = dict(_pairs([one for one in given if "=" in one], "--secret"))
    found = {name: _text(value) for name, value in told.items()}
    return {**found, **{name: typer.prompt(f"secret {name}", hide_input=True, err=True) for name in asked}}


def _pairs(given: Sequence[str] | None, option: str) -> list[tuple[str, str]]:
    pairs = []
    for one in given or ():
        name, found, value = one.partition("=")
        if not found:
            raise typer.BadParameter(f"write NAME=…, not {one[:40]!r}", param_hint=option)
        if not name:  # what was written is not shown: it may be a secret
            raise typer.BadParameter("write NAME=…: the name is missing", param_hint=option)
        pairs.append((name, value))
    return pairs


def _text(value: str) -> str:
    """Return a secret, or what is in the file that it names; a line break at the end is the editor's."""
    if not value.startswith("@"):
        return value
    try:
        text = sys.stdin.read() if value == "@-" else Path(value[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(
            f"{value[1:]}: {getattr(error, 'strerror', None) or error}", param_hint="--secret"
        ) from None
    return text.removesuffix("\n")
