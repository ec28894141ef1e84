-- The sessions other than $1 that hold or await a lock on a relation named $2 (with its schema or
-- without), or, where that is NULL, a lock that keeps everybody out; each as one text.
SELECT pg_catalog.concat('process ' || l.pid,
    ' (' || nullif(pg_catalog.concat_ws(', ', 'user ' || a.usename, nullif(a.application_name, ''),
        pg_catalog.host(a.client_addr), a.state,
        'its transaction began ' || pg_catalog.to_char(a.xact_start, 'YYYY-MM-DD HH24:MI:SS') ||
        ' UTC'), '') || ')',
    CASE WHEN l.held THEN '' ELSE ', which waits for it itself' END)
FROM (SELECT k.pid, pg_catalog.bool_or(k.granted) AS held,
             pg_catalog.bool_or(k.mode = 'AccessShareLock') AS shared
      FROM pg_catalog.pg_locks AS k JOIN pg_catalog.pg_class AS c ON c.oid = k.relation
      JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
      WHERE k.locktype = 'relation' AND k.pid <> $1::pg_catalog.int4
        AND k.database = (SELECT d.oid FROM pg_catalog.pg_database AS d
                          WHERE d.datname = pg_catalog.current_database())
        AND CASE WHEN $2::pg_catalog.text IS NULL THEN k.mode = 'AccessExclusiveLock'
                 ELSE $2::pg_catalog.text IN (c.relname, n.nspname || '.' || c.relname) END
      GROUP BY k.pid) AS l
LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid
ORDER BY l.held DESC, l.shared, a.xact_start
LIMIT 3
