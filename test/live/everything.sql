-- A database with one of everything that a backup could forget. Run by psql as a superuser in an
-- empty database; :big is the number of rows of the large table; roles are made where they lack.
\set ON_ERROR_STOP on
\set QUIET on
SET client_min_messages = warning;
DO $$
DECLARE role text;
BEGIN
    FOREACH role IN ARRAY ARRAY['owner of all', 'reader', 'Writer"s'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
            EXECUTE format('CREATE ROLE %I LOGIN PASSWORD %L', role, 'verifier-of-' || role);
        END IF;
    END LOOP;
END $$;
COMMENT ON ROLE reader IS 'reads';

CREATE EXTENSION hstore;
CREATE EXTENSION pg_trgm;
CREATE EXTENSION file_fdw;
CREATE EXTENSION postgres_fdw;
CREATE SCHEMA "Odd ""schema""" AUTHORIZATION "owner of all";
CREATE SCHEMA tools;
CREATE EXTENSION citext SCHEMA tools;

-- types, domains, collations, functions, operators
CREATE TYPE mood AS ENUM ('sad', 'it''s ok', 'happy');
CREATE TYPE pair AS (a int, b text);
CREATE TYPE span AS RANGE (subtype = float8);
CREATE DOMAIN positive AS numeric(12, 3) CHECK (VALUE > 0);
CREATE COLLATION german (provider = icu, locale = 'de-u-co-phonebk');
CREATE FUNCTION shout(t text) RETURNS text LANGUAGE sql IMMUTABLE RETURN upper(t) || '!';
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN NEW.changed := coalesce(NEW.changed, 0) + 1; RETURN NEW; END $$;
CREATE PROCEDURE nothing() LANGUAGE sql AS 'SELECT 1';
CREATE AGGREGATE longest(text) (sfunc = textcat, stype = text, initcond = '');
CREATE OPERATOR === (leftarg = text, rightarg = text, function = texteq);
CREATE CAST (mood AS int) WITH INOUT;

-- identity, generated columns, keys, checks, exclusion, triggers, rules
CREATE TABLE parent (
    id bigint GENERATED ALWAYS AS IDENTITY (START 100 INCREMENT 7) PRIMARY KEY,
    name text NOT NULL COLLATE german UNIQUE,
    loud text GENERATED ALWAYS AS (shout(name)) STORED,
    feels mood DEFAULT 'happy',
    amount positive,
    pairs pair[],
    changed int,
    CONSTRAINT "odd; check" CHECK (length(name) < 100) NOT VALID
);
CREATE TABLE child (
    id serial PRIMARY KEY,
    parent bigint NOT NULL REFERENCES parent ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
    during tstzrange,
    EXCLUDE USING gist (during WITH &&)
);
INSERT INTO parent (name, feels, amount, pairs)
SELECT 'name ' || i, (ARRAY['sad', 'happy']::mood[])[i % 2 + 1], i + 0.125, ARRAY[(i, E'tab\there')::pair]
  FROM generate_series(1, 500) i;
INSERT INTO child (parent, during)
SELECT id, tstzrange(to_timestamp(id * 100), to_timestamp(id * 100 + 50)) FROM parent;
DELETE FROM parent WHERE id % 5 = 0;
CREATE TRIGGER touched BEFORE UPDATE ON parent FOR EACH ROW EXECUTE FUNCTION touch();
ALTER TABLE parent DISABLE TRIGGER touched;
CREATE RULE quiet AS ON DELETE TO child WHERE OLD.id < 0 DO INSTEAD NOTHING;
CREATE INDEX ON parent USING gin (name gin_trgm_ops);
CREATE INDEX "partial index" ON child (parent) INCLUDE (id) WHERE id > 10;
CREATE STATISTICS both_columns ON id, parent FROM child;
ALTER TABLE parent ALTER name SET STATISTICS 200, ALTER pairs SET STORAGE external;

-- every kind of value, and text that COPY must escape
CREATE TABLE "Values; -- all" (
    "Key, one" uuid PRIMARY KEY, "select" bytea, j jsonb, x xml, h hstore, ip inet, m money, i interval,
    t timestamptz, d date, f float8, r real, b bit varying, txt text, a text[], c tools.citext,
    gone int, v tsvector, s span);
ALTER TABLE "Values; -- all" DROP COLUMN gone;
INSERT INTO "Values; -- all"
SELECT md5(i::text)::uuid, decode(md5(i::text), 'hex'), jsonb_build_object('a', i, 'b', E'\\ "\n'),
       '<a>ü</a>', hstore('k', i::text), '10.0.0.1', '12.34', make_interval(months => i, secs => -i / 3.0),
       to_timestamp(i * 1e5), date '0044-03-15 BC' + i, 'NaN', 1.1::real * i, i::bit(9)::varbit,
       CASE i % 5 WHEN 0 THEN E'\\.' WHEN 1 THEN E'a\tb\nc\r\\N' WHEN 2 THEN '' WHEN 3 THEN NULL
            ELSE 'größer ☃ 𝄞' END,
       ARRAY['x', NULL, '{"'], 'CaSe', to_tsvector('english', 'jumping foxes'), '[1,2)'
  FROM generate_series(1, 300) i;
INSERT INTO "Values; -- all" ("Key, one", f, t, d)
VALUES (md5('inf')::uuid, '-Infinity', 'infinity', '-infinity'),
       (md5('zero')::uuid, '-0', '4713-01-01 00:00:00 BC', '5874897-12-31');

-- partitions by range (one of them by list below it), hash; inheritance
CREATE TABLE events (at date NOT NULL, kind text NOT NULL, n int, PRIMARY KEY (at, kind, n))
    PARTITION BY RANGE (at);
CREATE TABLE "events 2025" PARTITION OF events FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE events_2026 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')
    PARTITION BY LIST (kind);
CREATE TABLE events_2026_a PARTITION OF events_2026 FOR VALUES IN ('a');
CREATE TABLE events_2026_rest PARTITION OF events_2026 DEFAULT;
INSERT INTO events SELECT date '2025-01-01' + i % 700, chr(97 + i % 3), i FROM generate_series(1, 3000) i;
CREATE TABLE hashed (k mood, v int NOT NULL) PARTITION BY HASH (v);
CREATE TABLE hashed_0 PARTITION OF hashed FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE hashed_1 PARTITION OF hashed FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO hashed SELECT (ARRAY['sad', 'happy']::mood[])[i % 2 + 1], i FROM generate_series(1, 2000) i;
CREATE TABLE cities (name text, people int);
CREATE TABLE capitals (land text) INHERITS (cities);
INSERT INTO cities SELECT 'city ' || i, i FROM generate_series(1, 1000) i;
INSERT INTO capitals SELECT 'capital ' || i, i, 'land' FROM generate_series(1, 1000) i;

-- unlogged, without columns, empty; one that is large, with a hole in its blocks and TOAST
CREATE UNLOGGED TABLE scratch AS SELECT i, i::text AS t FROM generate_series(1, 2000) i;
CREATE TABLE no_columns ();
INSERT INTO no_columns DEFAULT VALUES;
INSERT INTO no_columns DEFAULT VALUES;
CREATE TABLE empty (LIKE parent INCLUDING ALL);
CREATE TABLE "Odd ""schema"""."big ☃ 'table'" (
    id int PRIMARY KEY, "twice %s" int GENERATED ALWAYS AS (id * 2) STORED, body text, wide text);
INSERT INTO "Odd ""schema"""."big ☃ 'table'" (id, body, wide)
SELECT i, repeat(md5(i::text), 3) || E'\t\\',
       CASE WHEN i % 1000 = 0 THEN (SELECT string_agg(md5((i + k)::text), '') FROM generate_series(1, 600) k) END
  FROM generate_series(1, :big) i;
DELETE FROM "Odd ""schema"""."big ☃ 'table'" WHERE id BETWEEN :big / 4 AND :big / 2;
CREATE SEQUENCE "Odd ""schema""".counter INCREMENT -3 MAXVALUE 1000 START 10 CYCLE;
SELECT nextval('"Odd ""schema""".counter'), nextval('"Odd ""schema""".counter') \g /dev/null

-- views, materialised views (one not filled), foreign tables, large objects
CREATE VIEW loud_ones WITH (security_barrier) AS SELECT loud FROM parent WHERE feels = 'happy';
CREATE MATERIALIZED VIEW sums AS SELECT kind, sum(n) FROM events GROUP BY kind;
CREATE UNIQUE INDEX ON sums (kind);
CREATE MATERIALIZED VIEW later AS SELECT 1 AS one WITH NO DATA;
CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;
CREATE FOREIGN TABLE passwd (line text) SERVER files OPTIONS (filename '/etc/hostname');
CREATE SERVER elsewhere FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '192.0.2.1', dbname 'x');
CREATE USER MAPPING FOR reader SERVER elsewhere OPTIONS (user 'u', password 'fdw-secret');
CREATE FOREIGN TABLE far (a int) SERVER elsewhere;
SELECT lo_from_bytea(4711, decode(repeat('00ff5c0a', 3000), 'hex')) \g /dev/null
SELECT lo_from_bytea(4712, 'second') \g /dev/null
COMMENT ON LARGE OBJECT 4711 IS 'bytes';
GRANT SELECT ON LARGE OBJECT 4711 TO reader;
ALTER LARGE OBJECT 4712 OWNER TO "owner of all";

-- row-level security, privileges, comments, publications, event triggers, settings
CREATE TABLE private (owner name, secret text);
INSERT INTO private SELECT 'reader', 'secret ' || i FROM generate_series(1, 100) i;
ALTER TABLE private ENABLE ROW LEVEL SECURITY;
ALTER TABLE private FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON private FOR SELECT TO reader USING (owner = current_user);
ALTER TABLE parent OWNER TO "owner of all";
GRANT SELECT (id, name), UPDATE (feels) ON parent TO reader WITH GRANT OPTION;
GRANT ALL ON SCHEMA tools TO "Writer""s";
REVOKE ALL ON FUNCTION shout(text) FROM PUBLIC;
ALTER DEFAULT PRIVILEGES FOR ROLE "owner of all" GRANT SELECT ON TABLES TO reader;
COMMENT ON TABLE parent IS E'a comment with ''quotes'', a \\ and\na second line';
COMMENT ON COLUMN parent.loud IS 'generated';
COMMENT ON DATABASE :"DBNAME" IS 'one of everything';
CREATE PUBLICATION "some" FOR TABLE parent (id, name), child WHERE (id > 0);
CREATE PUBLICATION tools_all FOR TABLES IN SCHEMA tools;
CREATE FUNCTION quiet_trigger() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
CREATE EVENT TRIGGER noticed ON ddl_command_end EXECUTE FUNCTION quiet_trigger();
CREATE TEXT SEARCH CONFIGURATION plain (COPY = simple);
ALTER DATABASE :"DBNAME" SET work_mem = '5MB';
ALTER DATABASE :"DBNAME" SET "app.title" = 'it''s odd';
ALTER ROLE reader IN DATABASE :"DBNAME" SET statement_timeout = '1min';
GRANT CONNECT ON DATABASE :"DBNAME" TO reader;
