-- What is there but does not work.
SELECT pg_catalog.format('index %s is not valid', i.indexrelid::pg_catalog.regclass)
  FROM pg_catalog.pg_index i
 WHERE NOT i.indisvalid
UNION ALL
SELECT pg_catalog.format('materialized view %s was not filled', c.oid::pg_catalog.regclass)
  FROM pg_catalog.pg_class c
 WHERE c.relkind = 'm' AND NOT c.relispopulated
 ORDER BY 1
