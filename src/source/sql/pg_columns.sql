-- The columns of the tables $1 whose values are stored, in order.
SELECT attrelid, attname
  FROM pg_attribute
 WHERE attrelid = ANY ($1::oid[]) AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
 ORDER BY attrelid, attnum
