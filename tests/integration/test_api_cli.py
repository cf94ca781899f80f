"""The command line against a served API: the real program, with its output to a pipe and to a terminal."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest
from support.api import running_api
from support.program import Program

WORKFLOWS = """
id: greet
name: Greet somebody
tags: [sales]
triggers: [{type: event, event: GREET}]
inputs: {names: {type: array, default: [Ada, Bob]}}
steps:
  - id: each
    for_each: inputs.names
    do: [{id: note, action: log_event, with: {level: info, message: "hello ${{ item }}"}}]
---
id: broken
name: Broken
steps: [{id: one, action: probe, with: {fail: no luck}}]
"""


@pytest.fixture
async def hark(database_url: str, tmp_path: Path) -> AsyncIterator[Program]:
    """Serve an API; the program finds its key in the data directory."""
    async with running_api(database_url, tmp_path / "data") as api:
        program = Program(api, tmp_path)
        (tmp_path / "all.yaml").write_text(WORKFLOWS)
        yield program


@pytest.fixture(autouse=True)
def data_dir(tmp_path: Path) -> None:
    """Make the data directory that the key goes into."""
    (tmp_path / "data").mkdir(mode=0o700)


async def test_a_workflow_goes_from_file_to_history(hark: Program, tmp_path: Path) -> None:
    applied = await hark("apply", "all.yaml")
    assert applied.status == 0, applied
    assert [line.split() for line in applied.out.splitlines()] == [
        ["WORKFLOW", "OUTCOME", "VERSION", "FILE"],
        ["greet", "created", "1", "all.yaml"],
        ["broken", "created", "1", "all.yaml"],
    ]
    assert [item["slug"] for item in (await hark("list", "--json", "--tag", "sales")).json["items"]] == ["greet"]
    started = (await hark("start", "greet", "--input", '{"names": ["Zoe"]}', "--wait", "20", "--json")).json
    assert started["status"] == "completed"
    failed = await hark("start", "broken", "--wait", "20")
    assert (failed.status, "no luck" in failed.out) == (1, True)
    emitted = (await hark("emit", "GREET", "--data", '{"names": ["Ada", "Bob"]}', "--key", "k", "--json")).json
    await hark.api.hark.ended(emitted["executions"][0])

    listed = (await hark("executions", "--workflow", "greet", "--status", "completed", "--limit", "9", "--json")).json
    wanted = {"id", "workflow", "version", "status", "trigger_type", "event_id", "started_at", "completed_at"}
    assert all(wanted | {"duration_ms", "error_message"} <= item.keys() for item in listed["items"])
    assert [item["id"] for item in listed["items"]] == [emitted["executions"][0], started["execution_id"]]
    assert listed["next_cursor"] is None
    one = (await hark("execution", started["execution_id"][-8:], "--json")).json
    assert {"steps", "timeline", "logs", "artifacts"} <= one.keys()
    assert [(step["path"], step["container"]) for step in one["steps"]] == [("each", None), ("each[0].note", "each")]
    tree = (await hark("execution", started["execution_id"])).out
    assert "└── ✔ each for_each" in tree
    assert "    └── ✔ each[0].note log_event" in tree
    assert "\x1b" not in tree
    lines = (await hark("logs", "--workflow", "greet")).out.splitlines()
    assert [line.split("  ")[-1] for line in lines] == ["hello Zoe", "hello Ada", "hello Bob"]
    assert (await hark("event", emitted["event_id"], "--json")).json["data"] == {"names": ["Ada", "Bob"]}
    assert (await hark("events", "--json")).json["items"][0]["id"] == emitted["event_id"]

    exported = await hark("export", "greet", "--output", "again.yaml")
    assert exported.status == 0
    assert (await hark("apply", "again.yaml", "--json")).json["items"][0]["outcome"] == "unchanged"
    assert (await hark("pause", "greet")).out == "greet is paused\n"
    assert "paused" in (await hark("list")).out
    assert (await hark("resume", "greet")).out == "greet is active\n"
    assert "└── each for_each" in (await hark("show", "greet")).out
    retried = (await hark("retry", "last", "--from-start", "--json")).json
    await hark.api.hark.ended(retried["execution_id"])
    assert (await hark("cancel", retried["execution_id"])).status == 1
    assert (await hark("delete", "greet")).out == "greet is deleted\n"
    gone = await hark("show", "greet")
    assert (gone.status, gone.out, gone.err) == (1, "", "error: there is no workflow 'greet'\n")


async def test_a_refused_file_is_shown_with_its_lines_and_nothing_is_applied(hark: Program, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("id: bad\nname: Bad\nsteps:\n  - {id: a, action: send_emial}\n")
    refused = await hark("apply", "all.yaml", "bad.yaml")
    assert (refused.status, refused.out) == (1, "")
    assert refused.err.startswith("bad.yaml:4:21: error: unknown action")
    assert "    4 |   - {id: a, action: send_emial}\n" in refused.err
    assert refused.err.endswith("error: nothing was applied\n")
    assert (await hark("list", "--json")).json["items"] == []


async def test_the_tail_shows_a_line_within_a_second(hark: Program) -> None:
    await hark("apply", "all.yaml")
    tail = await hark.start("logs", "-f", "--json")
    assert tail.stdout is not None
    try:
        await hark.api.hark.until(lambda: hark.api.services.listeners == 1)
        await hark.api.client.start("greet", {"names": ["Ada"]}, wait_s=10)
        line = json.loads(await asyncio.wait_for(tail.stdout.readline(), 5))
        assert line["message"] == "hello Ada"
    finally:
        tail.terminate()
        await tail.communicate()


async def test_on_a_terminal_there_are_colours_and_relative_times(hark: Program) -> None:
    await hark("apply", "all.yaml")
    started = await hark.api.client.start("greet", wait_s=10)
    shown = await hark.on_terminal("executions")
    assert "\x1b[" in shown
    assert re.search(r"manual +(now|\d+ m?s ago)", shown)
    assert str(started.execution_id)[-8:] in shown
    assert str(started.execution_id) not in shown


async def test_a_key_that_is_missing_is_explained(hark: Program, tmp_path: Path) -> None:
    (tmp_path / "data" / "admin.key").unlink()
    refused = await hark("list")
    assert refused.status == 1
    assert "HARK_API_KEY" in refused.err


async def test_ends_of_ids_must_tell_executions_apart(hark: Program) -> None:
    await hark("apply", "all.yaml")
    assert "too short" in (await hark("execution", "abc")).err
    assert "none of the latest" in (await hark("execution", "deadbeef")).err
    assert (await hark("execution")).status == 1


async def test_an_execution_is_handed_secrets_and_variables(hark: Program, tmp_path: Path) -> None:
    handed = (
        "id: handed\nname: Handed\nsteps: [{id: a, action: probe, with: {say: '${{ secrets.a }} ${{ secrets.b }}'}}]\n"
    )
    (tmp_path / "handed.yaml").write_text(handed + "output: {n: '${{ vars.n }}'}")
    (tmp_path / "token").write_text("from-a-file\n")
    await hark("apply", "handed.yaml")
    options = ("--secret", "a=given", "--secret", "b=@token", "--variable", 'n={"is": 1}', "--wait", "20", "--json")
    started = (await hark("start", "handed", *options)).json
    assert (started["status"], started["output"]) == ("completed", {"n": {"is": 1}})
    assert hark.api.hark.probe.configs[-1].say == "given from-a-file"
    for wrong in (("--secret", "=x"), ("--variable", "n"), ("--variable", "n=x"), ("--secret", "a=@absent")):
        assert (await hark("start", "handed", *wrong)).status == 2
    refused = await hark("start", "handed", "--secret", "a=abc")
    assert (refused.status, "fewer than 4 characters" in refused.err) == (1, True)
    again = await hark("replay", str(started["execution_id"]), "--secret", "a=another", "--json")
    await hark.api.hark.ended(UUID(again.json["execution_id"]))
    assert hark.api.hark.probe.configs[-1].say == "another from-a-file"
