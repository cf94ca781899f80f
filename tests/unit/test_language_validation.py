"""Validation: what is wrong is refused with its line, its column and what would be right; what is right passes."""

# ruff: noqa: E501 - tables of cases are read row by row

from __future__ import annotations

import time

import pytest
from support.language import CATALOGUE, load_one

from hark.workflows.errors import DefinitionError, Place, Problem
from hark.workflows.loading import load_all, load_value

HEAD = "id: flow\nname: Flow\n"
LOG = "action: log_event, with: {message: x}"


def problems(text: str) -> tuple[Problem, ...]:
    with pytest.raises(DefinitionError) as caught:
        load_all(text, CATALOGUE, file="flow.yaml")
    return caught.value.problems


def steps(*lines: str) -> str:
    return HEAD + "steps:\n" + "".join(f"  - {line}\n" for line in lines)


STRUCTURE = [
    (HEAD + "stepps: []", 3, 1, "unknown field `stepps`", "did you mean steps?"),
    ("name: My flow\nsteps: []", 1, 1, "`id` is missing", "add id: my-flow"),
    ("id: My Flow\nname: x", 1, 5, "'My Flow' is not an id", "such as my-flow"),
    ("id: x\nname: 12", 2, 7, "expected text, found the number 12", '"12"'),
    (HEAD + "schema: hark/v2", 3, 9, "unknown schema 'hark/v2'", "hark/v1"),
    (HEAD + "overlap: skp", 3, 10, "'skp' is not accepted here", "did you mean skip?"),
    (HEAD + "timeout: 1z", 3, 10, "'1z' is not a duration", "write a duration such as"),
    (HEAD + "max_running: 0", 3, 14, "the number 0 is out of range: it must be at least 1", ""),
    (HEAD + "retention: {for: 5m}", 3, 18, "'5m' is not right", "an hour (1h) or more"),
    (HEAD + "retention: {count: 0}", 3, 20, "the number 0 is out of range", ""),
    (HEAD + "retention: {for: 30d, failed: 1d}", 3, 12, "`failed` is shorter than `for`", "failures stay as long"),
    (HEAD + "retention: forever", 3, 12, "'forever' is not a duration", "write a duration such as"),
    (HEAD + "tags: sales", 3, 7, "expected a list, found 'sales'", "[item, item]"),
    (HEAD + "inputs: {1a: {type: string}}", 3, 10, "'1a' is not an id", "step_1a"),
    ("id: executions\nname: x", 1, 5, "'executions' is a path of the API", "another id"),
    ("- just text", 1, 3, "a workflow is a mapping", "begin with id:"),
    (steps("{id: a, waitt: 10m}"), 4, 13, "unknown verb `waitt`", "did you mean wait?"),
    (steps("{id: a, wait: 1z}"), 4, 19, "'1z' is not a duration", "10m"),
    (steps("{id: a, wait: {untill: x}}"), 4, 20, "unknown field `untill`", "did you mean until?"),
    (steps("{id: a, if: x == 1}"), 4, 5, "`if` needs `then`, or a verb that it guards", "then: [steps]"),
    (steps("{wait: 10m}"), 4, 5, "`id` is missing", "such as id: wait"),
    (steps("{id: 1a, wait: 10m}"), 4, 10, "'1a' is not an id", "step_1a"),
    (
        steps("{id: a, wait: 10m, stop: failed}"),
        4,
        24,
        "a step has one verb, and this one has `wait` already",
        "two steps",
    ),
    (steps("hello"), 4, 5, "a step is a mapping, found 'hello'", "{id: name"),
    (steps("{id: a, " + LOG + ", retry: {retries: -1}}"), 4, 69, "the number -1 is out of range", ""),
    (steps("{id: a, " + LOG + ", retry: {jitter: ful}}"), 4, 68, "'ful' is not accepted here", "full"),
    (steps("{id: a, switch: inputs.x, cases: [{do: []}]}"), 4, 39, "a case has either `value` or `when`", ""),
    (steps("{id: a, for_each: {x: 1}, do: []}"), 4, 23, "expected text or a list, found a mapping", ""),
    (steps("{id: a, try: []}"), 4, 5, "`try` needs `catch` or `finally`", ""),
]

ACTIONS = [
    (steps("{id: a, action: send_mail}"), 4, 21, "unknown action `send_mail`", "did you mean send_email?"),
    (steps("{id: a, action: log_event, with: {mesage: x}}"), 4, 39, "unknown field `mesage`", "did you mean message?"),
    (steps("{id: a, action: log_event}"), 4, 5, "`message` is missing", ""),
    (steps("{id: a, action: log_event, with: {message: x, level: wrong}}"), 4, 58, "'wrong' is not accepted", "warning"),
    (steps("{id: a, action: log_event, with: 5}"), 4, 38, "expected a mapping, found the number 5", ""),
    (
        steps('{id: a, action: update_database, with: {sql: "SELECT ${{ inputs.x }}"}}'),
        4, 50, "`sql` cannot hold ${{ }}: it is fixed when the workflow is applied", "write it out",
    ),
    (
        steps("{id: a, action: update_database, inputs: {sql: {type: string, default: '${{ inputs.x }}'}}}"),
        4, 76, "`sql` cannot hold ${{ }}: it is fixed when the workflow is applied", "write it out",
    ),
]  # fmt: skip

TRIGGERS = [
    ("{type: cronn, schedule: x}", 12, "unknown trigger type `cronn`", "did you mean cron?"),
    ('{type: cron, schedule: "0 9 * *"}', 28, "a schedule has five fields", "minute hour"),
    ("{type: row, table: t, tabel: x}", 27, "a row trigger has no field `tabel`", "did you mean table?"),
    ("{type: row}", 5, "`table` is missing", ""),
    ("{type: row, table: t, operations: [upsert]}", 40, "'upsert' is not accepted here", "insert"),
    ("{type: row, table: t, when: new.x = 1}", 39, "unexpected '= '", "compare with =="),
    ('{type: cron, schedule: "@daily", when: new.x == 1}', 44, "unknown name new", "event.data"),
    ("{type: webhook, path: x, when: event.body == 1}", 42, "an event has no `body`", "write event.data.body"),
    ("{type: webhook, path: x, when: event.data.bdy == 1}", 47, "the event's data has no `bdy`", "did you mean body?"),
    ("{type: webhook, path: x, when: steps.a.output}", 36, "unknown name steps", ""),
]

EXPRESSIONS = [
    (steps("{id: a, if: inputs.x >, " + LOG + "}"), 4, 27, "the expression ends too early", ""),
    (steps("{id: a, if: inptus.x, " + LOG + "}"), 4, 17, "unknown name inptus", "did you mean inputs?"),
    (steps('{id: a, if: "\\"yes\\"", ' + LOG + "}"), 4, 17, "a condition is true or false", "compare it"),
    (steps('{id: a, for_each: "1 + 2", do: []}'), 4, 23, "this is of type int, not a list", ""),
    (steps('{id: a, action: log_event, with: {message: "a ${{ inptus.x }}"}}'), 4, 55, "unknown name inptus", "inputs"),
    (steps('{id: a, action: log_event, with: {message: "a ${{ inputs.x"}}'), 4, 51, "${{ is not closed", "}}"),
    (steps("{id: a, set: {x: '${{ steps.b.output }}'}}", "{id: b, wait: 1m}"), 4, 33, "steps.b cannot be read", "no step"),
    (steps("{id: a, set: {x: '${{ steps.aa.output }}'}}"), 4, 33, "there is no step `aa`", "did you mean a?"),
    (steps("{id: a, wait: 1m}", "{id: b, if: steps.a.outptu, wait: 1m}"), 5, 25, "a step has no `outptu`", "output?"),
    (
        steps("{id: a, set: {size: 1}}", "{id: b, if: steps.a.output.sice == 1, wait: 1m}"),
        5, 32, "the output of `a` has no `sice`", "did you mean size?",
    ),
    (steps("{id: a, if: vars.x == 1, wait: 1m}", "{id: b, set: {x: 1}}"), 4, 22, "`x` has no value here: `b` sets it", ""),
    (steps("{id: a, set: {team: 1}}", "{id: b, if: vars.taem == 1, wait: 1m}"), 5, 22, "no step sets `taem`", "team"),
    (steps("{id: a, if: execution.idd == '', wait: 1m}"), 4, 27, "an execution has no `idd`", "did you mean id?"),
    (steps("{id: a, if: error.message == '', wait: 1m}"), 4, 17, "unknown name error", ""),
    (steps("{id: a, if: 'secrets[\"a b\"] == \"\"', wait: 1m}"), 4, 27, "'a b' is no name of a secret", ""),
    (steps("{id: a, wait: {until: 2030-01-31}}"), 4, 27, "'2030-01-31' has no time zone", "ISO 8601"),
    (steps("{id: a, call: No Flow}"), 4, 19, "'No Flow' is not the id of a workflow", ""),
    (HEAD + "inputs: {email: {type: string}}\nconditions: [inputs.emial != '']", 4, 21, "the input `emial` is not declared", "email"),
    (HEAD + "conditions: [steps.a.output]\nsteps: []", 3, 14, "unknown name steps", ""),
    (HEAD + "concurrency: {key: inputs.x + }\nsteps: []", 3, 30, "the expression ends too early", ""),
    (HEAD + 'output: "${{ steps.zz.output }}"', 3, 20, "there is no step `zz`", ""),
]  # fmt: skip

GRAPHS = [
    (
        steps("{id: a, needs: [c], wait: 1m}", "{id: b, needs: [a], wait: 1m}", "{id: c, needs: [b], wait: 1m}"),
        4, 20, "the steps wait for each other: a → c → b → a", "take one of these needs away",
    ),
    (
        steps("{id: a, needs: [b], wait: 1m}", "{id: b, wait: 1m}"),
        4, 20, "the steps wait for each other: a → b → a", "`b` has no needs and so follows the step above it",
    ),
    (steps("{id: a, needs: [a], wait: 1m}"), 4, 21, "`a` needs itself", ""),
    (steps("{id: mail, wait: 1m}", "{id: b, needs: [mial], wait: 1m}"), 5, 21, "there is no step `mial`", "mail"),
    (
        steps("{id: a, parallel: {x: [{id: b, wait: 1m}]}}", "{id: c, needs: [b], wait: 1m}"),
        5, 21, "the step `b` stands in another block", "same block",
    ),
    (steps("{id: a, wait: 1m}", "{id: a, wait: 1m}"), 5, 10, "two steps have the id `a`", "steps[0] has it already"),
]  # fmt: skip

INPUTS = [
    ("{type: strng}", 23, "unknown type 'strng'", "did you mean string?"),
    ("{type: int}", 23, "unknown type 'int'", "did you mean integer?"),
    ("{type: [string, nul]}", 32, "unknown type 'nul'", "did you mean null?"),
    ("{type: string, requird: true}", 31, "unknown keyword `requird`", "did you mean required?"),
    ("{type: string, minLength: x}", 42, "not valid JSON Schema", ""),
    ("{type: string, pattern: '('}", 40, "not valid JSON Schema", ""),
    ("{type: integer, default: x}", 41, "the default does not fit", "change the default"),
    ("{type: string, required: maybe}", 41, "expected true or false, found 'maybe'", ""),
]


@pytest.mark.parametrize("text, line, column, message, hint", [*STRUCTURE, *ACTIONS, *EXPRESSIONS, *GRAPHS])
def test_what_is_wrong_is_refused_with_its_place_and_a_hint(
    text: str, line: int, column: int, message: str, hint: str
) -> None:
    found = problems(text)
    matching = [problem for problem in found if problem.message.startswith(message)]
    assert matching, [str(problem) for problem in found]
    assert matching[0].place == Place(line, column)
    assert matching[0].file == "flow.yaml"
    assert hint in matching[0].hint


@pytest.mark.parametrize("trigger, column, message, hint", TRIGGERS)
def test_wrong_triggers_are_refused(trigger: str, column: int, message: str, hint: str) -> None:
    (problem,) = problems(HEAD + f"triggers:\n  - {trigger}\nsteps: []")
    assert (problem.place, problem.message.startswith(message)) == (Place(4, column), True), str(problem)
    assert hint in problem.hint


@pytest.mark.parametrize("spec, column, message, hint", INPUTS)
def test_wrong_inputs_are_refused(spec: str, column: int, message: str, hint: str) -> None:
    (problem,) = problems(HEAD + f"inputs: {{size: {spec}}}\nsteps: []")
    assert (problem.place, problem.message.startswith(message)) == (Place(3, column), True), str(problem)
    assert hint in problem.hint


def test_a_required_input_has_to_be_given_by_every_trigger() -> None:
    text = HEAD + "inputs: {email: {type: string, required: true}}\ntriggers:\n"
    (problem,) = problems(text + "  - {type: cron, schedule: '@daily'}\nsteps: []")
    assert (problem.place, problem.message) == (Place(5, 5), "the trigger does not give the required `email`")
    given = "  - {type: cron, schedule: '@daily', inputs: {email: x}}\n  - {type: event, event: X}\n"
    assert load_one(text + given + "  - {type: event, event: X, inputs: '${{ event.data }}'}\nsteps: []")
    (problem,) = problems(text + "  - {type: event, event: X, inputs: {emial: x}}\nsteps: []")[:1]
    assert problem.message == "the trigger does not give the required `email`"


def test_two_triggers_may_not_have_one_id() -> None:
    text = HEAD + "triggers:\n  - {id: a, type: manual}\n  - {id: a, type: manual}\nsteps: []"
    (problem,) = problems(text)
    assert (problem.place, problem.message) == (Place(5, 10), "two triggers have the id `a`")


def test_everything_wrong_is_told_at_once_in_the_order_of_the_source() -> None:
    text = steps("{id: a, action: send_mail}", "{id: b, waitt: 1m}", "{id: c, if: inptus.x, wait: 1m}")
    assert [problem.place for problem in problems(text)] == [Place(4, 21), Place(5, 13), Place(6, 17)]


def test_problems_of_all_documents_and_two_of_one_id() -> None:
    text = HEAD + "steps: [{id: a, wait: 1z}]\n---\n" + HEAD + "steps: []\n---\n" + HEAD + "steps: []\n"
    found = problems(text)
    assert [problem.place for problem in found] == [Place(3, 23), Place(9, 5)]
    assert found[1].hint == "the other one: flow.yaml, line 5"


def test_a_parsed_value_has_paths_without_places() -> None:
    with pytest.raises(DefinitionError) as caught:
        load_value({"id": "x", "name": "X", "steps": [{"id": "a", "wait": "1z"}]}, CATALOGUE)
    (problem,) = caught.value.problems
    assert (problem.path, problem.place) == (("steps", 0, "wait"), None)


VISIBLE = [
    ("a step before", ["{id: a, wait: 1m}", "{id: b, if: steps.a.status == 'completed', wait: 1m}"]),
    ("inside a branch before", ["{id: a, if: 'true', then: [{id: b, wait: 1m}]}", "{id: c, set: {x: '${{ steps.b.output }}'}}"]),
    ("from a branch to what is before", ["{id: a, wait: 1m}", "{id: b, if: 'true', then: [{id: c, if: steps.a.output == 1, wait: 1m}]}"]),
    ("what it needs", ["{id: a, needs: [b], if: steps.b.output == 1, wait: 1m}", "{id: b, needs: [], wait: 1m}"]),
    ("what its needs need", ["{id: a, needs: [], wait: 1m}", "{id: b, wait: 1m}", "{id: c, set: {x: '${{ steps.a.output }}'}}"]),
    ("try from catch", ["{id: a, try: [{id: b, wait: 1m}], catch: [{id: c, if: steps.b.status == 'failed' && error.message != '', wait: 1m}]}"]),
    ("a step from its own on_error", ["{id: a, wait: 1m, on_error: [{id: b, if: steps.a.status == 'failed', wait: 1m}]}"]),
    ("earlier in the same turn", ["{id: a, for_each: '[1]', do: [{id: b, wait: 1m}, {id: c, if: steps.b.output == item, wait: 1m}]}"]),
    ("a variable of an earlier turn", ["{id: a, set: {n: 0}}", "{id: b, while: vars.n < 3, do: [{id: c, if: vars.m == 1, wait: 1m}, {id: d, set: {m: 1}}]}"]),
    ("a branch after all have ended", ["{id: a, parallel: {x: [{id: b, wait: 1m}], y: [{id: c, wait: 1m}]}}", "{id: d, if: steps.b.output == 1, wait: 1m}"]),
    ("the loop's own list", ["{id: a, for_each: '[1]', as: n, do: [{id: b, set: {x: '${{ n + index }}'}}]}", "{id: c, if: steps.a.output.size() == 1, wait: 1m}"]),
    ("variables from outside", ["{id: a, if: vars.team == 'x', wait: 1m}"]),
]  # fmt: skip

INVISIBLE = [
    ("itself", ["{id: a, if: steps.a.output == 1, wait: 1m}"], "a step cannot read its own result"),
    ("the other branch", ["{id: a, if: 'true', then: [{id: b, wait: 1m}], else: [{id: c, if: steps.b.output == 1, wait: 1m}]}"], "it runs in another branch, instead of this one"),
    ("a parallel branch", ["{id: a, parallel: {x: [{id: b, wait: 1m}], y: [{id: c, if: steps.b.output == 1, wait: 1m}]}}"], "it runs in another branch, side by side with this one"),
    ("a step in a loop", ["{id: a, for_each: '[1]', do: [{id: b, wait: 1m}]}", "{id: c, if: steps.b.output == 1, wait: 1m}"], "it runs in the loop `a`"),
    ("a graph's neighbour", ["{id: a, needs: [], wait: 1m}", "{id: b, needs: [], if: steps.a.output == 1, wait: 1m}"], "`b` does not wait for it; write needs: [a]"),
    ("the step around it", ["{id: a, if: 'true', then: [{id: b, if: steps.a.output == 1, wait: 1m}]}"], "it has not ended while the steps inside it run"),
]  # fmt: skip


def test_the_event_that_is_waited_for_has_data_of_its_own() -> None:
    text = HEAD + "triggers: [{type: cron, schedule: '@daily'}]\nsteps:\n"
    assert load_one(text + "  - {id: a, wait_for: {event: X, when: event.data.order == 1}}\n")
    (problem,) = problems(text + "  - {id: a, if: event.data.order == 1, wait: 1m}\n")
    assert problem.message == "the event's data has no `order`"


@pytest.mark.parametrize("case, lines", VISIBLE)
def test_a_step_reads_what_has_ended_before_it(case: str, lines: list[str]) -> None:
    assert load_one(steps(*lines))


@pytest.mark.parametrize("case, lines, reason", INVISIBLE)
def test_a_step_cannot_read_what_has_not(case: str, lines: list[str], reason: str) -> None:
    (problem,) = problems(steps(*lines))
    assert reason in problem.message


def test_on_error_reads_the_steps_and_the_steps_not_on_error() -> None:
    text = (
        HEAD
        + "steps: [{id: a, wait: 1m}]\non_error: [{id: b, if: steps.a.status == 'failed' && error.step == 'a', wait: 1m}]\n"
    )
    assert load_one(text)
    (problem,) = problems(text.replace("{id: a, wait", "{id: a, if: steps.b.output == 1, wait"))
    assert "it runs only when the workflow has failed" in problem.message


def test_templates_stand_for_any_type_in_an_action_and_a_trigger() -> None:
    text = HEAD + """
triggers: [{type: webhook, path: x, auth: {type: hmac, secret: "${{ secrets.hook }}"}}]
steps:
  - {id: a, action: http_request, with: {url: "${{ inputs.url }}", timeout: "${{ inputs.n }}", headers: "${{ inputs.h }}"}}
  - {id: b, wait: "${{ inputs.n }}"}
  - {id: c, parallel: {x: []}, timeout: "${{ inputs.m }}"}
"""  # fmt: skip
    assert load_one(text).warnings == ()


WARNINGS = [
    (steps("{id: a, stop: completed}", "{id: b, wait: 1m}"), "it never runs: `a` stops before it"),
    (steps("{id: a, switch: '1', cases: [{value: 1, do: []}, {value: 1, do: []}]}"), "an earlier case has this value already"),
    (steps("{id: a, action: log_event, with: {message: 'Hello {{ client.name }}'}}"), "{{ … }} is kept as it is written"),
    (HEAD + "steps: []", "a workflow without steps does nothing"),
    (
        HEAD + "triggers: [{type: webhook, path: x, auth: {type: hmac, secret: hunter2}}]\n" + steps("{id: a, wait: 1m}")[len(HEAD):],
        "a secret is written into the definition",
    ),
    (
        steps("{id: a, action: http_request, with: {url: 'https://x.org', headers: {Authorization: Bearer abc}}}"),
        "a secret is written into the definition",
    ),
]  # fmt: skip


@pytest.mark.parametrize("text, message", WARNINGS)
def test_what_is_only_suspicious_is_told_as_a_warning(text: str, message: str) -> None:
    (warning,) = load_one(text).warnings
    assert (warning.message, warning.severity) == (message, "warning")
    assert warning.place is not None


def test_a_workflow_costs_the_same_in_a_file_of_many() -> None:
    body = """
inputs: {{email: {{type: string, format: email}}, country: {{type: string, default: ""}}}}
triggers: [{{type: row, table: public.clients, when: new.n == {0}, inputs: {{email: "${{{{ new.email }}}}"}}}}]
conditions: [inputs.email != "{0}"]
steps:
  - {{id: a, action: send_email, with: {{to: "${{{{ inputs.email }}}}", subject: Hi, body: "{0}"}}}}
  - {{id: b, if: inputs.country == "{0}", then: [{{id: c, action: log_event, with: {{message: "${{{{ steps.a.output }}}}"}}}}]}}
"""  # fmt: skip

    def cost_of(count: int) -> float:
        text = "---\n".join(f"id: f{number}\nname: F{number}" + body.format(number) for number in range(count))
        start = time.process_time()
        assert len(load_all(text, CATALOGUE)) == count
        return (time.process_time() - start) / count

    cost_of(5)
    assert cost_of(100) < 3 * cost_of(20)


def test_a_huge_workflow_is_refused_and_not_laboured_over() -> None:
    text = HEAD + "steps:\n" + "".join(f"  - {{id: s{number}, needs: [], wait: 1m}}\n" for number in range(2001))
    assert problems(text)[0].message == "more than 2,000 steps"
