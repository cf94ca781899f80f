"""Checking a whole definition: structure first, then everything that the names in it mean."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from hark.workflows.catalogue import Catalogue, suggestion
from hark.workflows.definition import Workflow
from hark.workflows.scopes import BATCH, START, STEP
from hark.workflows.validation.expressions import check_condition, check_expression, check_template
from hark.workflows.validation.findings import Findings
from hark.workflows.validation.names import Known, Scope
from hark.workflows.validation.outline import Outline, Step
from hark.workflows.validation.properties import check_properties
from hark.workflows.validation.steps import StepChecker, check_ids, check_needs
from hark.workflows.validation.structure import check_structure
from hark.workflows.validation.triggers import Started, check_triggers, started

RESERVED = frozenset({"executions"})
"""Ids that are paths of the API."""
MAX_STEPS = 2000

_KEYED = ("concurrency", "idempotency", "throttle", "rate_limit", "debounce", "batch")


def check_definition(raw: Any, catalogue: Catalogue, findings: Findings) -> Workflow | None:
    """Check a normalised definition; return its model when the structure is right. Everything found is collected."""
    if not isinstance(raw, Mapping):
        findings.error((), "a workflow is a mapping", "begin with id: and name:")
        return None
    workflow = check_structure(Workflow, raw, findings)
    outline = Outline(raw)
    if len(outline.by_id) + len(outline.duplicates) > MAX_STEPS:
        findings.error(("steps",), f"more than {MAX_STEPS:,} steps", "divide the workflow and use `call`")
        return None
    _check_meaning(raw, workflow, outline, catalogue, findings)
    return workflow


def _check_meaning(
    raw: Mapping[str, Any], workflow: Workflow | None, outline: Outline, catalogue: Catalogue, findings: Findings
) -> None:
    if isinstance(raw.get("id"), str) and raw["id"] in RESERVED:
        findings.error(("id",), f"'{raw['id']}' is a path of the API", "choose another id")
    inputs = raw.get("inputs")
    check_properties(inputs, ("inputs",), findings)
    known = Known(
        outline, inputs if isinstance(inputs, Mapping) else {}, _variables(outline), _outputs(outline, catalogue)
    )
    check_ids(outline.duplicates, findings)
    for block in outline.blocks:
        check_needs(block, outline.by_id, findings)
    check_triggers(raw.get("triggers"), known, catalogue, findings)
    event = started(raw.get("triggers"), catalogue)
    if raw.get("debounce") is not None and raw.get("batch") is not None:
        findings.error(
            ("batch",), "`debounce` and `batch` exclude each other", "one waits for quiet, the other collects"
        )
    if "batch" in raw:
        event = Started(event.roots)
    _check_start(raw, known, event, findings)
    collected = BATCH if raw.get("batch") is not None else frozenset()
    scope = Scope(known, STEP | event.roots | collected, data=event.data)
    checker = StepChecker(catalogue, findings, outline.blocks)
    checker.check(outline.main, scope)
    checker.check(outline.on_error, scope)
    if raw.get("output") is not None:
        check_template(raw["output"], ("output",), scope, findings)
    if workflow is not None:
        _check_tests(workflow, outline, findings)
    if raw.get("steps") == [] or "steps" not in raw:
        findings.warn((), "a workflow without steps does nothing", "it can be kept as a draft; add steps: to run it")


def _check_tests(workflow: Workflow, outline: Outline, findings: Findings) -> None:
    """Check that tests name steps and triggers that are there."""
    triggers = {trigger.id or "" for trigger in workflow.triggers}
    for index, case in enumerate(workflow.tests):
        at = ("tests", index)
        for path, name in case.step_names():
            step = re.sub(r"\[[^\]]*\]", "", name).rpartition(".")[2]
            if step not in outline.by_id:
                findings.error((*at, *path), f"there is no step `{step}`", suggestion(step, outline.by_id), key=True)
        for way, event in [("event", case.event), *(("events", one) for one in case.events or ())]:
            if event is not None and event.trigger is not None and event.trigger not in triggers:
                hint = suggestion(event.trigger, triggers)
                findings.error((*at, way), f"there is no trigger `{event.trigger}`", hint)


def _check_start(raw: Mapping[str, Any], known: Known, event: Started, findings: Findings) -> None:
    """Check what is evaluated before an execution is made: conditions, and the keys of the limits."""
    scope = Scope(known, START | event.roots, data=event.data)
    conditions = raw.get("conditions")
    for index, source in enumerate(conditions if isinstance(conditions, list) else ()):
        check_condition(source, ("conditions", index), scope, findings)
    for name in _KEYED:
        spec = raw.get(name)
        if isinstance(spec, Mapping) and "key" in spec:
            check_expression(spec["key"], (name, "key"), scope, findings)


def _variables(outline: Outline) -> dict[str, tuple[Step, ...]]:
    """Return which steps define a variable: `set`, and actions told to keep their output in one."""
    found: dict[str, tuple[Step, ...]] = {}
    for step in outline:
        config = step.raw.get("with")
        kept = config.get("output_variable") if isinstance(config, Mapping) else None
        names = step.raw["set"] if step.verb == "set" and isinstance(step.raw.get("set"), Mapping) else ()
        for name in (*names, *((kept,) if isinstance(kept, str) else ())):
            found[name] = (*found.get(name, ()), step)
    return found


def _outputs(outline: Outline, catalogue: Catalogue) -> dict[str, frozenset[str]]:
    """Return the fields of those outputs that are known in full."""
    found: dict[str, frozenset[str]] = {}
    for step in outline:
        if step.verb == "set" and isinstance(step.raw.get("set"), Mapping):
            found[step.id] = frozenset(step.raw["set"])
        elif step.verb == "action" and isinstance(step.raw.get("action"), str):
            action = catalogue.action(step.raw["action"])
            schema = action.spec.output_schema if action else {}
            if schema.get("additionalProperties") is False and "properties" in schema:
                found[step.id] = frozenset(schema["properties"])
        declared = step.raw.get("outputs")
        if step.id in found and isinstance(declared, Mapping):
            found[step.id] |= frozenset(name for name in declared if isinstance(name, str))
    return found
