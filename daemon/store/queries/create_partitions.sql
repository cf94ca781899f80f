-- Makes the history partitions of the coming weeks.
SELECT hark.create_history_partitions()
