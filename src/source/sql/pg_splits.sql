-- Of the tables above those that can be read by ranges of their blocks: of the ordinary kind, no
-- extension's, larger than $1 bytes, and no partition by hash, where a row's partition may be
-- another one after a restore. (PostgreSQL 14 or newer.)
SELECT c.oid, pg_relation_size(c.oid)
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_am a ON a.oid = c.relam
 WHERE c.relkind = 'r'
   AND c.relpersistence <> 't'
   AND a.amname = 'heap'
   AND n.nspname !~ '^pg_'
   AND n.nspname <> 'information_schema'
   AND pg_table_size(c.oid) > $1::bigint
   AND NOT EXISTS (SELECT FROM pg_depend d
                    WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
   AND NOT EXISTS (SELECT FROM pg_partition_ancestors(c.oid) p
                     JOIN pg_partitioned_table t ON t.partrelid = p.relid
                    WHERE t.partstrat = 'h')
