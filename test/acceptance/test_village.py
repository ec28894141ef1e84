"""village's PostgreSQL: an agent-monitoring server that is found by the standard variables (V1, V5,
V6, V7, V13)."""
from system import UNATTENDED, configure

import postgres  # isort: skip
from live import case, check, equal, main

SCHEMA = """
CREATE ROLE app LOGIN PASSWORD 'wall-garden-7';
CREATE TABLE house (id int PRIMARY KEY, name text);
CREATE TABLE village (id int PRIMARY KEY, house int REFERENCES house);
CREATE TABLE agent (id int PRIMARY KEY, house int REFERENCES house, seen timestamptz);
CREATE TABLE bug_bots (id int PRIMARY KEY, agent int REFERENCES agent, report jsonb);
INSERT INTO house SELECT i, 'house ' || i FROM generate_series(1, 40) i;
INSERT INTO village SELECT i, i FROM generate_series(1, 40) i;
INSERT INTO agent SELECT i, 1 + i % 40, now() FROM generate_series(1, 900) i;
INSERT INTO bug_bots SELECT i, i, '{"state": "new"}' FROM generate_series(1, 300) i;
ALTER TABLE agent OWNER TO app;
"""
CRITICAL = {"village": "40", "house": "40", "agent": "900", "bug_bots": "300"}


def set_up(place, server):
    server.createdb("village")
    server.sql("village", SCHEMA)
    configure(place, "village/salvor.yaml")
    place.env |= {k: str(v) for k, v in server.env("village").items()}  # PGHOST and so on (V5)
    place.salvor("init", "--no-config", repo=False)


def counts(server, db):
    return {t: server.sql(db, f"SELECT count(*) FROM {t}") for t in CRITICAL}


@case(limit=120)
def nightly_dumps_fourteen_kept(place):
    """V1, V5: sixteen nights, the fourteen newest are left."""
    with postgres.server() as server:
        set_up(place, server)
        for night in range(16):
            server.sql("village", f"UPDATE agent SET seen = now() WHERE id = {night + 1}")
            place.salvor("backup", "village", repo=False)
        place.salvor("run", "nightly", repo=False)
        left = place.fields(place.salvor("--json", "list", repo=False), "snapshots")
        equal(len(left), 14, "snapshots")


@case(limit=90)
def into_an_empty_database(place):
    """V6: by a given name; the row counts of the critical tables; the application's role works."""
    with postgres.server() as server:
        set_up(place, server)
        place.salvor("backup", "village", repo=False)
        server.createdb("rehearsal")
        place.salvor("restore", "village", "--to", "postgres:rehearsal", repo=False)
        equal(counts(server, "rehearsal"), CRITICAL, "restored rows")
        equal(server.sql("rehearsal", "SELECT count(*) FROM agent", user="app"), "900", "app reads")
        equal(counts(server, "village"), CRITICAL, "rows of village")
        # It is not empty any more: nothing is restored over it.
        place.salvor("restore", "village", "--to", "postgres:rehearsal", repo=False, status=(1, 5))
        equal(counts(server, "rehearsal"), CRITICAL, "restored rows")


@case(limit=90)
def cut_over_and_way_back(place):
    """V7: writes gated, the restored database takes the name, and gives it back."""
    with postgres.server() as server:
        set_up(place, server)
        place.salvor("backup", "village", repo=False)
        server.sql("village", "DELETE FROM bug_bots")
        place.salvor("restore", "village", "--freeze", "--yes", repo=False, env=UNATTENDED)
        equal(counts(server, "village"), CRITICAL, "rows of village")
        server.sql("village", "INSERT INTO bug_bots VALUES (1000, 1, '{}')")
        place.salvor("undo", "village", repo=False)
        equal(server.sql("village", "SELECT count(*) FROM bug_bots"), "0", "after undo")
        newer = [db for db in server.databases() if db.startswith("village_undone_")]
        equal([server.sql(db, "SELECT count(*) FROM bug_bots") for db in newer], ["301"],
              "the newer database")


@case(limit=90)
def cut_over_by_a_command(place):
    """V7: by connection string: a command leads the application to the restored database."""
    with postgres.server() as server:
        set_up(place, server)
        place.salvor("backup", "village", repo=False)
        told = place.root / "told"
        config = place.data / "salvor.yaml"
        config.write_text(config.read_text().replace(
            "    keep: { last: 14 }",
            f"    keep: {{ last: 14 }}\n    cutover: env | grep ^SALVOR_ > {told}"))
        server.sql("village", "DELETE FROM bug_bots")
        place.salvor("restore", "village", "--yes", repo=False, env=UNATTENDED)
        check("SALVOR_DATABASE=village" in told.read_text(), told.read_text())
        equal(counts(server, "village")["bug_bots"], "0", "the database left as it was")
        new = [line for line in told.read_text().splitlines()
               if line.startswith("SALVOR_DATABASE=")][0].partition("=")[2]
        equal(counts(server, new), CRITICAL, new)


@case(limit=90)
def no_verifier_in_what_comes_back(place):
    """V13: the restored bytes are searched."""
    with postgres.server() as server:
        set_up(place, server)
        place.salvor("backup", "village", repo=False)
        verifier = server.sql("postgres", "SELECT rolpassword FROM pg_authid WHERE rolname = 'app'")
        check(len(verifier) > 20, verifier)
        place.salvor("restore", "village", "--to", place.root / "out", repo=False)
        found = [p for p in (place.root / "out").rglob("*") if p.is_file()]
        check(found, "nothing came back")
        for path in found:
            data = path.read_bytes()
            for secret in (verifier, "SCRAM-SHA-256", "wall-garden-7"):
                check(secret.encode() not in data, f"{secret} is in {path}")


main()
