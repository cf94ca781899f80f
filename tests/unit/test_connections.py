"""Names of databases: how they are read, which of them steps use, and what is said of one that there is not."""

from __future__ import annotations

import pytest

from hark.actions.builtin import builtin_actions
from hark.triggers.builtin import builtin_triggers
from hark.workflows.catalogue import Action, ActionContext, ActionSpec, Catalogue, Config, Effect
from hark.workflows.connections import hint, read_connection, unknown
from hark.workflows.errors import DefinitionError
from hark.workflows.loading import Loaded, load_all
from hark.workflows.validation.connections import connections_of_steps


class CopyConfig(Config):
    """Where from and where to."""

    source: str = ""
    target: str = "home"


class Copy(Action[CopyConfig]):
    """Names two databases, and lets expressions do so."""

    spec = ActionSpec(
        "copy",
        "Copy",
        "Copies.",
        "data",
        Effect.EXTERNAL,
        CopyConfig,
        {"action": "copy"},
        connections=frozenset({"source", "target"}),
    )

    async def run(self, config: CopyConfig, context: ActionContext) -> None:
        """Do nothing: it is only read."""


CATALOGUE = Catalogue([*builtin_actions(), Copy()], builtin_triggers())

EVERYWHERE = """
id: all-over
name: All over
triggers: [{type: manual}]
steps:
  - {id: first, action: UPDATE_DATABASE, with: {sql: SELECT 1, connection: First}}
  - id: choice
    if: "true"
    then: [{id: then, action: update_database, with: {sql: SELECT 1, connection: then}}]
    else: [{id: else, action: update_database, with: {sql: SELECT 1, connection: else}}]
  - id: switched
    switch: "1"
    cases: [{value: 1, do: [{id: case, action: update_database, with: {sql: SELECT 1, connection: case}}]}]
    default: [{id: other, action: update_database, with: {sql: SELECT 1, connection: default}}]
  - id: each
    for_each: "[1]"
    do:
      - id: again
        while: "false"
        do: [{id: turn, action: update_database, with: {sql: SELECT 1, connection: turn}}]
  - id: both
    parallel: {left: [{id: branch, action: update_database, with: {sql: SELECT 1, connection: branch}}]}
  - id: careful
    try: [{id: tried, action: update_database, with: {sql: SELECT 1, connection: try}}]
    catch: [{id: caught, action: update_database, with: {sql: SELECT 1, connection: catch}}]
    finally: [{id: last, action: update_database, with: {sql: SELECT 1, connection: finally}}]
  - id: declared
    needs: []
    action: update_database
    inputs: {connection: {type: string, default: declared}}
    with: {sql: SELECT 1}
    on_error: [{id: sorry, action: update_database, with: {sql: SELECT 1, connection: on_step_error}}]
  - {id: here, action: update_database, with: {sql: SELECT 1, connection: Home}}
  - {id: here_too, action: update_database, with: {sql: SELECT 1}}
  - {id: not_meant, set: {connection: nothing, place: elsewhere}}
  - {id: copied, action: copy, with: {source: plug_in, target: "${{ vars.place }}"}}
on_error: [{id: alarm, action: update_database, with: {sql: SELECT 1, connection: on_error}}]
"""


def loaded(text: str) -> Loaded:
    (one,) = load_all(text, CATALOGUE)
    return one


def test_a_connection_is_found_wherever_a_step_names_it_and_with_its_place() -> None:
    workflow = loaded(EVERYWHERE)
    found = list(connections_of_steps(workflow.raw, CATALOGUE))
    assert {name for _, name in found} == {
        *("first", "then", "else", "case", "default", "turn", "branch", "try", "catch", "finally", "declared"),
        *("on_step_error", "plug_in", "on_error"),
    }
    lines = EVERYWHERE.splitlines()
    for path, name in found:
        place = workflow.place(path)
        assert place is not None
        assert lines[place.line - 1][place.column - 1 :].lower().startswith(name), (path, name, place)


def test_a_url_in_the_place_of_a_name_is_refused_and_not_repeated() -> None:
    step = "{id: a, action: update_database, with: {sql: SELECT 1, connection: 'postgresql://u:hidden@db/x'}}"
    with pytest.raises(DefinitionError, match=r"write the name alone, of letters .*, such as crm") as refused:
        loaded(f"id: a\nname: A\nsteps: [{step}]")
    assert "hidden" not in str(refused.value)


def test_what_a_plug_in_takes_for_a_name_is_not_repeated_when_it_is_none() -> None:
    """Its field may be any text; the URL came into problems, into the record and, in upper case, into the advice."""
    url = "postgresql://u:Hidden@db/x"
    for name in (url, url.lower()):
        assert "hidden" not in f"{unknown(name)} {hint(name, ['crm'])}".lower()
        assert "write the name alone" in hint(name, ["crm"])


def test_a_name_is_the_same_in_whatever_case_and_with_a_dash() -> None:
    """No shell takes a variable with a dash; people write names with one, as they do those of workflows."""
    step = "{id: a, action: update_database, with: {sql: SELECT 1, connection: My-CRM}}"
    [(_, name)] = connections_of_steps(loaded(f"id: a\nname: A\nsteps: [{step}]").raw, CATALOGUE)
    assert name == read_connection("My-CRM") == "my_crm"
    assert "HARK_CONNECTION_MY_CRM" in hint("my-crm", ())


@pytest.mark.parametrize(
    "names, said",
    [
        ((), "none is configured: set HARK_CONNECTION_CRN in"),
        (("crm", "news"), "did you mean crm? or set HARK_CONNECTION_CRN in"),
        (("news",), "one of: news; or set HARK_CONNECTION_CRN in"),
    ],
)
def test_what_there_is_and_what_to_do_is_said(names: tuple[str, ...], said: str) -> None:
    assert hint("crn", names).startswith(said)
