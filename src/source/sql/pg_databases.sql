-- All of a server, but templates and what a restore is just building; and whether they can be
-- connected to.
SELECT datname, datallowconn FROM pg_database
 WHERE NOT datistemplate AND datname !~ '^salvor_restore_[0-9a-f]{12}$'
 ORDER BY datname COLLATE "C"
