"""Links of approvals around and inside distributed parts: whoever gets one can open it and answer, on the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from support.api import ApiUnderTest, running_api

LINKS = 'action: probe, with: {say: "${{ execution.approval_url }}"}'
ASK = "approve: {message: May I?, approvers: [link]}"
STEPS = f"""
  - {{id: before, {LINKS}}}
  - id: both
    distribute: true
    parallel:
      left: [{{id: in_left, {LINKS}}}, {{id: ask_left, {ASK}}}]
      right:
        - id: deeper
          distribute: true
          parallel: {{one: [{{id: in_deep, {LINKS}}}, {{id: ask_deep, {ASK}}}], two: [{{id: ask_two, {ASK}}}]}}
  - {{id: ask_whole, {ASK}}}
  - id: each
    for_each: "[1, 2]"
    parallel: 2
    do:
      - {{id: in_each, {LINKS}}}
      - id: apart
        distribute: true
        parallel: {{branch: [{{id: in_apart, {LINKS}}}, {{id: ask_apart, {ASK}}}]}}
      - {{id: ask_each, {ASK}}}
  - id: spread
    for_each: "[1, 2]"
    distribute: true
    parallel: 2
    do: [{{id: in_spread, {LINKS}}}, {{id: ask_spread, {ASK}}}]
"""


def links(api: ApiUnderTest, step: str) -> list[dict[str, str]]:
    """Return the links that a step was given, one for each time that it ran."""
    probe = api.hark.probe
    return [
        config.say
        for call, config in zip(probe.calls, probe.configs, strict=True)
        if call[0].rpartition(".")[2] == step
    ]


async def approve(api: ApiUnderTest, url: str) -> str:
    """Open a link and approve, once the step asks."""
    address = api.url + "/approve/" + url.rpartition("/")[2]

    async def open_() -> Any:
        async with api.http.get(address) as page:
            return page.status == 200 and "form" in await page.text()

    await api.hark.until(open_)
    async with api.http.post(address, data={"answer": "approve"}) as page:
        assert page.status == 200, await page.text()
        return await page.text()


async def given(api: ApiUnderTest, step: str, times: int = 1) -> list[dict[str, str]]:
    """Wait until a step has run so often, and return the links that it was given."""
    await api.hark.until(lambda: len(links(api, step)) == times)
    return links(api, step)


async def test_links_lead_to_the_question_from_wherever_they_are_given(database_url: str, tmp_path: Path) -> None:
    async with running_api(database_url, tmp_path) as api:
        await api.hark.apply(f"id: flow\nname: Flow\nsteps:\n{STEPS}")
        started = await api.client.start("flow")
        assert started.execution_id is not None
        [before] = await given(api, "before")
        assert set(before) == {"ask_left", "ask_deep", "ask_two", "ask_whole"}
        # Seen from a part, the whole and other parts have the same links as from outside.
        [in_left], [in_deep] = await given(api, "in_left"), await given(api, "in_deep")
        assert in_left == in_deep == before
        await approve(api, in_deep["ask_left"])
        await approve(api, before["ask_deep"])
        await approve(api, in_left["ask_two"])
        await approve(api, in_left["ask_whole"])
        in_each, in_apart = await given(api, "in_each", 2), await given(api, "in_apart", 2)
        for one in in_each:
            assert set(one) == {*before, "ask_apart", "ask_each"}
            assert one in in_apart
        assert in_each[0]["ask_each"] != in_each[1]["ask_each"]
        await approve(api, in_each[0]["ask_apart"])
        await approve(api, next(one["ask_apart"] for one in in_apart if one != in_each[0]))
        for one in in_apart:
            await approve(api, one["ask_each"])
        for one in await given(api, "in_spread", 2):
            assert one["ask_whole"] == before["ask_whole"]
            await approve(api, one["ask_spread"])
        done = await api.hark.ended(started.execution_id)
        assert done["status"] == "completed", done["error"]
        # They are on record nowhere, also not in what parts were handed.
        tokens = {url.rpartition("/")[2] for one in api.hark.probe.configs for url in one.say.values()}
        rows = await api.hark.database.pool.fetch("SELECT e::text AS text FROM hark.workflow_executions AS e")
        rows += await api.hark.database.pool.fetch("SELECT s::text AS text FROM hark.workflow_steps AS s")
        assert not [token for token in tokens for row in rows if token in row["text"]]
