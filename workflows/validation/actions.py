"""Actions: that there is one of this name, and that its config is right as far as it is written out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from hark.workflows.catalogue import Catalogue
from hark.workflows.source import Path
from hark.workflows.validation.declared import place_given, with_defaults
from hark.workflows.validation.expressions import is_template, texts
from hark.workflows.validation.findings import Findings
from hark.workflows.validation.outline import Step
from hark.workflows.validation.structure import check_structure

_SENSITIVE = re.compile(
    r"(?:.*[_-])?(?:password|passwd|secret|secrets|token|api[_-]?key|private[_-]?key|access[_-]?key|authorization)",
    re.IGNORECASE,
)


def check_action(step: Step, catalogue: Catalogue, findings: Findings) -> None:
    """Check an action step against the catalogue."""
    name, config = step.raw.get("action"), step.raw.get("with", {})
    if not isinstance(name, str) or not name:
        return
    action = catalogue.action(name)
    if action is None:
        findings.error((*step.path, "action"), f"unknown action `{name}`", catalogue.suggest_action(name))
        return
    if not isinstance(config, Mapping):
        return
    path = (*step.path, "with") if "with" in step.raw else step.path
    given = with_defaults(step)
    for key in action.spec.literal:
        if any(is_template(text) for _, text in texts(given.get(key), ())):
            message = f"`{key}` cannot hold ${{{{ }}}}: it is fixed when the workflow is applied"
            findings.error(place_given(step, key), message, "write it out; what varies goes into the other fields")
    check_structure(action.spec.config, given, findings, at=path, open=True)
    warn_of_secrets(config, path, findings)


def warn_of_secrets(config: Any, path: Path, findings: Findings) -> None:
    """Warn of passwords and the like that are written into the definition."""
    for place, text in _sensitive(config, path):
        if text.strip() and not is_template(text):
            findings.warn(place, "a secret is written into the definition", "keep it as a secret: ${{ secrets.name }}")


def _sensitive(value: Any, path: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(value, Mapping):
        for key, member in value.items():
            if isinstance(key, str) and _SENSITIVE.fullmatch(key):
                yield from texts(member, (*path, key))
            else:
                yield from _sensitive(member, (*path, key))
    elif isinstance(value, list):
        for index, member in enumerate(value):
            yield from _sensitive(member, (*path, index))
