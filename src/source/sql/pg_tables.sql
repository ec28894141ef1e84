-- The relations that a dump of this database holds, but sequences and views. Tables of extensions
-- are theirs to make, except those whose rows the extension declares to be the user's.
SELECT c.oid,
       n.nspname,
       c.relname,
       CASE WHEN c.relkind = 'r' AND c.relpersistence = 'u' THEN 'u' ELSE c.relkind::text END,
       coalesce(pg_table_size(c.oid), 0),
       has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT'),
       row_security_active(c.oid),
       c.oid IN (SELECT unnest(extconfig) FROM pg_extension)
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p', 'f', 'm')
   AND c.relpersistence <> 't'
   AND n.nspname !~ '^pg_'
   AND n.nspname <> 'information_schema'
   AND (c.oid IN (SELECT unnest(extconfig) FROM pg_extension)
        OR NOT EXISTS (SELECT FROM pg_depend d
                        WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                          AND d.deptype = 'e'))
 ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C"
