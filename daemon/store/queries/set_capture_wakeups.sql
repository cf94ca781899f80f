-- Sets the flag that has writers NOTIFY (1) or not (0); true if it was set otherwise before. Losing it harms nobody.
SELECT CASE WHEN last_value = $1 THEN false
            ELSE set_config('synchronous_commit', 'off', true) = 'off'
                 AND setval('hark.capture_wakeups', $1) = $1 END
FROM hark.capture_wakeups
