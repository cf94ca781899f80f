"""Names of tables as SQL writes them: `clients`, `sales.clients`, `sales."Clients"`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from hark.workflows.pushdown import quote_identifier

_PART = re.compile(r'\s*(?:"((?:[^"\x00]|"")+)"|([^\W\d][\w$]*))\s*')
_PLAIN = re.compile(r"[a-z_][a-z0-9_$]*")
_RESERVED = frozenset({
    "all", "analyse", "analyze", "and", "any", "array", "as", "asc", "asymmetric", "authorization", "binary",
    "both", "case", "cast", "check", "collate", "collation", "column", "concurrently", "constraint", "create",
    "cross", "current_catalog", "current_date", "current_role", "current_schema", "current_time",
    "current_timestamp", "current_user", "default", "deferrable", "desc", "distinct", "do", "else", "end", "except",
    "false", "fetch", "for", "foreign", "freeze", "from", "full", "grant", "group", "having", "ilike", "in",
    "initially", "inner", "intersect", "into", "is", "isnull", "join", "lateral", "leading", "left", "like",
    "limit", "localtime", "localtimestamp", "natural", "not", "notnull", "null", "offset", "on", "only", "or",
    "order", "outer", "overlaps", "placing", "primary", "references", "returning", "right", "select",
    "session_user", "similar", "some", "symmetric", "system_user", "table", "tablesample", "then", "to", "trailing",
    "true", "union", "unique", "user", "using", "variadic", "verbose", "when", "where", "window", "with",
})  # fmt: skip
"""What PostgreSQL 18 does not take for a schema's or a table's name without quotes."""
_LONGEST = 63
EXPECTED = 'write a table as table, schema.table or schema."Table"; without quotes a name is in lower case'


@dataclass(frozen=True, slots=True, order=True)
class TableName:
    """A table of a database; `str()` writes it as people do, in SQL too."""

    schema: str
    name: str

    def __str__(self) -> str:
        return f"{quoted(self.schema)}.{quoted(self.name)}"

    @property
    def sql(self) -> str:
        """Write it for a statement: always in quotes, for the next version of PostgreSQL may reserve more words."""
        return f"{quote_identifier(self.schema)}.{quote_identifier(self.name)}"

    @classmethod
    def parse(cls, text: str) -> TableName:
        """Read a name by the rules of SQL; the schema is `public` unless it is named. Raises ValueError."""
        parts: list[str] = []
        position = 0
        while True:
            found = _PART.match(text, position)
            if found is None:
                raise ValueError(f"{text!r} is no table's name: {EXPECTED}")
            parts.append(found[1].replace('""', '"') if found[1] is not None else _folded(found[2]))
            position = found.end()
            if position == len(text):
                break
            if text[position] != ".":
                raise ValueError(f"{text!r} is no table's name: {EXPECTED}")
            position += 1
        if len(parts) > 2:
            raise ValueError("write schema.table; another database than Hark's own is named by `connection`")
        if any(len(part.encode()) > _LONGEST for part in parts):
            raise ValueError(f"a name in PostgreSQL has at most {_LONGEST} bytes")
        return cls(parts[0] if len(parts) == 2 else "public", parts[-1])


def quoted(name: str) -> str:
    """Quote a name where it would be read as another one without, or not at all."""
    return name if _PLAIN.fullmatch(name) and name not in _RESERVED else quote_identifier(name)


def _folded(name: str) -> str:
    """Fold to lower case as PostgreSQL does: ASCII letters only."""
    return "".join(letter.lower() if letter.isascii() else letter for letter in name)
