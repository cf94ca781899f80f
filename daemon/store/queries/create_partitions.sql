-- Makes one history table's partitions of the coming weeks.
SELECT hark.create_history_partitions($1)
