"""ops-8.3 whole: a web application on one host, its database and its runtime files (O1, O2, O4, O5,
O8 as far as the database goes)."""
import system
from system import UNATTENDED, configure

import postgres  # isort: skip
from live import case, check, equal, main

SCHEMA = """
CREATE TABLE account (id int PRIMARY KEY, email text NOT NULL UNIQUE, quota int NOT NULL);
CREATE TABLE message (id bigserial PRIMARY KEY, account int REFERENCES account, body text);
INSERT INTO account SELECT i, 'a' || i || '@example.com', i % 7 FROM generate_series(1, 500) i;
INSERT INTO message (account, body) SELECT 1 + i % 500, 'hello ' || i FROM generate_series(1, 3000) i;
"""
RUNTIME = {".env": "OPS_SECRET=one\n", "docker-compose.yml": "services: {}\n",
           "config/app.toml": "debug = false\n", "ops/deploy.sh": "#!/bin/sh\n",
           "run/environment": "OPS_REGION=eu\n"}


def set_up(place, server, port=8000):
    server.createdb("app")
    server.sql("app", SCHEMA)
    for name, text in RUNTIME.items():
        path = place.data / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o600)
    configure(place, "ops-8.3/salvor.yaml", **{"127.0.0.1:8000": f"127.0.0.1:{port}"})
    place.env["DATABASE_URL"] = server.url("app")
    place.salvor("init", "--no-config", repo=False)


@case(limit=60)
def kind_of_database_is_detected(place):
    """O1: from DATABASE_URL in the application's own .env, in both of its forms."""
    for url, kind in (("postgresql+asyncpg://app@db.example.com/app", "type: postgres"),
                      ("sqlite:///data/app.db", "type: sqlite")):
        folder = place.data / kind[-6:]
        (folder / "data").mkdir(parents=True)
        (folder / ".env").write_text(f"DATABASE_URL={url}\n")
        if "sqlite" in url:
            place.run(["sqlite3", folder / "data/app.db", "CREATE TABLE t (a)"])
        place.salvor("-r", folder / "repo", "init", cwd=folder, repo=False)
        text = (folder / "salvor.yaml").read_text()
        active = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
        check(any(kind in line for line in active), f"{kind} is not in\n{text}")


@case(limit=120)
def everything_together_and_back(place):
    """O2, O4, O5: one recovery point; both lost, both restored; the health URL answers."""
    with postgres.server() as server:
        def well():
            return server.sql("app", "SELECT count(*) FROM account") == "500"

        with system.Application(well) as app:
            set_up(place, server, app.port)
            before = server.dump("app"), server.digests("app")
            place.salvor("run", "daily", repo=False)
            saved = place.fields(place.salvor("--json", "list", repo=False), "snapshots")
            points = {tag for s in saved for tag in s["tags"] if tag.startswith("point=")}
            equal((len(saved), len(points)), (2, 1), "snapshots and recovery points")

            server.sql("app", "TRUNCATE account CASCADE")
            for name in RUNTIME:
                (place.data / name).write_text("damaged\n")
            # An unattended restore wants the word and the variable, both.
            place.salvor("restore", "database", "--yes", repo=False, status=5)
            place.salvor("restore", "database", repo=False, status=5, env=UNATTENDED)
            equal(server.sql("app", "SELECT count(*) FROM account"), "0", "refused restores")
            place.salvor("restore", "runtime", "--yes", repo=False, env=UNATTENDED)
            place.salvor("restore", "database", "--yes", repo=False, env=UNATTENDED)
            equal((server.dump("app"), server.digests("app")), before, "the database")
            for name, text in RUNTIME.items():
                equal((place.data / name).read_text(), text, name)
                equal((place.data / name).stat().st_mode & 0o777, 0o600, name)


@case(limit=120)
def application_that_does_not_answer(place):
    """O4: the health URL stays red with the restored database, so the former one is back."""
    with postgres.server() as server:
        def well():
            return server.sql("app", "SELECT count(*) FROM account") == "501"

        with system.Application(well) as app:
            set_up(place, server, app.port)
            place.salvor("run", "daily", repo=False)
            server.sql("app", "INSERT INTO account VALUES (501, 'new@example.com', 0)")
            text = (place.data / "salvor.yaml").read_text()
            (place.data / "salvor.yaml").write_text(
                text.replace("    health:", "    health_timeout: 3s\n    health:"))
            done = place.salvor("restore", "database", "--yes", repo=False, env=UNATTENDED, status=1)
            place.says(done, "health")
            equal(server.sql("app", "SELECT count(*) FROM account"), "501", "accounts")


@case(limit=120)
def logically_corrupt_database(place):
    """O8: writes frozen, what is there kept first, restored, checked, and a way back."""
    with postgres.server() as server, system.Application(lambda: True) as app:
        set_up(place, server, app.port)
        good = server.digests("app")
        place.salvor("run", "daily", repo=False)
        server.sql("app", "UPDATE account SET quota = -1")
        bad = server.digests("app")
        place.salvor("restore", "database", "--freeze", "--yes", repo=False, env=UNATTENDED)
        equal(server.digests("app"), good, "the restored database")
        server.sql("app", "INSERT INTO message (account, body) VALUES (1, 'writes go on')")
        kept = [db for db in server.databases() if db.startswith("app_before_")]
        equal(len(kept), 1, "databases kept")
        equal(server.digests(kept[0]), bad, "the database kept")
        place.salvor("undo", repo=False)
        equal(server.digests("app"), bad, "the database after undo")


main()
