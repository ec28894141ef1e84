"""The demonstration behind script/demo: backed up three times, lost, restored, checked, timed."""
import json
import os
import pathlib
import secrets
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
import time

import bank

SALVOR = os.path.abspath(sys.argv[1])


def say(text=""):
    print(text, flush=True)


def step(number, text):
    say(f"\n{number}. {text}")


def size(n):
    for unit in ("B", "KiB", "MiB", "GiB"):
        if n < 1024 or unit == "GiB":
            return f"{n:.0f} {unit}" if unit == "B" else f"{n:.1f} {unit}"
        n /= 1024


class Demo:
    def __init__(self, top):
        self.top = top
        self.app = top / "app"
        self.app.mkdir()
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(("SALVOR_", "RESTIC_"))}
        self.env |= {"SALVOR_STATE_DIR": str(top / "state"), "SALVOR_CACHE_DIR": str(top / "cache"),
                     "SALVOR_ALLOW_UNATTENDED_RESTORE": "1"}

    def salvor(self, *words, show=True, quiet=False):
        """Runs salvor -c salvor.yaml; shows the command and what it says."""
        argv = [SALVOR, "-c", str(self.top / "salvor.yaml"), *words]
        if show:
            say(f"   $ salvor {' '.join(words)}")
        done = subprocess.run(argv, env=self.env, cwd=self.top, capture_output=True, text=True,
                              check=False)
        text = done.stdout + ("" if done.returncode == 0 else done.stderr)
        if done.returncode != 0 or (show and not quiet):
            for line in text.splitlines():
                say(f"     {line}")
        if done.returncode != 0:
            sys.exit(f"\ndemo: salvor {words[0]} failed with status {done.returncode}")
        return done.stdout

    def configure(self, name):
        password = self.top / "password"
        password.write_text(secrets.token_urlsafe(24) + "\n")
        password.chmod(0o600)
        (self.top / "salvor.yaml").write_text(f"""\
name: demo
repository: {{ url: {self.top}/repository, password_file: {password} }}
resources:
  database:
    type: sqlite
    paths: [{json.dumps(str(self.app / name))}]
    objectives: {{ rpo: 1h, rto: 1m }}
  secrets:
    type: files
    paths: [{self.app}/secrets]
    objectives: {{ rpo: 24h, rto: 1m }}
jobs:
  backup: {{ backup: all }}
""")

    def make_secrets(self):
        folder = self.app / "secrets"
        folder.mkdir(mode=0o700)
        for name in ("api.key", ".env"):
            (folder / name).write_text(secrets.token_hex(32) + "\n")
            (folder / name).chmod(0o600)
        return {p.name: p.read_text() for p in folder.iterdir()}

    def check_secrets(self, expected):
        folder = self.app / "secrets"
        found = {p.name: p.read_text() for p in folder.iterdir()}
        modes = {stat.S_IMODE(p.stat().st_mode) for p in folder.iterdir()}
        return found == expected and modes == {0o600}


def lose(app):
    shutil.rmtree(app)
    app.mkdir()


def with_bank(demo):
    path = demo.app / "bank.db"
    step(1, "An application: 1,000 accounts in bank.db, four processes that move money between them\n"
            "   as fast as they can, and a directory of secrets.")
    bank.make(path, ballast=100_000)
    keys = demo.make_secrets()
    demo.configure("bank.db")
    demo.salvor("init", quiet=True)

    step(2, "Three backups while the writers write. No transfer is stopped for them.")
    with bank.Writers(path, count=4) as writers:
        for _ in range(3):
            time.sleep(0.7)
            demo.salvor("run", "backup")
        time.sleep(0.3)
        step(3, "The disaster: at full speed, the whole directory is gone.")
        lost_at = time.time()
        for process in writers.process:
            process.kill()
    committed = bank.check(path)[2]
    failures = [f for f in writers.failures() if not f.endswith(" -9")]
    lose(demo.app)
    say(f"   {committed:,} transfers had been committed; {demo.app} is empty now.")

    step(4, "Recovery.")
    begun = time.monotonic()
    demo.salvor("restore", "database", "--yes")
    demo.salvor("restore", "secrets", "--yes")
    rto = time.monotonic() - begun

    step(5, "Is it right?")
    said, right, count, newest = bank.check(path)
    fine = demo.check_secrets(keys)
    say(f"   integrity_check of the restored database   {said}")
    say(f"   sum of all balances as at the beginning    {'yes' if right else 'NO'}")
    say(f"   transfers back                             {count:,} of {committed:,}")
    say(f"   secrets back, with mode 600                {'yes' if fine else 'NO'}")
    say(f"   writers that a backup made fail            {len(failures) or 'none'}")
    demo.salvor("verify", "--read-data")
    with bank.Writers(path, count=2, seed=9) as writers:
        time.sleep(0.5)
        writers.end()
        going = writers.total() > 0 and not writers.failures()
    say(f"   the application writes again               {'yes' if going else 'NO'}")
    ok = said == "ok" and right and fine and going and not failures
    return ok, lost_at - newest, rto


def with_own(demo, own):
    path = demo.app / own.name
    step(1, f"A copy of your database, made by SQLite's backup interface with {own} opened\n"
            "   read-only; everything below happens to the copy.")
    source = sqlite3.connect(f"file:{uri_path(own)}?mode=ro", uri=True, timeout=30)
    copy = sqlite3.connect(path)
    try:
        source.backup(copy)
    except sqlite3.Error as problem:
        sys.exit(f"demo: cannot copy {own}: {problem}")
    copy.close()
    source.close()
    keys = demo.make_secrets()
    demo.configure(own.name)
    demo.salvor("init", quiet=True)

    def content():
        db = sqlite3.connect(path)
        tables = [r[0] for r in db.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' "
            "AND sql NOT LIKE 'CREATE VIRTUAL%'")]
        rows = {t: db.execute('SELECT count(*) FROM "%s"' % t.replace('"', '""')).fetchone()[0]
                for t in tables}
        said = db.execute("PRAGMA integrity_check").fetchone()[0]
        db.close()
        return said, rows
    _, before = content()
    say(f"   {size(path.stat().st_size)}, {len(before)} tables, {sum(before.values()):,} rows")

    step(2, "Three backups.")
    for _ in range(3):
        backed_up = time.time()
        demo.salvor("run", "backup")
        time.sleep(0.3)

    step(3, "The disaster: the whole directory is gone.")
    lost_at = time.time()
    lose(demo.app)

    step(4, "Recovery.")
    begun = time.monotonic()
    demo.salvor("restore", "database", "--yes")
    demo.salvor("restore", "secrets", "--yes")
    rto = time.monotonic() - begun

    step(5, "Is it right?")
    said, after = content()
    fine = demo.check_secrets(keys)
    say(f"   integrity_check of the restored database   {said}")
    say(f"   rows in all {len(before)} tables as before".ljust(46) +
        f"{'yes' if after == before else 'NO'}")
    say(f"   secrets back, with mode 600                {'yes' if fine else 'NO'}")
    demo.salvor("verify", "--read-data")
    return said == "ok" and after == before and fine, lost_at - backed_up, rto


def uri_path(path):
    """A path in a URI of SQLite."""
    return "".join(c if c.isalnum() or c in "/._-" else "".join(f"%{b:02x}" for b in c.encode())
                   for c in str(path))


def main():
    own = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else None
    if own is not None and not own.is_file():
        sys.exit(f"demo: {own} is not a file")
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="salvor-demo-") as top:
        demo = Demo(pathlib.Path(top))
        ok, rpo, rto = with_own(demo, own) if own else with_bank(demo)
    say(f"\n   measured RPO  {rpo:.1f} s of work lost (promised: 1 h)")
    say(f"   measured RTO  {rto:.1f} s until all was back (promised: 1 min)")
    say(f"\n{'All of it came back.' if ok else 'SOMETHING IS WRONG: see above.'} "
        f"The demonstration took {time.monotonic() - begun:.0f} s and left nothing behind.")
    sys.exit(0 if ok else 1)


main()
