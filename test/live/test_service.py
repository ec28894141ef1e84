"""A whole small service from one salvor.yaml: seven databases and its secrets (M1, M3, M8)."""
import datetime
import os
import shutil
import sqlite3

from live import bank, SALVOR, bytes_of, case, check, equal, main

UNATTENDED = {"SALVOR_ALLOW_UNATTENDED_RESTORE": "1"}
NAMES = ("users", "orders", "events", "sessions", "metrics", "queue", "settings")


def set_up(place):
    """The service's files and its salvor.yaml."""
    (place.data / "db").mkdir()
    for name in NAMES:
        bank.make(place.data / "db" / f"{name}.db", ballast=300)
    secrets = place.data / "secrets"
    secrets.mkdir(mode=0o700)
    for name in ("api.key", "signing.key", ".env"):
        (secrets / name).write_text(f"secret of {name}, day one\n")
        (secrets / name).chmod(0o600)
    password = place.root / "password"
    password.write_text(place.env.pop("SALVOR_PASSWORD") + "\n")
    password.chmod(0o600)
    (place.data / "salvor.yaml").write_text(f"""
name: service
repository: {{ url: {place.repo}, password_file: {password} }}
resources:
  databases:
    type: sqlite
    paths: ["{place.data}/db/*.db"]
    objectives: {{ rpo: 24h, rto: 5m }}
    keep: {{ last: 5, daily: 90, weekly: 52 }}
  secrets:
    type: files
    paths: ["{place.data}/secrets"]
    objectives: {{ rpo: 24h, rto: 5m }}
jobs:
  daily: {{ at: "0 3 * * *", backup: all, verify: true, forget: true }}
""")


def day_two(place):
    for name in NAMES:
        db = sqlite3.connect(place.data / "db" / f"{name}.db")
        db.execute("INSERT INTO note(text) VALUES ('day two')")
        db.commit()
        db.close()
    (place.data / "secrets/api.key").write_text("secret of api.key, day two\n")


def notes(path):
    db = sqlite3.connect(path)
    count = db.execute("SELECT count(*) FROM note WHERE text = 'day two'").fetchone()[0]
    db.close()
    return count


@case(limit=90, tags="address thread")
def seven_databases_and_secrets(place):
    set_up(place)
    place.salvor("init", repo=False)
    place.salvor("config", "check", repo=False)
    place.salvor("run", "daily", repo=False)
    day_two(place)
    place.salvor("run", "daily", repo=False)
    listed = place.fields(place.salvor("--json", "list", repo=False), "snapshots")
    equal(len(listed), 4, "snapshots")
    points = {s["point"] for s in listed}
    equal(len(points), 2, "recovery points")
    equal({s["job"] for s in listed}, {"daily"}, "jobs")
    status = place.salvor("status", repo=False)
    check("databases" in status.out and "secrets" in status.out, f"status: {status.out}")

    shutil.rmtree(place.data / "db")
    shutil.rmtree(place.data / "secrets")
    for resource in ("databases", "secrets"):
        place.salvor("restore", resource, "--yes", repo=False, env=UNATTENDED)
    for name in NAMES:
        path = place.data / "db" / f"{name}.db"
        equal(bank.check(path)[:2], ("ok", True), f"{name}: integrity, sum")
        equal(notes(path), 1, f"{name}: what was written last")
    for name in ("api.key", "signing.key", ".env"):
        equal((place.data / "secrets" / name).stat().st_mode & 0o7777, 0o600, f"mode of {name}")
    equal((place.data / "secrets").stat().st_mode & 0o7777, 0o700, "mode of the directory")
    equal((place.data / "secrets/api.key").read_text(), "secret of api.key, day two\n", "content")


@case(limit=90)
def yesterday(place):
    """`restore --at` yesterday takes the snapshot of then; undo brings today back."""
    set_up(place)
    place.salvor("init", repo=False)
    day = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=1)
    argv = ["faketime", "-f", day.strftime("@%Y-%m-%d 03:00:00")]

    place.run([*argv, SALVOR, "backup"])
    day_two(place)
    place.salvor("backup", repo=False)
    before = bytes_of(place.data / "secrets")
    for resource in ("databases", "secrets"):
        for when in (f"{day:%Y-%m-%d}", "yesterday"):
            plan = place.fields(place.salvor("--json", "restore", resource, "--at", when,
                                             "--dry-run", repo=False), "plan")
            check(plan["time"].startswith(f"{day:%Y-%m-%d}T03:00"), f"--at {when}: {plan['time']}")
            check(plan["older_than_newest"], "not said that a newer one exists")
    for resource in ("databases", "secrets"):
        place.salvor("restore", resource, "--at", f"{day:%Y-%m-%d}", "--yes", repo=False,
                     env=UNATTENDED)
    for name in NAMES:
        path = place.data / "db" / f"{name}.db"
        equal(notes(path), 0, f"{name}: rows of today")
        kept = place.data / "db" / f"{name}.db.pre-restore"
        equal(notes(kept), 1, f"{kept.name}: rows of today")
    key = place.data / "secrets/api.key"
    equal(key.read_text(), "secret of api.key, day one\n", "secret")
    equal(key.stat().st_mode & 0o7777, 0o600, "mode")
    kept = place.data / "secrets/api.key.pre-restore"
    equal(kept.read_text(), "secret of api.key, day two\n", "what was there")
    equal(kept.stat().st_mode & 0o7777, 0o600, "mode of what was there")
    check(not (place.data / "secrets/.env.pre-restore").exists(), "an equal file was replaced")

    place.salvor("undo", "databases", repo=False)
    place.salvor("undo", "secrets", repo=False)
    for name in NAMES:
        equal(notes(place.data / "db" / f"{name}.db"), 1, f"{name} after undo: rows of today")
    now = bytes_of(place.data / "secrets")
    for name, digest in before.items():
        equal(now[name], digest, f"{name} after undo")
    done = place.salvor("restore", "secrets", "--at", "2001-01-01", "--to", place.root / "x",
                        repo=False, status=1)
    place.says(done, "secrets")


@case(limit=60)
def init_looks_around(place):
    """init writes a salvor.yaml that works as it stands, and no secret is in it."""
    bank.make(place.data / "app.db")
    (place.data / ".env").write_text("API_KEY=very-secret-value\n")
    (place.data / ".env").chmod(0o600)
    place.salvor("init")
    text = (place.data / "salvor.yaml").read_text()
    check("app.db" in text and ".env" in text, f"not found:\n{text}")
    check("very-secret-value" not in text, "a secret was copied into the configuration")
    check(text.count("#") >= 3, "no comments")
    equal((place.data / "salvor.yaml").stat().st_mode & 0o077, 0, "others may read it; mode bits")
    place.salvor("config", "check", repo=False)
    place.salvor("backup", repo=False)
    for file in ("app.db", ".env"):
        (place.data / file).unlink()
    for s in place.fields(place.salvor("--json", "list", repo=False), "snapshots"):
        place.salvor("restore", s["resource"], "--yes", repo=False, env=UNATTENDED)
    equal((place.data / ".env").read_text(), "API_KEY=very-secret-value\n", "secrets")
    equal(bank.check(place.data / "app.db")[:2], ("ok", True), "integrity, sum")
    place.says(place.salvor("init", status=1), "already")


@case(limit=60)
def nothing_readable_is_stored(place):
    """Whoever has the repository without the passphrase reads no name and no byte."""
    set_up(place)
    place.salvor("init", repo=False)
    place.salvor("backup", repo=False)
    for path in place.repo.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            for word in (b"secret of", b"api.key", b"databases", b"owner 1", b"SQLite format"):
                check(word not in data, f"{path} shows {word}")
            equal(path.stat().st_mode & 0o077, 0, f"{path}: mode bits for others")
        else:
            equal(path.stat().st_mode & 0o077, 0, f"{path}: mode bits for others")
    for path in [*(place.root / "state").rglob("*"), *(place.root / "cache").rglob("*")]:
        equal(os.lstat(path).st_mode & 0o077, 0, f"{path}: mode bits for others")


main()
