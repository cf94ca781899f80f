-- The instances beside this one, for judging which of them are dead.
SELECT id, heartbeat, host_boot, pid, pid_started, backend_pids FROM hark.instances WHERE id <> $1
