-- What a restore needs to know of the database. Columns that only some versions have are asked for
-- through JSON.
SELECT split_part(version(), ' on ', 1) AS server,
       d.datname AS database,
       pg_get_userbyid(d.datdba) AS owner,
       pg_encoding_to_char(d.encoding) AS encoding,
       d.datcollate AS collate,
       d.datctype AS ctype,
       coalesce(to_jsonb(d) ->> 'datlocprovider', 'c') AS locale_provider,
       coalesce(to_jsonb(d) ->> 'daticulocale', to_jsonb(d) ->> 'datlocale') AS icu_locale,
       to_jsonb(d) ->> 'daticurules' AS icu_rules,
       to_jsonb(d) ->> 'datcollversion' AS collation_version,
       CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
            ELSE pg_current_wal_lsn() END AS lsn,
       pg_database_size(d.oid) AS bytes,
       (SELECT count(*) FROM pg_publication) AS publications,
       (SELECT count(subname) FROM pg_subscription WHERE subdbid = d.oid) AS subscriptions,
       (SELECT count(*) FROM pg_largeobject_metadata) AS large_objects
  FROM pg_database d
 WHERE d.datname = current_database()
