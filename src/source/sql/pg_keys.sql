-- The columns of all primary keys, in the order of the key. What is only included comes last.
SELECT i.indrelid, a.attname
  FROM pg_index i
 CROSS JOIN generate_series(0, coalesce((to_jsonb(i) ->> 'indnkeyatts')::int, i.indnatts) - 1) AS k
  JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[k]
 WHERE i.indisprimary AND i.indrelid >= 16384
 ORDER BY i.indrelid, k
