"""A small application: accounts, and writers that move money between them as fast as they can.

No transfer makes or loses money, so whatever moment a copy of the database shows, its sum is that
of the beginning. Used by script/demo and by the tests of SQLite under writers."""
import multiprocessing
import os
import random
import sqlite3
import time

ACCOUNTS = 1000
EACH = 1000  # money in an account at the beginning


def make(path, mode="wal", page_size=4096, ballast=0):
    """A new bank; `ballast` adds so many rows of about 100 bytes, as other tables would."""
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA page_size={page_size}")
    db.execute(f"PRAGMA journal_mode={mode}")
    db.executescript("""
        CREATE TABLE account(id INTEGER PRIMARY KEY, owner TEXT NOT NULL, balance INTEGER NOT NULL);
        CREATE TABLE transfer(id INTEGER PRIMARY KEY, at REAL NOT NULL, payer INTEGER NOT NULL,
                              payee INTEGER NOT NULL, amount INTEGER NOT NULL);
        CREATE TABLE note(id INTEGER PRIMARY KEY, text TEXT NOT NULL);
    """)
    rng = random.Random(path.__str__())
    with db:
        db.executemany("INSERT INTO account VALUES (?, ?, ?)",
                       ((n, f"owner {n}", EACH) for n in range(ACCOUNTS)))
        db.executemany("INSERT INTO note(text) VALUES (?)",
                       ((f"{rng.getrandbits(200):x} and some words about it",)
                        for _ in range(ballast)))
    db.close()


def check(path):
    """(what integrity_check says, sum of balances is right, transfers, time of the newest)"""
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        said = db.execute("PRAGMA integrity_check").fetchone()[0]
        right = db.execute("SELECT sum(balance) FROM account").fetchone()[0] == ACCOUNTS * EACH
        count, newest = db.execute("SELECT count(*), max(at) FROM transfer").fetchone()
        return said, right, count, newest or 0.0
    finally:
        db.close()


def _write(path, seed, stop, commits, worst, problems):
    rng = random.Random(seed)
    db = sqlite3.connect(path, timeout=30, isolation_level=None)
    db.execute("PRAGMA synchronous=NORMAL")
    try:
        while not stop.is_set():
            payer, payee = rng.sample(range(ACCOUNTS), 2)
            amount = rng.randrange(1, 50)
            begun = time.monotonic()
            db.execute("BEGIN IMMEDIATE")
            db.execute("UPDATE account SET balance = balance - ? WHERE id = ?", (amount, payer))
            db.execute("UPDATE account SET balance = balance + ? WHERE id = ?", (amount, payee))
            db.execute("INSERT INTO transfer(at, payer, payee, amount) VALUES (?, ?, ?, ?)",
                       (time.time(), payer, payee, amount))
            db.execute("COMMIT")
            worst.value = max(worst.value, time.monotonic() - begun)
            commits.value += 1
    except sqlite3.Error as problem:
        problems.put(f"writer {os.getpid()}: {problem}")
    finally:
        db.close()


class Writers:
    """Writers in processes of their own, from `with` to its end."""

    def __init__(self, path, count=4, seed=1):
        fork = multiprocessing.get_context("fork")
        self.stop = fork.Event()
        self.problems = fork.Queue()
        self.commits = [fork.Value("q", 0) for _ in range(count)]
        self.worst = [fork.Value("d", 0.0) for _ in range(count)]
        self.process = [fork.Process(target=_write, daemon=True,
                                     args=(str(path), seed + n, self.stop, self.commits[n],
                                           self.worst[n], self.problems)) for n in range(count)]

    def __enter__(self):
        for process in self.process:
            process.start()
        return self

    def __exit__(self, *_):
        self.end()

    def end(self):
        self.stop.set()
        for process in self.process:
            process.join(60)

    def total(self):
        return sum(c.value for c in self.commits)

    def longest(self):
        """The longest that one transfer took, in seconds."""
        return max(w.value for w in self.worst)

    def failures(self):
        found = []
        while not self.problems.empty():
            found.append(self.problems.get())
        found += [f"writer ended with {p.exitcode}" for p in self.process if p.exitcode]
        return found
