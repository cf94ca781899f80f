-- The tables that are partitioned by week.
SELECT unnest(hark.history_tables()) AS name
