SELECT id, host, boot, pid_space, pid, pid_start, begun
FROM run
WHERE result = 'running';
