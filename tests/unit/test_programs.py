"""Programs are loaded many at a time, shared by versions that run the same, and kept while they are used."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any, cast
from uuid import UUID

import orjson
import pytest

from hark.actions.builtin import builtin_actions
from hark.daemon.engine.programs import Programs, Version
from hark.daemon.store.database import Record, sql
from hark.triggers.builtin import builtin_triggers
from hark.workflows.catalogue import Catalogue
from hark.workflows.definition import Body, Workflow
from hark.workflows.errors import UnavailableError
from hark.workflows.ids import DEFAULT_TENANT


class Definitions:
    """The table of versions: the body of each workflow by its number. It can be held up, and be away."""

    def __init__(self) -> None:
        self.bodies: dict[int, dict[str, Any]] = {}
        self.statements: list[int] = []
        self.away = False
        self.open = asyncio.Event()
        self.open.set()

    def step(self, number: int, text: str) -> None:
        self.bodies[number] = {"steps": [{"id": "s", "set": {"v": text}}]}

    async def fetch(self, query: str, *args: Any) -> list[Record]:
        assert query == "load_definitions"
        self.statements.append(len(args[1]))
        await self.open.wait()
        if self.away:
            raise UnavailableError("the database is away")
        found = [
            {"tenant_id": tenant, "workflow_id": workflow, "version": version, "slug": f"w{workflow.int}", "body": body}
            for tenant, workflow, version in zip(*args, strict=True)
            if (body := orjson.dumps(self.bodies.get(workflow.int)).decode()) != "null"
        ]
        return cast("list[Record]", found)


@pytest.fixture
def definitions() -> Definitions:
    return Definitions()


@pytest.fixture
async def programs(definitions: Definitions) -> AsyncIterator[Programs]:
    programs = Programs(definitions, Catalogue(builtin_actions(), builtin_triggers()))
    programs.start()
    yield programs
    await programs.stop()


def get(programs: Programs, number: int) -> asyncio.Task[Version]:
    return asyncio.create_task(programs.get(DEFAULT_TENANT, UUID(int=number), 1))


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_what_is_missed_together_is_loaded_by_one_statement(programs: Programs, definitions: Definitions) -> None:
    for number in range(1, 301):
        definitions.step(number, f"text {number}")
    versions = await asyncio.gather(*(get(programs, number) for number in [*range(1, 301), 1, 2, 3]))
    assert definitions.statements == [300]
    assert [version.slug for version in versions[:2]] == ["w1", "w2"]
    assert versions[0].program is versions[300].program
    assert programs.ready(DEFAULT_TENANT, UUID(int=300), 1) == versions[299]


async def test_what_is_missed_while_a_load_is_under_way_is_the_next_one(
    programs: Programs, definitions: Definitions
) -> None:
    for number in (1, 2, 3):
        definitions.step(number, f"text {number}")
    definitions.open.clear()
    first = get(programs, 1)
    await settled()
    others = [get(programs, number) for number in (2, 3, 1)]
    await settled()
    definitions.open.set()
    await asyncio.gather(first, *others)
    assert definitions.statements == [1, 2]


async def test_workflows_whose_steps_are_written_alike_share_their_program(
    programs: Programs, definitions: Definitions
) -> None:
    for number, text in ((1, "same"), (2, "same"), (3, "other")):
        definitions.step(number, text)
    one, two, three = await asyncio.gather(*(get(programs, number) for number in (1, 2, 3)))
    assert one.program is two.program
    assert (one.slug, two.slug) == ("w1", "w2")
    assert three.program is not one.program


def test_what_is_left_out_is_everything_that_does_not_run() -> None:
    """A field that runs and is left out would be read as absent; one that does not and is kept costs the sharing."""
    left_out = set(re.findall(r"'\{([a-z_,]+)\}'", sql("load_definitions"))[0].split(","))
    names = {field.alias or name for name, field in Workflow.model_fields.items()}
    assert left_out == names - Body.model_fields.keys()
    assert names > Body.model_fields.keys()


async def test_what_is_gone_or_broken_concerns_only_those_who_ask_for_it(
    programs: Programs, definitions: Definitions
) -> None:
    definitions.step(1, "fine")
    definitions.bodies[2] = {"steps": [{"id": "s", "action": "no_such_action"}]}
    fine, broken, gone = await asyncio.gather(*(get(programs, n) for n in (1, 2, 3)), return_exceptions=True)
    assert isinstance(fine, Version)
    assert "no_such_action" in str(broken)
    assert isinstance(gone, LookupError)
    assert "does not exist any more" in str(gone)
    definitions.step(3, "there again")
    assert (await get(programs, 3)).slug == "w3"


async def test_while_the_database_is_away_all_who_wait_are_told_and_may_ask_again(
    programs: Programs, definitions: Definitions
) -> None:
    definitions.step(1, "fine")
    definitions.away = True
    answers = await asyncio.gather(get(programs, 1), get(programs, 1), return_exceptions=True)
    assert [type(answer) for answer in answers] == [UnavailableError, UnavailableError]
    definitions.away = False
    assert (await get(programs, 1)).slug == "w1"


async def test_one_who_is_cancelled_takes_nobody_along(programs: Programs, definitions: Definitions) -> None:
    definitions.step(1, "fine")
    definitions.open.clear()
    impatient, patient = get(programs, 1), get(programs, 1)
    await settled()
    impatient.cancel()
    await settled()
    definitions.open.set()
    assert (await patient).slug == "w1"
    assert impatient.cancelled()


async def test_who_still_waits_when_it_stops_is_told(programs: Programs, definitions: Definitions) -> None:
    definitions.open.clear()
    waiting = get(programs, 1)
    await settled()
    await programs.stop()
    with pytest.raises(UnavailableError, match="shutting down"):
        await waiting
    with pytest.raises(UnavailableError, match="shutting down"):
        await get(programs, 2)


async def test_ten_thousand_workflows_that_differ_stay_in_memory(programs: Programs, definitions: Definitions) -> None:
    """A cache that is a little too small keeps nothing of what is used in turn."""
    for number in range(1, 10_001):
        definitions.step(number, f"what only the workflow {number} says to its customers")
    for _ in range(2):
        for start in range(1, 10_001, 500):
            await asyncio.gather(*(get(programs, number) for number in range(start, start + 500)))
    assert definitions.statements == [500] * 20
