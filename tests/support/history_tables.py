"""The tables that are partitioned by week, as schema.sql lists them."""

from __future__ import annotations

import re

from hark.daemon.store.schema import schema_text

_LIST = re.compile(r"FUNCTION history_tables\(\).*?ARRAY\[(.*?)\]", re.DOTALL)


def _listed() -> tuple[str, ...]:
    found = _LIST.search(schema_text())
    assert found is not None
    return tuple(re.findall(r"'(\w+)'", found[1]))


HISTORY = _listed()
