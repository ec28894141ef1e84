"""PostgreSQL databases brought back: new, in place with a way back, and what goes wrong on the way."""
import contextlib
import json
import os
import pathlib
import select
import signal
import socket
import subprocess
import threading
import time

import postgres
from live import SALVOR, Failed, Skipped, case, check, counts, equal, main, until

HERE = pathlib.Path(__file__).resolve().parent
UNATTENDED = {"SALVOR_ALLOW_UNATTENDED_RESTORE": "1"}
SLOW = """
CREATE FUNCTION slow(i int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS
    'BEGIN PERFORM pg_sleep(0.01); RETURN i; END';
CREATE TABLE t AS SELECT i AS id, md5(i::text) AS x FROM generate_series(1, 500) i;
CREATE INDEX ON t (slow(id));
"""
SMALL = """
CREATE TABLE t (id int PRIMARY KEY, x text);
INSERT INTO t SELECT i, md5(i::text) FROM generate_series(1, 20000) i;
CREATE TABLE u AS SELECT 1 AS one;
"""


def wait(true, what):
    with until(20, what) as waiting:
        while not true():
            waiting()


def configure(place, s, db="app", **more):
    lines = "".join(f"    {k}: {json.dumps(v)}\n" for k, v in more.items())
    path = place.root / "salvor.yaml"
    path.write_text(f"repository: {{ url: {place.repo} }}\nresources:\n  app:\n    type: postgres\n"
                    f"    url: '{s.url(db)}'\n    split: 256KiB\n{lines}")
    place.env["SALVOR_CONFIG"] = str(path)


def ready(place, s, sql=SMALL, **more):
    """A database app with a backup of it."""
    s.createdb("app")
    s.sql("app", sql)
    configure(place, s, **more)
    place.init()
    place.backup("app")


def in_place(place, *args, **more):
    env = {**UNATTENDED, **more.pop("env", {})}
    return place.salvor("restore", "app", "--yes", *args, env=env, **more)


def nothing_left(place, s):
    """Neither databases of ours, nor sessions, nor temporary files."""
    equal([d for d in s.databases() if d.startswith("salvor_")], [], "working databases")
    equal(s.sessions(), 0, "sessions left")
    equal(os.listdir(place.root / "tmp"), [], "temporary files")


def kept(s, word):
    found = [d for d in s.databases() if f"_{word}_" in d]
    equal(len(found), 1, f"databases kept as {word}")
    return found[0]


@case(limit=120)
def everything_comes_back(place):
    with postgres.server() as s:
        s.createdb("app")
        s.run("psql", "-Xq", "-v", "big=20000", "-f", HERE / "everything.sql", db="app")
        configure(place, s)
        place.init()
        place.backup("app")
        place.salvor("restore", "app", "--to", "postgres:co py")
        same(s, "app", "co py")
        # Gone altogether: in place, there is nothing to keep.
        before, digests = s.dump("app", "--create"), s.digests("app")
        s.dropdb("app")
        done = place.salvor("--json", "restore", "app")
        equal(place.fields(done, "restore")["created"], 1, "created")
        equal(s.dump("app", "--create"), before, "the dump")
        equal(s.digests("app"), digests, "the rows")
        place.salvor("undo", "app")
        check("app" not in s.databases(), "undo takes away what had not been there")
        nothing_left(place, s)


def same(s, one, two):
    a, b = s.dump(one, "--create"), s.dump(two, "--create")
    for form in (two, f'"{two}"'):
        b = b.replace(f"DATABASE {form} ", f"DATABASE {one} ").replace(f"DATABASE {form};",
                                                                      f"DATABASE {one};")
    names = ("CREATE DATABASE", "\\connect", "\\encoding", "-- Name: DATABASE", "-- Name: ")
    strip = lambda t: [x for x in t.splitlines() if x and not x.startswith(names)]
    for x, y in zip(strip(a), strip(b)):
        equal(y, x, "a line of the dump")
    equal(len(strip(b)), len(strip(a)), "lines of the dump")
    equal(s.digests(two), s.digests(one), "the rows")


class Application(threading.Thread):
    """Asks the database again and again, connecting anew when it is cut off; notes the longest time
    without an answer, and the rows that it saw."""

    def __init__(self, s, db):
        super().__init__(daemon=True)
        self.s, self.db, self.stop, self.gap, self.saw, self.last = s, db, False, 0, set(), None

    def run(self):
        env = dict(os.environ, **self.s.env(self.db))
        while not self.stop:
            child = subprocess.Popen([self.s.bin / "psql", "-XAtq"], stdin=subprocess.PIPE,
                                     stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=env)
            with contextlib.suppress(OSError):
                while not self.stop:
                    child.stdin.write(b"SELECT count(*) FROM t;\n")
                    child.stdin.flush()
                    line = child.stdout.readline()
                    if not line:
                        break
                    now = time.monotonic()
                    self.gap = max(self.gap, now - (self.last or now))
                    self.last = now
                    self.saw.add(int(line))
                    time.sleep(0.002)
            child.kill()
            child.wait()
            child.stdout.close()
            with contextlib.suppress(OSError):
                child.stdin.close()


@case(limit=120)
def in_place_under_load(place):
    with postgres.server() as s:
        ready(place, s)
        s.sql("app", "DELETE FROM t WHERE id > 100; ALTER TABLE u ADD COLUMN two int")
        apps = [Application(s, "app") for _ in range(3)]
        for a in apps:
            a.start()
        time.sleep(0.3)
        done = in_place(place)
        time.sleep(0.5)
        for a in apps:
            a.stop = True
        for a in apps:
            a.join(10)
            equal(a.saw, {100, 20000}, "what the application saw")
        print(f"cut off for {max(a.gap for a in apps) * 1000:.0f} ms")
        old = kept(s, "before")
        check(old in done.out, "the new name of the old one is said")
        equal(s.sql(old, "SELECT count(*), max(two) FROM t, u"), "100|", "the old one")
        equal(len([x for x in place.snapshots() if "pre-restore" in x["tags"]]), 1,
              "snapshots of what was replaced")
        place.salvor("undo", "app")
        equal(s.sql("app", "SELECT count(*) FROM t"), "100", "rows after undo")
        equal(s.sql(kept(s, "undone"), "SELECT count(*) FROM t"), "20000", "rows set aside")
        check(old not in s.databases(), "the old one has its name back")
        done = place.salvor("undo", "app", status=1)
        place.says(done, "take back")
        nothing_left(place, s)


@case(limit=120)
def health_and_cutover(place):
    with postgres.server() as s:
        ready(place, s, health="exit 3", health_timeout="1s")
        s.sql("app", "DELETE FROM t WHERE id > 100")
        done = in_place(place, status=1)
        place.says(done, "not well", "back in its place")
        equal(s.sql("app", "SELECT count(*) FROM t"), "100", "rows of the old one")
        equal(s.sql(kept(s, "failed"), "SELECT count(*) FROM t"), "20000", "rows of the new one")
        place.says(place.salvor("undo", "app", status=1), "take back")
        s.dropdb(kept(s, "failed"))

        # A command that is well only when it looks at the restored one.
        rows = f"{s.bin}/psql -XAtc 'SELECT count(*) FROM t' '{s.url('app')}'"
        configure(place, s, health=f'test "$({rows})" = 20000', health_timeout="5s")
        in_place(place)
        s.dropdb(kept(s, "before"))
        s.sql("app", "DELETE FROM t WHERE id > 100")

        # A command instead of names; and back by the same one.
        where = place.root / "where"
        configure(place, s, cutover=f'echo "$SALVOR_DATABASE,$SALVOR_DATABASE_BEFORE" > {where}')
        in_place(place)
        new, old = where.read_text().strip().split(",")
        equal((new, old), (kept(s, "restored"), "app"), "what the command was told")
        equal(s.sql(new, "SELECT count(*) FROM t"), "20000", "rows of the new one")
        equal(s.sql("app", "SELECT count(*) FROM t"), "100", "rows of the old one")
        place.salvor("undo", "app")
        equal(where.read_text().strip().split(","), [old, new], "what the command was told")
        nothing_left(place, s)


@case(limit=60)
def writes_are_gated(place):
    with postgres.server() as s:
        mark = place.root / "frozen"
        ready(place, s, SLOW, freeze=f"touch {mark}")
        child = place.start("restore", "app", "--yes", "--freeze", env=UNATTENDED)
        wait(lambda: any(d.startswith("salvor_") for d in s.databases()), "the restore begins")
        check(mark.exists(), "the command was run")
        equal(s.sql("app", "SHOW default_transaction_read_only"), "on", "while it restores")
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=40)
        equal(child.returncode, 1, f"status; {err.decode()}")
        equal(s.sql("app", "SHOW default_transaction_read_only"), "off", "after an interruption")
        nothing_left(place, s)
        in_place(place, "--freeze")
        for db in ("app", kept(s, "before")):
            equal(s.sql(db, "SHOW default_transaction_read_only"), "off", db)


@case(limit=60)
def killed_while_frozen(place):
    """What thaws it is in the ledger: the next restore does, or undo; to what its owner had set."""
    with postgres.server() as s:
        ready(place, s, SLOW)
        setting = lambda: s.sql("postgres", "SELECT setconfig FROM pg_db_role_setting s JOIN "
                                            "pg_database d ON d.oid = setdatabase WHERE datname = "
                                            "'app'")

        def kill():
            child = place.start("restore", "app", "--yes", "--freeze", env=UNATTENDED)
            wait(lambda: "=on" in setting(), "it is frozen")
            child.kill()
            child.communicate()
            wait(lambda: s.sessions() == 0, "the server sees that nobody is there")

        kill()
        place.says(place.salvor("undo", "app"), "takes writes as before")
        equal(setting(), "", "the setting")
        place.salvor("undo", "app", status=1)
        s.sql("postgres", "ALTER DATABASE app SET default_transaction_read_only = off")
        kill()
        place.says(in_place(place, "--freeze"), "takes writes as before")
        equal(s.sql(kept(s, "before"), "SHOW default_transaction_read_only"), "off", "the old one")
        place.salvor("undo", "app")
        equal(setting(), "{default_transaction_read_only=off}", "the owner's setting")


@case(limit=60)
def roles_and_extensions(place):
    with postgres.server() as s, postgres.server() as other:
        s.sql("postgres", "CREATE ROLE app LOGIN PASSWORD 'x'; CREATE ROLE \"odd one\" NOLOGIN;"
                          "GRANT app TO \"odd one\"")
        ready(place, s, SMALL + "ALTER TABLE t OWNER TO app; GRANT SELECT ON u TO \"odd one\";")
        to = other.url("app")
        done = place.salvor("restore", "app", "--to", to, status=5)
        place.says(done, "app", "odd one", "--create-roles")
        check("app" not in other.databases(), "nothing was touched")
        place.salvor("restore", "app", "--to", to, "--without-roles")
        equal(other.sql("app", "SELECT tableowner FROM pg_tables WHERE tablename = 't'"), "postgres",
              "owner")
        other.dropdb("app")
        place.salvor("restore", "app", "--to", to, "--create-roles")
        equal(other.sql("app", "SELECT tableowner FROM pg_tables WHERE tablename = 't'"), "app",
              "owner")
        equal(other.sql("postgres", "SELECT rolcanlogin, rolpassword IS NOT NULL FROM pg_authid "
                                    "WHERE rolname = 'app'"), "t|t", "the role")
        equal(other.sql("postgres", "SELECT pg_has_role('odd one', 'app', 'member')"), "t",
              "membership")
        # An extension that this server does not have.
        s.sql("app", "SET allow_system_table_mods = on; INSERT INTO pg_extension VALUES (99999, "
                     "'nowhere', 10, 2200, false, '1.0', NULL, NULL)")
        place.backup("app")
        done = place.salvor("restore", "app", "--to", "postgres:two", status=5)
        place.says(done, "nowhere 1.0", "install")
        nothing_left(place, s)
        nothing_left(place, other)


@case(limit=60)
def targets_that_are_refused(place):
    with postgres.server() as s:
        ready(place, s)
        s.createdb("full")
        s.sql("full", "CREATE TYPE y AS (a int)")
        for name in ("full", "app"):
            done = place.salvor("restore", "app", "--to", f"postgres:{name}", status=1)
            place.says(done, name, "not empty")
        s.createdb("used")
        with s.held("used", "SELECT 1"):
            done = place.salvor("restore", "app", "--to", "postgres:used", status=6)
            place.says(done, "used", "in use")
        place.salvor("restore", "app", "--to", "postgres:used")
        equal(s.sql("used", "SELECT count(*) FROM t"), "20000", "rows")
        place.says(place.salvor("restore", "app", "--to", "postgres:template1", status=5), "template")
        place.says(place.salvor("restore", "app", "--to", "postgres://", status=2), "database")
        # What forbids a swap.
        s.sql("app", "SELECT pg_create_logical_replication_slot('follower', 'pgoutput')")
        s.sql("app", "BEGIN; INSERT INTO u VALUES (2); PREPARE TRANSACTION 'half done'")
        done = in_place(place, status=5)
        place.says(done, "follower", "half done")
        equal([d for d in s.databases() if "before" in d], [], "kept")
        nothing_left(place, s)


@case(limit=60)
def a_key_that_does_not_hold(place):
    """A unique index that was not maintained hides a duplicate until the rows are loaded anew."""
    with postgres.server() as s:
        ready(place, s, SMALL + "CREATE UNIQUE INDEX once ON u (one); UPDATE pg_index SET "
                                "indisready = false WHERE indexrelid = 'once'::regclass;"
                                "INSERT INTO u VALUES (1);"
                                "UPDATE pg_index SET indisready = true WHERE indexrelid = "
                                "'once'::regclass;")
        done = place.salvor("restore", "app", "--to", "postgres:two", status=1)
        place.says(done, "once", "duplicate")
        check("two" not in s.databases(), "no half database has a good name")
        done = in_place(place, status=1)
        equal(s.sql("app", "SELECT count(*) FROM t"), "20000", "rows of the old one")
        nothing_left(place, s)


@case(limit=60)
def disk_full_on_the_server(place):
    with postgres.server() as s, small_disk(s) as where:
        s.sql("postgres", f"CREATE TABLESPACE small LOCATION '{where}'")
        ready(place, s, "CREATE TABLE t TABLESPACE small AS SELECT i AS id, repeat(md5(i::text), 10) "
                        "AS x FROM generate_series(1, 40000) i;")
        done = place.salvor("restore", "app", "--to", "postgres:two", status=1)
        place.says(done, "space")
        check("two" not in s.databases(), "no half database has a good name")
        nothing_left(place, s)


@contextlib.contextmanager
def small_disk(s):
    where = s.directory / "small"
    where.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=28m", "tmpfs", where],
                          capture_output=True, check=False)
    if done.returncode != 0:
        raise Skipped("needs the right to mount")
    try:
        if postgres.owner():
            os.chown(where, *postgres.owner())
        yield where
    finally:
        s.stop()
        subprocess.run(["umount", "-l", where], check=False)


@case(limit=60)
def not_our_encoding_nor_settings(place):
    """Bytes that would be something else in UTF-8; values that depend on settings of the database,
    which forbid writing as well; statistics that cannot be made."""
    with postgres.server() as s:
        s.createdb("app", "-E", "LATIN1", "--locale=C", "-T", "template0")
        s.sql("app", "SET client_encoding = 'UTF8'; CREATE TABLE t AS SELECT i AS id, "
                     "'d\u00e9j\u00e0 ' || i AS x FROM generate_series(1, 10000) i;"
                     "CREATE TABLE u AS SELECT i AS id, '\u00c3\u00a9' || i AS x "
                     "FROM generate_series(1, 10000) i;"
                     "CREATE STATISTICS st ON (1 / (id - 5)), x FROM t;"
                     "SET my.word = 'yes'; CREATE MATERIALIZED VIEW m AS "
                     "SELECT current_setting('my.word') AS x;"
                     "ALTER DATABASE app SET my.word = 'yes';"
                     "ALTER DATABASE app SET default_transaction_read_only = on")
        configure(place, s)
        place.init()
        place.says(place.salvor("backup", "app"), "read-only by default")
        done = place.salvor("restore", "app", "--to", "postgres:copy")
        place.says(done, "statistics are missing")
        same(s, "app", "copy")
        nothing_left(place, s)


@case(limit=60)
def a_broken_database_and_little_space(place):
    """The space is looked at before a database is built, not when it fills the disk itself."""
    with postgres.server() as s, tight_disk(s) as fill:
        ready(place, s, "CREATE TABLE t AS SELECT i AS id, repeat(md5(i::text), 10) AS x "
                        "FROM generate_series(1, 50000) i; CREATE TABLE one AS SELECT 1;")
        fill("app", 1.25)
        oid = s.sql("postgres", "SELECT oid FROM pg_database WHERE datname = 'app'")
        (s.data / "base" / oid / "PG_VERSION").unlink()
        place.says(place.salvor("restore", "app", "--to", "postgres:app", status=1), "nobody can see")
        in_place(place)
        equal(s.sql("app", "SELECT count(*) FROM t"), "50000", "rows")
        kept(s, "before")
        place.salvor("restore", "app", "--table", "one", "--schema", "aside")
        nothing_left(place, s)


@contextlib.contextmanager
def tight_disk(s):
    """The server's files, but for its log of changes, on a disk that can be filled to a size."""
    s.stop()
    away = s.directory / "away"
    s.data.rename(away)
    s.data.mkdir(mode=0o700)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=160m,mode=700", "tmpfs", s.data],
                          capture_output=True, check=False)
    if done.returncode != 0:
        s.data.rmdir()
        away.rename(s.data)
        s.start()
        raise Skipped("needs the right to mount")
    try:
        subprocess.run(["cp", "-a", f"{away}/.", s.data], check=True)
        subprocess.run(["rm", "-rf", s.data / "pg_wal"], check=True)
        (s.data / "pg_wal").symlink_to(away / "pg_wal")
        s.start()

        def fill(db, times):
            """Leaves as much as so many times the database."""
            s.sql(db, "CHECKPOINT")
            size = int(s.sql(db, f"SELECT pg_database_size('{db}')"))
            fs = os.statvfs(s.data)
            with open(s.data / "filler", "wb") as file:
                os.posix_fallocate(file.fileno(), 0, fs.f_bavail * fs.f_frsize - int(size * times))
        yield fill
    finally:
        s.stop()
        subprocess.run(["umount", "-l", s.data], check=False)


@case(limit=90)
def cut_off_half_way(place):
    """By Ctrl-C, by a server that dies, by a kill: the next restore clears away what is left."""
    with postgres.server() as s:
        ready(place, s, SLOW)
        begun = lambda: any(d.startswith("salvor_") for d in s.databases())
        child = place.start("restore", "app", "--to", "postgres:two")
        wait(begun, "the restore begins")
        time.sleep(0.5)
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=40)
        equal(child.returncode, 1, "status")
        check(b"interrupted" in err, err.decode())
        nothing_left(place, s)

        child = place.start("restore", "app", "--to", "postgres:two")
        wait(begun, "the restore begins")
        time.sleep(0.5)
        s.crash()
        _, err = child.communicate(timeout=40)
        equal(child.returncode, 1, "status")
        equal(os.listdir(place.root / "tmp"), [], "temporary files")
        s.start()
        check(begun(), "what the server lost sight of is there still")

        child = place.start("restore", "app", "--yes", env=UNATTENDED)
        wait(lambda: sum(d.startswith("salvor_") for d in s.databases()) == 1 and
              s.sessions() > 2, "the restore begins")
        child.kill()
        child.communicate()
        equal(s.sql("app", "SELECT count(*) FROM t"), "500", "rows of the old one")
        for left in (place.root / "tmp").iterdir():
            for path in left.iterdir():
                path.unlink()
            left.rmdir()
        wait(lambda: s.sessions() == 0, "the server sees that nobody is there")
        s.sql("app", "DELETE FROM t WHERE id > 10; DROP INDEX t_slow_idx")
        place.backup("app")
        done = place.salvor("restore", "app", "--to", "postgres:two")
        check("dropped salvor_restore_" in done.err, done.err)
        nothing_left(place, s)


@case(limit=120)
def killed_at_any_point(place):
    """In place: the good name is the old or the new database, always one that answers."""
    with postgres.server() as s:
        ready(place, s, "CREATE TABLE t AS SELECT 1 AS id FROM generate_series(1, 50);")
        s.sql("app", "DELETE FROM t")
        begun = time.monotonic()
        in_place(place)
        whole = time.monotonic() - begun
        rounds = counts(8, 40)
        for n in range(rounds):
            s.sql("app", "DELETE FROM t")
            child = place.start("restore", "app", "--yes", env=UNATTENDED)
            time.sleep(whole * n / rounds)
            child.kill()
            child.communicate()
            check(s.sql("app", "SELECT count(*) FROM t") in ("0", "50"), "an answer")
            wait(lambda: s.sessions() == 0, "the server sees that nobody is there")
        in_place(place)
        equal(s.sql("app", "SELECT count(*) FROM t"), "50", "rows")
        equal([d for d in s.databases() if d.startswith("salvor_")], [], "working databases")


TABLES = """
CREATE SCHEMA shop;
CREATE TYPE shop.state AS ENUM ('new', 'sent');
CREATE TABLE shop.customers (id serial PRIMARY KEY, name text UNIQUE);
CREATE TABLE shop.orders (id int PRIMARY KEY, customer int NOT NULL REFERENCES shop.customers,
    state shop.state DEFAULT 'new', body text);
CREATE TABLE shop.events (at date NOT NULL, what text) PARTITION BY RANGE (at);
CREATE TABLE shop.events_1 PARTITION OF shop.events FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
CREATE TABLE shop.events_2 PARTITION OF shop.events FOR VALUES FROM ('2021-01-01') TO ('2022-01-01');
CREATE TABLE other (a int);
INSERT INTO shop.customers (name) SELECT 'c' || i FROM generate_series(1, 50) i;
INSERT INTO shop.orders SELECT i, 1 + i % 50, 'sent', repeat(md5(i::text), 5)
    FROM generate_series(1, 20000) i;
INSERT INTO shop.events SELECT date '2020-06-01' + i % 500, 'e' || i FROM generate_series(1, 900) i;
"""


@case(limit=60)
def by_an_ordinary_role(place):
    """No superuser: one that owns the database and may create others."""
    with postgres.server() as s:
        s.sql("postgres", "CREATE ROLE app LOGIN CREATEDB; CREATE ROLE reader NOLOGIN")
        s.createdb("app", "-O", "app")
        s.sql("app", SMALL + "GRANT SELECT ON t TO reader; COMMENT ON DATABASE app IS 'ours';"
                             "SELECT lo_from_bytea(0, 'large')", user="app")
        s.sql("app", "ALTER DATABASE app SET work_mem = '5MB'")
        configure(place, s)
        path = place.root / "salvor.yaml"
        path.write_text(path.read_text().replace(s.url("app"), s.url("app", user="app")))
        place.init()
        place.backup("app")
        before = s.dump("app", "--create")
        s.sql("app", "DELETE FROM t WHERE id > 100", user="app")
        in_place(place)
        equal(s.dump("app", "--create"), before, "the dump")
        place.salvor("undo", "app")
        equal(s.sql("app", "SELECT count(*) FROM t"), "100", "rows after undo")
        # Somebody whom this role may not send away.
        s.dropdb(kept(s, "undone"))
        with s.held("app", "SELECT 1"):
            done = in_place(place, status=6)
            place.says(done, "postgres from the socket (holder", "pg_signal_backend")
        equal(s.sql("app", "SELECT count(*) FROM t"), "100", "rows after it was refused")
        nothing_left(place, s)


@case(limit=60)
def by_address(place):
    """Without a configuration: the address says where it goes back to, and undo remembers it."""
    with postgres.server() as s:
        s.createdb("app")
        s.sql("app", SMALL)
        place.init()
        place.backup(s.url("app"))
        s.sql("app", "DELETE FROM t")
        done = place.salvor("restore", "app", "--yes", env=UNATTENDED, status=2)
        place.says(done, "--to")
        place.salvor("restore", s.url("app"), "--dry-run")
        equal(s.sql("app", "SELECT count(*) FROM t"), "0", "rows after a dry run")
        place.salvor("restore", s.url("app"), status=5)
        place.salvor("restore", s.url("app"), "--yes", env=UNATTENDED)
        equal(s.sql("app", "SELECT count(*) FROM t"), "20000", "rows")
        place.salvor("undo", "app")
        equal(s.sql("app", "SELECT count(*) FROM t"), "0", "rows after undo")
        # The raw files, and from a place that is not there.
        out = place.restore("app")
        check((out / "app.dump").exists(), "the dump")
        done = place.salvor("restore", "app", "--to", "postgres://127.0.0.1:1/x", status=1)
        place.says(done, "127.0.0.1")
        nothing_left(place, s)


@case(limit=60)
def undo_asks_the_server_that_was_restored(place):
    """Also when another one is configured meanwhile; what it does not find stays on the list."""
    with postgres.server() as s, postgres.server() as other:
        ready(place, s)
        s.sql("app", "DELETE FROM t")
        in_place(place)
        other.createdb("app")
        old = kept(s, "before")
        s.sql("postgres", f"ALTER DATABASE {old} RENAME TO away")
        configure(place, other)
        for _ in range(2):
            done = place.salvor("undo", "app", status=3)
            place.says(done, old, "RENAME")
        s.sql("postgres", f"ALTER DATABASE away RENAME TO {old}")
        done = place.salvor("undo", "app")
        place.says(done, "another server")
        equal(s.sql("app", "SELECT count(*) FROM t"), "0", "rows after undo")
        equal(other.sql("app", "SELECT to_regclass('t') IS NULL"), "t", "the other one")
        nothing_left(place, s)


class Between(threading.Thread):
    """Stands between salvor and a server, sees what is said, and may keep answers for itself."""

    def __init__(self, s, look):
        super().__init__(daemon=True)
        self.s, self.look, self.port = s, look, postgres.free_port()
        self.listener = socket.create_server(("127.0.0.1", self.port))
        self.start()

    def run(self):
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self.serve, args=(self.listener.accept()[0],),
                                 daemon=True).start()

    def serve(self, client):
        said = b""
        with client, socket.create_connection(("127.0.0.1", self.s.port)) as server, \
                contextlib.suppress(OSError):
            while True:
                for side in select.select([client, server], [], [])[0]:
                    data = side.recv(1 << 16)
                    if not data:
                        return
                    if side is server:
                        client.sendall(data)
                        continue
                    said = (said + data)[-4000:]
                    lose = self.look(said, data)
                    server.sendall(data)
                    if lose:
                        server.recv(1 << 16)
                        return


@case(limit=60)
def an_answer_that_is_lost(place):
    """The names are swapped, and nobody says so: undo must know of it."""
    with postgres.server(tcp=True) as s:
        ready(place, s)
        lost = []

        def lose(said, data):
            if b"RENAME TO" in said and b"COMMIT" in data and not lost:
                lost.append(data)
                return True
            return False

        path = place.root / "salvor.yaml"
        path.write_text(path.read_text().replace(
            s.url("app"), s.url("app", tcp=True, port=Between(s, lose).port)))
        for keep in (False, True):
            s.sql("app", "DELETE FROM t")
            lost.clear()
            place.says(in_place(place), "answer was lost")
            equal(len(lost), 1, "answers that were lost")
            equal(s.sql("app", "SELECT count(*) FROM t"), "20000", "rows")
            old = kept(s, "before")
            if keep:
                lost.clear()
            place.salvor("undo", "app")
            equal(s.sql("app", "SELECT count(*) FROM t"), "0", "rows after undo")
            check(old not in s.databases(), "the old one has its name back")
            s.dropdb(kept(s, "undone"))
        nothing_left(place, s)


@case(limit=60)
def an_empty_database(place):
    """It is looked at again when nobody can reach it any more; what it had is said."""
    with postgres.server(tcp=True) as s:
        ready(place, s)
        sneaked = []

        def sneak(said, data):
            if b'ALTER DATABASE "two" RENAME' in data and not sneaked:
                sneaked.append(data)
                s.sql("two", "CREATE TABLE sneaked AS SELECT 7 AS seven")
            return False

        path = place.root / "salvor.yaml"
        path.write_text(path.read_text().replace(
            s.url("app"), s.url("app", tcp=True, port=Between(s, sneak).port)))
        s.createdb("two")
        done = place.salvor("restore", "app", "--to", "postgres:two", status=1)
        place.says(done, "two", "meanwhile")
        equal(s.sql("two", "SELECT seven FROM sneaked"), "7", "what was made meanwhile")
        equal(s.databases(), ["app", "postgres", "two"], "databases")
        nothing_left(place, s)

        for made in ("CREATE SCHEMA s", "CREATE PUBLICATION p",
                     "CREATE FOREIGN DATA WRAPPER w", "SELECT lo_create(0)",
                     "CREATE COLLATION c FROM \"C\"", "CREATE TYPE e AS ENUM ('a')",
                     "CREATE FUNCTION f() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'"):
            s.createdb("full")
            s.sql("full", made)
            done = place.salvor("restore", "app", "--to", "postgres:full", status=1)
            place.says(done, "not empty")
            s.dropdb("full")

        s.sql("postgres", "CREATE ROLE x")
        s.createdb("prepared", "-O", "x")
        s.sql("prepared", "ALTER DATABASE prepared SET work_mem = '5MB';"
                          "ALTER DATABASE prepared CONNECTION LIMIT 7; GRANT CONNECT ON DATABASE "
                          "prepared TO x")
        done = place.salvor("restore", "app", "--to", "postgres:prepared", "--dry-run")
        for word in ("is replaced", "the owner x", "the rights ", "work_mem=5MB", "7 connections"):
            check(word in done.out, f"the plan says {word}")
        place.salvor("restore", "app", "--to", "postgres:prepared")
        equal(s.sql("prepared", "SELECT count(*) FROM t"), "20000", "rows")
        nothing_left(place, s)


@case(limit=60)
def some_tables(place):
    with postgres.server() as s:
        ready(place, s, TABLES)
        before = {k: v for k, v in s.digests("app").items()}
        s.sql("app", "DELETE FROM shop.orders; DELETE FROM shop.events")
        left = s.digests("app")
        place.says(place.salvor("restore", "app", "--table", "orders", status=2), "--schema")
        place.says(place.salvor("restore", "app", "--table", "nothing", "--schema", "x", status=1),
                   "nothing")
        place.says(place.salvor("restore", "app", "--table", "orders", "--schema", "shop", status=1),
                   "shop.orders", "already")
        equal(s.digests("app"), left, "rows after what was refused")
        place.salvor("restore", "app", "--table", "shop.orders", "--table", "cust*", "--schema",
                     "back again")
        now = s.digests("app")
        for table in ("orders", "customers"):
            equal(now[f'"back again".{table}'], before[f"shop.{table}"], table)
        equal({k: v for k, v in now.items() if k in left}, left, "the other tables")
        equal(s.sql("app", "SELECT count(*) FROM pg_indexes WHERE schemaname = 'back again'"), "3",
              "indexes")
        equal(s.sql("app", "SELECT nextval('\"back again\".customers_id_seq')"), "51", "sequence")
        # A partition alone, and a whole partitioned table into another database.
        place.salvor("restore", "app", "--table", "events_2", "--schema", "part")
        equal(s.digests("app")["part.events_2"], before["shop.events_2"], "a partition")
        s.createdb("lab")
        place.salvor("restore", "app", "--table", "shop.events", "--to", "postgres:lab")
        equal(s.digests("lab"), {k: v for k, v in before.items() if "events" in k}, "the lab")
        # What needs something that is not there is taken away again.
        done = place.salvor("restore", "app", "--table", "orders", "--to", "postgres:lab", "--schema",
                            "new", status=1)
        place.says(done, "state")
        equal(s.sql("lab", "SELECT count(*) FROM pg_namespace WHERE nspname = 'new'"), "0", "schemas")
        nothing_left(place, s)


main()
