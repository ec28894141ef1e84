-- The relations of this database that this very session has locked.
SELECT relation
  FROM pg_locks
 WHERE pid = pg_backend_pid()
   AND locktype = 'relation'
   AND granted
   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
 ORDER BY relation::bigint
