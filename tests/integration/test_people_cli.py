"""`hark context`, `hark approvals`, `hark approve` and `hark reject`, as people type them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from support.api import ApiUnderTest, running_api
from support.program import Program

ASK = """
id: ask
name: Ask
triggers: [{type: event, event: GO}]
steps:
  - {id: start, remember: {stage: asked}}
  - id: release
    approve: {message: "Go on?", approvers: [admin, link], form: {reason: {type: string, required: true}}}
  - {id: after, set: {stage: "${{ context.stage }}"}}
"""


@pytest.fixture
async def api(database_url: str, tmp_path: Path) -> AsyncIterator[ApiUnderTest]:
    """Serve the API of an engine."""
    (tmp_path / "data").mkdir(mode=0o700)
    async with running_api(database_url, tmp_path / "data") as served:
        yield served


@pytest.fixture
def hark(api: ApiUnderTest, tmp_path: Path) -> Program:
    """Give the program."""
    return Program(api, tmp_path)


async def asking(api: ApiUnderTest) -> UUID:
    """Start the workflow and wait until it asks."""
    await api.hark.apply(ASK)
    execution_id = (await api.hark.emit("GO")).executions[0]

    async def waits() -> Any:
        return (await api.client.approvals()).items

    await api.hark.until(waits)
    return execution_id


async def test_the_context_from_the_command_line(api: ApiUnderTest, hark: Program) -> None:
    await asking(api)
    told = await hark("context", "last", "stage", "told by me")
    assert (told.status, told.out) == (0, "stage = told by me\n"), told
    listed, one, shown, missing = await asyncio.gather(
        hark("context", "last"),
        hark("context", "last", "stage", "--json"),
        hark("execution", "last"),
        hark("context", "last", "n", "--delete"),
    )
    assert re.search(r"stage +told by me .* key:admin", listed.out)
    assert one.json["value"] == "told by me"
    assert re.search(r"remembers +.*told by me", shown.out)
    assert "hark approve" in await hark.on_terminal("execution", "last")
    assert (missing.status, "remembers nothing under 'n'" in missing.err) == (1, True)


async def test_answers_from_the_command_line(api: ApiUnderTest, hark: Program) -> None:
    execution_id = await asking(api)
    listed, refused, misused = await asyncio.gather(
        hark("approvals", "--links"), hark("approve", "last"), hark("approve", "last", "--form", "[1]")
    )
    for word in ("ask", "release", "Go on?", "admin, link", "/approve/"):
        assert word in listed.out, listed.out
    assert (refused.status, "reason: it is required" in refused.err) == (1, True)
    assert misused.status == 2
    said = await hark("reject", "last", "--comment", "not now", "--by", "Ann", "--json")
    assert said.json["answer"] == "rejected"
    ended = await api.hark.ended(execution_id, 4)
    assert ended["error"]["message"] == "Ann rejected it: not now"
