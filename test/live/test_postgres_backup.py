"""PostgreSQL databases backed up, and brought back with stock tools alone as RESTORE.txt says."""
import json
import os
import pathlib
import signal
import subprocess
import tempfile
import threading
import time

import postgres
from live import ROOT, SALVOR, Failed, bytes_of, case, check, counts, equal, main

EVERYTHING = ROOT / "test" / "live" / "everything.sql"


def configure(place, **resources):
    """Writes salvor.yaml; each resource is a dict of keys. JSON is YAML."""
    path = place.root / "salvor.yaml"
    for keys in resources.values():
        keys.setdefault("type", "postgres")
    path.write_text(json.dumps(dict(name="test", repository=dict(url=str(place.repo)),
                                    resources=resources)))
    return path


def backup(place, config, *names, **more):
    done = place.salvor("-c", config, "--json", "backup", *names, repo=False, **more)
    return [json.loads(line)["backup"] for line in done.out.splitlines()]


def newest(place, resource):
    return [x["id"] for x in place.snapshots() if x["resource"] == resource][-1]


def document(place, resource, name, snapshot=None):
    return place.salvor("dump", snapshot or newest(place, resource), f"/{resource}/{name}").out


def manifest(place, resource, snapshot=None):
    return json.loads(document(place, resource, "manifest.json", snapshot))["source"]


def follow(place, resource, server):
    """Does what RESTORE.txt says, literally, in a new directory and on another server."""
    text = document(place, resource, "RESTORE.txt")
    script = "set -e\n"
    for line in text.splitlines():
        if line.startswith("       ") and line[7] != " " and not line[7:].startswith(("/", "salvor")):
            script += line[7:].replace("REPOSITORY", str(place.repo)) \
                .replace(" ID ", f" {newest(place, resource)} ") + "\n"
    check("pg_restore" in script and "restic" in script, f"RESTORE.txt has no commands:\n{text}")
    out = pathlib.Path(tempfile.mkdtemp(prefix="stock-", dir=place.root))
    env = server.env()
    del env["PGDATABASE"]
    place.run(["bash", "-c", script], cwd=out, env=dict(env, PATH=f"{server.bin}:{os.environ['PATH']}"))
    return out / "out" / resource / "content"


def same_databases(one, db, other, other_db=None):
    other_db = other_db or db
    equal(other.digests(other_db), one.digests(db), "digests of the rows")
    before, after = one.dump(db, "--create"), other.dump(other_db, "--create")
    if before != after:
        a, b = before.splitlines(), after.splitlines()
        lines = [f"{x!r} / {y!r}" for x, y in zip(a, b) if x != y][:6]
        raise Failed(f"pg_dump differs ({len(a)} and {len(b)} lines):\n" + "\n".join(lines))


def counts_agree(facts, server, db):
    """The rows that the manifest tells, against the restored database."""
    for table in facts["tables"]:
        if table["kind"] not in "ru":
            check("rows" not in table, f"rows of a table of kind {table['kind']}")
            continue
        name = ".".join('"' + part.replace('"', '""') + '"' for part in (table["schema"], table["name"]))
        equal(table["rows"], int(server.sql(db, f"SELECT count(*) FROM ONLY {name}")), f"rows of {name}")


@case(limit=120, tags="address")
def one_of_everything(place):
    place.init()
    with postgres.server() as s, postgres.server() as other:
        s.createdb("every thing")
        s.run("psql", "-Xq", "-v", f"big={counts(20_000, 200_000)}", "-f", EVERYTHING, db="every thing")
        config = configure(place, it=dict(url=s.url("every thing"), split="256KiB"))
        backup(place, config, "it")
        facts = manifest(place, "it")
        split = {t["name"]: t for t in facts["tables"] if "split" in t}
        check("big ☃ 'table'" in split and split["big ☃ 'table'"]["parts"] > 3, f"split: {list(split)}")
        check("twice %s" not in split["big ☃ 'table'"]["columns"], "a generated column is loaded")
        check("hashed_0" not in split, "a partition by hash is split")
        check({"owner of all", "reader", 'Writer"s', "postgres"} == set(facts["roles"]), facts["roles"])
        equal(sorted(facts["settings"]), ["app.title=it's odd", "work_mem=5MB"], "settings")
        equal((facts["large_objects"], facts["publications"], facts["encoding"], facts["globals"]),
              (2, 2, "UTF8", "with_passwords"), "facts")
        follow(place, "it", other)
        same_databases(s, "every thing", other)
        counts_agree(facts, other, "every thing")
        verifier = "SELECT rolname, rolpassword FROM pg_authid WHERE rolname !~ '^pg_' ORDER BY 1"
        equal(other.sql("postgres", verifier), s.sql("postgres", verifier), "verifiers")
        equal(s.sessions(), 0, "sessions left on the server")
    place.clean()


@case(limit=90)
def encodings(place):
    """What is in the tables comes back byte for byte, also bytes that are no text."""
    place.init()
    made = {"latin": ("LATIN1", "e4ff"), "ascii": ("SQL_ASCII", "ff80")}
    with postgres.server() as s, postgres.server() as other:
        for db, (encoding, odd) in made.items():
            s.createdb(db, "-T", "template0", "-E", encoding, "--locale=C")
            s.run("psql", "-Xq", "-v", "ON_ERROR_STOP=1", db=db, env=dict(PGCLIENTENCODING="UTF8"),
                  input=f"""
                CREATE TABLE "größe" (t text, big text);
                INSERT INTO "größe" SELECT i, repeat('x', 100) FROM generate_series(1, 9000) i;
                CREATE TABLE big (id int, t text);
                INSERT INTO big SELECT i, convert_from('\\x{odd}', '{encoding}') || i
                  FROM generate_series(1, 20000) i;""")
        config = configure(place, server=dict(url=s.url(), databases=list(made), split="256KiB"))
        done = backup(place, config, "server")
        equal([b["resource"] for b in done], ["server.latin", "server.ascii"], "resources")
        equal(len({b["point"] for b in done}), 1, "recovery points")
        for db in made:
            facts = manifest(place, f"server.{db}")
            equal([t["name"] for t in facts["tables"] if "split" in t], ["big"], "split tables")
            follow(place, f"server.{db}", other)
            same_databases(s, db, other)


@case(limit=90)
def under_load(place):
    """Transfers between accounts go on: every backup is one moment, where the sums agree."""
    place.init()
    with postgres.server() as s, postgres.server() as other:
        s.createdb("bench")
        s.run("pgbench", "-i", "-q", "-s", "2", "--foreign-keys", db="bench")
        s.sql("bench", "ALTER TABLE pgbench_history SET (autovacuum_enabled = off)")
        config = configure(place, bench=dict(url=s.url("bench"), split="1MiB"))
        load = subprocess.Popen([s.bin / "pgbench", "-n", "-c", "2", "-T", "60", "bench"],
                                env=dict(os.environ, **s.env("bench")), stdout=subprocess.DEVNULL,
                                stderr=subprocess.DEVNULL)
        try:
            time.sleep(0.3)
            for _ in range(counts(2, 10)):
                backup(place, config, "bench")
        finally:
            load.kill()
            load.wait()
        facts = manifest(place, "bench")
        check(any(t.get("parts", 0) > 5 for t in facts["tables"]), "no table is in parts")
        follow(place, "bench", other)
        counts_agree(facts, other, "bench")
        sums = {other.sql("bench", f"SELECT sum({column}) FROM pgbench_{table}")
                for column, table in (("abalance", "accounts"), ("bbalance", "branches"),
                                      ("tbalance", "tellers"), ("delta", "history"))}
        equal(len(sums), 1, "sums of the accounts, branches, tellers and transfers")
        check(sums != {"0"}, "nobody transferred anything")


@case(limit=120)
def emptied_and_rewritten(place):
    """A table that is emptied and filled again in one transaction, or rewritten, never looks
    empty."""
    rows = 12_000
    fill = f"INSERT INTO r SELECT i, repeat('x', 60) FROM generate_series(1, {rows}) i"
    stop = threading.Event()
    place.init()
    with postgres.server() as s:
        s.createdb("race")
        s.sql("race", f"CREATE TABLE r (id bigint, v text); {fill}; CREATE TABLE small (a int);"
                      "INSERT INTO small VALUES (1), (2)")
        changes = [f"BEGIN; TRUNCATE r, small; {fill}; INSERT INTO small VALUES (1), (2); COMMIT;",
                   "VACUUM FULL r; VACUUM FULL small;",
                   "ALTER TABLE r ALTER id TYPE int; ALTER TABLE r ALTER id TYPE bigint;",
                   f"BEGIN; DROP TABLE small; CREATE TABLE small AS VALUES (1), (2); COMMIT;"]
        made = 0

        def disturb():
            nonlocal made
            while not stop.is_set():
                s.sql("race", changes[made % len(changes)])
                made += 1
                time.sleep(0.5)

        thread = threading.Thread(target=disturb)
        thread.start()
        try:
            config = configure(place, race=dict(url=s.url("race"), split="256KiB"))
            good = 0
            tried, least = 0, counts(4, 40)
            while tried < least or (made <= 3 and tried < 20 * least):
                done = place.salvor("-c", config, "backup", "race", repo=False, status=(0, 6))
                good += done.status == 0
                tried += 1
        finally:
            stop.set()
            thread.join()
        print(f"{good} backups beside {made} changes")
        check(good > 0 and made > 3, "nothing happened")
        for snapshot in place.snapshots():
            facts = {t["name"]: t["rows"] for t in manifest(place, "race", snapshot["id"])["tables"]}
            equal(facts, {"r": rows, "small": 2}, "rows")
            to = place.restore("race", "--snapshot", snapshot["id"])
            lines = sum(p.read_bytes().count(b"\n") for p in to.rglob("*.copy"))
            equal(lines, rows, "rows in the parts")
        equal(s.sessions(), 0, "sessions left on the server")


@case(limit=60)
def locked_table(place):
    place.init()
    with postgres.server() as s:
        s.createdb("app")
        s.sql("app", "CREATE TABLE free (a int); CREATE TABLE taken (a int)")
        config = configure(place, app=dict(url=s.url("app"), lock_timeout="1s"))
        with s.held("app", "LOCK TABLE taken"):
            done = place.salvor("-c", config, "backup", "app", repo=False, status=6)
            place.says(done, "lock is held by", "holder")
        # Somebody waits behind a reader to alter the table: whoever comes waits behind him.
        with s.held("app", "SELECT * FROM taken"):
            waiting = subprocess.Popen([s.bin / "psql", "-Xqc", "ALTER TABLE taken ADD b int"],
                                       env=dict(os.environ, **s.env("app")))
            time.sleep(0.3)
            done = place.salvor("-c", config, "backup", "app", repo=False, status=6)
            place.says(done, "lock is held by")
        waiting.wait(10)
        equal(len(place.snapshots()), 0, "snapshots")
        backup(place, config, "app")
        equal(s.sessions(), 0, "sessions left on the server")


@case(limit=60, tags="address")
def not_all_may_be_read(place):
    place.init()
    with postgres.server() as s:
        s.createdb("app")
        s.sql("app", """CREATE ROLE "some" LOGIN PASSWORD 'hidden-word'; CREATE TABLE a (a int);
            CREATE TABLE b (a int); GRANT SELECT ON a TO "some"; INSERT INTO a VALUES (1);""")
        config = configure(place, app=dict(url=s.url("app", user="some")))
        done = place.salvor("-c", config, "backup", "app", repo=False, status=1)
        place.says(done, "some may not read public.b")
        check("public.a" not in done.err, "a table that may be read is named")
        s.sql("app", "GRANT SELECT ON b TO \"some\"; ALTER TABLE b ENABLE ROW LEVEL SECURITY")
        done = place.salvor("-c", config, "backup", "app", repo=False, status=5)
        place.says(done, "row-level security", "public.b")
        done = place.salvor("-c", config, "config", "check", repo=False, status=2)
        check("row-level security" in done.out, done.out)
        s.sql("app", "ALTER ROLE \"some\" BYPASSRLS")
        done = place.salvor("-c", config, "backup", "app", repo=False)
        place.says(done, "without their passwords")
        equal(manifest(place, "app")["globals"], "without_passwords", "globals")
        config = configure(place, app=dict(url=s.url("app", user="some"), globals="with_passwords"))
        done = place.salvor("-c", config, "backup", "app", repo=False, status=1)
        place.says(done, "verifiers", "without_passwords")


@case(limit=60)
def no_secrets_where_so_chosen(place):
    """V13: the restored bytes are searched."""
    place.init()
    with postgres.server() as s:
        s.createdb("app")
        s.sql("app", "CREATE ROLE one LOGIN PASSWORD 'word'; CREATE TABLE t (a int)")
        verifier = s.sql("app", "SELECT rolpassword FROM pg_authid WHERE rolname = 'one'")
        check(verifier.startswith("SCRAM-SHA-256"), verifier)
        for globals, found, roles in (("with_passwords", True, True),
                                      ("without_passwords", False, True), ("none", False, False)):
            config = configure(place, app=dict(url=s.url("app"), globals=globals))
            backup(place, config, "app")
            out = place.root / f"all-{globals}"
            place.restic("restore", newest(place, "app"), "--target", out)
            texts = b"".join(p.read_bytes() for p in out.rglob("*") if p.is_file())
            equal(verifier.encode() in texts, found, f"{globals}: the verifier is there")
            equal(b"SCRAM-SHA-256" in texts, found, f"{globals}: any verifier is there")
            equal((out / "app/content/globals.sql").exists(), roles, f"{globals}: globals.sql")
            equal(manifest(place, "app")["globals"], globals, "the manifest")


@case(limit=90)
def all_databases(place):
    """A new one is included by itself; each is a snapshot of its own in one recovery point."""
    place.init()
    with postgres.server() as s:
        s.createdb("one")
        s.createdb("Odd, name=x")
        config = configure(place, srv=dict(url=s.url(), databases="all", keep=dict(last=1),
                                           objectives=dict(rpo="1h")))
        done = backup(place, config)
        equal([b["resource"] for b in done],
              ["srv.Odd%2C%20name%3Dx", "srv.one", "srv.postgres"], "resources")
        s.createdb("two")
        second = backup(place, config, "srv")
        check("srv.two" in [b["resource"] for b in second], "the new one is not there")
        equal(len({b["point"] for b in second}), 1, "recovery points")
        place.salvor("-c", config, "backup", "srv.one", repo=False)
        place.salvor("-c", config, "backup", "srv.none", repo=False, status=1)
        listed = place.salvor("-c", config, "list", "srv", repo=False).out
        equal(listed.count("srv."), 8, "snapshots listed")
        status = place.salvor("-c", config, "status", repo=False).out
        equal(status.count("kept (1 h)"), 4, f"objectives kept:\n{status}")
        place.salvor("-c", config, "forget", "srv", repo=False)
        equal(sorted(x["resource"] for x in place.snapshots()),
              ["srv.Odd%2C%20name%3Dx", "srv.one", "srv.postgres", "srv.two"], "left")
        place.salvor("-c", config, "config", "check", repo=False)
        s.sql("postgres", "ALTER DATABASE two ALLOW_CONNECTIONS false")
        done = place.salvor("-c", config, "backup", "srv", repo=False)
        place.says(done, "left out", "two")
        equal(s.sessions(), 0, "sessions left on the server")


def slow_backup(place, s):
    """A backup in the background that is in the middle of reading."""
    s.createdb("app")
    s.sql("app", "CREATE TABLE big AS SELECT i, md5(i::text) || repeat(md5(i::text), 20) AS t "
                 "FROM generate_series(1, 150000) i; CHECKPOINT")  # to outlive a crash of the server
    config = configure(place, app=dict(url=s.url("app"), split="4MiB"))
    child = subprocess.Popen([SALVOR, "-c", config, "backup", "app"], env=place.env, cwd=place.data,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    end = time.monotonic() + 20
    while time.monotonic() < end and child.poll() is None:
        if int(s.sql("app", "SELECT count(*) FROM pg_stat_progress_copy")) > 0:
            return child
    raise Failed(f"it does not read: {child.communicate()}")


def nothing_is_left(place, s):
    end = time.monotonic() + 5
    while s.sessions() + s.sessions("pg_dump") > 0 and time.monotonic() < end:
        time.sleep(0.05)
    equal((s.sessions(), s.sessions("pg_dump")), (0, 0), "sessions left on the server")
    equal(s.sql("app", "SELECT count(*) FROM pg_locks WHERE relation = 'big'::regclass"), "0", "locks")
    equal(place.snapshots(), [], "snapshots")


@case(limit=90)
def interrupted(place):
    place.init()
    with postgres.server() as s:
        child = slow_backup(place, s)
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=20)
        check(child.returncode not in (0, -2), f"{child.returncode} {err}")
        nothing_is_left(place, s)


@case(limit=90)
def server_gone(place):
    place.init()
    with postgres.server() as s:
        child = slow_backup(place, s)
        s.crash()
        out, err = child.communicate(timeout=30)
        equal(child.returncode, 1, f"status, {err}")
        check(b"nothing was saved" in err, f"{err}")
        s.start()
        nothing_is_left(place, s)
        equal(len(backup(place, configure(place, app=dict(url=s.url("app"))), "app")), 1, "afterwards")


@case(limit=60)
def programs_and_poolers(place):
    place.init()
    with postgres.server(tcp=True) as s:
        s.createdb("app")
        old = place.root / "old"
        old.mkdir()
        config = configure(place, app=dict(url=s.url("app"), pg_bindir=str(old)))
        done = place.salvor("-c", config, "backup", "app", repo=False, status=1)
        place.says(done, "pg_dump", str(old))
        (old / "pg_dump").write_text("#!/bin/sh\necho 'pg_dump (PostgreSQL) 9.6.1'\n")
        (old / "pg_dump").chmod(0o755)
        done = place.salvor("-c", config, "backup", "app", repo=False, status=1)
        place.says(done, "only version 9")
        with s.bouncer() as port:
            config = configure(place, app=dict(url=f"postgres://postgres@127.0.0.1:{port}/app"))
            done = place.salvor("-c", config, "backup", "app", repo=False, status=5)
            place.says(done, "PgBouncer")
        equal(place.snapshots(), [], "snapshots")


@case(limit=60)
def what_the_application_has(place):
    """O1, V5: DATABASE_URL in .env, the PG* variables, an address on the spot."""
    with postgres.server() as s:
        s.createdb("app")
        s.sql("app", "CREATE TABLE t (a int); INSERT INTO t VALUES (1)")
        url = s.url("app").replace("postgresql://", "postgresql+asyncpg://")
        (place.data / ".env").write_text(f"A=1\nDATABASE_URL=\"{url}?schema=public\"\n")
        place.salvor("init", repo=True)
        text = (place.data / "salvor.yaml").read_text()
        check("url: ${DATABASE_URL}" in text and "env_file:" in text, text)
        place.salvor("config", "check", repo=False)
        done = place.salvor("--json", "backup", "app", repo=False)
        equal(place.fields(done, "backup")["resource"], "app", "resource")
        equal(manifest(place, "app")["tables"][0]["rows"], 1, "rows")
        (place.data / "salvor.yaml").unlink()
        equal(place.backup("postgres:app", env=s.env("postgres"))["resource"], "app", "resource")
        equal(place.backup("postgres:", env=s.env("app"))["resource"], "app", "resource")
        equal(place.backup(s.url("app"), "--name", "x")["resource"], "x", "resource")


main()
