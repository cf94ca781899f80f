"""What a `row` trigger may say, and whether one change of a row concerns it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, TypeAlias, get_args

from pydantic import AfterValidator, Field, model_validator

from hark.triggers.table_name import TableName
from hark.workflows.catalogue import Config
from hark.workflows.connections import ConnectionName
from hark.workflows.requirements import ABSENT, Requirement

Operation: TypeAlias = Literal["insert", "update", "delete", "truncate"]
OPERATIONS: tuple[Operation, ...] = get_args(Operation)
Granularity: TypeAlias = Literal["row", "statement"]
_ONE_COLUMN = "a value alone needs exactly one column in `columns`; with several write {column: value}"


class RowConfig(Config):
    """Config of a `row` trigger."""

    table: Annotated[str, AfterValidator(lambda text: str(TableName.parse(text)))]
    """The table: `clients`, `sales.clients`, or with capitals `sales."Clients"`. The schema is `public` unless named.
    Of a partitioned table, the table itself: changes of all its partitions are seen."""
    connection: ConnectionName = ""
    """The name of another database, set by `HARK_CONNECTION_NAME`; without it (or `home`), the one that Hark itself
    lives in."""
    operations: Annotated[list[Operation], Field(min_length=1)] = Field(default=["insert"])
    """Which changes start the workflow: `insert`, `update`, `delete`, `truncate`; one alone needs no list.
    By default `insert`, or `update` when `columns` or `from` are given."""
    columns: Annotated[list[str], Field(min_length=1)] | None = None
    """An update counts only if it changed one of these columns."""
    from_: Annotated[dict[str, Any] | None, Field(alias="from", min_length=1)] = None
    """An update or delete counts only if the row had these values before: `{column: value}`, or `{column: [one, of]}`;
    with a single column in `columns` the value alone."""
    to: Annotated[dict[str, Any] | None, Field(min_length=1)] = None
    """An insert or update counts only if the row has these values now, and an update only if it changed one of them."""
    per: Granularity = "row"
    """`row`: an event for each row. `statement`: one event for all rows that a statement changed, with the first 500 of
    them in `rows` and their number in `count`."""
    capture: Literal["matching", "all"] = "matching"
    """`matching`: changes that cannot start the workflow are filtered out inside the writer's statement where that is
    possible, and leave no trace. `all`: every change is stored as an event, with the reason why it started nothing."""

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, raw: Any) -> Any:
        """Bring short forms into the long one."""
        if not isinstance(raw, Mapping):
            return raw
        full = dict(raw)
        for name in ("operations", "columns"):
            if isinstance(full.get(name), str):
                full[name] = [full[name]]
        if isinstance(full.get("operations"), list):
            words = [word.lower() if isinstance(word, str) else word for word in full["operations"]]
            full["operations"] = list(dict.fromkeys(words)) if all(isinstance(word, str) for word in words) else words
        columns = full.get("columns")
        for name in {"from", "from_", "to"} & full.keys():
            if not isinstance(full[name], Mapping):
                if not isinstance(columns, list) or len(columns) != 1:
                    raise ValueError(_ONE_COLUMN)
                full[name] = {columns[0]: full[name]}
        if "operations" not in full and {"columns", "from", "from_"} & full.keys():
            full["operations"] = ["update"]
        return full

    @model_validator(mode="after")
    def _consistent(self) -> RowConfig:
        """Refuse what could never have an effect."""
        wanted = set(self.operations)
        if self.columns is not None and "update" not in wanted:
            raise ValueError("`columns` says which updates count: add update to `operations`, or drop it")
        if self.from_ is not None and not wanted & {"update", "delete"}:
            raise ValueError("`from` looks at the row before: add update or delete to `operations`, or drop it")
        if self.to is not None and not wanted & {"insert", "update"}:
            raise ValueError("`to` looks at the row after: add insert or update to `operations`, or drop it")
        if self.per == "statement" and self.looks_at_rows:
            raise ValueError(
                "`columns`, `from` and `to` look at single rows: use `per: row`, or `when` with event.data.rows"
            )
        return self

    @property
    def table_name(self) -> TableName:
        """The table."""
        return TableName.parse(self.table)

    @property
    def transition_columns(self) -> tuple[str, ...]:
        """The columns of `from` and `to`: one of them must have changed in an update."""
        return tuple(dict.fromkeys((*(self.from_ or ()), *(self.to or ()))))

    @property
    def takes_existing(self) -> bool:
        """Whether rows that are there can be run through it, as if they were inserted."""
        return self.per == "row" and "insert" in self.operations

    @property
    def looks_at_rows(self) -> bool:
        """Whether it depends on values of a row."""
        return not (self.columns is None and self.from_ is None and self.to is None)

    def named_columns(self) -> dict[tuple[str | int, ...], str]:
        """Return the columns that the config names, by where they stand in it."""
        found: dict[tuple[str | int, ...], str] = {
            ("columns", index): name for index, name in enumerate(self.columns or ())
        }
        for field, values in (("from", self.from_), ("to", self.to)):
            found.update({(field, name): name for name in values or ()})
        return found


def why_not(config: RowConfig, data: Mapping[str, Any]) -> str | None:
    """Say why a change, given as an event's data, does not concern a trigger; None if it does."""
    operation = data["operation"]
    if operation not in config.operations:
        return f"{operation} is not among its operations"
    if config.per == "statement" or operation == "truncate":
        return None
    old, new = data["old"], data["new"]
    if old is None and new is None:
        return f"the row is not known: {data.get('error', '')}" if config.looks_at_rows else None
    if operation == "update":
        possible = (*data["changed"], *data.get("left_out", ()))
        for columns in (config.columns, config.transition_columns):
            if columns and not any(column in possible for column in columns):
                return f"{' and '.join(columns)} did not change"
    if config.from_ is not None and old is not None:
        return _difference("was", config.from_, old) or _to_difference(config, new)
    return _to_difference(config, new)


def requirements_of(config: RowConfig) -> Iterator[Requirement]:
    """Yield what `why_not` insists on. Where a row or a column is not known, that is not looked at."""
    yield Requirement.of(("event", "data", "operation"), config.operations)
    if config.per == "row":
        for row, wanted in (("old", config.from_), ("new", config.to)):
            for column, value in (wanted or {}).items():
                members = (*value, value) if isinstance(value, list) else (value,)
                yield Requirement.of((row, column), members, ABSENT)


def _to_difference(config: RowConfig, new: Mapping[str, Any] | None) -> str | None:
    return None if config.to is None or new is None else _difference("is", config.to, new)


def _difference(verb: str, wanted: Mapping[str, Any], row: Mapping[str, Any]) -> str | None:
    for column, value in wanted.items():
        if column not in row:
            return f"{column} is not known"
        if not _equals(row[column], value):
            return f"{column} {verb} not {value!r}"
    return None


def _equals(actual: Any, wanted: Any) -> bool:
    """Compare JSON values; a list in the trigger stands for any one of its members, or for itself."""
    if isinstance(wanted, list) and any(_same(actual, one) for one in wanted):
        return True
    return _same(actual, wanted)


def _same(a: Any, b: Any) -> bool:
    return a == b and isinstance(a, bool) is isinstance(b, bool)
