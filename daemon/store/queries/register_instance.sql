-- Enters this process among the instances; the row is its licence to write.
INSERT INTO hark.instances (id, host, host_boot, pid, pid_started, version, program)
VALUES ($1, $2, $3, $4, $5, $6, $7)
