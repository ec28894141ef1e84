"""Real PostgreSQL servers for the whole-program tests, thrown away afterwards.

    with postgres.server() as s:
        s.createdb("app")
        s.sql("app", "CREATE TABLE t (id int PRIMARY KEY)")
        place.salvor("backup", s.url("app"))

A server is a copy of a template that initdb makes once for all tests of a run, on a Unix socket of
its own, without fsync. Run as root it belongs to the user `nobody` or `postgres`, since PostgreSQL
refuses root. It ends with its test, also when that is killed. Settings are keywords:
server(max_connections=5). On request it listens on a TCP port of 127.0.0.1 as well, with TLS and
with passwords; s.bouncer() puts PgBouncer in front.
"""
import contextlib
import ctypes
import fcntl
import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse

import process
from live import Failed, Skipped

VERSION = os.environ.get("SALVOR_TEST_PG")  # "15"; else the newest that is installed
TEMPLATE_FORMAT = "2"  # part of the template's name: raise it with what initdb is told
SUPERUSER = "postgres"
PASSWORD = "s3cret:pg@ss/word"  # of the superuser, where passwords are asked for
SETTINGS = dict(
    listen_addresses="", fsync="off", synchronous_commit="off", full_page_writes="off",
    shared_buffers="16MB", max_connections=40, max_prepared_transactions=5, wal_level="logical",
    max_wal_size="128MB", min_wal_size="32MB", autovacuum="off", bgwriter_lru_maxpages=0,
    jit="off", logging_collector="off", dynamic_shared_memory_type="posix",
    max_parallel_workers_per_gather=0, log_line_prefix="%m [%p] %u@%d %a ", timezone="UTC")


def bindir():
    """The server's programs."""
    found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb"),
                   key=lambda p: float(p.parts[-3]))
    found = [p for p in found if VERSION in (None, p.parts[-3])]
    if not found:
        raise Skipped("needs the PostgreSQL server's programs; script/bootstrap installs them")
    return found[-1].parent


def owner():
    """Whom servers run as: (uid, gid), or None for ourselves."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            user = pwd.getpwnam(name)
            return user.pw_uid, user.pw_gid
    raise Skipped("needs a user postgres or nobody")


def as_owner(*argv):
    """The words that run a program as that user."""
    who = owner()
    if who is None:
        return [str(a) for a in argv]
    return ["setpriv", f"--reuid={who[0]}", f"--regid={who[1]}", "--clear-groups",
            "--inh-caps=-all", "--no-new-privs", "--pdeathsig=keep", *map(str, argv)]


_libc = ctypes.CDLL(None)


def _die_with_parent():
    """In the child before exec: SIGQUIT when the test dies, which ends a server at once. What
    slips through, the sweep below finds."""
    os.setsid()
    _libc.prctl(1, signal.SIGQUIT)


def run(*argv, input=None, env=None, limit=60):
    done = process.run(argv, limit=limit, input=input, cwd="/", env=env)
    if done.status != 0:
        raise Failed(done.text())
    return done


def _plain_env():
    """Ours, without what would lead PostgreSQL's programs astray."""
    keep = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
    return dict(keep, LC_ALL="C.UTF-8", TZ="UTC")


# ---- the template ----

def _scratch():
    """Where templates and servers are: world-readable on the way, since others own them."""
    path = pathlib.Path(os.environ.get("SALVOR_TEST_PG_DIR") or
                        f"{tempfile.gettempdir()}/salvor-pg-{os.geteuid()}")
    path.mkdir(mode=0o755, exist_ok=True)
    if path.stat().st_uid != os.geteuid() or path.is_symlink():
        raise Failed(f"{path} is not ours")
    path.chmod(0o755)
    return path


def _make_template(path, bin):
    making = path.with_name(path.name + ".making")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(mode=0o700)
    if owner():
        os.chown(making, *owner())
    run(*as_owner(bin / "initdb", "-D", making, "-U", SUPERUSER, "-A", "trust", "-N", "-E", "UTF8",
                   "--locale=C.UTF-8", "--wal-segsize=1"), env=_plain_env())
    making.rename(path)


@contextlib.contextmanager
def _lock(name):
    with open(_scratch() / name, "w", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def template():
    """Made once for a run of all tests, or once where they run alone; others wait meanwhile."""
    bin = bindir()
    path = _scratch() / f"template-{bin.parts[-2]}-{TEMPLATE_FORMAT}"
    with _lock("lock"):
        sweep()
        if not (path / "PG_VERSION").exists():
            shutil.rmtree(path, ignore_errors=True)
            _make_template(path, bin)
    return path


# ---- what a killed test leaves ----

def _alive(pid):
    """Not gone, and not a zombie that nobody has reaped yet."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def _server_pid(directory):
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int((directory / "data" / "postmaster.pid").read_text().splitlines()[0])
    return None


def _kill_server(directory):
    """Kills what runs in that directory, and only that."""
    pid = _server_pid(directory)
    if pid is None or not _alive(pid):
        return
    with contextlib.suppress(OSError):
        if os.readlink(f"/proc/{pid}/cwd") == str(directory / "data"):
            os.kill(pid, signal.SIGQUIT)
            end = time.monotonic() + 10
            while _alive(pid) and time.monotonic() < end:
                time.sleep(0.01)
            if _alive(pid):
                os.kill(pid, signal.SIGKILL)


def sweep():
    """Removes the servers of tests that are no more."""
    for directory in _scratch().glob("server-*"):
        pid = directory.name.split("-")[1]
        if not _alive(pid):
            _kill_server(directory)
            shutil.rmtree(directory, ignore_errors=True)


# ---- a server ----

class Server:
    def __init__(self, directory, bin, port=None):
        self.directory = directory  # of the socket
        self.data = directory / "data"
        self.bin = bin
        self.port = port  # of TCP, None without
        self.tls = None   # the certificate of the authority to trust, with TLS
        self.password = None
        self.child = None

    # ---- its life ----

    def start(self, wait=True):
        log = open(self.directory / "log", "ab")
        with log:
            self.child = subprocess.Popen(
                as_owner(self.bin / "postgres", "-D", self.data, "-k", self.directory,
                         "-p", self.port or 5432),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", env=_plain_env(),
                preexec_fn=_die_with_parent)
        if wait:
            self.wait()

    def wait(self, limit=30):
        """Until it answers."""
        end = time.monotonic() + limit
        while time.monotonic() < end:
            if self.child.poll() is not None:
                break
            with contextlib.suppress(OSError, IndexError):
                state = (self.data / "postmaster.pid").read_text().splitlines()[7].strip()
                if state in ("ready", "standby"):
                    return
            time.sleep(0.01)
        raise Failed(f"the PostgreSQL server did not start:\n{self.log()[-3000:]}")

    def stop(self, how=signal.SIGINT):
        """Fast; SIGQUIT is a crash of all but the files, SIGTERM waits for the clients."""
        if self.child is None:
            return
        self.child.send_signal(how)
        try:
            self.child.wait(20)
        except subprocess.TimeoutExpired:
            self.child.send_signal(signal.SIGQUIT)
            self.child.wait(20)
        self.child = None

    def crash(self):
        self.stop(signal.SIGQUIT)

    def restart(self):
        self.stop()
        self.start()

    def log(self):
        return (self.directory / "log").read_text(errors="replace")

    def set(self, **settings):
        """Settings for the next start; self.reload() for those that need none."""
        with open(self.data / "postgresql.conf", "a", encoding="utf-8") as conf:
            for name, value in settings.items():
                text = str(value).replace("'", "''")
                conf.write(f"{name} = '{text}'\n")

    def reload(self):
        self.sql("postgres", "SELECT pg_reload_conf()")

    def hba(self, *lines):
        """Replaces pg_hba.conf; takes effect at once where the server runs."""
        (self.data / "pg_hba.conf").write_text("".join(f"{line}\n" for line in lines))
        if self.child is not None:
            self.child.send_signal(signal.SIGHUP)
            time.sleep(0.1)

    # ---- asking it ----

    def url(self, db="postgres", user=SUPERUSER, password=None, tcp=False, port=None, **query):
        """Its address: of the socket, or of TCP."""
        quote = urllib.parse.quote
        word = f":{quote(password, safe='')}" if password is not None else ""
        port = port or self.port or 5432
        if tcp:
            where = f"localhost:{port}"
        else:
            where = f"{quote(str(self.directory), safe='')}:{port}"
        words = urllib.parse.urlencode(query)
        return f"postgresql://{quote(user, safe='')}{word}@{where}/{quote(db, safe='')}" + \
            (f"?{words}" if words else "")

    def env(self, db="postgres", user=SUPERUSER):
        """PG* variables that lead to it."""
        return dict(PGHOST=str(self.directory), PGPORT=str(self.port or 5432), PGUSER=user,
                    PGDATABASE=db)

    def run(self, program, *args, db="postgres", user=SUPERUSER, input=None, limit=120,
            env=None):
        """One of the server's own programs against it; what it wrote."""
        if isinstance(input, str):
            input = input.encode(errors="surrogateescape")  # as it came out
        more = dict(_plain_env(), **self.env(db, user), **(env or {}))
        return run(self.bin / program, *args, input=input, env=more, limit=limit)

    def sql(self, db, text, user=SUPERUSER):
        """Runs it; the rows as text, columns parted by |, rows by newlines, none at the end."""
        done = self.run("psql", "-XAtq", "-v", "ON_ERROR_STOP=1", db=db, user=user, input=text)
        return done.out.rstrip("\n")

    def psql(self, db, path, user=SUPERUSER):
        """Runs a file."""
        return self.run("psql", "-Xq", "-v", "ON_ERROR_STOP=1", "-f", path, db=db, user=user)

    def createdb(self, name, *args):
        self.run("createdb", *args, "--", name)

    def dropdb(self, name):
        self.run("dropdb", "--force", "--if-exists", "--", name)

    def databases(self):
        return self.sql("postgres", "SELECT datname FROM pg_database WHERE NOT datistemplate "
                                    "ORDER BY datname COLLATE \"C\"").splitlines()

    def sessions(self, application="salvor"):
        """How many sessions of that name it has."""
        return int(self.sql("postgres", "SELECT count(*) FROM pg_stat_activity "
                                        f"WHERE application_name = '{application}'"))

    def dump(self, db, *args):
        """pg_dump as text, without the lines that differ every time."""
        text = self.run("pg_dump", *args, db=db).out
        return "\n".join(line for line in text.splitlines()
                         if not line.startswith(("\\restrict", "\\unrestrict", "-- Started on",
                                                 "-- Completed on")))

    def digests(self, db):
        """Table to the digest of its rows, whatever their order."""
        tables = self.sql(db, "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c "
                              "JOIN pg_namespace n ON n.oid = c.relnamespace "
                              "WHERE c.relkind IN ('r', 'm', 'p') AND c.relispopulated AND n.nspname !~ '^pg_' "
                              "AND n.nspname <> 'information_schema' ORDER BY 1").splitlines()
        found = {}
        for table in tables:
            found[table] = self.sql(db, "SELECT count(*), coalesce(sum(hashtextextended(t::text, 0)"
                                        f"::numeric), 0) FROM {table} AS t")
        return found

    @contextlib.contextmanager
    def held(self, db, text):
        """A session that has run `text` in a transaction, and keeps it open."""
        child = subprocess.Popen(
            [self.bin / "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d",
             f"dbname='{db}' application_name='holder'"], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, env=dict(_plain_env(), **self.env(db)))
        try:
            child.stdin.write(f"BEGIN;\n{text};\n\\echo held\n".encode())
            child.stdin.flush()
            for line in child.stdout:
                if line == b"held\n":
                    break
            else:
                raise Failed(f"could not hold: {text}")
            yield child
        finally:
            child.kill()
            child.wait()
            child.stdin.close()
            child.stdout.close()

    # ---- PgBouncer ----

    @contextlib.contextmanager
    def bouncer(self, mode="transaction"):
        """PgBouncer before it; the port on which it listens, in the server's socket directory."""
        program = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/sbin:/bin")
        if program is None:
            raise Skipped("needs pgbouncer")
        port = free_port()
        conf = self.directory / "pgbouncer.ini"
        users = self.directory / "userlist.txt"
        users.write_text(f'"{SUPERUSER}" ""\n')
        conf.write_text(
            f"[databases]\n* = host={self.directory} port={self.port or 5432} user={SUPERUSER}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n"
            f"unix_socket_dir = {self.directory}\nauth_type = any\nauth_file = {users}\n"
            f"pool_mode = {mode}\nlogfile =\n"
            "ignore_startup_parameters = extra_float_digits,options\n")
        child = subprocess.Popen(as_owner(program, conf), stdin=subprocess.DEVNULL,
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/",
                                 preexec_fn=_die_with_parent)
        try:
            wait_for_port(port, child)
            yield port
        finally:
            child.terminate()
            child.wait(10)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for_port(port, child):
    end = time.monotonic() + 20
    while time.monotonic() < end and child.poll() is None:
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise Failed(f"nobody listens on port {port}")


def _certificate(server):
    """An authority, and a certificate for localhost signed by it."""
    d = server.directory
    run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-days", "30", "-subj", "/CN=salvor test authority", "-keyout", d / "ca.key",
         "-out", d / "ca.crt", "-addext", "basicConstraints=critical,CA:TRUE")
    run("openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
         "-subj", "/CN=localhost", "-keyout", d / "server.key", "-out", d / "server.csr")
    (d / "server.ext").write_text("subjectAltName=DNS:localhost\n")
    run("openssl", "x509", "-req", "-in", d / "server.csr", "-CA", d / "ca.crt", "-CAkey",
         d / "ca.key", "-CAcreateserial", "-days", "30", "-extfile", d / "server.ext", "-out",
         d / "server.crt")
    for name in ("server.key", "server.crt"):
        (d / name).chmod(0o600)
        if owner():
            os.chown(d / name, *owner())
    return d / "ca.crt"


@contextlib.contextmanager
def server(tcp=False, tls=False, password=None, start=True, **settings):
    """A throwaway server. `tls` and `password` (scram-sha-256 for everybody but on the socket,
    where it stays trust) bring TCP along; s.port, s.tls and s.password tell them."""
    base = template()
    bin = bindir()
    directory = pathlib.Path(tempfile.mkdtemp(prefix=f"server-{os.getpid()}-", dir=_scratch()))
    try:
        directory.chmod(0o755)
        if owner():
            os.chown(directory, *owner())
        run("cp", "-a", "--reflink=auto", base, directory / "data")
        tcp = tcp or tls or password is not None
        s = Server(directory, bin, free_port() if tcp else None)
        s.set(**{**SETTINGS, **({"listen_addresses": "127.0.0.1"} if tcp else {}), **settings})
        if tls:
            s.tls = _certificate(s)
            s.set(ssl="on", ssl_cert_file=directory / "server.crt",
                  ssl_key_file=directory / "server.key")
        if password is not None:
            s.password = password
            s.hba("local all all trust", "host all all 127.0.0.1/32 scram-sha-256")
        if not start:
            yield s
            return
        s.start()
        try:
            if password is not None:
                quoted = password.replace("'", "''")
                s.sql("postgres", f"ALTER ROLE {SUPERUSER} PASSWORD '{quoted}'")
            yield s
        finally:
            s.crash()  # without the checkpoint that nobody needs any more
    finally:
        _kill_server(directory)
        if os.environ.get("SALVOR_TEST_KEEP"):
            print(f"left in {directory}", file=sys.stderr)
        else:
            shutil.rmtree(directory, ignore_errors=True)
