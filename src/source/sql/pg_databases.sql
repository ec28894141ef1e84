-- All of a server, but templates and what a restore is just building.
SELECT datname FROM pg_database
 WHERE datallowconn AND NOT datistemplate AND datname !~ '^salvor_restore_[0-9a-f]{12}$'
 ORDER BY datname COLLATE "C"
