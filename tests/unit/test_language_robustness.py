"""Robustness: whatever is written, loading ends with a workflow or with problems, and with nothing else."""

# ruff: noqa: E501 - a definition is read line by line

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import pytest
from support.language import CATALOGUE

from hark.workflows.errors import DefinitionError, Problem
from hark.workflows.loading import load_all, load_value
from hark.workflows.reading import read_source

NATIVE = """
id: a
name: A
inputs: {x: {type: integer, default: 1}, y: {type: [string, "null"]}}
triggers:
  - {type: row, table: t, columns: [a], when: new.a == 1, inputs: {x: "${{ new.a }}"}, subject: {kind: c, id: "${{ new.id }}"}}
  - {type: webhook, path: x, auth: {type: hmac, secret: "${{ secrets.x }}"}}
conditions: [inputs.x == 1]
concurrency: {key: inputs.y, limit: 2}
steps:
  - {id: s1, action: http_request, with: {url: "https://x.org", headers: {a: b}}, retry: {retries: 2, when: error.class == "x"}}
  - {id: s2, needs: [s1], if: inputs.x == 1, then: [{id: s3, set: {v: 1}}], else: [{id: s4, wait: 1m}]}
  - {id: s5, needs: [s2], switch: inputs.y, cases: [{value: 1, do: []}, {when: inputs.x == 2, do: []}], default: []}
  - {id: s6, needs: [], for_each: "[1]", as: n, do: [{id: s7, emit: {type: T, data: "${{ n }}"}}]}
  - {id: s8, needs: [], parallel: {l: [{id: s9, stop: failed}], r: [{id: s10, approve: {form: {f: {type: string}}}}]}}
  - {id: s11, needs: [s8], try: [{id: s12, call: other}], catch: [{id: s13, wait_for: {event: E, when: event.data.x == 1}}]}
  - {id: s14, type: CONDITION, condition: inputs.x == 1, branches: [{type: IF_TRUE, steps: []}]}
  - {id: s15, action: LOOP, with: {items: x, steps: []}}
output: "${{ steps.s1.output }}"
"""
FLAT = {
    "name": "F",
    "trigger_type": "CLIENT_STATUS_CHANGED",
    "trigger_config": {
        "from": "a",
        "to": "b",
        "region": "EU",
        "filters": [{"field": "x", "operator": "in", "value": "1"}],
    },
    "conditions": [{"field": "x", "operator": "equals", "value": 1}, {"any": [{"field": "y", "operator": "exists"}]}],
    "actions": [
        {"type": "SEND_EMAIL", "config": {"to": "x"}, "order": 1},
        {
            "type": "CONDITIONAL_BRANCH",
            "config": {"condition": "1 == 1", "ifTrue": [{"type": "SET", "config": {"a": 1}}]},
        },
    ],
    "is_active": True,
    "version": 1,
}
GRAPH = {
    "workflowId": "g",
    "name": "G",
    "nodes": [
        {"id": "t", "type": "trigger", "config": {"type": "manual"}},
        {"id": "c", "type": "CONDITION", "config": {"field": "x", "operator": "equals", "value": 1}},
        {"id": "s", "type": "SWITCH", "config": {"value": "inputs.x"}},
        {"id": "a", "type": "LOG_EVENT", "config": {"message": "x"}},
    ],
    "edges": [
        {"source": "t", "target": "c"},
        {"source": "c", "target": "s", "condition": "IF_TRUE"},
        {"source": "s", "target": "a", "condition": {"type": "SWITCH_CASE", "value": 1}},
    ],
}
SOURCES = [read_source(NATIVE)[0].value, FLAT, GRAPH]
ODD: list[Any] = [
    None,
    True,
    0,
    -1.5,
    "",
    "x",
    "${{ x",
    "${{ steps.s1 }}",
    "{{a}}",
    "\n",
    [],
    {},
    [None],
    [[]],
    {"": None},
]
WEDGES = ["", "\t", "{", "]", "'", '"', "&a", "*a", ": ", "\n-", "\0", "|", "é"]
ODD += [{"id": 1}, {"type": []}, "[1, 2", '{"a": 1}', "9" * 50, "s1", "s2"]


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every container inside of a value with each of its keys."""
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from places(value[key])


def mutant(seed: int) -> Any:
    """Return a definition with one to three parts replaced, taken away, renamed or moved."""
    chance = random.Random(seed)
    value = copy.deepcopy(chance.choice(SOURCES))
    for _ in range(chance.randint(1, 3)):
        container, key = chance.choice(list(places(value)))
        if not isinstance(container, dict) or chance.random() < 0.6:
            other, part = chance.choice(list(places(value)))
            container[key] = copy.deepcopy(chance.choice([*ODD, other[part]]))
        elif chance.random() < 0.5:
            del container[key]
        else:
            container[chance.choice([*container, "do", "with", "id", "x"])] = container.pop(key)
        if not list(places(value)):
            break
    return value


def refused(load: Callable[[], object]) -> Sequence[Problem] | None:
    """Return the problems for which a definition is refused; None when it is accepted."""
    try:
        load()
    except DefinitionError as error:
        return error.problems
    return None


@pytest.mark.parametrize("start", range(0, 1500, 150))
def test_no_mutation_of_a_definition_is_more_than_a_definition_error(start: int) -> None:
    found = [refused(partial(load_value, mutant(seed), CATALOGUE)) for seed in range(start, start + 150)]
    assert () not in found


def test_problems_of_mutants_have_places() -> None:
    for seed in range(300):
        text = json.dumps(mutant(seed), indent=1)
        problems = refused(partial(load_all, text, CATALOGUE, file="x.json")) or ()
        assert all(problem.place and problem.file == "x.json" for problem in problems), text


def test_no_broken_text_is_more_than_a_definition_error() -> None:
    for seed in range(300):
        chance = random.Random(seed)
        cut = chance.randrange(len(NATIVE))
        text = NATIVE[:cut] + chance.choice(WEDGES) + NATIVE[cut:]
        problems = (
            refused(partial(load_all, text[: chance.randrange(len(text)) if seed % 2 else None], CATALOGUE)) or ()
        )
        assert all(problem.place for problem in problems), text
