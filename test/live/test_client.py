"""The PostgreSQL client against real servers: build/test/live/client holds the tests."""
import os
import pathlib
import socket

import postgres
from live import SALVOR, case, check, main

PROGRAM = pathlib.Path(SALVOR).parent / "test" / "live" / "client"
SECRET = "geheim:@/%?#"


def client(place, test, url, **env):
    """Runs one test of the program; what it printed."""
    done = place.run([PROGRAM, test], env=dict(env, PG_URL=url), limit=100)
    check("[  PASSED  ] 1 test" in done.out + done.err, f"{test} did not run:\n{done.text()}")
    return done.out


def with_app(place, test, **env):
    with postgres.server() as s:
        s.createdb("app")
        client(place, test, s.url("app"), **env)
        check(s.sessions() == 0, "sessions are left on the server")


@case(tags="address thread")
def statements(place):
    with_app(place, "statements")


@case(tags="address")
def complaints(place):
    with_app(place, "complaints")


@case(tags="address")
def rows_one_by_one(place):
    with_app(place, "rows_one_by_one")


@case(tags="address")
def copy_both_ways(place):
    with_app(place, "copy_both_ways")


@case(tags="address")
def bad_data(place):
    with_app(place, "bad_data")


@case(tags="address thread")
def interruption(place):
    with_app(place, "interruption")


@case(tags="address thread")
def locks(place):
    with postgres.server() as s:
        s.createdb("app")
        s.sql("app", "CREATE TABLE held (a int)")
        with s.held("app", "LOCK TABLE held"):
            client(place, "locks", s.url("app"))


@case(tags="address thread")
def ended_sessions(place):
    with_app(place, "ended_sessions")


@case(tags="address")
def crash(place):
    with postgres.server() as s:
        s.createdb("app")
        client(place, "crash", s.url("app"), PG_PID=str(s.child.pid))


@case(tags="address")
def refused(place):
    """Every way in which a connection is not made."""
    def no(url, code, says, **env):
        client(place, "refused", url, PG_CODE=code, PG_SAYS=says, **env)

    with postgres.server(tls=True, password=SECRET, max_connections=4,
                         superuser_reserved_connections=1) as s:
        s.createdb("app")
        s.sql("app", "CREATE ROLE weak LOGIN; CREATE DATABASE closed ALLOW_CONNECTIONS false;"
                     "CREATE DATABASE private; REVOKE CONNECT ON DATABASE private FROM public")
        no(s.url("app", password="geheim", tcp=True), "denied", "[28P01]")
        no(s.url("app", tcp=True), "denied", "PGPASSWORD")
        no(s.url("app", tcp=True), "denied", "[28P01]", PGPASSWORD="geheim, but wrong")
        no(s.url("nix", password=SECRET, tcp=True), "not_found", "\"nix\"")
        no(s.url("app", user="nobody at all"), "denied", "nobody at all")
        no(s.url("closed"), "io", "not currently accepting")
        no(s.url("private", user="weak"), "denied", "[42501]")
        no(s.url("app", password=SECRET, tcp=True, sslmode="verify-full"), "io", "certificate")
        other = s.url("app", password=SECRET, tcp=True, sslmode="verify-full",
                      sslrootcert=s.tls).replace("localhost", "127.0.0.1")
        no(other, "io", "certificate")
        with s.held("app", "SELECT 1"), s.held("app", "SELECT 1"), s.held("app", "SELECT 1"):
            no(s.url("app", user="weak"), "io", "max_connections")
        s.stop()
        no(s.url("app", tcp=True), "io", "is the server running")
        no(s.url("app"), "io", "is the server running")
    no("postgres://u:geheim@no-such-host.invalid/app", "io", "no-such-host")
    no("postgres://u:geheim%zz@localhost/app", "usage", "percent-encoded")
    no("postgres://u:geheim@localhost/app?sslmode=nonsense", "io", "sslmode")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        no(f"postgres://u@127.0.0.1:{silent.getsockname()[1]}/app", "timeout", "no answer")


@case(tags="address")
def tls_and_password(place):
    with postgres.server(tls=True, password=SECRET) as s:
        s.createdb("app")
        url = s.url("app", password=SECRET, tcp=True, sslmode="verify-full", sslrootcert=s.tls,
                    schema="public")
        client(place, "environment", url)
        # The password file, which children must be led past or to as well.
        passfile = place.root / "pgpass"
        word = SECRET.replace("\\", "\\\\").replace(":", "\\:")
        passfile.write_text(f"localhost:*:*:postgres:{word}\n")
        passfile.chmod(0o600)
        client(place, "environment", s.url("app", tcp=True), PGPASSFILE=str(passfile))
        # From the variables alone.
        client(place, "environment", "", PGHOST="localhost", PGPORT=str(s.port), PGUSER="postgres",
               PGDATABASE="app", PGPASSWORD=SECRET)


@case(tags="address")
def pooler(place):
    with postgres.server() as s:
        s.createdb("app")
        with s.bouncer() as port:
            client(place, "refused", s.url("app", port=port), PG_CODE="refused",
                   PG_SAYS="PgBouncer")
            # And the next client of the pool does not find our settings.
            found = postgres.run("psql", "-XAtc", "SHOW search_path", s.url("app", port=port)).out
            check("public" in found, f"search_path was left as {found}")
        with s.bouncer("session") as port:
            client(place, "refused", s.url("app", port=port, tcp=True), PG_CODE="refused",
                   PG_SAYS="PgBouncer")


@case(tags="address")
def encodings(place):
    with postgres.server() as s:
        def holds(name, encoding, text, stored, client_encoding="UTF8"):
            s.createdb(name, "-T", "template0", "-E", encoding, "--locale=C")
            client(place, "encodings", s.url(name), PG_TEXT=text, PG_STORED=stored.hex(),
                   PG_CLIENT=client_encoding)

        holds("latin", "LATIN1", "déjà", "déjà".encode("latin-1"))
        holds("café \"x\" 'y' %", "UTF8", "déjà €", "déjà €".encode())
        holds("japan", "EUC_JP", "日本", "日本".encode("euc-jp"))
        raw = os.fsdecode(b"d\xe9j\xff")
        holds("raw", "SQL_ASCII", raw, b"d\xe9j\xff", "SQL_ASCII")


main()
