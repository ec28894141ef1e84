-- The sessions that session $1 waits for, each as one text.
SELECT pg_catalog.concat(
    CASE WHEN b.pid = 0 THEN 'a prepared transaction (see pg_prepared_xacts)'
         ELSE 'process ' || b.pid END,
    ' (' || nullif(pg_catalog.concat_ws(', ', 'user ' || a.usename, nullif(a.application_name, ''),
        pg_catalog.host(a.client_addr), a.state,
        'its transaction began ' || pg_catalog.to_char(a.xact_start, 'YYYY-MM-DD HH24:MI:SS') ||
        ' UTC'), '') || ')')
FROM (SELECT DISTINCT u.pid
      FROM pg_catalog.unnest(pg_catalog.pg_blocking_pids($1::pg_catalog.int4)) AS u(pid)) AS b
LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = b.pid
ORDER BY a.xact_start
LIMIT 3
