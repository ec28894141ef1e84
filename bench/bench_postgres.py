"""The PostgreSQL rows of the bench: one server with pgbench's tables and a table of two million rows
with JSON, backed up and restored by salvor and by what people use today. Called by bench.py, which
says how a command is measured. Wall times count the server's work too, since it is on the same
machine; peak memory is that of the largest process of the command, without the server.
"""
import os
import pathlib
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "test" / "live"))
import postgres  # noqa: E402

EVENTS = """
create table events (id bigint generated always as identity primary key, at timestamptz not null,
                     kind text not null, account int not null, body jsonb not null);
insert into events (at, kind, account, body)
select '2026-01-01'::timestamptz + i * interval '7 seconds',
       (array['sign-in', 'order', 'payment', 'refund', 'message'])[1 + hashint4(i) % 3 + 2],
       abs(hashint4(i)) % 100000,
       jsonb_build_object('ip', '10.' || i % 255 || '.' || abs(hashint4(i)) % 255 || '.7',
                          'agent', 'Mozilla/5.0 (X11; Linux x86_64) part ' || i % 97,
                          'ref', md5(i::text), 'amount', abs(hashint4(i + 1)) % 100000)
from generate_series(1, {rows}) i;
create index on events (account);
create index on events (at);
"""

# What is measured, what it is measured against, the goal for the ratio, and what is enough of it.
GOALS = [
    ("backup", "pg_dump -Fc -Z0 into restic", 0.60, 0.70),
    ("backup", "pg_dump into zstd -3 -T2", 0.80, 0.95),
    ("backup", "pg_dump -Fd -j2 -Z0", 1.00, 1.10),
    ("one huge table", "its pg_dump -Fc -Z0", 0.70, 0.85),
    ("restore", "pg_restore -j2", 0.95, 1.05),
    ("restore, sandbox", "pg_restore -j2", 0.70, 0.85),
]
# As Debian starts one, but for memory and WAL fit for the data.
ORDINARY = dict(fsync="on", synchronous_commit="on", full_page_writes="on", autovacuum="on", jit="on",
                wal_level="replica", shared_buffers="256MB", max_wal_size="4GB",
                max_parallel_workers_per_gather=2)
GROWTH_MOST = 0.03
MEMORY_MOST = 100 << 20


def fill(server, db, text):
    server.run("psql", "-Xq", "-v", "ON_ERROR_STOP=1", db=db, input=text, limit=1800)
    server.run("vacuumdb", "-qz", db, limit=1800)


def fill_shop(server, scale, rows):
    server.createdb("shop")
    subprocess.run([postgres.bindir() / "pgbench", "-i", "-q", "-s", str(scale), server.url("shop")], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    fill(server, "shop", EVENTS.format(rows=rows))


class Bench:
    """One server, one repository of salvor and one of restic, both made anew for each round."""

    def __init__(self, top, salvor, server, measure):
        self.top, self.salvor, self.server = top, salvor, server
        self.measure_one = measure
        self.env = {"PATH": f"{postgres.bindir()}:{os.environ['PATH']}", "HOME": str(top),
                    "TMPDIR": str(top), "LANG": "C.UTF-8", "SALVOR_PASSWORD": "bench",
                    "RESTIC_PASSWORD": "bench", "RESTIC_CACHE_DIR": str(top / "restic-cache"),
                    "SALVOR_STATE_DIR": str(top / "pg-state"),
                    "SALVOR_CACHE_DIR": str(top / "pg-cache"), "SALVOR_REPOSITORY": "",
                    "RESTIC_REPOSITORY": str(top / "pg-restic")}
        self.repo = top / "pg-repo"

    def run(self, *argv):
        os.sync()
        return self.measure_one([str(a) for a in argv], self.env, self.top)

    def shell(self, line):
        return self.run("bash", "-o", "pipefail", "-c", line)

    def own(self, *argv):
        return self.run(self.salvor, "-q", "-r", self.repo, *argv)

    def stored(self):
        return sum(f.lstat().st_size for f in self.repo.rglob("*") if f.is_file())

    def begin(self):
        for name in ("pg-repo", "pg-restic", "pg-state", "pg-cache", "restic-cache"):
            shutil.rmtree(self.top / name, ignore_errors=True)
        self.own("init", "--no-config")
        self.run("restic", "-q", "init")

    def backups(self):
        url = self.server.url("shop")
        out = {"backup": self.own("backup", url)}
        out["pg_dump -Fc -Z0 into restic"] = self.shell(
            f"pg_dump -Fc -Z0 '{url}' | restic -q backup --stdin --stdin-filename shop.dump")
        out["pg_dump into zstd -3 -T2"] = self.shell(
            f"pg_dump '{url}' | zstd -q -f -3 -T2 -o shop.sql.zst")
        (self.top / "shop.sql.zst").unlink()
        out["pg_dump -Fd -j2 -Z0"] = self.run("pg_dump", "-Fd", "-j2", "-Z0", "-f", "shop.dir", url)
        shutil.rmtree(self.top / "shop.dir")
        return out

    def huge(self):
        url = self.server.url("huge")
        out = {"one huge table": self.own("backup", url)}
        out["its pg_dump -Fc -Z0"] = self.run("pg_dump", "-Fc", "-Z0", "-f", "huge.dump", url)
        (self.top / "huge.dump").unlink()
        return out

    def fresh(self, db):
        self.server.sql("postgres", f"drop database if exists {db}")
        self.server.createdb(db)
        self.server.sql("postgres", "checkpoint")

    def restores(self):
        subprocess.run(["pg_dump", "-Fc", "-Z0", "-f", "shop.dump", self.server.url("shop")],
                       check=True, env=self.env, cwd=self.top)
        self.fresh("back")
        out = {"pg_restore -j2": self.run("pg_restore", "-j2", "-d", self.server.url("back"),
                                          "shop.dump")}
        (self.top / "shop.dump").unlink()
        self.fresh("back")
        out["restore"] = self.own("restore", "shop", "--to", self.server.url("back"))
        self.server.sql("postgres", "drop database back")
        out["restore, sandbox"] = self.own("test", "shop")
        return out

    def next_day(self):
        """How much of the first backup's size one per cent of rows updated in one range adds."""
        first = self.stored()
        self.server.sql("shop", "update pgbench_accounts set abalance = abalance + 1 where aid <= "
                                "(select count(*) / 100 from pgbench_accounts)")
        self.own("backup", self.server.url("shop"))
        return (self.stored() - first) / first


def table(results, growth):
    missed = 0
    print(f"  {'':18} {'salvor':>16}   {'beside':28} {'':>16}   ratio   goal  enough")
    for step, beside, goal, enough in GOALS:
        ours, theirs = results[step], results[beside]
        ratio = ours[0] / theirs[0]
        missed += ratio > enough
        verdict = "reached" if ratio <= goal else "enough" if ratio <= enough else "MISSED"
        print(f"  {step:18} {ours[0]:7.2f} s ({ours[1]:4.1f})   {beside:28} "
              f"{theirs[0]:7.2f} s ({theirs[1]:4.1f})   {ratio:5.2f}   {goal:.2f}  {enough:.2f}"
              f"  {verdict}")
    # Not of the sandbox, whose server is a child of the command and would be counted for it.
    memory = max(results[s][2] for s in ("backup", "one huge table", "restore"))
    for what, value, goal, shown in (
            ("next day grows by", growth, GROWTH_MOST, f"{growth:.1%} of the first backup"),
            ("peak memory", memory, MEMORY_MOST, f"{memory / 2**20:.0f} MiB")):
        missed += value > goal
        print(f"  {what:18} {shown:>28}   {'reached' if value <= goal else 'MISSED'}")
    return missed


def bench(top, salvor, measure, better, quick, repeat):
    """Prints the table; the number of missed goals and all measurements."""
    scale, rows = (6, 200_000) if quick else (60, 2_000_000)
    with postgres.server(**ORDINARY) as server:
        fill_shop(server, scale, rows)
        server.createdb("huge")
        fill(server, "huge", EVENTS.format(rows=2 * rows))
        size = server.sql("shop", "select pg_database_size('shop') / 1048576").strip()
        print(f"\nPostgreSQL {server.sql('shop', 'show server_version').strip()}, "
              f"a database of {size} MiB")
        results = {}
        for _ in range(repeat):
            one = Bench(top, salvor, server, measure)
            one.begin()
            new = one.backups() | one.huge() | one.restores()
            results = {s: better(results.get(s), new[s]) for s in new}
        growth = one.next_day()
        return table(results, growth), results
