"""Secrets and variables that one execution is handed: sealed at rest, open where it runs, masked in what it leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import orjson
import pytest
from support.api import running_api
from support.engine import EngineUnderTest, running_engine

from hark.client import ApiError
from hark.daemon.doctor.checking import Case
from hark.daemon.doctor.sealing import look_at_sealing
from hark.daemon.engine import instance as instance_module
from hark.daemon.engine.handed_over import HandedOver
from hark.daemon.engine.sealing import SECRET_KEY_FILE, SealedError, key_of
from hark.daemon.settings import Settings
from hark.workflows.errors import ConflictError, UnprocessableError
from hark.workflows.ids import DEFAULT_TENANT

KEY, OTHER = "k" * 40, "another-key-" * 4
SECRET, SECOND = "ap1fy-t0ken-of-ada", "ap0llo-t0ken-of-ada"
HANDED = HandedOver.checked({"region": "eu"}, {"apify": SECRET})


@pytest.fixture
async def hark(database_url: str) -> AsyncIterator[EngineUnderTest]:
    """Run an engine that has a key, and a secret of its environment."""
    async with running_engine(
        database_url, secrets={"apify": "environment", "own": "0wn-value"}, secret_key=KEY
    ) as one:
        yield one


def workflow(steps: str, more: str = "", name: str = "flow") -> str:
    """Write a workflow that is started by hand."""
    return f"id: {name}\nname: Flow\nsteps:\n{steps}\n{more}"


async def start(hark: EngineUnderTest, handed: HandedOver = HANDED, **options: Any) -> UUID:
    """Start the workflow, and return its execution."""
    receipt = await hark.engine.start_workflow(DEFAULT_TENANT, "flow", handed=handed, **options)
    return receipt.executions[0]


async def run(hark: EngineUnderTest, handed: HandedOver = HANDED) -> dict[str, Any]:
    """Start the workflow and wait for its end."""
    return await hark.ended(await start(hark, handed))


async def tables_with(hark: EngineUnderTest, *texts: str) -> list[str]:
    """Return the tables of Hark in which a text stands: in any column of any row, in the clear or as bytes."""
    pool = hark.database.pool
    tables = await pool.fetch(
        "SELECT c.oid::regclass::text AS name FROM pg_class AS c "
        "WHERE c.relnamespace = 'hark'::regnamespace AND c.relkind = 'r'"
    )
    forms = [form for text in texts for form in (text, text.encode().hex())]
    query = "SELECT EXISTS (SELECT FROM {} AS t, unnest($1::text[]) AS f WHERE strpos(t::text, f) > 0)"
    assert len(tables) > 30
    return [row["name"] for row in tables if await pool.fetchval(query.format(row["name"]), forms)]


async def sealed_of(hark: EngineUnderTest, execution_id: UUID) -> bytes:
    """Return what an execution's row holds of its secrets."""
    value: bytes = await hark.database.pool.fetchval(
        "SELECT sealed FROM hark.workflow_executions WHERE id = $1", execution_id
    )
    return value


async def test_secrets_of_an_execution_reach_its_steps_and_no_table(hark: EngineUnderTest) -> None:
    steps = """
  - {id: seen, action: probe, with: {say: "Bearer ${{ secrets.apify }} in ${{ vars.?region.orValue(0) }}"}}
  - {id: own, action: probe, with: {say: "${{ secrets.own }}"}}
  - {id: changed, set: {region: us, copy: "${{ secrets.apify }}"}}
  - {id: told, action: log_event, with: {message: "it is ${{ secrets.apify }}", data: {k: "${{ secrets.apify }}"}}}
  - {id: kept, remember: {token: "${{ secrets.apify }}"}}
  - id: out
    emit: {type: T, data: {t: "${{ secrets.apify }}"}}
  - {id: fails, action: probe, with: {fail: "wrong token ${{ secrets.apify }}"}, continue_on_error: true}
"""
    await hark.apply(workflow(steps, 'output: {token: "${{ secrets.apify }}", region: "${{ vars.region }}"}'))
    done = await run(hark)
    assert done["status"] == "completed", done["error"]
    assert [config.say for config in hark.probe.configs[:2]] == [f"Bearer {SECRET} in eu", "0wn-value"]
    assert hark.probe.configs[2].fail == f"wrong token {SECRET}"
    assert done["steps"]["seen"]["output"] == "Bearer *** in eu"
    assert done["steps"]["fails"]["error"]["message"] == "wrong token ***"
    assert done["output"] == {"token": "***", "region": "us"}
    assert orjson.loads(done["variables"]) == {"region": "eu"}
    assert await tables_with(hark, SECRET, "0wn-value") == []
    found = await tables_with(hark, key_of(await sealed_of(hark, done["id"])))
    assert [name.partition("_20")[0] for name in found] == ["sealing_key", "workflow_executions"]  # it can find things


async def test_they_are_masked_where_a_workflow_without_secrets_meets_them(hark: EngineUnderTest) -> None:
    """What comes back from outside may hold them, too."""
    await hark.apply(
        workflow(f"  - {{id: a, action: probe, with: {{say: 'you sent {SECRET[:9]}${{{{ vars.rest }}}}'}}}}")
    )
    done = await run(hark, HandedOver.checked({"rest": SECRET[9:]}, {"apify": SECRET}))
    assert done["steps"]["a"]["output"] == "you sent ***"


@pytest.mark.parametrize("field", ["key", "type", "subject"])
async def test_what_an_event_is_known_by_may_not_hold_a_secret(hark: EngineUnderTest, field: str) -> None:
    """Masked keys were equal: of two events one was lost, and nobody was told."""
    said = {"key": '"${{ secrets.apify }}/1"', "type": '"T-${{ secrets.apify }}"'}
    said["subject"] = '{kind: client, id: "${{ secrets.apify }}"}'
    fields = {"type": "T", field: said[field]}
    written = ", ".join(f"{name}: {value}" for name, value in fields.items())
    await hark.apply(workflow(f"  - {{id: out, emit: {{{written}}}}}"))
    done = await run(hark)
    assert (done["status"], done["error"]["class"]) == ("failed", "secret_on_record")
    assert done["error"]["message"].startswith(f"`{field}` holds a secret")
    assert await hark.database.pool.fetchval("SELECT count(*) FROM hark.events WHERE kind = 'event'") == 0


async def test_a_secret_that_holds_another_one_leaves_no_rest(hark: EngineUnderTest) -> None:
    """The daemon's were masked first, and what one of them was a part of was then no secret any more."""
    await hark.apply(workflow('  - {id: a, action: probe, with: {say: "${{ secrets.token }}"}}'))
    done = await run(hark, HandedOver.checked(None, {"token": "0wn-value-and-more"}))
    assert (done["steps"]["a"]["output"], done["steps"]["a"]["input"]["say"]) == ("***", "***")


ALL_VERBS = """
  - {id: choice, if: "true", then: [{id: kept, set: {n: 1}}]}
  - {id: among, switch: "1", cases: [{value: 1, do: [{id: one, set: {m: 1}}]}]}
  - {id: each, for_each: "[1, 2]", distribute: true, do: [{id: seen, set: {n: "${{ item }}"}}]}
  - {id: both, parallel: {left: [{id: l, set: {n: 1}}], right: [{id: r, set: {n: 2}}]}}
  - {id: race, race: true, parallel: {quick: [{id: q, set: {n: 1}}], slow: [{id: s, wait: 1h}]}}
  - {id: tried, try: [{id: bad, action: probe, with: {fail: "no"}}], catch: [{id: ok, set: {n: 3}}]}
  - {id: short, wait: 1ms}
  - {id: paid, wait_for: {event: PAID, when: "event.data.order == inputs.order", lookback: 1h}}
  - id: outer
    try: [{id: ends, stop: completed, output: 7}]
    finally: [{id: again, wait_for: {event: PAID}}]
"""
OWN_WORDS = [
    *("branch", "then", "case", "items", "output", "status", "reason", "winner", "quick", "class", "message", "each"),
    *("path", "names", "vars", "whole", "event", "since", "key_path", "2026", "A-17", "completed"),
]


async def test_the_engine_reads_its_own_notes_whatever_a_secret_is_called(hark: EngineUnderTest) -> None:
    """A secret `items` or `2026` was masked in what a step has to know again, and the execution came to another end."""
    await hark.apply(workflow(ALL_VERBS, "inputs: {order: {type: string}}"))
    await hark.emit("PAID", {"order": "A-1717"})
    ends = []
    for secrets in ({"other": "zzzzz"}, {f"s{number}": word for number, word in enumerate(OWN_WORDS)}):
        execution = await start(hark, HandedOver.checked(None, secrets), inputs={"order": "A-1717"})

        async def waits(execution: UUID = execution) -> bool:
            steps = (await hark.execution(execution))["steps"]
            return "again" in steps and hark.engine.executor.in_flight == 0

        await hark.until(waits)
        await hark.emit("PAID")
        done = await hark.ended(execution)
        steps = {path: step["status"] for path, step in done["steps"].items()}
        ends.append((done["status"], done["output"], steps, done["steps"]["race"]["output"]))
        assert ends[-1][:2] == ("completed", 7), done["error"]
    assert ends[0] == ends[1]


async def test_a_part_whose_secrets_cannot_be_opened_here_ends(hark: EngineUnderTest) -> None:
    """It was taken again and again: of a part there was nothing to make a run of, not even to end it."""
    steps = """
  - id: each
    for_each: "[1]"
    distribute: true
    do:
      - {id: w, wait: 1h}
      - {id: seen, action: probe, with: {say: "${{ secrets.apify }}"}}
"""
    await hark.apply(workflow(steps))
    whole = await start(hark)
    pool = hark.database.pool
    waiting = "SELECT id FROM hark.workflow_executions WHERE parent_id = $1 AND status = 'waiting'"
    part = await hark.until(lambda: pool.fetchval(waiting, whole))
    await hark.until(lambda: hark.engine.executor.in_flight == 0)
    await hark.engine.claimer.stop()
    async with running_engine(hark.database.url, secret_key=OTHER) as other:
        await pool.execute("UPDATE hark.workflow_executions SET due_at = now() WHERE id = $1", part)
        other.engine.claimer.work_arrived()
        for one in (part, whole):
            assert (await other.ended(one))["error"]["class"] == "secrets_sealed"


async def test_one_that_goes_on_elsewhere_has_its_secrets_there(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instance_module, "DEAD_AFTER_S", 0.5)
    monkeypatch.setattr(instance_module, "HEARTBEAT_S", 0.1)
    steps = """
  - {id: first, action: probe, with: {say: 1}}
  - {id: hold, action: probe, with: {say: 2, hold: true}}
  - {id: last, action: probe, with: {say: "${{ secrets.apify }}/${{ vars.region }}"}}
"""
    async with running_engine(database_url, secret_key=KEY) as first:
        await first.apply(workflow(steps))
        execution = await start(first)
        await first.until(lambda: len(first.probe.calls) == 2)
        first.engine.recorder.discard(asyncio.CancelledError())
        await first.engine.instance._task.stop()
        await first.engine.executor.abort()
        async with running_engine(database_url, secret_key=f"{OTHER}, {KEY}") as second:
            second.probe.release.set()
            done = await second.ended(execution)
            assert done["status"] == "completed", done["error"]
            assert second.probe.configs[-1].say == f"{SECRET}/eu"
            assert done["steps"]["last"]["output"] == "***/eu"
            assert await tables_with(second, SECRET) == []


async def test_an_instance_with_another_key_takes_no_secrets_and_opens_none(hark: EngineUnderTest) -> None:
    await hark.apply(workflow('  - {id: w, wait: 1h}\n  - {id: a, action: probe, with: {say: "${{ secrets.apify }}"}}'))
    execution = await start(hark)
    await hark.until(lambda: hark.engine.executor.in_flight == 0)
    url = hark.database.url
    await hark.engine.claimer.stop()  # the next to take it up is the other one
    async with running_engine(url, secret_key=OTHER) as other:
        with pytest.raises(SealedError, match="give all instances the same HARK_SECRET_KEY"):
            await start(other)
        await other.database.pool.execute("UPDATE hark.workflow_executions SET due_at = now() WHERE id = $1", execution)
        other.engine.claimer.work_arrived()
        failed = await other.ended(execution)
        assert failed["error"]["class"] == "secrets_sealed"
        assert "the same HARK_SECRET_KEY" in failed["error"]["message"]
        with pytest.raises(SealedError):
            await other.engine.retry(DEFAULT_TENANT, execution)
        with pytest.raises(SealedError, match="or hand over again: apify"):
            await other.engine.retry(DEFAULT_TENANT, execution, secrets={"another": SECOND})
        # Handed over anew by somebody who has the right key, or with it, it goes on.
    following = await hark.engine.retry(DEFAULT_TENANT, execution)
    sealed = await sealed_of(hark, following)
    assert hark.engine.services.vault.open(DEFAULT_TENANT, following, sealed).secrets == {"apify": SECRET}


async def test_without_a_key_an_instance_makes_one_unless_another_is_in_use(database_url: str, tmp_path: Path) -> None:
    async with running_engine(database_url, data_dir=tmp_path / "a") as one:
        await one.apply(workflow('  - {id: a, action: probe, with: {say: "${{ secrets.apify }}"}}'))
        assert not (tmp_path / "a" / SECRET_KEY_FILE).exists()
        assert (await run(one))["status"] == "completed"
        assert (tmp_path / "a" / SECRET_KEY_FILE).stat().st_mode & 0o777 == 0o600
        async with running_engine(database_url, data_dir=tmp_path / "b") as two:
            with pytest.raises(SealedError, match="has none"):
                await start(two)
            assert not (tmp_path / "b" / SECRET_KEY_FILE).exists()
        # The same data directory, the same key.
        async with running_engine(database_url, data_dir=tmp_path / "a") as three:
            assert (await run(three))["status"] == "completed"


async def test_a_new_key_takes_over_from_the_old_one_that_it_knows(hark: EngineUnderTest) -> None:
    await hark.apply(workflow('  - {id: a, action: probe, with: {fail: "no"}}'))
    first = await run(hark)
    async with running_engine(hark.database.url, secret_key=f"{OTHER},{KEY}") as newer:
        following = await newer.engine.retry(DEFAULT_TENANT, first["id"])
        assert key_of(await sealed_of(newer, following)) != key_of(await sealed_of(newer, first["id"]))
        await newer.ended(following)
    async with running_engine(hark.database.url, secret_key=OTHER) as newest:
        assert await newest.ended(await newest.engine.retry(DEFAULT_TENANT, following))


async def test_doctor_tells_that_keys_differ(hark: EngineUnderTest) -> None:
    await hark.apply(workflow("  - {id: w, wait: 1h}"))
    await start(hark)
    async with hark.database.pool.acquire() as connection:

        async def found(key: str | None) -> list[str]:
            settings = Settings(secret_key=key, data_dir="/proc/no-data-directory")
            return [one.message async for one in look_at_sealing(Case(settings, connection))]

        assert await found(KEY) == []
        wrong = await found(OTHER)
        assert len(wrong) == 2
        assert "none can be taken" in wrong[0]
        assert "1 open execution with" in wrong[1]
        assert "here is none" in (await found(None))[0]


async def test_retries_and_replays_are_handed_them_again(hark: EngineUnderTest) -> None:
    steps = """
  - {id: a, action: probe, with: {say: "${{ secrets.apify }}"}}
  - {id: b, action: probe, with: {say: "${{ vars.region }} ${{ secrets.apify }}", fail: "no", times: 1}}
"""
    await hark.apply(workflow(steps))
    first = await run(hark)
    assert first["error"]["step"] == "b"
    again = await hark.ended(await hark.engine.retry(DEFAULT_TENANT, first["id"]))
    assert hark.probe.configs[-1].say == f"eu {SECRET}"
    whole = await hark.ended(await hark.engine.replay(DEFAULT_TENANT, first["id"]))
    assert [config.say for config in hark.probe.configs[-2:]] == [SECRET, f"eu {SECRET}"]
    sealed = [await sealed_of(hark, one["id"]) for one in (first, again, whole)]
    assert len(set(sealed)) == 3
    replaced = await hark.engine.replay(DEFAULT_TENANT, first["id"], from_step="b", secrets={"apify": SECOND})
    assert (await hark.ended(replaced))["steps"]["b"]["input"]["say"] == "eu ***"
    assert hark.probe.configs[-1].say == f"eu {SECOND}"
    assert await tables_with(hark, SECRET, SECOND) == []
    # Of another execution they cannot be opened: they are bound to their own.
    await hark.database.pool.execute(
        "UPDATE hark.workflow_executions SET sealed = $2 WHERE id = $1", again["id"], sealed[0]
    )
    with pytest.raises(SealedError, match="belong to another execution"):
        await hark.engine.replay(DEFAULT_TENANT, again["id"])
    assert await hark.engine.replay(DEFAULT_TENANT, again["id"], secrets={"apify": SECOND})


async def test_parts_have_them_and_called_workflows_what_they_are_handed(hark: EngineUnderTest) -> None:
    steps = """
  - id: each
    for_each: "[1, 2]"
    distribute: true
    do: [{id: seen, action: probe, with: {say: "${{ item }} ${{ secrets.apify }} ${{ vars.region }}"}}]
  - {id: called, call: child, with: {n: 1}, secrets: {token: "Bearer ${{ secrets.apify }}"}}
  - {id: wrong, call: child, with: {n: "${{ secrets.apify }}"}, continue_on_error: true}
"""
    child = """
  - {id: given, action: probe, with: {say: "${{ secrets.token }}"}}
  - {id: not, action: probe, with: {say: "${{ secrets.apify }}"}}
"""
    await hark.apply(workflow(child, "output: {t: '${{ secrets.token }}'}", name="child"))
    await hark.apply(workflow(steps))
    done = await run(hark)
    assert done["status"] == "completed", done["error"]
    said = [config.say for config in hark.probe.configs]
    assert sorted(said[:2]) == [f"1 {SECRET} eu", f"2 {SECRET} eu"]
    # `secrets` of the daemon are everybody's: the caller's own stays with the caller.
    assert said[2:] == [f"Bearer {SECRET}", "environment"]
    assert done["steps"]["called"]["input"] == {"call": "child", "with": {"n": 1}, "secrets": ["token"]}
    assert done["steps"]["called"]["output"] == {"t": "***"}
    assert done["steps"]["wrong"]["error"]["class"] == "secret_in_inputs"
    assert done["steps"]["each"]["output"] == ["1 *** eu", "2 *** eu"]
    assert await tables_with(hark, SECRET) == []


async def test_what_a_called_workflow_is_handed_hides_what_it_is_made_of(hark: EngineUnderTest) -> None:
    """Only `Bearer …` as a whole was a secret there: an answer that repeated the token itself was put on record."""
    fails = f"Incorrect API key provided: {SECRET}"
    await hark.apply(workflow(f"  - {{id: api, action: probe, with: {{fail: '{fails}'}}}}", name="child"))
    call = '  - {id: called, call: child, secrets: {token: "Bearer ${{ secrets.apify }}"}}'
    await hark.apply(workflow(call))
    first = await run(hark)
    assert first["error"]["message"] == "Incorrect API key provided: ***"
    child = UUID(first["steps"]["called"]["error"]["details"]["execution_id"])
    again = await hark.ended(await hark.engine.retry(DEFAULT_TENANT, child))
    errors = "SELECT error::text FROM hark.workflow_executions WHERE workflow_id = $1"
    said = [row["error"] for row in await hark.database.pool.fetch(errors, again["workflow_id"])]
    assert len(said) == 2
    assert not any(SECRET in text for text in said)


async def test_the_same_key_starts_it_once_and_other_variables_are_a_conflict(hark: EngineUnderTest) -> None:
    await hark.apply(workflow("  - {id: a, action: probe}"))
    first = await start(hark, key="k")
    assert await start(hark, key="k") == first
    with pytest.raises(ConflictError):
        await start(hark, HandedOver.checked({"region": "us"}, None), key="k")


async def test_what_could_not_be_kept_is_refused(hark: EngineUnderTest) -> None:
    for variables, secrets, message in (
        (None, {"pin": "123"}, "secrets.pin: a secret of fewer than 4 characters"),
        (None, {"no name": SECRET}, "'no name' is no name"),
        ({"1": 1}, None, "'1' is no name"),
        (None, {"big": "x" * 70_000}, "70,000 bytes; all together may have 65,536"),
        (None, {"one": "x" * 40_000, "two": "x" * 40_000}, "80,000 bytes; all together may have 65,536"),
        (None, {f"s{n}": SECRET for n in range(101)}, "more than the 100"),
    ):
        with pytest.raises(UnprocessableError, match=message) as refused:
            HandedOver.checked(variables, secrets)
        assert SECRET not in str(refused.value)
    await hark.apply(workflow("  - {id: a, action: probe}", "batch: {max_size: 2, timeout: 1h}"))
    with pytest.raises(UnprocessableError, match="collects its starts"):
        await start(hark)


async def test_erasing_the_history_erases_them(hark: EngineUnderTest) -> None:
    await hark.apply(workflow("  - {id: a, action: probe}"))
    done = await run(hark)
    form = (await sealed_of(hark, done["id"])).hex()
    assert await tables_with(hark, form)
    exported = "SELECT line FROM hark.export_executions($1, ARRAY[$2::uuid])"
    line = await hark.database.pool.fetchval(exported, DEFAULT_TENANT, done["id"])
    assert '"variables"' in line
    assert form not in line, "the archive outlives the history"
    await hark.engine.publisher.delete(DEFAULT_TENANT, "flow")
    assert await tables_with(hark, form) == []


async def test_over_http(database_url: str, tmp_path: Path) -> None:
    async with running_api(database_url, tmp_path) as api:
        await api.hark.apply(workflow('  - {id: a, action: probe, with: {say: "${{ secrets.apify }}", fail: "no"}}'))
        started = await api.client.start("flow", wait_s=20, secrets={"apify": SECRET}, variables={"n": [1]})
        assert started.status == "failed"
        assert started.execution_id is not None
        shown = await api.client.execution(started.execution_id)
        assert shown.variables == {"n": [1]}
        assert SECRET not in shown.model_dump_json()
        made = await api.client.retry(started.execution_id, secrets={"apify": SECOND})
        await api.hark.ended(made.execution_id)
        made = await api.client.replay(made.execution_id)
        await api.hark.ended(made.execution_id)
        assert [config.say for config in api.hark.probe.configs] == [SECRET, SECOND, SECOND]
        for wrong in ({"apify": 5}, {"apify": "abc"}):
            with pytest.raises(ApiError) as refused:
                await api.client.start("flow", secrets=wrong)  # type: ignore[arg-type]
            assert refused.value.status == 422
            assert "abc" not in str(refused.value.problem)
        assert await tables_with(api.hark, SECRET, SECOND) == []


async def test_the_database_itself_refuses_no_key_and_two(hark: EngineUnderTest) -> None:
    await hark.apply(workflow("  - {id: a, action: probe}"))
    await run(hark)
    with pytest.raises(asyncpg.UniqueViolationError):
        await hark.database.pool.execute("INSERT INTO hark.sealing_key (key_id) VALUES ('0123456789abcdef')")
