"""The page behind an approval's link: what people see, what it takes, and what it keeps out."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from support.api import ApiUnderTest, running_api

FORM = """{
  reason: {type: string, title: Why, description: "In <b>one</b> sentence", required: true, maxLength: 20},
  amount: {type: integer, minimum: 1, default: 5}, rate: {type: number},
  urgent: {type: boolean, default: true}, channel: {enum: [mail, 2, null]}, extra: {type: object}}"""
STEPS = """
  - id: release
    approve: {message: "Refund <script>alert(1)</script> & more?", form: FORM, OPTIONS}
"""


@pytest.fixture
async def api(database_url: str, tmp_path: Path) -> AsyncIterator[ApiUnderTest]:
    """Serve the API of an engine."""
    async with running_api(database_url, tmp_path) as served:
        yield served


class Link:
    """A link to a step that waits."""

    def __init__(self, api: ApiUnderTest, execution_id: UUID, path: str) -> None:
        self.api = api
        self.execution_id = execution_id
        self.path = path

    async def get(self) -> tuple[int, str, Any]:
        """Open the page."""
        async with self.api.http.get(self.api.url + self.path) as response:
            return response.status, await response.text(), response.headers

    async def post(self, fields: dict[str, str], **headers: str) -> tuple[int, str]:
        """Send the form."""
        async with self.api.http.post(self.api.url + self.path, data=fields, headers=headers) as response:
            return response.status, await response.text()

    async def step(self) -> dict[str, Any]:
        """Return the step as it is on record when the execution has ended."""
        ended = await self.api.hark.ended(self.execution_id, 4)
        step: dict[str, Any] = ended["steps"]["release"]
        return step


async def asked(api: ApiUnderTest, form: str = FORM, options: str = "timeout: 1h") -> Link:
    """Let a workflow ask, and return the link."""
    steps = STEPS.replace("FORM", form).replace("OPTIONS", options)
    await api.hark.apply(f"id: flow\nname: Refunds\ntriggers: [{{type: event, event: GO}}]\nsteps:\n{steps}")
    execution_id = (await api.hark.emit("GO")).executions[0]

    async def row() -> Any:
        return (await api.client.approvals(links=True)).items

    (found,) = await api.hark.until(row)
    return Link(api, execution_id, "/approve/" + found.url.rpartition("/")[2])


async def test_the_page_asks_and_is_closed_to_everything_from_outside(api: ApiUnderTest) -> None:
    link = await asked(api)
    status, text, headers = await link.get()
    assert status == 200
    assert "<h1>Refund &lt;script&gt;alert(1)&lt;/script&gt; &amp; more?</h1>" in text
    assert "In &lt;b&gt;one&lt;/b&gt; sentence" in text
    assert "<script" not in text
    assert headers["Cache-Control"] == "no-store"
    assert headers["Referrer-Policy"] == "same-origin"
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "frame-ancestors 'none'" in policy
    assert "form-action 'self'" in policy
    for label in re.findall(r"<(?:input|select|textarea) id=\"([^\"]+)\"", text):
        assert f'<label for="{label}">' in text, label
    for drawn in (
        '<input id="form.reason" name="form.reason" aria-describedby="form.reason-about" required type="text"',
        '<input id="form.amount" name="form.amount" type="number" step="1" min="1" value="5">',
        '<input id="form.rate" name="form.rate" type="number" step="any" value="">',
        '<input id="form.urgent" name="form.urgent" type="checkbox" value="true" checked>',
        '<option value="&quot;mail&quot;">mail</option><option value="2">2</option><option value="null">null</option>',
        '<textarea id="form.extra"',
    ):
        assert drawn in text, drawn


async def test_an_answer_over_the_page(api: ApiUnderTest) -> None:
    link = await asked(api)
    fields = {
        "answer": "approve", "form.reason": "late <i>", "form.amount": " 7 ", "form.rate": "1.5", "form.channel": "2",
        "form.extra": '{"a": [1]}', "comment": "ok", "name": "Ann <b>",
    }  # fmt: skip
    status, text = await link.post(fields, Origin=api.url)
    assert status == 200, text
    assert "Approved by <strong>Ann &lt;b&gt;</strong>" in text
    output = (await link.step())["output"]
    assert (output["approved"], output["by"], output["comment"]) == (True, "Ann <b>", "ok")
    assert output["form"] == {
        "reason": "late <i>", "amount": 7, "rate": 1.5, "urgent": False, "channel": 2, "extra": {"a": [1]},
    }  # fmt: skip
    status, text, _ = await link.get()
    assert status == 200
    assert "Approved by" in text
    assert "<form" not in text
    status, text = await link.post({"answer": "reject"})
    assert status == 409
    assert "your answer does not count" in text


async def test_who_rejects_need_not_fill_in_the_form(api: ApiUnderTest) -> None:
    link = await asked(api)
    status, text = await link.post({"answer": "reject", "comment": "no", "form.amount": "0", "form.extra": "{"})
    assert status == 200, text
    assert "Rejected over the link" in text
    error = (await link.step())["error"]
    assert (error["class"], error["details"]["by"], error["details"]["form"]) == ("rejected", "link", {"urgent": False})


async def test_what_does_not_fit_is_said_beside_its_field_and_nothing_is_lost(api: ApiUnderTest) -> None:
    link = await asked(api)
    status, text = await link.post({"answer": "approve", "form.amount": "0", "comment": "kept & safe"})
    assert status == 422
    assert 'id="form.amount-fault" class="fault">0 is less than the minimum of 1<' in text
    assert 'id="form.reason-fault" class="fault">it is required<' in text
    assert 'aria-invalid="true"' in text
    assert "kept &amp; safe</textarea>" in text
    assert 'type="number" step="1" min="1" value="0"' in text
    status, text = await link.post({"answer": "approve", "form.amount": "many"})
    assert (status, "write a whole number, such as 12" in text) == (422, True)
    assert (await link.post({}))[0] == 422
    assert (await link.post({"answer": "approve", "comment": "x" * 4001, "form.reason": "r"}))[0] == 422
    assert (await link.post({"answer": "approve", "comment": "x" * 70_000}))[0] == 413
    assert len((await api.client.approvals()).items) == 1


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
    ],
)
async def test_forms_from_elsewhere_are_refused(api: ApiUnderTest, headers: dict[str, str]) -> None:
    link = await asked(api, "{}")
    assert (await link.post({"answer": "approve"}, **headers))[0] == 403
    assert (await link.post({"answer": "approve"}, **{"Sec-Fetch-Site": "same-origin"}))[0] == 200


async def test_links_that_lead_nowhere(api: ApiUnderTest) -> None:
    link = await asked(api, "{}")
    token = link.path.rpartition("/")[2]
    for other in ("x", "A" * 64, token[:-1], token[:-1] + ("A" if token[-1] != "A" else "B"), "%00", "ä"):
        link.path = f"/approve/{other}"
        status, text, _ = await link.get()
        assert (status, "Nothing waits here" in text) == (404, True), other
        assert (await link.post({"answer": "approve"}))[0] == 404
    async with api.http.put(api.url + f"/approve/{token}") as response:
        assert response.status == 405


async def test_where_others_are_named_the_link_does_not_do(api: ApiUnderTest) -> None:
    link = await asked(api, "{}", "approvers: [ann, bo]")
    status, text, _ = await link.get()
    assert (status, "answered by: ann, bo" in text) == (403, True)
    assert (await link.post({"answer": "approve"}))[0] == 403
    link = await asked_again(api)
    assert (await link.get())[0] == 200


async def asked_again(api: ApiUnderTest) -> Link:
    """Let people answer by link beside a key, in a second execution."""
    await api.client.cancel((await api.client.approvals()).items[0].execution_id)
    return await asked(api, "{}", "approvers: [ann, link]")


async def test_a_link_that_ran_out_says_so(api: ApiUnderTest) -> None:
    link = await asked(api)
    await api.hark.database.pool.execute("UPDATE hark.waits SET until = now() - interval '1 ms'")
    status, text, _ = await link.get()
    assert (status, "Its time has run out." in text) == (410, True)
    assert (await link.post({"answer": "approve", "form.reason": "x"}))[0] == 409
    await api.client.cancel(link.execution_id)
    status, text, _ = await link.get()
    assert (status, "Its execution has ended: cancelled." in text) == (410, True)


async def test_of_two_who_press_at_once_one_is_told_that_the_other_was_quicker(api: ApiUnderTest) -> None:
    link = await asked(api, "{}")
    answers = await asyncio.gather(
        *(link.post({"answer": "approve" if n % 2 else "reject", "name": f"p{n}"}) for n in range(6))
    )
    assert sorted(status for status, _ in answers).count(409) == 3
    said = (await link.step())["status"]
    assert said in ("completed", "failed")


async def test_the_database_keeps_no_token(api: ApiUnderTest) -> None:
    link = await asked(api)
    token = link.path.rpartition("/")[2]
    row = await api.hark.database.pool.fetchval("SELECT to_jsonb(w)::text FROM hark.waits AS w")
    assert token not in row
    assert (api.services.settings.data_dir / "link.key").stat().st_mode & 0o777 == 0o600
