"""What a step declares of its inputs and outputs, held to when it runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from support.engine import EngineUnderTest, Probe, running_engine

from hark.actions.builtin import builtin_actions
from hark.triggers.builtin import builtin_triggers
from hark.workflows.catalogue import Catalogue
from hark.workflows.errors import DefinitionError
from hark.workflows.ids import DEFAULT_TENANT
from hark.workflows.loading import load_all


@pytest.fixture
async def hark(database_url: str) -> AsyncIterator[EngineUnderTest]:
    """Run an engine for the test."""
    async with running_engine(database_url) as engine:
        yield engine


def workflow(steps: str) -> str:
    """Write a workflow that the event GO starts."""
    return f"id: flow\nname: Flow\ntriggers: [{{type: event, event: GO}}]\nsteps:\n{steps}\n"


SAY = """
  - id: say
    action: probe
    with: {say: "${{ event.data }}"}
    inputs: {say: {type: string, minLength: 2, required: true}, times: {type: integer, default: 0}}
    retry: {retries: 3, delay: 1ms, when: "true"}
"""


async def test_inputs_are_filled_in_and_on_record_as_the_action_got_them(hark: EngineUnderTest) -> None:
    await hark.apply(workflow(SAY))
    done = await hark.run("GO", "hello")
    assert done["status"] == "completed", done["error"]
    assert done["steps"]["say"]["input"] == {"say": "hello", "times": 0}


async def test_inputs_that_do_not_fit_fail_the_step_without_an_attempt(hark: EngineUnderTest) -> None:
    await hark.apply(workflow(SAY))
    done = await hark.run("GO", 7)
    assert hark.probe.calls == []
    assert done["error"] == {
        "class": "inputs_invalid",
        "message": 'with.say: 7 is not of type "string"',
        "step": "say",
        "attempt": 0,
        "details": {"path": "with.say"},
    }
    assert (done["steps"]["say"]["attempt"], done["steps"]["say"]["input"]) == (0, {"say": 7})


OUT = """
  - id: out
    action: probe
    with: {say: "${{ event.data }}"}
    outputs: {id: {type: integer, required: true}, kind: {type: string, default: plain}}
    retry: {retries: 3, delay: 1ms, when: "true"}
"""


async def test_outputs_are_filled_in(hark: EngineUnderTest) -> None:
    await hark.apply(workflow(OUT))
    assert (await hark.run("GO", {"id": 1}))["steps"]["out"]["output"] == {"id": 1, "kind": "plain"}


@pytest.mark.parametrize(
    "output, message, path",
    [
        ({"id": "x"}, 'output.id: "x" is not of type "integer"', "output.id"),
        ({"other": 1}, 'output: "id" is a required property', "output.id"),
        (None, 'output: "id" is a required property', "output.id"),
        ([1], "output: it is a list; the step declares a mapping with id, kind", "output"),
    ],
)
async def test_an_effect_outside_is_not_repeated_when_its_output_does_not_fit(
    hark: EngineUnderTest, output: Any, message: str, path: str
) -> None:
    await hark.apply(workflow(OUT.replace("${{ event.data }}", "${{ event.data.out }}")))
    done = await hark.run("GO", {"out": output})
    assert len(hark.probe.calls) == 1
    error = done["error"]
    assert (error["class"], error["message"], error["details"]) == ("output_invalid", message, {"path": path})


async def test_a_sql_step_whose_output_does_not_fit_is_rolled_back(hark: EngineUnderTest) -> None:
    await hark.database.pool.execute("CREATE TABLE public.marks (n integer)")
    steps = """
  - id: mark
    action: update_database
    with: {sql: "INSERT INTO public.marks VALUES (${{ event.data.n }})"}
    outputs: {row_count: {const: 2}}
    continue_on_error: true
  - id: keep
    action: update_database
    with: {sql: "INSERT INTO public.marks VALUES (9)"}
    outputs: {row_count: {const: 1}}
"""
    steps = steps.replace("VALUES (${{ event.data.n }})", "VALUES (:n)").replace('(:n)"}', '(:n)", params: {n: 7}}')
    await hark.apply(workflow(steps))
    done = await hark.run("GO")
    assert done["steps"]["mark"]["error"]["class"] == "output_invalid", done["steps"]["mark"]
    assert done["steps"]["keep"]["status"] == "completed", done["steps"]["keep"]
    assert [row["n"] for row in await hark.database.pool.fetch("SELECT n FROM public.marks")] == [9]


async def test_outputs_hold_for_every_verb(hark: EngineUnderTest) -> None:
    steps = """
  - {id: vars_of, set: {x: "${{ event.data.x }}"}, outputs: {x: {type: integer}, y: {default: 5}}}
  - {id: kept, remember: {x: "${{ vars.x + steps.vars_of.output.y }}"}, outputs: {z: {default: 1}}}
  - id: branch
    if: "true"
    then: [{id: inner, set: {w: 1}}]
    outputs: {branch: {const: then}}
  - {id: pause, wait: 1ms, outputs: {waited_until: {type: string, format: date-time}}}
  - {id: sent, emit: {type: OTHER}, outputs: {event_id: {type: string, format: uuid}}}
  - {id: both, parallel: {a: [{id: one, set: {k: 1}}]}, outputs: {a: {type: string}}}
"""
    await hark.apply(workflow(steps))
    done = await hark.run("GO", {"x": 2})
    assert done["error"]["step"] == "both", done["error"]
    assert done["steps"]["vars_of"]["output"] == {"x": 2, "y": 5}
    assert done["steps"]["kept"]["output"] == {"x": 7, "z": 1}
    assert await hark.database.pool.fetchval("SELECT count(*) FROM hark.workflow_context") == 2
    assert (done["steps"]["both"]["status"], done["error"]["class"]) == ("failed", "output_invalid")
    other = await hark.run("GO", {"x": "text"})
    assert (other["error"]["step"], other["error"]["class"]) == ("vars_of", "output_invalid")


async def test_a_stop_inside_ends_the_execution_whatever_is_declared_around_it(hark: EngineUnderTest) -> None:
    steps = """
  - id: around
    if: "true"
    then: [{id: enough, stop: completed, output: 1}]
    outputs: {branch: {const: never}}
"""
    await hark.apply(workflow(steps))
    done = await hark.run("GO")
    assert (done["status"], done["output"]) == ("completed", 1)


async def test_mocks_are_held_to_the_declared_outputs_and_steps_without_one_are_not(hark: EngineUnderTest) -> None:
    await hark.apply(workflow(OUT))

    async def tested(metadata: dict[str, Any]) -> dict[str, Any]:
        receipt = await hark.engine.start_workflow(DEFAULT_TENANT, "flow", mode="test", metadata=metadata)
        return await hark.ended(receipt.executions[0])

    assert (await tested({}))["status"] == "completed"
    assert (await tested({"mocks": {"out": {"id": 3}}}))["steps"]["out"]["output"] == {"id": 3, "kind": "plain"}
    assert (await tested({"mocks": {"out": {"id": "x"}}}))["error"]["class"] == "output_invalid"
    assert hark.probe.calls == []


@pytest.mark.parametrize(
    "step, message",
    [
        ("{id: a, action: probe, with: {say: 1}, inputs: {say: {type: string}}}", "steps[0].with.say: it does not fit"),
        ("{id: a, action: probe, inputs: {say: {required: true}}}", "steps[0]: the declared input `say` is missing"),
        ("{id: a, action: log_event, inputs: {message: {type: string}}}", "steps[0]: "),
        ("{id: a, action: probe, inputs: {times: {default: x}}}", "steps[0].times: expected a whole number"),
        ("{id: a, set: {x: 1}, inputs: {x: {type: integer}}}", "steps[0].inputs: `inputs` declare what `with` gives"),
        ("{id: a, stop: completed, outputs: {x: {type: integer}}}", "steps[0].outputs: `stop` ends the execution"),
        (
            "{id: a, for_each: [1], do: [{id: b, set: {x: 1}}], outputs: {x: {type: integer}}}",
            "steps[0].outputs: the output of `for_each` is a list",
        ),
    ],
)
def test_what_has_no_meaning_or_cannot_fit_is_refused_when_it_is_applied(step: str, message: str) -> None:
    catalogue = Catalogue([*builtin_actions(), Probe()], builtin_triggers())
    with pytest.raises(DefinitionError) as caught:
        load_all(workflow(f"  - {step}"), catalogue)
    assert message in str(caught.value)


async def test_a_default_gives_a_field_that_the_action_needs(hark: EngineUnderTest) -> None:
    step = "{id: a, action: log_event, with: {level: info}, inputs: {message: {type: string, default: hello}}}"
    await hark.apply(workflow(f"  - {step}"))
    done = await hark.run("GO")
    assert [line["message"] for line in done["logs"]] == ["hello"], done["error"]


CALL = """
id: callee
name: Callee
inputs: {n: {type: integer}}
steps: [{id: a, action: probe}]
output: {n: "${{ inputs.n }}"}
---
id: flow
name: Flow
triggers: [{type: event, event: GO}]
steps:
  - id: asked
    call: callee
    with: {n: "${{ event.data.n }}"}
    inputs: {n: {type: integer, maximum: 5, default: 3}}
    outputs: {n: {type: integer, maximum: 4}, more: {default: here}}
    retry: {retries: 3, delay: 1ms, when: "true"}
"""


async def test_calls_are_held_to_what_they_declare_too(hark: EngineUnderTest) -> None:
    await hark.apply(CALL)
    done = await hark.run("GO", {"n": 4})
    assert done["steps"]["asked"]["output"] == {"n": 4, "more": "here"}, done["error"]
    refused = await hark.run("GO", {"n": 6})
    assert (refused["error"]["class"], refused["error"]["attempt"]) == ("inputs_invalid", 0)
    assert refused["error"]["message"] == "with.n: 6 is greater than the maximum of 5"
    assert len(hark.probe.calls) == 1
    misfit = await hark.run("GO", {"n": 5})
    assert (misfit["error"]["class"], misfit["error"]["attempt"]) == ("output_invalid", 1)
    assert len(hark.probe.calls) == 2
    assert misfit["steps"]["asked"]["status"] == "failed"
