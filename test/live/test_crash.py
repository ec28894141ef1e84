"""Restores and undos of databases, killed before each of the calls that rename, link or remove a
file: strace sends the signal. Whoever opens the database then sees the old or the new one, and
salvor goes on from there."""
import hashlib
import os
import pathlib
import shutil
import sqlite3
import subprocess
import sys

from live import SALVOR, bank, case, check, equal, main

CALLS = ("linkat", "symlinkat", "renameat", "renameat2", "unlinkat")
UNATTENDED = {"SALVOR_ALLOW_UNATTENDED_RESTORE": "1"}
RESTORE = ("restore", "app", "--yes")
OLD, NEW = 7 * bank.ACCOUNTS, bank.ACCOUNTS * bank.EACH
PARTS = ("data", "repo", "state", "cache")


def leave_wal(path):
    """Commits something that is in the -wal only, and dies."""
    subprocess.run([sys.executable, "-c", f"""
import os, sqlite3
db = sqlite3.connect({str(path)!r})
db.execute("UPDATE account SET balance = 7"); db.commit()
os.kill(os.getpid(), 9)
"""], check=False)
    check(pathlib.Path(f"{path}-wal").stat().st_size > 0, "the test should leave a -wal behind")


def total(path):
    """What the database says; None if it cannot be opened or read, even where one may be made."""
    db = sqlite3.connect(path)
    try:
        said = db.execute("PRAGMA integrity_check").fetchone()[0]
        return db.execute("SELECT sum(balance) FROM account").fetchone()[0] if said == "ok" else None
    except sqlite3.DatabaseError:
        return None
    finally:
        db.close()


def open_plainly(path):
    try:
        return total(path)
    except sqlite3.OperationalError:  # from connect
        return None


def contents(place):
    """Digests of the database and its journals, by name; an empty one is as good as none."""
    names = ("app.db", "app.db-wal", "app.db-journal")
    found = {n: (place.data / n) for n in names}
    return {n: hashlib.sha256(p.read_bytes()).hexdigest() for n, p in found.items()
            if p.exists() and p.stat().st_size > 0}


def save(place, name):
    """With hard links as they are."""
    shutil.rmtree(place.root / name, ignore_errors=True)
    (place.root / name).mkdir()
    subprocess.run(["cp", "-a", *PARTS, name], cwd=place.root, check=True)


def load(place, name):
    for part in PARTS:
        shutil.rmtree(place.root / part)
    subprocess.run(["cp", "-a", *[f"{name}/{part}" for part in PARTS], "."], cwd=place.root,
                   check=True)


def moments(place, *words):
    """Runs the command again and again on the state that was saved as "begin", killed before the
    nth of its calls; ends when each was the last one."""
    moments = 0
    for call in CALLS:
        for n in range(1, 60):
            load(place, "begin")
            done = place.run(["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e",
                              f"inject={call}:signal=SIGKILL:when={n}", SALVOR, "-r", place.repo,
                              *words], env=UNATTENDED, status=None)
            if done.status != -9:
                equal(done.status, 0, f"status when nothing killed it ({call} {n})")
                break
            moments += 1
            save(place, "killed")
            yield f"{words[0]} killed before {call} {n}"
    check(moments >= 5, f"only {moments} moments")
    print(f"{words[0]}: killed at {moments} moments")


def put_back(place, old, when):
    """undo brings the old one back, unless the kill came before anything was done."""
    done = place.salvor("undo", "app", status=None)
    if done.status != 0:
        place.says(done, "restore")
    equal(contents(place), old, f"{when}: after undo ({done.err.strip()})")


def prepare(place, page_size):
    path = place.data / "app.db"
    bank.make(path, "wal", 4096, ballast=200)
    place.init()
    place.backup("sqlite:app.db")
    path.unlink()
    bank.make(path, "wal", page_size, ballast=300)
    leave_wal(path)
    return path


@case(limit=240, full=600)
def broken_database(place):
    """It does not open, and has a -wal: that never meets the new one, and is never lost."""
    path = prepare(place, 4096)
    with open(path, "r+b") as f:
        f.write(b"this is no database any more" * 300)
    old = contents(place)
    save(place, "begin")
    for when in moments(place, *RESTORE):
        check(open_plainly(path) in (None, NEW), f"{when}: {open_plainly(path)}")
        load(place, "killed")
        put_back(place, old, when)
        load(place, "killed")
        place.salvor(*RESTORE, env=UNATTENDED)
        equal(total(path), NEW, f"{when}: restored again")
        put_back(place, old, f"{when}, restored again")
    load(place, "begin")
    place.salvor(*RESTORE, env=UNATTENDED)
    save(place, "begin")
    for when in moments(place, "undo", "app"):
        check(open_plainly(path) in (None, NEW), f"{when}: {open_plainly(path)}")
        load(place, "killed")
        place.salvor("undo", "app", status=None)
        equal(contents(place), old, f"{when}: undone again")


@case(limit=240, full=600)
def broken_database_that_is_not_kept(place):
    """Nothing of it stays, but it does not go before the new one is there."""
    path = prepare(place, 4096)
    with open(path, "r+b") as f:
        f.write(b"this is no database any more" * 300)
    save(place, "begin")
    words = (*RESTORE, "--without-keeping")
    for when in moments(place, *words):
        check(open_plainly(path) in (None, NEW), f"{when}: {open_plainly(path)}")
        load(place, "killed")
        place.salvor(*words, env=UNATTENDED)
        equal(total(path), NEW, f"{when}: restored again")
        left = [n for n in os.listdir(place.data) if "pre-restore" in n or "undone" in n]
        equal(left, [], f"{when}: left")
    place.restore("app")


@case(limit=240, full=600)
def database_with_another_page_size(place):
    """It opens, but cannot be overwritten: at every moment one of the two is there, with all that
    was committed to it."""
    path = prepare(place, 8192)
    save(place, "begin")
    for when in moments(place, *RESTORE):
        check(open_plainly(path) in (OLD, NEW), f"{when}: {open_plainly(path)}")
        load(place, "killed")
        place.salvor("undo", "app", status=None)
        equal(total(path), OLD, f"{when}: after undo")
        load(place, "killed")
        place.salvor(*RESTORE, env=UNATTENDED)
        equal(total(path), NEW, f"{when}: restored again")
        place.salvor("undo", "app")
        equal(total(path), OLD, f"{when}: restored again, and undone")


@case(limit=240, full=600)
def lost_database(place):
    """There is none, but a -wal of it: undo leaves none again."""
    path = prepare(place, 4096)
    path.unlink()
    save(place, "begin")
    for when in moments(place, *RESTORE):
        check(not os.path.lexists(path) or open_plainly(path) == NEW, when)
        load(place, "killed")
        place.salvor(*RESTORE, env=UNATTENDED)
        equal(total(path), NEW, f"{when}: restored again")
    load(place, "begin")
    place.salvor(*RESTORE, env=UNATTENDED)
    leave_wal(path)
    save(place, "begin")
    for when in moments(place, "undo", "app"):
        check(not os.path.lexists(path) or open_plainly(path) in (None, OLD), when)
        load(place, "killed")
        place.salvor("undo", "app", status=None)
        check(not os.path.lexists(path), f"{when}: undone again, and still there")
        equal(total(place.data / "app.db.undone"), OLD, f"{when}: what undo keeps")


main()
