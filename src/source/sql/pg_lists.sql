-- Names that the dump will mention, by kind. Dependencies on the role that made the cluster are not
-- recorded, so what it owns is looked for. Roles named pg_... are everywhere.
WITH me AS (
    SELECT oid, datdba, dattablespace FROM pg_database WHERE datname = current_database()
), owned AS (
    SELECT datdba AS role FROM me
    UNION SELECT relowner FROM pg_class WHERE oid >= 16384
    UNION SELECT nspowner FROM pg_namespace WHERE oid >= 16384
    UNION SELECT proowner FROM pg_proc WHERE oid >= 16384
    UNION SELECT typowner FROM pg_type WHERE oid >= 16384
    UNION SELECT evtowner FROM pg_event_trigger
    UNION SELECT srvowner FROM pg_foreign_server
    UNION SELECT pubowner FROM pg_publication
    UNION SELECT lomowner FROM pg_largeobject_metadata
    UNION SELECT umuser FROM pg_user_mappings
    UNION SELECT defaclrole FROM pg_default_acl
    UNION SELECT setrole FROM pg_db_role_setting, me WHERE setdatabase = me.oid
    UNION SELECT d.refobjid FROM pg_shdepend d, me
           WHERE d.refclassid = 'pg_authid'::regclass
             AND (d.dbid = me.oid
                  OR d.dbid = 0 AND d.classid = 'pg_database'::regclass AND d.objid = me.oid)
)
SELECT 'role' AS kind, rolname::text AS name
  FROM pg_roles WHERE oid IN (SELECT role FROM owned) AND rolname !~ '^pg_'
UNION ALL
SELECT 'tablespace', spcname FROM pg_tablespace
 WHERE spcname NOT IN ('pg_default', 'pg_global')
   AND oid IN (SELECT dattablespace FROM me UNION SELECT reltablespace FROM pg_class)
UNION ALL
SELECT 'setting', unnest(setconfig) FROM pg_db_role_setting, me
 WHERE setdatabase = me.oid AND setrole = 0
UNION ALL
SELECT 'collation', n.nspname || '.' || c.collname || coalesce(' ' || c.collversion, '')
  FROM pg_collation c JOIN pg_namespace n ON n.oid = c.collnamespace WHERE c.oid >= 16384
 ORDER BY 1, 2
