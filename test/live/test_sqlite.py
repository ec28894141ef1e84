"""SQLite databases under writers, backed up and brought back (M1)."""
import json
import os
import pathlib
import shutil
import sqlite3
import subprocess
import sys
import time

from live import bank, case, check, counts, equal, main

UNATTENDED = {"SALVOR_ALLOW_UNATTENDED_RESTORE": "1"}


def under_writers(place, mode, page_size=4096):
    """Shows 3: every copy is whole, its sum is right, and no writer fails."""
    backups = counts(5, 20)
    path = place.data / "app.db"
    bank.make(path, mode, page_size, ballast=40_000)
    place.init()
    place.backup("sqlite:app.db")
    with bank.Writers(path) as alone:
        time.sleep(counts(2, 10))
        alone.end()
        rate_alone = alone.total() / counts(2, 10)
    made = []
    with bank.Writers(path, seed=100) as writers:
        begun = time.monotonic()
        for _ in range(backups):
            at = time.time()
            made.append((place.backup("sqlite:app.db")["snapshot"], at))
            time.sleep(0.1)
        took = time.monotonic() - begun
        writers.end()
        equal(writers.failures() + alone.failures(), [], "writers that failed")
        rate = writers.total() / took
    print(f"{mode}, {page_size}-byte pages: {rate_alone:.0f} transfers/s alone, {rate:.0f} while "
          f"{backups} backups were made back to back ({rate / rate_alone:.0%}); longest transfer "
          f"{alone.longest():.2f} s, {writers.longest():.2f} s")
    last = 0
    for snapshot, at in made:
        to = place.restore("app", "--snapshot", snapshot)
        said, right, count, newest = bank.check(to / "app.db")
        equal((said, right), ("ok", True), f"snapshot {snapshot[:8]}: integrity, sum")
        check(count >= last, "a later backup has fewer transfers")
        check(at - newest < 5, f"the copy is {at - newest:.1f} s older than its backup's begin")
        last = count
    check(last > 0, "nobody wrote anything")
    for name in os.listdir(place.data):
        check(name in ("app.db", "app.db-wal", "app.db-shm", "app.db-journal"),
              f"{name} was left beside the database")
    equal(os.listdir(place.root / "tmp"), [], "left in the temporary directory")
    place.clean(restic=False)


@case(limit=120, full=900, tags="address")
def wal_under_writers(place):
    under_writers(place, "wal")


@case(limit=120, full=900)
def rollback_under_writers(place):
    under_writers(place, "delete")


def pages(path):
    """All bytes, but for the counters in the header that SQLite's backup interface sets anew."""
    data = bytearray(path.read_bytes())
    for begin, end in ((24, 28), (40, 44), (92, 100)):  # changes, schema cookie, valid for version
        data[begin:end] = bytes(end - begin)
    return bytes(data)


@case(limit=120, full=900)
def page_sizes(place):
    """Each page size comes back as it was, page for page."""
    place.init()
    for size in (512, 1024, 8192, 65536):
        path = place.data / f"p{size}.db"
        bank.make(path, "delete", size, ballast=2000)
        place.backup(f"sqlite:p{size}.db")
        to = place.restore(f"p{size}")
        equal(pages(to / path.name) == pages(path), True, f"equal with {size}-byte pages")


@case(limit=60, tags="address thread")
def live_database_is_overwritten_through_its_interface(place):
    """An application that has it open goes on with the restored content: same file, same locks."""
    path = place.data / "app.db"
    bank.make(path, ballast=1000)
    place.init()
    place.backup("sqlite:app.db")
    db = sqlite3.connect(path, timeout=30)
    db.execute("UPDATE account SET balance = 0")
    db.commit()
    inode, mode = path.stat().st_ino, path.stat().st_mode & 0o777
    path.chmod(0o660)
    place.salvor("restore", "app", "--yes", env=UNATTENDED)
    equal(path.stat().st_mode & 0o777, mode, "mode after the restore")
    equal(db.execute("SELECT sum(balance) FROM account").fetchone()[0],
          bank.ACCOUNTS * bank.EACH, "sum that the open connection sees")
    equal(path.stat().st_ino, inode, "inode")
    kept = place.data / "app.db.pre-restore"
    old = sqlite3.connect(kept)
    equal(old.execute("SELECT sum(balance) FROM account").fetchone()[0], 0, "sum that was kept")
    old.close()
    db.execute("UPDATE account SET balance = balance + 1")
    db.commit()
    place.salvor("undo", "app")
    equal(db.execute("SELECT sum(balance) FROM account").fetchone()[0], 0, "sum after undo")
    equal(path.stat().st_mode & 0o777, 0o660, "mode after undo")
    db.close()
    equal(bank.check(path)[0], "ok", "integrity")


@case(limit=60)
def restore_under_writers(place):
    """Writers wait, and go on with what was restored."""
    path = place.data / "app.db"
    bank.make(path, ballast=20_000)
    place.init()
    place.backup("sqlite:app.db")
    with bank.Writers(path, count=2) as writers:
        time.sleep(0.5)
        place.salvor("restore", "app", "--yes", env=UNATTENDED)
        before = writers.total()
        time.sleep(0.5)
        check(writers.total() > before, "writers came to a standstill")
        writers.end()
        equal(writers.failures(), [], "writers that failed")
    said, right, _, _ = bank.check(path)
    equal((said, right), ("ok", True), "integrity, sum")


@case(limit=60, tags="address")
def broken_database_is_replaced(place):
    """It does not open, an old -wal lies beside it: both go aside, none mixes with the new one."""
    path = place.data / "app.db"
    bank.make(path, ballast=1000)
    place.init()
    place.backup("sqlite:app.db")
    writer = subprocess.Popen([sys.executable, "-c", f"""
import os, sqlite3
db = sqlite3.connect({str(path)!r})
db.execute("UPDATE account SET balance = 7"); db.commit()
os.kill(os.getpid(), 9)
"""])
    writer.wait()
    wal = pathlib.Path(f"{path}-wal")
    check(wal.exists() and wal.stat().st_size > 0, "the test should leave a -wal behind")
    with open(path, "r+b") as f:
        f.write(b"this is no database any more" * 10)
    place.salvor("restore", "app", "--yes", env=UNATTENDED)
    said, right, _, _ = bank.check(path)
    equal((said, right), ("ok", True), "integrity, sum")
    check((place.data / "app.db.pre-restore").read_bytes().startswith(b"this is no database"),
          "the broken one is not kept")
    place.salvor("undo", "app")
    check(path.read_bytes().startswith(b"this is no database"), "undo did not put it back")


@case(limit=60)
def lost_database_comes_back(place):
    path = place.data / "app.db"
    bank.make(path, ballast=1000)
    path.chmod(0o600)
    place.init()
    place.backup("sqlite:app.db")
    expected = path.read_bytes()
    for name in os.listdir(place.data):
        (place.data / name).unlink()
    place.salvor("restore", "app", "--yes", env=UNATTENDED)
    equal(bank.check(path)[:2], ("ok", True), "integrity, sum")
    equal(path.stat().st_mode & 0o777, 0o600, "mode")
    equal(len(path.read_bytes()), len(expected), "size")
    again = place.salvor("restore", "app", "--yes", env=UNATTENDED)
    check("pre-restore" not in " ".join(os.listdir(place.data)), f"identical: {again.out}")


@case(limit=60)
def odd_names(place):
    """Names that mean something in a URI, a glob or a shell are just names."""
    place.init()
    for name in ("a b.db", "q?mark.db", "h#sh.db", "p%41.db", "quote'.db", "ünï.sqlite"):
        path = place.data / name
        bank.make(path, "delete")
        place.backup(f"sqlite:./{name}", "--name", "odd")
        to = place.restore("odd")
        equal([p.name for p in to.iterdir()], [name], "restored")
        equal(pages(to / name) == pages(path), True, f"{name} is equal")
        shutil.rmtree(to)


@case(limit=60)
def counts_are_in_the_manifest(place):
    path = place.data / "app.db"
    bank.make(path, ballast=123)
    place.init()
    place.backup("sqlite:app.db")
    text = place.salvor("dump", "latest", "/app/manifest.json").out
    manifest = json.loads(text)
    for number in (bank.ACCOUNTS, 123):
        check(str(number) in text, f"no {number} among the row counts:\n{text[:3000]}")
    check("host" in manifest, "no facts of the host")


@case(limit=60)
def foreign_wal_is_never_checkpointed(place):
    """What is only in the -wal is backed up, and the database file is not touched."""
    path = place.data / "app.db"
    bank.make(path)
    db = sqlite3.connect(path)
    db.execute("PRAGMA wal_autocheckpoint=0")
    db.execute("UPDATE account SET balance = balance + 1")
    db.commit()
    before = path.read_bytes()
    wal = pathlib.Path(f"{path}-wal").read_bytes()
    check(wal, "the test should have a -wal")
    place.init()
    place.backup("sqlite:app.db")
    equal(path.read_bytes() == before, True, "the database file is as it was")
    equal(pathlib.Path(f"{path}-wal").read_bytes() == wal, True, "its -wal is as it was")
    to = place.restore("app")
    copy = sqlite3.connect(to / "app.db")
    equal(copy.execute("SELECT sum(balance) FROM account").fetchone()[0],
          bank.ACCOUNTS * (bank.EACH + 1), "sum in the copy")
    copy.close()
    db.close()


main()
