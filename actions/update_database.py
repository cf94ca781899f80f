"""The action `update_database`: run one SQL statement, on the home database together with the step's own record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from hark.actions.config import ActionConfig
from hark.actions.sql_build import Built, build_delete, build_insert, build_update
from hark.actions.sql_text import check_names, parse_statement
from hark.workflows.catalogue import Action, ActionContext, ActionSpec, Effect, Sql
from hark.workflows.connections import ConnectionName, is_home

_NEEDS = {
    "insert": ("table", "values"),
    "upsert": ("table", "values", "conflict"),
    "update": ("table", "values", "where"),
    "delete": ("table", "where"),
}
_TABLE_FIELDS = ("table", "values", "where", "conflict", "returning")


Name = Annotated[str, Field(min_length=1)]
Row = dict[Name, Any]


class UpdateDatabaseConfig(ActionConfig):
    """Either `sql` with `params`, or `operation` on a `table`."""

    sql: str | None = None
    """One statement with named parameters, such as `UPDATE clients SET seen = now() WHERE id = :id`."""
    params: Row = Field(default_factory=dict)
    """The values of the parameters."""
    operation: Literal["insert", "update", "delete", "upsert"] | None = None
    """What to do, instead of `sql`."""
    table: Name | None = None
    """The table, `clients` or `public.clients`, exactly as it is named in the database."""
    values: Row | list[Row] | None = None
    """Values by column; for insert and upsert also a list of rows."""
    where: Row | None = None
    """Which rows: values by column, all of which must be equal; a list matches any of its items, null matches NULL."""
    conflict: list[Name] = Field(default_factory=list)
    """For upsert: the columns of the unique key by which an existing row is found, to be updated."""
    returning: list[Name] = Field(default_factory=list)
    """Columns of the changed rows to return, or `["*"]`."""
    connection: ConnectionName = ""
    """The name of another database; without it (or `home`), the one that Hark itself lives in."""
    max_rows: Annotated[int, Field(ge=1, le=100_000)] = 1000
    """The most rows that the output holds."""

    @model_validator(mode="after")
    def _has_one_form(self) -> UpdateDatabaseConfig:
        if (self.sql is None) == (self.operation is None):
            raise ValueError("write either `sql`, or `operation` and `table`")
        if self.sql is not None:
            self._refuse(_TABLE_FIELDS, "`sql`")
            check_names(parse_statement(self.sql).names, list(self.params))
        else:
            self._refuse(("params",), "`operation`")
            self._check_operation()
            self.build()
        return self

    def _check_operation(self) -> None:
        operation = str(self.operation)
        needs = _NEEDS[operation]
        for name in needs:
            value = getattr(self, name)
            # An empty list of rows to insert is what an expression may well give: nothing is to be done then.
            if not value and (name != "values" or value is None or operation == "update"):
                raise ValueError(f"`operation: {operation}` needs `{name}`, and not an empty one")
        self._refuse([name for name in ("values", "where", "conflict") if name not in needs], f"`{operation}`")

    def _refuse(self, names: Sequence[str], beside: str) -> None:
        for name in names:
            if name in self.model_fields_set:
                raise ValueError(f"`{name}` does not go with {beside}")

    def build(self) -> Built | None:
        """Return the statement of `operation`; None when there are no rows to insert. Raises ValueError."""
        table, where = self.table or "", self.where or {}
        if self.operation == "delete":
            return build_delete(table, where, self.returning)
        if self.operation == "update":
            if isinstance(self.values, list):
                raise ValueError("`values` of an update is one mapping: the same for all rows")
            return build_update(table, self.values or {}, where, self.returning)
        rows = self.values if isinstance(self.values, list) else [self.values or {}]
        return build_insert(table, rows, self.conflict, self.returning) if rows else None


class UpdateDatabase(Action[UpdateDatabaseConfig]):
    """Run one SQL statement."""

    spec: ClassVar[ActionSpec] = ActionSpec(
        type="update_database",
        name="Update database",
        description=(
            "Run one SQL statement. On the home database it commits together with the step's record: exactly once."
        ),
        category="data",
        effect=Effect.TRANSACTIONAL,
        config=UpdateDatabaseConfig,
        example={
            "id": "mark_contacted",
            "action": "update_database",
            "with": {
                "sql": "UPDATE clients SET status = 'contacted', seen = now() WHERE email = :email RETURNING id",
                "params": {"email": "${{ inputs.email }}"},
            },
        },
        output_schema={
            "type": "object",
            "properties": {
                "rows": {"type": "array", "items": {"type": "object"}},
                "row_count": {"type": "integer", "description": "Rows changed, or rows read."},
                "truncated": {"type": "boolean", "description": "There were more rows than `max_rows`."},
            },
            "required": ["rows", "row_count", "truncated"],
        },
        permissions=("database.write",),
        literal=frozenset({"sql", "connection"}),
        connections=frozenset({"connection"}),
        practice=(
            (
                "On the home database the change and the step's record are one transaction: after a crash the change is"
                " there exactly when the step is recorded. On another `connection` it may happen twice: write SQL that"
                " bears it, such as an upsert. One that the daemon does not know is refused when the workflow is"
                " published."
            ),
            (
                "Values are bound as JSON: a string fits a timestamp, a uuid or an enum; a mapping or list fits jsonb,"
                " a list also an array; base64 fits bytea. What comes back is JSON in the same way."
            ),
            "When PostgreSQL cannot tell a parameter's type, add a cast: `:since::timestamptz`.",
            "`operation: insert|update|delete|upsert` needs no SQL at all; update and delete demand a `where`.",
        ),
        security=(
            (
                "`sql` is fixed when the workflow is applied and cannot contain `${{ }}`: values travel only as"
                " parameters, so no input becomes SQL."
            ),
            "Transaction control, session settings, COPY and several statements in one text are refused.",
            "A constraint's message may quote a row's values; it stands in the execution's record.",
        ),
    )

    def effect(self, config: Mapping[str, Any]) -> Effect:
        return Effect.TRANSACTIONAL if is_home(str(config.get("connection") or "")) else Effect.EXTERNAL

    async def run(self, config: UpdateDatabaseConfig, context: ActionContext) -> dict[str, Any]:
        async with context.connect(config.connection) as sql:
            if config.sql is None:
                return await _run_operation(config, sql, context.timeout_s)
            return await _run_sql(config, config.sql, sql, context.timeout_s)


async def _run_sql(config: UpdateDatabaseConfig, text: str, sql: Sql, timeout_s: float | None) -> dict[str, Any]:
    statement = parse_statement(text)
    values = [config.params[name] for name in statement.names]
    if not statement.returns_rows:
        return _output([], await sql.execute(statement.text, *values, timeout_s=timeout_s), config.max_rows)
    # One more than asked for tells that there are more. A changing statement runs to its end in any case.
    limit = None if statement.changes_rows else config.max_rows + 1
    rows = await sql.fetch(statement.text, *values, max_rows=limit, timeout_s=timeout_s)
    count = len(rows) if statement.changes_rows else min(len(rows), config.max_rows)
    return _output(rows, count, config.max_rows)


async def _run_operation(config: UpdateDatabaseConfig, sql: Sql, timeout_s: float | None) -> dict[str, Any]:
    built = config.build()
    if built is None:
        return _output([], 0, config.max_rows)
    if not config.returning:
        return _output([], await sql.execute(built.text, *built.values, timeout_s=timeout_s), config.max_rows)
    rows = await sql.fetch(built.text, *built.values, timeout_s=timeout_s)
    return _output(rows, len(rows), config.max_rows)


def _output(rows: list[dict[str, Any]], count: int, max_rows: int) -> dict[str, Any]:
    truncated = len(rows) > max_rows
    return {"rows": rows[:max_rows], "row_count": count, "truncated": truncated}
