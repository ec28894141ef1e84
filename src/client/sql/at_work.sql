-- Whether session $1 is at work: 'f' once its statement has ended.
SELECT a.state NOT LIKE 'idle%' FROM pg_catalog.pg_stat_activity AS a
WHERE a.pid = $1::pg_catalog.int4
