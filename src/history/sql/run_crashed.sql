UPDATE run
SET result = 'failed',
    message = 'it was cut off: its process was killed or the machine went down'
WHERE id = :id AND result = 'running';
