"""What becomes of a workflow whose table is changed: rows are captured all the same, and what it misses is told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from support.api import ApiUnderTest, running_api
from support.database import connected, fresh_database
from support.faults.proxy import Proxy

from hark.workflows.errors import DefinitionError

WORKFLOW = """
id: greet
name: Greet
triggers:
  - type: row
    table: clients
    operations: [insert, update]
    CONDITION
    inputs: {mail: "${{ new.email }}"}
inputs: {mail: {default: ""}}
steps: [{id: note, action: probe}]
"""
PLAIN = WORKFLOW.replace("CONDITION", 'when: new.status == "lead"\n    capture: all')
FILTERED = WORKFLOW.replace("CONDITION", 'when: new.status == "lead"')
TOLD = "workflow greet (trigger row) uses column {}, which public.clients no longer has"


@pytest.fixture
async def api(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ApiUnderTest]:
    look_often(monkeypatch)
    async with running_api(database_url, tmp_path) as api:
        yield api


def look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hark.triggers.row_keeper.CHECK_S", 0.05)
    monkeypatch.setattr("hark.triggers.row_keeper.CHECK_SHARE", 0)


@pytest.fixture
async def clients(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    async with connected(database_url) as connection:
        await connection.execute(
            "SET search_path = public; CREATE TABLE clients (id int PRIMARY KEY, status text, email text)"
        )
        yield connection


async def warned(api: ApiUnderTest, *columns: str) -> None:
    """Wait until exactly this is told, wherever it has to be."""
    wanted = [TOLD.format(column) for column in columns]

    async def told() -> bool:
        (one,) = (await api.client.watches()).items
        return one.attached and one.warnings == wanted

    await api.hark.until(told)
    await api.hark.until(lambda: api.hark.engine.health()["row"].detail == "; ".join(wanted))
    assert api.hark.engine.health()["row"].attached
    assert (await api.client.decisions_of("greet")).warnings == wanted


async def captured(api: ApiUnderTest, count: int) -> None:
    """Wait for so many changes, whatever became of them."""
    stored = "SELECT count(*) FROM hark.events WHERE kind = 'row'"
    await api.hark.until(lambda: _equals(api, stored, count))


async def _equals(api: ApiUnderTest, query: str, wanted: object) -> bool:
    return await api.services.database.pool.fetchval(query) == wanted


@pytest.mark.parametrize(
    "change, back, missing",
    [
        ("DROP COLUMN status", "ADD COLUMN status text DEFAULT 'lead'", ["status"]),
        ("RENAME COLUMN email TO mail", "RENAME COLUMN mail TO email", ["email"]),
        (
            "DROP COLUMN status, DROP COLUMN email",
            "ADD COLUMN status text DEFAULT 'lead', ADD COLUMN email text",
            ["status", "email"],
        ),
    ],
)
async def test_a_column_that_goes_is_missed_until_it_is_back(
    api: ApiUnderTest, clients: asyncpg.Connection, change: str, back: str, missing: list[str]
) -> None:
    await api.client.apply({"w.yaml": PLAIN})
    await warned(api)
    await clients.execute(f"ALTER TABLE clients {change}")
    await clients.execute("INSERT INTO clients (id) VALUES (1)")
    await warned(api, *missing)
    await captured(api, 1)
    event = (await api.client.events()).items[0].id
    assert (await api.client.decisions(event)).warnings == [TOLD.format(column) for column in missing]
    await clients.execute(f"ALTER TABLE clients {back}")
    await warned(api)
    await clients.execute("INSERT INTO clients (id, status) VALUES (2, 'lead')")
    await captured(api, 2)
    await api.hark.until(lambda: len(api.hark.probe.calls) == 1)


async def test_a_type_that_a_condition_cannot_be_true_of_is_told(
    api: ApiUnderTest, clients: asyncpg.Connection
) -> None:
    await clients.execute("ALTER TABLE clients ADD COLUMN amount int")
    await api.client.apply({"w.yaml": PLAIN.replace('== "lead"', '== "lead" || new.amount in [5, 6]')})
    await warned(api)
    await clients.execute("ALTER TABLE clients ALTER COLUMN amount TYPE text, ALTER COLUMN status TYPE varchar(9)")
    await clients.execute("INSERT INTO clients (id, amount) VALUES (1, '5')")
    told = "workflow greet (trigger row) compares column amount of public.clients, which is text, with a number"
    await api.hark.until(lambda: api.hark.engine.health()["row"].detail == told)
    await captured(api, 1)
    await clients.execute("ALTER TABLE clients ALTER COLUMN amount TYPE numeric(9, 2) USING amount::numeric")
    await warned(api)
    await clients.execute("INSERT INTO clients (id, amount) VALUES (2, 5)")
    await api.hark.until(lambda: len(api.hark.probe.calls) == 1)


async def test_a_column_that_a_filter_names_goes_with_the_filter_and_nothing_fails(
    api: ApiUnderTest, clients: asyncpg.Connection
) -> None:
    await api.client.apply({"w.yaml": FILTERED})
    with pytest.raises(asyncpg.DependentObjectsStillExistError, match="hark_capture_insert_row"):
        await clients.execute("ALTER TABLE clients DROP COLUMN status")
    await clients.execute("ALTER TABLE clients RENAME COLUMN status TO state")  # a filter goes along with its column
    await clients.execute("INSERT INTO clients (id, state) VALUES (1, 'lead')")
    await warned(api, "status")
    await captured(api, 1)
    await clients.execute("ALTER TABLE clients DROP COLUMN state")  # by now nothing is asked of it
    await clients.execute("INSERT INTO clients (id) VALUES (2)")
    await captured(api, 2)
    await clients.execute("ALTER TABLE clients ADD COLUMN status text")
    await warned(api)
    await clients.execute("INSERT INTO clients (id, status) VALUES (3, 'lead'), (4, 'other')")
    await captured(api, 3)
    await clients.execute("ALTER TABLE clients DROP COLUMN status CASCADE")
    await warned(api, "status")


async def test_a_table_that_is_renamed_or_made_anew_is_found_again(
    api: ApiUnderTest, clients: asyncpg.Connection
) -> None:
    await api.client.apply({"w.yaml": PLAIN})
    await clients.execute(
        "BEGIN; ALTER TABLE clients RENAME TO customers; INSERT INTO customers VALUES (1, 'lead'); COMMIT"
    )

    async def gone() -> bool:
        (one,) = (await api.client.watches()).items
        return not one.attached and one.detail == "the table is gone"

    await api.hark.until(gone)
    await captured(api, 1)
    await api.hark.until(lambda: "there is no table public.clients" in api.hark.engine.health()["row"].detail)
    await clients.execute("CREATE TABLE clients (id int PRIMARY KEY, status text)")
    await warned(api, "email")
    await clients.execute("INSERT INTO clients VALUES (2, 'other')")
    await captured(api, 2)
    await clients.execute("DROP TABLE clients; ALTER TABLE customers RENAME TO clients")
    await warned(api)
    await clients.execute("INSERT INTO clients VALUES (3, 'lead')")
    await captured(api, 3)


async def test_partitions_come_and_go(api: ApiUnderTest, clients: asyncpg.Connection) -> None:
    await clients.execute(
        "DROP TABLE clients; CREATE TABLE clients (id int, status text, email text) PARTITION BY LIST (id);"
        "CREATE TABLE one PARTITION OF clients FOR VALUES IN (1); CREATE TABLE two (LIKE clients)"
    )
    await api.client.apply({"w.yaml": PLAIN})
    triggers = "SELECT tgrelid::regclass::text FROM pg_trigger WHERE tgname LIKE 'hark_capture_insert' ORDER BY 1"

    async def on(*tables: str) -> bool:
        return [row[0] for row in await clients.fetch(triggers)] == sorted(tables)

    await clients.execute("ALTER TABLE clients ATTACH PARTITION two FOR VALUES IN (2)")
    await api.hark.until(lambda: on("clients", "one", "two"))
    await clients.execute("INSERT INTO two VALUES (2, 'x'); INSERT INTO clients VALUES (1, 'x')")
    await captured(api, 2)
    await clients.execute("ALTER TABLE clients DETACH PARTITION one")
    await api.hark.until(lambda: on("clients", "two"))
    await clients.execute("INSERT INTO one VALUES (1, 'x'); INSERT INTO clients VALUES (2, 'y')")
    await captured(api, 3)
    await warned(api)


async def test_inputs_of_columns_that_are_not_there_are_refused(api: ApiUnderTest, clients: asyncpg.Connection) -> None:
    with pytest.raises(DefinitionError, match=r"public\.clients has no column 'emial' \(did you mean email\?\)"):
        await api.hark.apply(PLAIN.replace("new.email", "new.emial"))


async def test_what_is_missed_in_another_database_is_told_while_that_answers(
    database_url: str, server_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`hark why` looked for the tables of other databases at home, and so said that nothing was missing."""
    look_often(monkeypatch)
    monkeypatch.setattr("hark.daemon.engine.remotes.PATIENCE_S", 0.5)
    told = 'workflow greet (trigger row) uses column email, which public."Clients" no longer has'
    async with fresh_database(server_url, "template0") as url, connected(url) as crm:
        await crm.execute('CREATE TABLE public."Clients" (id int PRIMARY KEY, email text, status text)')
        proxy = Proxy(url)
        await proxy.start()
        async with running_api(database_url, tmp_path, connections={"crm": proxy.url()}) as api:
            there = WORKFLOW.replace("table: clients", "table: '\"Clients\"'\n    connection: crm")
            await api.client.apply({"w.yaml": there.replace("    CONDITION\n", "")})
            await crm.execute('ALTER TABLE public."Clients" DROP COLUMN email')
            await crm.execute('INSERT INTO public."Clients" (id) VALUES (1)')
            await captured(api, 1)
            event = (await api.client.events()).items[0].id

            async def said() -> list[list[str]]:
                of_event, of_workflow = await api.client.decisions(event), await api.client.decisions_of("greet")
                return [of_event.warnings, of_workflow.warnings]

            async def is_told() -> bool:
                return await said() == [[told], [told]]

            await api.hark.until(is_told)
            proxy.dark.set()
            away = "whether all columns are there that workflows use is not known: connection crm: it did not answer"
            assert [text.startswith(away) for texts in await said() for text in texts] == [True, True]
            proxy.dark.clear()
        await proxy.stop()
