"""Hark's own tables: one `.sql` file per statement, and the only code that speaks asyncpg to them."""
