-- Lanes whose count is not that of their slots, with slots of executions that have ended, or free while some queue.
SELECT count(*) FROM hark.find_bad_lanes()
