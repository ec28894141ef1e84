-- Who waits for a table that this very session holds, so that our other sessions wait behind it.
SELECT format('%I.%I (process %s%s)', n.nspname, c.relname, w.pid,
              coalesce(': ' || left(regexp_replace(a.query, '\s+', ' ', 'g'), 100), ''))
  FROM pg_locks w
  JOIN pg_locks h ON h.relation = w.relation AND h.database = w.database
                 AND h.pid = pg_backend_pid() AND h.granted
  JOIN pg_class c ON c.oid = w.relation
  JOIN pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_stat_activity a ON a.pid = w.pid
 WHERE NOT w.granted AND w.locktype = 'relation' AND w.mode = 'AccessExclusiveLock'
 LIMIT 1
