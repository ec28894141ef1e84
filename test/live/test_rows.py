"""Rows that somebody deleted: found by key, put back, taken out again (B5, X2)."""
import contextlib
import csv
import json
import os
import pathlib
import re
import signal
import stat
import subprocess
import time

import postgres
from live import FULL, SALVOR, Failed, case, check, counts, equal, main, until

UNATTENDED = {"SALVOR_ALLOW_UNATTENDED_RESTORE": "1"}

SHOP = """
CREATE TABLE authors (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, email text UNIQUE NOT NULL,
    name text, shout text GENERATED ALWAYS AS (upper(name)) STORED);
CREATE TABLE posts (id bigserial PRIMARY KEY, author int NOT NULL REFERENCES authors ON DELETE CASCADE,
    title text, body jsonb, at timestamptz DEFAULT now());
CREATE TABLE comments (id uuid PRIMARY KEY, post bigint NOT NULL REFERENCES posts ON DELETE CASCADE,
    parent uuid REFERENCES comments ON DELETE CASCADE, text text);
CREATE TABLE tags (tag text PRIMARY KEY);
CREATE TABLE post_tags (post bigint REFERENCES posts ON DELETE CASCADE, tag text REFERENCES tags,
    PRIMARY KEY (post, tag));
CREATE TABLE likes (post bigint REFERENCES posts ON DELETE CASCADE);
CREATE TABLE drafts (id int PRIMARY KEY, post bigint REFERENCES posts ON DELETE SET NULL);
INSERT INTO authors (email, name) SELECT 'a' || i || '@example.com', 'n' || i
    FROM generate_series(1, 200) i;
INSERT INTO posts (author, title, body)
    SELECT 1 + i % 200, 'post ' || i || E'\\ttab\\\\back''quote\\nline', jsonb_build_object('i', i)
    FROM generate_series(1, 2000) i;
INSERT INTO comments SELECT md5('c' || i)::uuid, 1 + i % 2000, NULL, 'c ' || i
    FROM generate_series(1, 3000) i;
INSERT INTO comments SELECT md5('r' || i)::uuid, 1 + i % 2000, md5('c' || i)::uuid, 'r ' || i
    FROM generate_series(1, 500) i;
INSERT INTO tags SELECT 't' || i FROM generate_series(1, 50) i;
INSERT INTO post_tags SELECT i, 't' || (1 + i % 50) FROM generate_series(1, 2000) i;
INSERT INTO drafts SELECT i, i FROM generate_series(1, 100) i;
"""


@contextlib.contextmanager
def pair(sql, change=""):
    """A server with a database `backup`, and `production`, which `change` happened to."""
    with postgres.server() as s:
        s.createdb("backup")
        s.sql("backup", sql)
        s.createdb("production", "-T", "backup")
        if change:
            s.sql("production", change)
        yield s


def rows(place, s, table, *args, status=0, env=None):
    """salvor rows between the two; its JSON objects by their first key, and what it said."""
    done = place.salvor("--json", "rows", "shop", "--table", table, "--from", s.url("backup"),
                        "--to", s.url("production"), *args, status=status,
                        env={**UNATTENDED, **(env or {})})
    found = {"skipped": []}
    for line in done.out.splitlines():
        for key, value in json.loads(line).items():
            if key == "skipped":
                found[key].append(value)
            else:
                found[key] = value
    found["done"] = done
    return found


def missing(found):
    return {f"{t['schema']}.{t['table']}": t["missing"] for t in found["rows"]["tables"]}


def apply(place, s, table, *args, **more):
    return rows(place, s, table, "--apply", "--yes", *args, **more)


# ---- what comes back ----

@case(limit=60, tags="address")
def cascades(place):
    """Deleted rows with those that went with them: shown, put back, taken out."""
    place.init()
    with pair(SHOP, "DELETE FROM posts WHERE id BETWEEN 100 AND 599; "
                    "UPDATE posts SET title = 'other' WHERE id IN (5, 6); "
                    "INSERT INTO posts (author, title) VALUES (1, 'new')") as s:
        deleted, was = s.digests("production"), s.digests("backup")
        found = rows(place, s, "posts")
        table = found["rows"]["tables"][0]
        equal((table["missing"], table["changed"], table["added"], table["backup_rows"],
               table["production_rows"]), (500, 2, 1, 2000, 1501), "counted")
        equal(missing(found), {"public.posts": 500, "public.comments": 1402,
                               "public.post_tags": 500}, "missing")
        equal(table["missing_samples"][0]["backup"]["id"], "100", "the first one")
        change = table["changed_samples"][0]
        equal(change["production"], {"id": "5", "title": "other"}, "the first change")
        check("likes" in found["rows"]["notes"][0], "likes has no key")
        equal(s.digests("production"), deleted, "after looking")

        refused = place.salvor("rows", "shop", "--table", "posts", "--from", s.url("backup"), "--to",
                               s.url("production"), "--apply", status=5)
        place.says(refused, "this puts 2402 rows back into production", "--yes")
        equal(s.digests("production"), deleted, "after a refusal")

        applied = apply(place, s, "posts")["applied"]
        equal((applied["put_back"], applied["skipped"]), (2402, 0), "put back")
        now = s.digests("production")
        for name in ("public.comments", "public.post_tags", "public.authors"):
            equal(now[name], was[name], name)
        equal(s.sql("production", "SELECT count(*) FROM posts"), "2001", "posts")
        equal(missing(rows(place, s, "posts")), {"public.posts": 0}, "missing afterwards")
        equal(apply(place, s, "posts").get("applied"), None, "nothing to put back")

        undone = place.fields(place.salvor("--json", "undo", "--dry-run", repo=False), "undo")
        equal((undone["removed"], undone["rows"]), (2402, True), "would be removed")
        equal(s.digests("production"), now, "after a dry run")
        undone = place.fields(place.salvor("--json", "undo", "shop", repo=False), "undo")
        equal((undone["removed"], undone["gone"], undone["stay"]), (2402, 0, []), "removed")
        equal(s.digests("production"), deleted, "after undo")
        place.says(place.salvor("undo", repo=False, status=1), "no restore")
        equal(s.sessions(), 0, "sessions left")


KEYS = {
    "numbers": ("numeric", "i - 50 + i % 7 / 8.0"),
    "big": ("bigint", "(i - 150) * 61489146912365::bigint"),
    "words": ("text", "CASE i % 4 WHEN 0 THEN 'Ä' WHEN 1 THEN 'a ' WHEN 2 THEN 'B_' ELSE 'é\\''\"' "
                      "END || md5(i::text)"),
    "collated": ('text COLLATE "de-x-icu"', "chr(60 + i % 60) || lower(md5(i::text)) || chr(200 + i)"),
    "short": ("char(40)", "md5(i::text)"),
    "ids": ("uuid", "md5(i::text)::uuid"),
    "raw": ("bytea", "decode(md5(i::text), 'hex')"),
    "times": ("timestamptz", "CASE i WHEN 1 THEN 'infinity' WHEN 2 THEN '-infinity' WHEN 3 THEN "
              "'0044-03-15 BC' WHEN 4 THEN '0001-01-01 BC' WHEN 5 THEN '12026-01-01' ELSE "
              "timestamptz '2026-01-01' + i * interval '1.25 s' END"),
    "days": ("date", "date '0300-01-01' - i * 3000"),
    "floats": ("float8", "(i - 150) / 7.0"),
    "yes": ("bool", "NULL"),
    "moods": ("mood", "NULL"),
    "domains": ("code", "'c' || i"),
    "spans": ("interval", "i * interval '1 h 17 s'"),
}


@case(limit=90, tags="address")
def all_sorts_of_keys(place):
    """Each kind of key keeps its rows apart, in whatever order the server has them."""
    sql = "CREATE TYPE mood AS ENUM ('zeal', 'calm', 'awe'); CREATE DOMAIN code AS varchar(20);\n"
    for name, (kind, value) in KEYS.items():
        source = f"SELECT {value} FROM generate_series(1, 300) i"
        if name == "yes":
            source = "VALUES (true), (false)"
        elif name == "moods":
            source = "SELECT unnest(enum_range(NULL::mood))"
        sql += f"CREATE TABLE {name} (k {kind} PRIMARY KEY, v text);\n" \
               f"INSERT INTO {name} SELECT k, md5(k::text) FROM ({source}) x(k);\n"
    sql += """CREATE TABLE pairs (a text, b int, c timestamp, v text, PRIMARY KEY (c, a, b));
        INSERT INTO pairs SELECT chr(97 + i % 20), i, timestamp '2026-01-01' + i % 3 * interval '1 d',
            'v' FROM generate_series(1, 300) i;
        CREATE TABLE "Odd ""name"" é" ("Select" int NOT NULL, "v;%s" text);
        CREATE UNIQUE INDEX ON "Odd ""name"" é" ("Select");
        INSERT INTO "Odd ""name"" é" SELECT i, 'v' FROM generate_series(1, 300) i;
        CREATE TABLE parts (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
        CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (100);
        CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (100) TO (1000);
        INSERT INTO parts SELECT i, 'v' || i FROM generate_series(1, 300) i;"""
    names = [*KEYS, "pairs", 'Odd "name" é', "parts"]
    place.init()
    with pair(sql) as s:
        was = s.digests("backup")
        for name in names:
            quoted = '"' + name.replace('"', '""') + '"'
            s.sql("production", f"DELETE FROM {quoted} WHERE abs(hashtext({quoted}::text)) % 3 <> 1")
        for name in names:
            found = apply(place, s, name)
            check(found.get("applied", {"skipped": 0})["skipped"] == 0, f"{name}: {found}")
        equal(s.digests("production"), was, "put back")


@case(limit=60, tags="address")
def skips_what_is_in_the_way(place):
    place.init()
    with pair(SHOP, """
            DELETE FROM posts WHERE id BETWEEN 100 AND 119;
            INSERT INTO posts (id, author, title) VALUES (900000, 1, 'mine');
            DELETE FROM authors WHERE id = 7;
            DELETE FROM post_tags WHERE tag = 't9'; DELETE FROM tags WHERE tag = 't9'""") as s:
        found = apply(place, s, "posts", status=3)
        place.says(found["done"], "were not put back", "for the reasons")
        left = s.sql("production", "SELECT count(*) FROM posts WHERE id BETWEEN 100 AND 119")
        equal(left, "20", "posts that are back")
        why = {(x["table"], x["key"]): x["why"] for x in found["skipped"]}
        equal(why[("public.posts", "(id)=(6)")],
              "it refers to a row of public.authors that is not there: (author)=(7)", "orphan")
        check("public.tags" in why[("public.post_tags", "(post, tag)=(108, t9)")], "tag t9 is gone")
        check(("public.post_tags", "(post, tag)=(6, t7)") in why, "its post is not back")
        equal(found["applied"]["skipped"], len(why), "each skip is told")
        back = s.digests("production")
        # The author first, under another's e-mail address; then all but what needs t9.
        s.sql("production", "INSERT INTO authors (email, name) VALUES ('a7@example.com', 'thief')")
        found = apply(place, s, "authors", status=3)
        equal([x for x in found["skipped"] if x["table"] == "public.authors"],
              [{"table": "public.authors", "key": "(id)=(7)",
                "why": "another row has the same (email)=(a7@example.com)"}], "a unique index")
        s.sql("production", "DELETE FROM authors WHERE name = 'thief'")
        equal(s.digests("production"), back, "skipped rows changed nothing")
        equal(apply(place, s, "authors")["skipped"], [], "skipped now")
        equal(s.digests("production")["public.authors"], s.digests("backup")["public.authors"],
              "authors")


@case(limit=60, tags="address")
def undo_keeps_what_was_used_since(place):
    place.init()
    with pair(SHOP, "DELETE FROM posts WHERE id BETWEEN 100 AND 119") as s:
        deleted = s.digests("production")
        apply(place, s, "posts")
        s.sql("production", "UPDATE posts SET title = 'x' WHERE id = 101; "
                            "INSERT INTO likes VALUES (102); "
                            "UPDATE comments SET text = 'y' WHERE id = (SELECT min(id::text)::uuid "
                            "FROM comments WHERE post = 103); DELETE FROM posts WHERE id = 104; "
                            "UPDATE drafts SET post = 105 WHERE id = 1")
        done = place.salvor("--json", "undo", repo=False, status=3)
        stay = "\n".join(place.fields(done, "undo")["stay"])
        for word in ("public.posts (101): it was changed since",
                     "public.posts (102): rows of likes refer to it now",
                     "public.posts (103): rows of comments refer to it now",
                     "public.posts (105): rows of drafts refer to it now"):
            check(word in stay, f"{word}: {stay}")
        equal(s.sql("production", "SELECT string_agg(id::text, ' ' ORDER BY id) FROM posts WHERE id "
                                  "BETWEEN 100 AND 119"), "101 102 103 105", "posts that stay")
        equal(s.sql("production", "SELECT count(*) FROM likes"), "1", "likes")
        equal(s.sql("production", "SELECT post FROM drafts WHERE id = 1"), "105", "drafts")
        s.sql("production", "DELETE FROM likes; UPDATE drafts SET post = NULL WHERE id = 1; "
                            "DELETE FROM posts WHERE id BETWEEN 100 AND 119; "
                            "UPDATE drafts SET post = 1 WHERE id = 1")
        equal(s.digests("production"), deleted, "all but those is as it was")

        # When everything must stay, nothing is done and the undo remains.
        apply(place, s, "posts", "--where", "id = 110", "--alone")
        s.sql("production", "UPDATE posts SET title = 'x' WHERE id = 110")
        place.says(place.salvor("undo", repo=False, status=5), "(110): it was changed since")
        s.sql("production", "DELETE FROM posts WHERE id = 110")
        gone = place.fields(place.salvor("--json", "undo", repo=False), "undo")
        equal((gone["removed"], gone["gone"]), (0, 1), "it was gone")


@case(limit=60)
def encodings(place):
    """Text is ordered alike on both sides, whatever their encodings are."""
    place.init()
    with postgres.server() as s:
        for one, other in (("LATIN2", "LATIN2"), ("SQL_ASCII", "SQL_ASCII"), ("UTF8", "LATIN2")):
            for name, encoding in (("backup", one), ("production", other)):
                s.dropdb(name)
                s.createdb(name, "-T", "template0", "-E", encoding, "--locale=C")
                s.sql(name, "CREATE TABLE t (k text PRIMARY KEY, v text)")
            letters = "\u017e\u0161\u0111\u00e9\u00fc\u0141aZ"
            word = f"substr('{letters}', 1 + i % 8, 1) || i" if "LATIN2" in (one, other) else \
                "chr(100 + i % 150) || i"
            for name in ("backup", "production"):
                s.sql(name, f"SET client_encoding = 'UTF8'; INSERT INTO t SELECT k, 'v' || k FROM "
                            f"(SELECT {word} FROM generate_series(1, 400) i) AS x(k)")
            s.sql("production", "DELETE FROM t WHERE right(k, 1) IN ('3', '8'); "
                                "UPDATE t SET v = 'x' WHERE right(k, 2) = '11'")
            found = apply(place, s, "t")
            equal((found["rows"]["tables"][0]["missing"], found["rows"]["tables"][0]["changed"],
                   found["applied"]["put_back"]), (80, 4, 80), f"{one} and {other}")
            place.salvor("undo", repo=False)
            equal(s.sql("production", "SELECT count(*) FROM t"), "320", f"{one} and {other}")


# ---- out of snapshots ----

def configure(place, s, text):
    """A configuration with the server's databases in it; salvor finds it in the data directory."""
    (place.data / "salvor.yaml").write_text(
        f"name: test\nrepository: {{ url: {place.repo} }}\nresources:\n" +
        text.replace("URL", s.url("app")), encoding="utf-8")


def ask(place, *args, **more):
    """salvor with that configuration; its report."""
    done = place.salvor("--json", "rows", *args, repo=False, env=UNATTENDED, **more)
    found = {}
    for line in done.out.splitlines():
        found.update(json.loads(line))
    found["done"] = done
    return found


@case(limit=120, tags="address")
def finds_the_snapshot(place):
    """Between which two snapshots rows vanished, and back they come out of the older one."""
    with postgres.server() as s:
        s.createdb("app")
        s.sql("app", SHOP)
        configure(place, s, "  app: { type: postgres, url: 'URL', split: 64KiB }\n")
        place.init()
        taken = []
        for n in range(7):
            if n == 3:
                was = s.digests("app")
                s.sql("app", "DELETE FROM posts WHERE id BETWEEN 100 AND 599")
            s.sql("app", f"INSERT INTO tags VALUES ('new {n}')")
            taken.append(place.backup("app", repo=False)["snapshot"])
        deleted = s.digests("app")
        found = ask(place, "app", "--table", "posts", "--apply", "--yes")
        equal((found["rows"]["snapshot"]["id"], found["rows"]["gone_in"]["id"]),
              (taken[2], taken[3]), "between")
        equal(missing(found), {"public.posts": 500, "public.comments": 1402,
                               "public.post_tags": 500}, "missing")
        loaded = found["rows"]["snapshots_loaded"]
        check(loaded <= 3, f"{loaded} snapshots were loaded")
        equal(found["applied"]["put_back"], 2402, "put back")
        now = s.digests("app")
        for name in ("public.posts", "public.comments", "public.post_tags"):
            equal(now[name], was[name], name)
        equal(place.fields(place.salvor("--json", "undo", repo=False), "undo")["removed"], 2402,
              "undone")
        equal(s.digests("app"), deleted, "after undo")

        s.sql("app", "DELETE FROM tags WHERE tag = 'new 1'")
        found = ask(place, "app", "--table", "public.tags")["rows"]
        equal((found["snapshot"]["id"], found["gone_in"], found["tables"][0]["missing"]),
              (taken[6], None, 1), "vanished after the newest")
        found = ask(place, "app", "--table", "tags", "--snapshot", taken[0][:8])["rows"]
        equal((found["snapshot"]["id"], found["tables"][0]["missing"], found["tables"][0]["added"]),
              (taken[0], 0, 5), "the first one")
        place.says(ask(place, "app", "--table", "posts", "--at", "2001-01-01", status=1)["done"],
                   "no snapshot")
        place.says(ask(place, "nobody", "--table", "posts", status=1)["done"], "nobody")
        equal(s.sessions(), 0, "sessions left")
        equal(os.listdir(place.root / "tmp"), [], "left in the temporary directory")


@case(limit=120)
def several_databases(place):
    """One database of several; schemas, partitions, a type of one's own; a table newer than the
    backup."""
    sql = """CREATE SCHEMA "s;x"; CREATE TYPE "s;x".mood AS ENUM ('b', 'a');
        CREATE TABLE "s;x".days (day date, n int, mood "s;x".mood, PRIMARY KEY (day, n))
            PARTITION BY RANGE (day);
        CREATE TABLE "s;x".d1 PARTITION OF "s;x".days FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
        CREATE TABLE "s;x".d2 PARTITION OF "s;x".days FOR VALUES FROM ('2026-02-01') TO ('2027-01-01');
        INSERT INTO "s;x".days SELECT date '2026-01-01' + i % 60, i, CASE WHEN i % 2 = 0 THEN 'a' ELSE
            'b' END::"s;x".mood FROM generate_series(1, 9000) i;
        CREATE TABLE "s;x".notes (id int PRIMARY KEY, day date, n int, FOREIGN KEY (day, n) REFERENCES
            "s;x".days ON DELETE CASCADE);
        INSERT INTO "s;x".notes SELECT n, day, n FROM "s;x".days WHERE n <= 100;
        CREATE TABLE public.days (id int PRIMARY KEY)"""
    with postgres.server() as s:
        s.createdb("app")
        s.createdb("odd db")
        s.sql("odd db", sql)
        configure(place, s, "  pg: { type: postgres, url: 'URL', databases: [app, 'odd db'], split: "
                            "64KiB }\n")
        place.init()
        place.salvor("backup", "pg", repo=False)
        was = s.digests("odd db")
        s.sql("odd db", 'DELETE FROM "s;x".days WHERE n % 3 = 0; CREATE TABLE young (id int PRIMARY KEY)')
        place.says(ask(place, "pg.odd%20db", "--table", "days", status=2)["done"], "--schema")
        place.says(ask(place, "pg", "--table", "young", status=2)["done"], "pg.DATABASE")
        place.says(ask(place, "pg.odd%20db", "--table", "young", status=1)["done"], "no table")
        found = ask(place, "pg.odd%20db", "--table", "days", "--schema", "s;x", "--apply", "--yes")
        equal(missing(found), {"s;x.days": 3000, "s;x.notes": 33}, "missing")
        equal(found["applied"]["put_back"], 3033, "put back")
        now = s.digests("odd db")
        now.pop("public.young")
        equal(now, was, "put back")
        place.salvor("undo", repo=False)
        equal(s.sql("odd db", 'SELECT count(*) FROM "s;x".days'), "6000", "undone")


@case(limit=90)
def split_table_in_another_encoding(place):
    """Parts of large tables are in the encoding of their database, also where rows come back."""
    with postgres.server() as s:
        s.createdb("app", "-T", "template0", "-E", "LATIN2", "--locale=C")
        s.sql("app", "SET client_encoding = 'UTF8'; CREATE TABLE t (k text PRIMARY KEY, v text); "
                     "INSERT INTO t SELECT substr('\u017e\u0161\u0111\u00e9aZ', 1 + i % 6, 1) || i, "
                     "repeat('\u0159', 60) || i FROM generate_series(1, 3000) i")
        configure(place, s, "  app: { type: postgres, url: 'URL', split: 64KiB }\n")
        place.init()
        place.backup("app", repo=False)
        was = s.digests("app")
        s.sql("app", "DELETE FROM t WHERE right(k, 1) = '3'")
        found = ask(place, "app", "--table", "t", "--apply", "--yes")
        equal((found["rows"]["tables"][0]["changed"], found["applied"]["put_back"]), (0, 300), "back")
        equal(s.digests("app"), was, "put back")


# ---- tables that changed since ----

@case(limit=60)
def changed_tables(place):
    sql = """
        CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a int, old text, n int,
            twice int GENERATED ALWAYS AS (2 * n) STORED);
        INSERT INTO t (a, old, n) SELECT i, 'o' || i, i FROM generate_series(1, 50) i;
        CREATE TABLE strict (id int PRIMARY KEY, a int); INSERT INTO strict VALUES (1, 1);
        CREATE TABLE rekeyed (id int PRIMARY KEY, a int); INSERT INTO rekeyed VALUES (1, 1);
        CREATE TABLE dropped (id int PRIMARY KEY);
        CREATE TABLE ruled (id int PRIMARY KEY); INSERT INTO ruled VALUES (1);
        CREATE TABLE later (id int PRIMARY KEY DEFERRABLE, a int UNIQUE DEFERRABLE);
        INSERT INTO later SELECT i, i FROM generate_series(1, 9) i;"""
    place.init()
    with pair(sql, """
            DELETE FROM t WHERE id <= 10; ALTER TABLE t DROP old; ALTER TABLE t ALTER a TYPE bigint;
            ALTER TABLE t ADD added text NOT NULL DEFAULT 'new';
            ALTER TABLE strict ADD must int NOT NULL DEFAULT 1;
            ALTER TABLE strict ALTER must DROP DEFAULT; DELETE FROM strict;
            ALTER TABLE rekeyed ALTER id TYPE text USING id::text; DELETE FROM rekeyed;
            DROP TABLE dropped; CREATE VIEW v AS SELECT 1;
            DELETE FROM ruled; CREATE RULE r AS ON INSERT TO ruled DO ALSO SELECT 1;
            DELETE FROM later WHERE id > 5; INSERT INTO later VALUES (10, 6);
            CREATE TABLE fresh (id int PRIMARY KEY)""") as s:
        found = apply(place, s, "t")
        equal(found["applied"]["put_back"], 10, "put back")
        equal(s.sql("production", "SELECT id, a, n, twice, added FROM t WHERE id = 7"), "7|7|7|14|new",
              "a row")
        notes = " ".join(found["rows"]["notes"])
        for word in ("column added is newer", "column a is bigint now and was integer",
                     "column old of the backup is no more"):
            check(word in notes, notes)
        equal(found["rows"]["tables"][0]["changed"], 0, "a new type is no change")
        for table, status, words in (("strict", 1, "must have a value"),
                                     ("rekeyed", 1, "another type"),
                                     ("dropped", 1, "no table dropped"),
                                     ("drop", 1, "no table drop"),
                                     ("v", 1, "is a view"),
                                     ("fresh", 1, "the backup: ")):
            done = place.salvor("rows", "shop", "--table", table, "--from", s.url("backup"), "--to",
                                s.url("production"), status=status)
            place.says(done, words)
        place.says(apply(place, s, "ruled", status=1)["done"], "rules")
        found = apply(place, s, "later", status=3)
        equal((found["applied"]["put_back"], found["skipped"][0]["why"]),
              (3, "another row has the same (a)=(6)"), "deferrable constraints")


@case(limit=60)
def triggers(place):
    sql = """
        CREATE TABLE log (id serial PRIMARY KEY, what text);
        CREATE TABLE t (id int PRIMARY KEY, v text, at timestamptz DEFAULT '2026-01-01');
        CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF new.id = 3 THEN RETURN NULL; END IF;
            IF new.id = 4 THEN new.at := '2030-01-01'; END IF; RETURN new; END $$;
        CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            INSERT INTO public.log (what) VALUES (new.id); RETURN NULL; END $$;
        INSERT INTO t SELECT i, 'v' || i FROM generate_series(1, 10) i;
        CREATE TRIGGER touch BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION touch();
        CREATE TRIGGER tell AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION tell();
        CREATE TRIGGER off AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION tell();
        ALTER TABLE t ENABLE ALWAYS TRIGGER tell; ALTER TABLE t DISABLE TRIGGER off;"""
    states = "SELECT string_agg(tgname::text || tgenabled::text, ' ' ORDER BY tgname) FROM pg_trigger " \
             "WHERE NOT tgisinternal"
    place.init()
    with pair(sql, "DELETE FROM t WHERE id <= 5") as s:
        found = apply(place, s, "t", status=3)
        equal(found["rows"]["tables"][0]["triggers"], ["tell", "touch"], "named")
        place.says(found["done"], "trigger touch of public.t fires")
        equal(found["applied"], {"put_back": 4, "skipped": 1, "altered_by_triggers": 1, "run": 1},
              "what came of it")
        equal((found["skipped"][0]["key"], "trigger" in found["skipped"][0]["why"]), ("(id)=(3)", True),
              "vetoed")
        equal(s.sql("production", "SELECT count(*) FROM log"), "4", "log")
        place.salvor("undo", repo=False)
        found = apply(place, s, "t", "--without-triggers")
        equal(found["applied"]["put_back"], 5, "without triggers")
        equal(s.sql("production", "SELECT count(*) FROM log"), "4", "log")
        equal(s.digests("production")["public.t"], s.digests("backup")["public.t"], "t")
        equal(s.sql("production", states), "offD tellA touchO", "triggers afterwards")


# ---- files ----

@case(limit=60)
def files(place):
    place.init()
    with pair(SHOP, "DELETE FROM posts WHERE id BETWEEN 100 AND 119") as s:
        sql, table = place.data / "back.sql", place.data / "back.csv"
        rows(place, s, "posts", "--sql", sql, "--csv", table)
        equal(sorted(os.listdir(place.data)), ["back.csv", "back.public.comments.csv",
                                               "back.public.post_tags.csv", "back.sql"], "files")
        for path in place.data.iterdir():
            equal(stat.S_IMODE(path.stat().st_mode), 0o600, str(path))
        equal(len(list(csv.DictReader(table.open(encoding="utf-8", newline="")))), 20,
              "CSV")
        s.psql("production", sql)
        s.psql("production", sql)  # rows that are there stay as they are
        equal(s.digests("production"), dict(s.digests("backup"), **{
            "public.drafts": s.digests("production")["public.drafts"]}), "by SQL")
        s.sql("production", "DELETE FROM posts WHERE id = 100")
        done = place.salvor("rows", "shop", "--table", "posts", "--alone", "--from", s.url("backup"),
                            "--to", s.url("production"), "--csv", "-")
        equal(done.out.splitlines()[0], "id,author,title,body,at", "CSV on standard output")
        done = place.salvor("rows", "shop", "--table", "posts", "--from", s.url("backup"),
                            "--to", s.url("production"), "--sql", "/proc/nowhere", status=1)
        place.says(done, "/proc/nowhere")


# ---- what goes wrong ----

@case(limit=60)
def nothing_or_all(place):
    """What fails or is interrupted in the middle leaves production as it was."""
    place.init()
    with pair(SHOP, "DELETE FROM posts WHERE id BETWEEN 100 AND 119") as s:
        deleted = s.digests("production")
        s.sql("production", "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF "
              "new.id = 110 THEN RAISE 'not this one'; END IF; RETURN new; END $$; CREATE TRIGGER no "
              "BEFORE INSERT ON posts FOR EACH ROW EXECUTE FUNCTION no()")
        done = apply(place, s, "posts", status=1)["done"]
        place.says(done, "not this one", "nothing was changed")
        place.says(place.salvor("undo", repo=False, status=1), "no restore")
        equal(s.digests("production"), deleted, "after a failure")
        equal([n for n in os.listdir(place.root / "state") if n.endswith(".undo")], [], "records")
        s.sql("production", "DROP TRIGGER no ON posts")

        with s.held("production", "LOCK TABLE post_tags IN EXCLUSIVE MODE"):
            child = place.start("rows", "shop", "--table", "posts", "--from", s.url("backup"), "--to",
                                s.url("production"), "--apply", "--yes", env=UNATTENDED)
            with until(20, "waiting for the lock") as waiting:
                while waiting():
                    if s.sql("production", "SELECT count(*) FROM pg_locks WHERE NOT granted") != "0":
                        break
            child.send_signal(signal.SIGINT)
            out, err = child.communicate(timeout=20)
            equal(child.returncode, 1, err.decode())
            check(b"interrupted" in err, err.decode())
        equal(s.digests("production"), deleted, "after an interruption")
        equal(s.sessions(), 0, "sessions left")

        s.sql("production", "CREATE ROLE reader LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO "
                            "reader")
        done = place.salvor("rows", "shop", "--table", "posts", "--from", s.url("backup"), "--to",
                            s.url("production", user="reader"), "--apply", "--yes", status=1,
                            env=UNATTENDED)
        place.says(done, "permission denied", "nothing was changed")


# ---- scale ----

def peak(place, *args):
    """Runs salvor; its peak memory in KiB (that of a child that was waited for would be Python's, from
    before exec)."""
    most = 0
    with open(place.root / "out", "wb") as log:
        child = subprocess.Popen([SALVOR, "-r", str(place.repo), "--json", *map(str, args)],
                                 stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=place.data,
                                 env={**place.env, **UNATTENDED})
        while child.poll() is None:
            with contextlib.suppress(OSError, AttributeError, ProcessLookupError):
                status = pathlib.Path(f"/proc/{child.pid}/status").read_text(encoding="ascii")
                if os.readlink(f"/proc/{child.pid}/exe") == os.path.realpath(SALVOR):
                    most = max(most, int(re.search(r"VmHWM:\s*(\d+)", status)[1]))
            time.sleep(0.01)
    if child.returncode != 0:
        raise Failed((place.root / "out").read_text()[-3000:])
    return most


@case(limit=120, full=1800)
def five_thousand_of_millions(place):
    """Shows 2: exactly these come back, memory stays flat, undo removes exactly these."""
    total, gone = counts(60_000, 2_000_000), counts(1_000, 5_000)
    sql = """
        CREATE TABLE users (id bigint PRIMARY KEY, name text, data jsonb);
        CREATE TABLE orders (id bigint PRIMARY KEY, u bigint NOT NULL REFERENCES users ON DELETE
            CASCADE, text text);
        CREATE TABLE sessions (token text PRIMARY KEY, u bigint NOT NULL REFERENCES users ON DELETE
            CASCADE);
        INSERT INTO users SELECT i, md5(i::text), jsonb_build_object('i', i, 'x', md5((2 * i)::text))
            FROM generate_series(1, %d) i;
        INSERT INTO orders SELECT i, 1 + i::bigint * 7919 %% %d, md5(i::text) FROM generate_series(1, %d) i;
        INSERT INTO sessions SELECT md5(i::text), i FROM generate_series(1, %d, 2) i;
        CREATE INDEX ON orders (u); CREATE INDEX ON sessions (u); ANALYZE;
        """ % (total, total, total // 2, total)
    place.init()
    with postgres.server() as s:
        s.createdb("backup")
        s.run("psql", "-Xq", "-v", "ON_ERROR_STOP=1", db="backup", input=sql, limit=600)
        s.run("createdb", "-T", "backup", "production", limit=600)
        was = s.digests("backup")
        s.sql("production", f"DELETE FROM users WHERE id % {total // gone} = 3")
        deleted = s.digests("production")
        where = ("--from", s.url("backup"), "--to", s.url("production"))
        begun = time.monotonic()
        few = peak(place, "rows", "shop", "--table", "users", *where, "--where", "id < 100", "--alone")
        found = rows(place, s, "users")
        took = time.monotonic() - begun
        equal(missing(found)["public.users"], gone, "missing")
        check(missing(found)["public.orders"] > 0 and missing(found)["public.sessions"] > 0, "children")
        most = peak(place, "rows", "shop", "--table", "users", *where, "--apply", "--yes")
        equal(s.digests("production"), was, "put back")
        undo = peak(place, "undo", "shop")
        equal(s.digests("production"), deleted, "undone")
        print(f"{total} rows, {gone} deleted: compared twice in {took:.1f} s; peak memory {few} KiB to "
              f"look at a few, {most} KiB to put all back, {undo} KiB to undo")
        check(most < few + 4_000, "memory grows with the rows")
        if FULL:
            s.sql("production", "DELETE FROM users")
            every = peak(place, "rows", "shop", "--table", "users", *where, "--apply", "--yes")
            equal(s.digests("production"), was, "all put back")
            print(f"peak memory {every} KiB to put all of {total} back")
            check(every < few + 4_000, "memory grows with the missing rows")


main()
