"""From event to finished execution: ingest, match, execute, record, schedule, reclaim."""
