"""The statement for events that cannot be stored yet."""

from __future__ import annotations

from hark.daemon.engine.ingest import _new_events
from hark.daemon.store.database import sql


def test_events_with_new_ids_are_stored_without_a_look_at_ids_alone() -> None:
    """It is cut out of the other one's text, which may be written otherwise one day: that would only be slower."""
    whole, new = sql("ingest_events"), _new_events()
    assert "ON CONFLICT (tenant_id, id)" in whole
    assert "ON CONFLICT (tenant_id, id)" not in new
    kept = [line for line in whole.splitlines() if "ON CONFLICT (tenant_id, id)" not in line]
    assert new.splitlines() == kept
