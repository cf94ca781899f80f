"""How a session has to be for rows that it reads to look as hark.capture_change would have written them."""

from __future__ import annotations

AS_CAPTURED = """
SET LOCAL statement_timeout = '15s'; SET LOCAL lock_timeout = '1s'; SET LOCAL row_security = off;
SET LOCAL search_path = pg_catalog, pg_temp; SET LOCAL timezone = 'UTC'; SET LOCAL datestyle = 'ISO';
SET LOCAL intervalstyle = 'iso_8601'; SET LOCAL bytea_output = 'hex'; SET LOCAL extra_float_digits = 1;
"""
"""For a transaction that reads tables of users: bounded in time; rows that a policy would hide fail the statement, for
a trigger sees them. Names are looked up in the catalogue alone: those of users are written with their schema."""
