"""Steps that work on the database of a named connection: which they name, and where."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hark.workflows.catalogue import Catalogue
from hark.workflows.connections import is_home, spelled
from hark.workflows.source import Path
from hark.workflows.validation.declared import place_given, with_defaults
from hark.workflows.validation.expressions import is_template
from hark.workflows.validation.outline import Outline


def connections_of_steps(definition: Mapping[str, Any], catalogue: Catalogue) -> Iterator[tuple[Path, str]]:
    """Yield each connection that a step at whatever depth names, with its place.

    What an expression gives is known only when the step runs, and left out.
    """
    for step in Outline(definition):
        action = catalogue.action(step.raw["action"]) if step.verb == "action" else None
        if action is None:
            continue
        given = with_defaults(step)
        for key in sorted(action.spec.connections):
            name = given.get(key)
            if isinstance(name, str) and not is_home(name) and not is_template(name):
                yield place_given(step, key), spelled(name)
