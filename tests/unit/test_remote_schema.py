"""What row capture is made of in other databases: a part of schema.sql, under another name."""

from __future__ import annotations

import re
from dataclasses import replace

from hark.daemon.store.capture_site import in_schema
from hark.daemon.store.remote_schema import capture_text

SCHEMA = "hark_1a2b3c4d"
OURS = {"hark.actor", "hark.reason", "hark.depth", "hark.execution_id", "hark_old", "hark_new"}
"""What is called the same everywhere: settings of writers, and names within a function."""


def test_it_is_the_section_of_the_schema_and_knows_nothing_of_the_home() -> None:
    text = capture_text(SCHEMA)
    assert set(re.findall(r"CREATE TABLE (\w+)", text.tables)) == {"outbox", "watches", "row_changes"}
    functions = set(re.findall(r"CREATE OR REPLACE FUNCTION (\w+)", text.functions))
    assert {"capture_change", "keep_row_change", "place_capture", "remove_capture"} <= functions
    names = {name.rstrip(".") for name in re.findall(r"\bhark[._][a-z_]+[a-z]", text.tables + text.functions)}
    assert names <= OURS


def test_what_follows_the_first_function_can_be_run_again() -> None:
    """So that a new version replaces it in place."""
    text = capture_text(SCHEMA).functions
    assert not re.search(r"\nCREATE (?!OR REPLACE FUNCTION)", text)
    assert not re.search(r"\n(INSERT|ALTER|DROP)", text)


def test_comments_are_no_other_layout_and_columns_are() -> None:
    text = capture_text(SCHEMA)
    assert text.tables.count("'One row: ") == 1
    said = replace(text, tables=text.tables.replace("'One row: ", "'One row;\n  "))
    assert said != text
    assert said.layout == text.layout
    assert replace(text, tables=text.tables.replace(" operation ", " operator ")).layout != text.layout


def test_names_that_are_shared_in_one_database_differ() -> None:
    sql = "PERFORM pg_notify('hark_rows', '') FROM hark.row_changes, hark_new WHERE n = 'hark' AND hark.%I = hark.actor"
    assert in_schema(sql, SCHEMA) == (
        f"PERFORM pg_notify('{SCHEMA}_rows', '') FROM {SCHEMA}.row_changes, hark_new WHERE n = '{SCHEMA}' "
        f"AND {SCHEMA}.%I = hark.actor"
    )
    assert in_schema("hark_capture_insert_row", SCHEMA) == f"{SCHEMA}_insert_row"
    assert in_schema(sql, "hark") == sql
