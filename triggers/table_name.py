"""Names of tables as SQL writes them: `clients`, `sales.clients`, `sales."Clients"`."""

from __future__ import annotations

import re
from dataclasses import dataclass

_PART = re.compile(r'\s*(?:"((?:[^"\x00]|"")+)"|([^\W\d][\w$]*))\s*')
_PLAIN = re.compile(r"[a-z_][a-z0-9_$]*")
_LONGEST = 63
EXPECTED = 'write a table as table, schema.table or schema."Table"; without quotes a name is in lower case'


@dataclass(frozen=True, slots=True, order=True)
class TableName:
    """A table of the home database; `str()` writes it the way PostgreSQL does."""

    schema: str
    name: str

    def __str__(self) -> str:
        return f"{quoted(self.schema)}.{quoted(self.name)}"

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
            raise ValueError("a row trigger watches a table of the home database: write schema.table")
        if any(len(part.encode()) > _LONGEST for part in parts):
            raise ValueError(f"a name in PostgreSQL has at most {_LONGEST} bytes")
        return cls(parts[0] if len(parts) == 2 else "public", parts[-1])


def quoted(name: str) -> str:
    """Quote a name where it would be read as another one without."""
    return name if _PLAIN.fullmatch(name) else '"' + name.replace('"', '""') + '"'


def _folded(name: str) -> str:
    """Fold to lower case as PostgreSQL does: ASCII letters only."""
    return "".join(letter.lower() if letter.isascii() else letter for letter in name)
