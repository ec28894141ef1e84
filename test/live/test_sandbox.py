"""Throwaway servers, and archives that salvor did not make: `salvor test`, `restore --from-file`."""
import gzip
import os
import pathlib
import pwd
import re
import signal
import subprocess
import tarfile
import time

import postgres
from live import SALVOR, Failed, Skipped, case, check, equal, main, need_root, until

ROWS = 300
SETUP = f"""
CREATE EXTENSION pgcrypto;
CREATE TABLE t (id int PRIMARY KEY, body text, blob bytea);
INSERT INTO t SELECT i, E'a line\\n\\\\! touch pwned\\nCOPY x FROM stdin;\\n\\\\.', decode(md5(i::text), 'hex')
  FROM generate_series(1, {ROWS}) i;
CREATE TABLE "odd ""name" (a text);
INSERT INTO "odd ""name" VALUES ('''$$;--');
CREATE FUNCTION f() RETURNS text LANGUAGE plpgsql AS $body$
/* it's
\\! touch pwned
COPY t FROM stdin;
*/
BEGIN RETURN $q$
\\! touch pwned
$q$; END $body$;
GRANT SELECT ON t TO sandbox_reader;
ALTER TABLE t OWNER TO sandbox_owner;
CREATE MATERIALIZED VIEW mv AS SELECT count(*) AS n FROM t;
"""


def source(s):
    """A database with what dumps stumble over, and the roles that it needs."""
    s.sql("postgres", "CREATE ROLE sandbox_owner")
    s.sql("postgres", "CREATE ROLE sandbox_reader")
    s.createdb("app")
    s.sql("app", SETUP)


def packed(program, path):
    """`path` through a program that compresses."""
    to = path.with_name(f"{path.name}.{program}")
    with open(path, "rb") as i, open(to, "wb") as o:
        subprocess.run([program, "-c"], stdin=i, stdout=o, check=True)
    return to



def sandboxes(place):
    """Directories of throwaway servers of this test."""
    return sorted((place.root / "sandboxes").glob("salvor-sandbox-*"))


def own_dir(place):
    """A directory for sandboxes that the unprivileged user can reach."""
    directory = place.root / "sandboxes"
    directory.mkdir(exist_ok=True)
    place.root.chmod(0o755)
    directory.chmod(0o1777)
    return directory


def servers(directory):
    """Numbers of server processes whose data is below the directory."""
    found = []
    for proc in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            words = (proc / "cmdline").read_bytes().split(b"\0")
            state = re.search(r"^State:\s+(\w)", (proc / "status").read_text(), re.M).group(1)
        except OSError:
            continue
        if state != "Z" and b"-D" in words and any(
                w.startswith(os.fsencode(directory)) for w in words):
            found.append(int(proc.name))
    return found


def keepers(directory):
    """The shells that hold them."""
    found = []
    for proc in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            words = (proc / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"salvor-sandbox" in words and any(
                w.startswith(os.fsencode(directory)) for w in words):
            found.append(int(proc.name))
    return found


def slow_test(place, directory):
    """salvor in the middle of a test, and its server's number."""
    slow = place.data / "slow.sql"
    slow.write_text("SELECT pg_sleep(100);\n")
    child = place.start("test", "--from-file", slow, "--dir", directory)
    with until(60, "a throwaway server") as waiting:
        while waiting():
            if any((d / ".s.PGSQL.5432").exists() for d in directory.glob("salvor-sandbox-*")) \
                    and servers(directory):
                break
            if child.poll() is not None:
                raise Failed(child.stderr.read().decode())
    time.sleep(0.3)
    return child


# ---- archives ----

@case(limit=150, tags="address")
def every_kind_of_archive(place):
    with postgres.server() as s:
        source(s)
        before = s.digests("app")
        d = place.data
        env = s.env("app")
        for name, flags in (("app.sql", []), ("app.dump", ["-Fc"]), ("app.tar", ["-Ft"]),
                            ("app.dir", ["-Fd"]), ("inserts.sql", ["--inserts"])):
            place.run(["pg_dump", *flags, "-f", d / name, "app"], env=env)
        archives = [d / n for n in ("app.sql", "app.dump", "app.tar", "app.dir", "inserts.sql")]
        archives += [packed(p, d / "app.sql") for p in ("gzip", "zstd", "xz", "bzip2")]
        archives.append(packed("gzip", d / "app.dump"))
        with tarfile.open(d / "packed.tar.gz", "w:gz") as t:
            t.add(d / "app.dir", "backup/app.dir")
        archives.append(d / "packed.tar.gz")
        for n, archive in enumerate(archives):
            place.salvor("restore", "--from-file", archive, "--to", s.url(f"copy{n}"), repo=False)
            equal(s.digests(f"copy{n}"), before, archive.name)
            owner = s.sql(f"copy{n}", "SELECT tableowner FROM pg_tables WHERE tablename = 't'")
            equal(owner.strip(), "sandbox_owner", "owner")
        done = place.salvor("restore", "--from-file", d / "app.sql", "--to", s.url("copy0"),
                            repo=False, status=1)
        place.says(done, "copy0", "not empty")
        check(not list(d.rglob("pwned")), "a command in the data was run")
        equal([x for x in s.databases() if x.startswith("salvor_restore_")], [], "left")


@case(limit=90, tags="address")
def tests_an_archive(place):
    with postgres.server() as s:
        source(s)
        for name, flags in (("app.sql", []), ("app.dump", ["-Fc"])):
            place.run(["pg_dump", *flags, "-f", place.data / name, "app"], env=s.env("app"))
        place.run(["pg_dumpall", "-f", place.data / "all.sql"], env=s.env("postgres"))
    for name, format in (("app.sql", "sql"), ("app.dump", "custom"), ("all.sql", "sql")):
        done = place.salvor("--json", "test", "--from-file", place.data / name, repo=False)
        result = place.fields(done, "test")
        equal((result["good"], result["format"]), (True, format), name)
        rows = {t["name"]: t["rows"] for t in result["tables"] if t["database"] != "postgres"}
        equal(rows, {"t": ROWS, 'odd "name': 1, "mv": 1}, name)
        check("pgcrypto" in result["extensions"], name)
    done = place.salvor("test", "--from-file", place.data / "app.sql", repo=False)
    check(f"{ROWS}" in done.out and "good: 3 tables" in done.out, done.out)


@case(limit=60, tags="address")
def encrypted_archives(place):
    home = place.root / "gnupg"
    home.mkdir(mode=0o700)
    env = {"GNUPGHOME": str(home)}
    plain = place.data / "app.sql.gz"
    plain.write_bytes(gzip.compress(b"CREATE TABLE t (a int); INSERT INTO t VALUES (1), (2);\n"))
    right, wrong = place.data / "right", place.data / "wrong"
    right.write_text("sesame\n")
    wrong.write_text("mellon\n")
    gpg = ["gpg", "--batch", "-q", "--pinentry-mode", "loopback"]
    try:
        place.run([*gpg, "--passphrase", "", "--quick-gen-key", "me@example.com"], env=env)
        place.run([*gpg, "-e", "-a", "--trust-model", "always", "-r", "me@example.com",
                   "-o", place.data / "key.asc", plain], env=env)
        place.run([*gpg, "--passphrase-file", right, "-c", "-o", place.data / "word.gpg", plain],
                  env=env)
        with postgres.server() as s:
            place.salvor("restore", "-f", place.data / "key.asc", "--to", s.url("a"), repo=False,
                         env=env)
            equal(s.sql("a", "SELECT count(*) FROM t").strip(), "2", "rows")
            there = ["restore", "-f", place.data / "word.gpg", "--to", s.url("b")]
            place.salvor(*there, "--passphrase-file", right, repo=False, env=env)
            equal(s.sql("b", "SELECT count(*) FROM t").strip(), "2", "rows")
        done = place.salvor("test", "-f", place.data / "word.gpg", "--passphrase-file", wrong,
                            repo=False, env=env, status=1)
        place.says(done, "passphrase", "word.gpg")
        other = place.root / "other"
        other.mkdir(mode=0o700)
        done = place.salvor("test", "-f", place.data / "key.asc", repo=False, status=1,
                            env={"GNUPGHOME": str(other)})
        place.says(done, "key.asc", "secret key")
        cut = place.data / "cut.gpg"
        cut.write_bytes((place.data / "word.gpg").read_bytes()[:-20])
        done = place.salvor("test", "-f", cut, "--passphrase-file", right, repo=False, env=env,
                            status=4)
        place.says(done, "cut.gpg", "damaged")
    finally:
        for directory in (home, place.root / "other"):
            subprocess.run(["gpgconf", "--homedir", directory, "--kill", "all"], check=False)


@case(limit=120, tags="address")
def bad_archives(place):
    d = place.data
    with postgres.server() as s:
        source(s)
        for name, flags in (("app.sql", []), ("app.dump", ["-Fc"])):
            place.run(["pg_dump", *flags, "-f", d / name, "app"], env=s.env("app"))
        text, dump = (d / "app.sql").read_bytes(), (d / "app.dump").read_bytes()
        packed_text = gzip.compress(text)
        newer = bytearray(dump)
        newer[6] = 17
        of_newer = re.sub(rb"database version \d+", b"database version 99", text)
        bad = [
            ("cut.sql", text[:len(text) // 2], 4, "cut off"),
            ("cut.gz", packed_text[:len(packed_text) // 2], 4, "gzip"),
            ("flipped.gz", packed_text[:900] + b"XXXX" + packed_text[904:], 4, "damaged"),
            ("lying.gz", gzip.compress(b"SELECT 1;\n\\! x\n")[:-8] + bytes(8), 4, "damaged"),
            ("cut.dump", dump[:len(dump) // 2], 4, "damaged"),
            ("toc.dump", dump[:40], 4, "damaged"),
            ("newer.dump", bytes(newer), 1, "newer pg_dump"),
            ("empty", b"", 4, "empty"),
            ("noise", bytes(range(256)) * 9, 1, "no archive"),
            ("words", b"hello there\n", 1, "syntax error"),
            ("mysql", b"-- MySQL dump 10.13\n", 1, "MySQL"),
            ("page", b"<!DOCTYPE html><p>404", 1, "web page"),
            ("shell", b"SELECT 1;\n\\! touch pwned\n", 5, "line 2"),
            ("inline", b"SELECT 1 \\! touch pwned\n", 5, "\\!"),
            ("away", b"\\connect postgres://elsewhere/db\n", 5, "connect"),
            ("backtick", b"\\connect `touch pwned`\n", 5, "connect"),
            ("program", b"\\copy t from program 'touch pwned'\n", 5, "copy"),
        ]
        for name, content, status, word in bad:
            (d / name).write_bytes(content)
            done = place.salvor("restore", "-f", d / name, "--to", s.url("fresh"), repo=False,
                                status=status)
            place.says(done, name, word)
            check("fresh" not in s.databases(), f"{name} left a database")
        equal([x for x in s.databases() if x.startswith("salvor_restore_")], [], "left")
        check(not list(d.rglob("pwned")), "a command was run")
    (d / "of_newer.sql").write_bytes(of_newer)
    done = place.salvor("test", "-f", d / "of_newer.sql", repo=False, status=1)
    place.says(done, "PostgreSQL 99", "of_newer.sql")
    done = place.salvor("test", "-f", d / "missing", repo=False, status=1)
    place.says(done, "missing")
    place.salvor("test", "-f", d / "app.sql", "app", repo=False, status=2)


@case(limit=60)
def missing_extension_and_roles(place):
    (place.data / "x.sql").write_text("CREATE EXTENSION IF NOT EXISTS nothing_like_it;\n")
    done = place.salvor("test", "-f", place.data / "x.sql", repo=False, status=1)
    place.says(done, "cannot: needs extension nothing_like_it", "install")
    with postgres.server() as s:
        (place.data / "r.sql").write_text(
            "CREATE TABLE t (a int);\nALTER TABLE t OWNER TO sandbox_nobody;\n")
        there = ["restore", "-f", place.data / "r.sql", "--to", s.url("r")]
        done = place.salvor(*there, repo=False, status=5)
        place.says(done, "sandbox_nobody", "--create-roles")
        check("r" not in s.databases(), "a database was made")
        place.salvor(*there, "--without-roles", repo=False)
        s.dropdb("r")
        place.salvor(*there, "--create-roles", repo=False)


# ---- the throwaway server ----

@case(limit=90)
def gone_after_a_kill(place):
    directory = own_dir(place)
    child = slow_test(place, directory)
    child.send_signal(signal.SIGKILL)
    child.wait()
    with until(20, "the server's end") as waiting:
        while waiting() and (sandboxes(place) or servers(directory)):
            pass


@case(limit=90)
def swept_after_a_kill_of_everything(place):
    directory = own_dir(place)
    child = slow_test(place, directory)
    left = sandboxes(place)
    for pid in keepers(directory):
        os.kill(pid, signal.SIGKILL)
    child.send_signal(signal.SIGKILL)
    child.wait()
    time.sleep(0.5)
    check(servers(directory) and sandboxes(place), "nothing is left to be swept")
    (place.data / "a.sql").write_text("SELECT 1;\n")
    place.salvor("test", "-f", place.data / "a.sql", "--dir", directory, repo=False)
    equal(servers(directory), [], "servers")
    check(not set(left) & set(sandboxes(place)), "not swept")


@case(limit=90)
def others_are_not_swept(place):
    directory = own_dir(place)
    child = slow_test(place, directory)
    there = sandboxes(place)
    (place.data / "a.sql").write_text("SELECT 1;\n")
    place.salvor("test", "-f", place.data / "a.sql", "--dir", directory, repo=False)
    equal(sandboxes(place), there, "sandboxes")
    check(child.poll() is None, "the other test has ended")
    child.send_signal(signal.SIGINT)
    equal(child.wait(timeout=30), 1, "status")
    child.communicate()
    equal((sandboxes(place), servers(directory)), ([], []), "left")


@case(limit=60)
def as_another_user(place):
    need_root()
    with_setpriv = subprocess.run(["setpriv", "--version"], capture_output=True, check=False)
    if with_setpriv.returncode != 0:
        raise Skipped("needs setpriv")
    directory = own_dir(place)
    nobody = pwd.getpwnam("nobody")
    (place.data / "a.sql").write_text("CREATE TABLE t AS SELECT 1;\n")
    (place.data / "a.sql").chmod(0o644)
    place.data.chmod(0o755)
    home = place.root / "nobody"
    home.mkdir()
    os.chown(home, nobody.pw_uid, nobody.pw_gid)
    program = place.root / "salvor"
    program.write_bytes(pathlib.Path(SALVOR).read_bytes())
    program.chmod(0o755)
    done = place.run(["setpriv", "--reuid", nobody.pw_uid, "--regid", nobody.pw_gid,
                      "--clear-groups", program, "test", "-f", place.data / "a.sql", "--dir",
                      directory],
                     env={"HOME": str(home), "TMPDIR": str(directory), "SALVOR_STATE_DIR": str(home),
                          "SALVOR_CACHE_DIR": str(home)})
    check("good: 1 table with 1 row" in done.out, done.out)
    equal(sandboxes(place), [], "left")


@case(limit=60)
def long_directories_and_unreachable_ones(place):
    directory = own_dir(place) / ("long" * 25)
    directory.mkdir(mode=0o1777)
    directory.chmod(0o1777)
    (place.data / "a.sql").write_text("CREATE TABLE t AS SELECT 1;\n")
    place.salvor("test", "-f", place.data / "a.sql", "--dir", directory, repo=False)
    equal(list(directory.iterdir()), [], "left")
    if os.geteuid() == 0:
        hidden = place.root / "hidden"
        hidden.mkdir(mode=0o700)
        done = place.salvor("test", "-f", place.data / "a.sql", "--dir", hidden, repo=False,
                            status=1)
        place.says(done, "hidden", "cannot get there")


@case(limit=60)
def nothing_of_ours_reaches_the_server(place):
    """The server's environment, as an archive's own code would see it."""
    (place.data / "env.sql").write_text(
        "CREATE TABLE e (l text);\nCOPY e FROM PROGRAM 'env; id -un';\n"
        "DO $$ BEGIN IF EXISTS (SELECT FROM e WHERE l LIKE '%SALVOR%' OR l LIKE 'PGPASS%' OR "
        "l = 'root') THEN RAISE 'seen: %', (SELECT string_agg(l, ' ') FROM e); END IF; END $$;\n")
    place.salvor("test", "-f", place.data / "env.sql", repo=False,
                 env={"PGHOSTADDR": "192.0.2.1", "PGPASSWORD": "x", "PGDATABASE": "elsewhere",
                      "PGOPTIONS": "-c nothing=1"})


@case(limit=60)
def libraries_are_preloaded(place):
    """An extension that works only so; reading the view fails otherwise."""
    (place.data / "x.sql").write_text(
        "CREATE EXTENSION IF NOT EXISTS pg_stat_statements;\n"
        "CREATE TABLE t AS SELECT * FROM pg_stat_statements;\n")
    place.salvor("test", "-f", place.data / "x.sql", repo=False)


# ---- snapshots ----

@case(limit=90, tags="address")
def tests_snapshots(place):
    place.init()
    with postgres.server() as s:
        source(s)
        place.backup(s.url("app"))
    (place.data / "files").mkdir()
    (place.data / "files" / "a").write_bytes(b"x" * 70000)
    place.run(["sqlite3", place.data / "shop.db",
               "CREATE TABLE o (id int); INSERT INTO o VALUES (1), (2);"])
    place.backup(place.data / "files")
    place.backup(f"sqlite:{place.data}/shop.db")
    for name, format, rows in (("app", "postgres", ROWS + 2), ("files", "files", 0),
                               ("shop", "sqlite", 2)):
        result = place.fields(place.salvor("--json", "test", name), "test")
        equal((result["good"], result["format"], result["rows"], result["problems"]),
              (True, format, rows, []), name)
        if rows:
            compared = {t["name"]: t["expected"] for t in result["tables"]}
            equal(compared.get("t", compared.get("o")), ROWS if name == "app" else 2, "expected")
    place.salvor("test", "nothing", status=1)


main()
