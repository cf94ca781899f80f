"""The partitions of an older database, for tests of what becomes of its history."""

from __future__ import annotations

from support.history_tables import HISTORY


def aged_by(weeks: int) -> str:
    """Return what gives a new database the partitions of one whose schema was made so many weeks ago."""
    return f"""
DO $$
DECLARE
    parent text;
    this_week CONSTANT timestamptz := date_trunc('week', now(), 'UTC');
    week timestamptz;
BEGIN
    FOREACH parent IN ARRAY ARRAY{list(HISTORY)} LOOP
        EXECUTE format('ALTER TABLE hark.%I DETACH PARTITION hark.%I', parent, parent || '_oldest');
        week := this_week - interval '{weeks} weeks';
        EXECUTE format('ALTER TABLE hark.%I ATTACH PARTITION hark.%I FOR VALUES FROM (MINVALUE) TO (%L)', parent,
                       parent || '_oldest', hark.id_floor(week));
        WHILE week < this_week LOOP
            PERFORM hark.attach_partition(parent, parent || to_char(week AT TIME ZONE 'UTC', '"_"IYYY"w"IW'), week,
                                          week + interval '7 days');
            week := week + interval '7 days';
        END LOOP;
    END LOOP;
END $$
"""
