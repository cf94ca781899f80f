"""The tests in workflow files: run by the real interpreter, with nothing outside touched."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from hark.daemon.cli.first_files import FIRST_FILES
from hark.daemon.cli.local import local_catalogue
from hark.daemon.engine.cases import run_case
from hark.workflows.errors import DefinitionError
from hark.workflows.loading import load_all

DOCUMENT = Path(__file__).parents[2] / "docs" / "language.md"
EXAMPLES = [
    text
    for path in sorted((Path(__file__).parents[2] / "examples").glob("*.yaml"))
    if "\ntests:" in (text := path.read_text(encoding="utf-8"))
]
NOW = datetime(2026, 1, 1, tzinfo=UTC)
REFUND = """
id: refund
name: Refund
inputs: {who: {type: string, required: true}, amount: {type: number}}
triggers:
  - id: asked
    type: event
    event: REFUND
    when: event.data.amount > 0
    inputs: {who: "${{ event.data.who }}", amount: "${{ event.data.amount }}"}
  - {id: row, type: row, table: refunds, operations: [update], columns: [who], inputs: {who: "${{ new.who }}"}}
  - id: hook
    type: webhook
    path: refunds
    auth: {type: github, secret: "${{ secrets.gh }}"}
    inputs: {who: "${{ event.data.body.who }}"}
conditions: [inputs.who != ""]
steps:
  - {id: large, if: inputs.?amount.orValue(0) > 100, then: [{id: ok, approve: {message: sure?, approvers: [ann]}}]}
  - {id: pause, wait: 10d}
  - id: pay
    action: http_request
    with: {method: POST, url: "https://bank.example/pay", json: {who: "${{ inputs.who }}"}}
    retry: {retries: 3, delay: 1h}
  - {id: team, set: {team: red}}
  - id: each
    for_each: "[1, 2]"
    distribute: true
    do:
      - id: mail
        action: send_email
        with: {to: "${{ inputs.who }}@example.org", subject: "n ${{ item }}", body: "${{ steps.pay.output.id }}"}
      - {id: note, remember: {last: "${{ item }}"}}
  - {id: tell, emit: {type: REFUNDED, data: {who: "${{ inputs.who }}"}}}
on_error: [{id: alert, action: log_event, with: {level: error, message: "${{ error.message }}"}}]
output: {id: "${{ steps.pay.output.id }}"}
tests:
"""


async def tried(test: str, workflow: str = REFUND) -> list[tuple[str, Any, Any]]:
    """Run one test; return what did not come as expected."""
    catalogue = local_catalogue()
    (loaded,) = load_all(workflow + test, catalogue)
    outcome = await run_case(loaded.workflow, loaded.workflow.tests[0], catalogue, NOW)
    return [(wrong.path, wrong.expected, wrong.seen) for wrong in outcome.mismatches]


async def test_everything_that_can_be_expected_is_looked_at() -> None:
    assert not await tried("""
  - name: pays and tells
    event: {type: REFUND, data: {who: ann, amount: 500}}
    secrets: {gh: abcdefgh}
    variables: {given: 1}
    mocks: {pay: {id: 7}, ok: {approved: true, by: bob}}
    expect:
      trigger: asked
      status: completed
      inputs: {who: ann}
      output: {id: 7}
      vars: {team: red, given: 1}
      steps:
        ok: {status: completed, output: {by: bob}}
        pay: {input: {json: {who: ann}}, output: {id: 7}, attempts: 1}
        each[1].mail: {input: {to: ann@example.org, subject: n 2, body: 7}}
        alert: not_reached
      emitted: [{type: REFUNDED, data: {who: ann}}]
      that: ["steps.pay.output.id == 7 && status == 'completed'", "context.last in [1, 2]"]
""")


async def test_what_did_not_come_is_told_with_what_came_instead() -> None:
    assert await tried("""
  - name: wrong
    input: {who: x}
    mocks: {pay: {id: 1}}
    secrets: {gh: abcdefgh}
    expect:
      output: {id: 2, more: 1}
      steps: {tell: skipped, ok: completed, pay: {input: {method: GET}, output: {id: true}}}
      vars: {team: blue}
      that: ["steps.pay.output.id > 5", steps.nothing.output]
      emitted: []
""") == [
        ("expect.vars.team", "blue", "red"),
        ("expect.output.id", 2, 1),
        ("expect.output.more", 1, None),
        ("expect.steps.tell.status", "skipped", "completed"),
        ("expect.steps.ok.status", "completed", "not_reached"),
        ("expect.steps.pay.input.method", "GET", "POST"),
        ("expect.steps.pay.output.id", True, 1),
        ("expect.emitted", [], [{"type": "REFUNDED", "data": {"who": "x"}}]),
        ("expect.that[0]", "steps.pay.output.id > 5", {"steps.pay.output.id": 1}),
        ("expect.that[1]", "steps.nothing.output", {}),
    ]


async def test_failures_and_rejections_are_run_through() -> None:
    rejected = "{error: rejected, steps: {pay: not_reached, alert: {input: {level: error}}}}"
    begin = "event: {type: REFUND, data: {who: ann, amount: 500}}, secrets: {gh: abcdefgh}"
    assert not await tried(f"\n  - {{name: a, {begin}, mocks: {{ok: false}}, expect: {rejected}}}")
    down = "{error: the bank is down, steps: {pay: {error: offline, attempts: 1}, each: not_reached, alert: completed}}"
    failures = "failures: {pay: {class: offline, message: the bank is down}}"
    assert not await tried(f"\n  - {{name: b, {begin}, {failures}, expect: {down}}}")
    (missed,) = await tried(f"\n  - {{name: c, {begin}, {failures}}}")
    assert missed == ("expect.status", "completed", "failed")


async def test_several_events_each_with_what_has_to_come_of_it() -> None:
    test = """
  - name: several
    secrets: {gh: abcdefgh}
    mocks: {pay: {id: 1}}
    events:
      - {type: REFUND, data: {who: ann, amount: 0}, expect: {starts: false, reason: when_false}}
      - {type: REFUND, data: {who: "", amount: 1}, expect: {starts: false, reason: condition_false}}
      - {type: OTHER, expect: {starts: false, reason: not_concerned}}
      - {trigger: row, data: {old: {who: a}, new: {who: b}}, expect: {inputs: {who: b}}}
      - {trigger: row, data: {new: {who: b}}, expect: {starts: false, reason: insert}}
      - {trigger: hook, data: {body: {who: eve}}, expect: {trigger: hook, steps: {large: completed}}}
"""
    assert not await tried(test)
    (wrong,) = await tried(test.replace("reason: when_false", "reason: paused"))
    assert wrong == ("events[0].expect.reason", "paused", "when_false")
    (wrong,) = await tried(test.replace("amount: 0", "amount: 1"))
    assert wrong == ("events[0].expect.starts", False, True)


async def test_time_waiting_for_events_and_calls() -> None:
    workflow = """
id: w
name: W
triggers: [{id: daily, type: cron, schedule: "0 9 * * *"}]
steps:
  - {id: when, set: {at: "${{ event.data.slot }}", year: "${{ now.getFullYear() }}"}}
  - {id: paid, wait_for: {event: PAID, when: event.data.n == 2}}
  - {id: other, call: other, with: {n: 1}}
tests:
"""
    begin = "event: {}, now: 2030-05-01T09:00:00Z"
    expect = "expect: {vars: {year: 2030, at: '2030-05-01T09:00:00Z'}, steps: {other: {output: {ok: 1}}}}"
    mocks = "mocks: {paid: {data: {n: 2}}, other: {ok: 1}}"
    assert not await tried(f"\n  - {{name: a, {begin}, {mocks}, {expect}}}", workflow)
    (missing, *_) = await tried(f"\n  - {{name: b, {begin}, mocks: {{paid: {{}}}}}}", workflow)
    assert missing == ("expect.status", "completed", "failed")
    others = ", ".join(f"{{type: PAID, data: {{n: {n}}}, expect: {{starts: false}}}}" for n in (1, 2))
    events = f"events: [{{}}, {others}]"
    assert not await tried(f"\n  - {{name: c, {events}, mocks: {{other: {{}}}}}}", workflow)


async def test_the_example_in_the_documentation_passes() -> None:
    catalogue, text = local_catalogue(), DOCUMENT.read_text(encoding="utf-8")
    example = text.split("\n## Tests\n")[1].split("```")[1].removeprefix("yaml\n")
    (loaded,) = load_all(example, catalogue)
    outcomes = [await run_case(loaded.workflow, case, catalogue, NOW) for case in loaded.workflow.tests]
    assert [one.mismatches for one in outcomes] == [[], [], []]


async def test_what_several_workflows_came_to_is_filled_in() -> None:
    workflow = """
id: w
name: W
triggers:
  - {id: t, type: workflow, all: [one, two], within: 1h}
steps: [{id: a, set: {n: "${{ event.data.ends.one.output.n }}", other: "${{ event.data.ends.two.status }}"}}]
tests:
"""
    assert not await tried(
        "\n  - {name: a, event: {data: {ends: {one: {output: {n: 7}}}}}, expect: {vars: {n: 7, other: completed}}}",
        workflow,
    )


@pytest.mark.parametrize("text", [*EXAMPLES, FIRST_FILES["workflows/greeting.yaml"]])
async def test_the_tests_of_the_examples_pass(text: str) -> None:
    catalogue = local_catalogue()
    (loaded,) = load_all(text, catalogue)
    outcomes = [await run_case(loaded.workflow, case, catalogue, NOW) for case in loaded.workflow.tests]
    assert outcomes
    assert [one.mismatches for one in outcomes if not one.passed] == []


@pytest.mark.parametrize(
    "test, said",
    [
        ("{name: a}", "one of `event`, `events` and `input`"),
        ("{name: a, input: {}, mocks: {pya: 1}}", "there is no step `pya`"),
        ("{name: a, input: {}, expect: {steps: {'each[0].mial': completed}}}", "there is no step `mial`"),
        ("{name: a, event: {trigger: rwo}}", "there is no trigger `rwo`"),
        ("{name: a, event: {trigger: row, type: X}}", "`trigger` or `type`"),
        ("{name: a, input: {}, expect: {starts: false, status: failed}}", "what does not start has no status"),
        ("{name: a, input: {}, expect: {that: ['stesp.a']}}", "stesp"),
        ("{name: a, input: {}, expects: {}}", "expect"),
    ],
)
def test_a_test_that_cannot_be_meant_is_refused(test: str, said: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        load_all(f"{REFUND}\n  - {test}", local_catalogue())
    problems = [f"{problem.message} {problem.hint}" for problem in refused.value.problems]
    assert any(said in problem for problem in problems), problems


def test_the_command_says_what_failed_and_where(tmp_path: Path) -> None:
    def hark(*args: str) -> tuple[int, str, str]:
        code = "from hark.daemon.cli import main; main()"
        command = [sys.executable, "-c", code, "test", *args]
        ended = subprocess.run(command, check=False, capture_output=True, text=True, cwd=tmp_path)
        return ended.returncode, ended.stdout, ended.stderr

    good = "\n  - {name: good, input: {who: x}, mocks: {pay: {id: 1}}, secrets: {gh: abcdefgh}}"
    bad = good.replace("good", "bad").removesuffix("}") + ", expect: {output: {id: '1'}}}"
    path, report = tmp_path / "w.yaml", tmp_path / "r.xml"
    path.write_text(REFUND + good + bad)
    status, out, err = hark("w.yaml", "--junit", str(report))
    line = path.read_text().splitlines().index(bad.strip("\n")) + 1
    assert (status, f"w.yaml:{line}" in out, "1 of 2 tests passed" in err) == (1, True, True)
    assert 'expect.output.id: expected "1", seen 1' in out
    suite = ET.fromstring(report.read_text())
    assert (suite.get("tests"), suite.get("failures"), len(suite.findall("testcase/failure"))) == ("2", "1", 1)
    status, out, _ = hark("w.yaml", "--only", "good", "--json")
    assert (status, [one["name"] for one in json.loads(out)["items"]]) == (0, ["good"])
    path.write_text(REFUND + good.replace("mocks", "moks"))
    assert hark("w.yaml")[0] == 2
