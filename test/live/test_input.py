"""Bad input: each its own message and exit status, and nothing lost."""
import json
import os
import sqlite3
import time

from live import bank, SALVOR, Failed, bytes_of, case, check, equal, facts, fill, main
from sealed import Repository

UNATTENDED = {"SALVOR_ALLOW_UNATTENDED_RESTORE": "1"}


def small(place):
    tree = place.data / "tree"
    tree.mkdir()
    (tree / "file").write_text("words\n" * 100)
    place.init()
    return place.backup("./tree")


def damage(path, how):
    path.chmod(0o600)
    data = bytearray(path.read_bytes())
    if how == "truncated":
        del data[len(data) // 2:]
    elif how == "empty":
        del data[:]
    else:
        data[len(data) // 2] ^= 0x10
    path.write_bytes(data)


@case(tags="address")
def wrong_passphrase(place):
    small(place)
    before = bytes_of(place.repo)
    for command in (["list"], ["backup", "./tree"], ["restore", "tree"], ["verify"], ["prune"],
                    ["key", "list"]):
        done = place.salvor(*command, env={"SALVOR_PASSWORD": "wrong"}, status=1)
        place.says(done, "passphrase", "SALVOR_PASSWORD")
    equal(bytes_of(place.repo), before, "the repository's files")


@case()
def no_passphrase(place):
    small(place)
    del place.env["SALVOR_PASSWORD"], place.env["RESTIC_PASSWORD"]
    place.says(place.salvor("list", status=2), "SALVOR_PASSWORD_FILE")
    done = place.salvor("list", env={"SALVOR_PASSWORD_FILE": "/nowhere"}, status=(1, 2))
    place.says(done, "/nowhere")
    done = place.salvor("list", env={"SALVOR_PASSWORD_COMMAND": "exit 3"}, status=(1, 2))
    place.says(done, "SALVOR_PASSWORD_COMMAND", "status 3")


@case()
def passphrase_sources(place):
    """Each way to give it works, restic's too."""
    small(place)
    secret = place.env.pop("SALVOR_PASSWORD")
    place.salvor("list")  # RESTIC_PASSWORD
    del place.env["RESTIC_PASSWORD"]
    file = place.root / "password"
    file.write_text(secret + "\n")
    file.chmod(0o600)
    place.salvor("-p", file, "list")
    for name in ("SALVOR", "RESTIC"):
        place.salvor("list", env={f"{name}_PASSWORD_FILE": str(file)})
        place.salvor("list", env={f"{name}_PASSWORD_COMMAND": f"cat {file}"})
    place.run([SALVOR, "list"], env={"SALVOR_PASSWORD": secret,
                                     "RESTIC_REPOSITORY": str(place.repo)})
    place.run([SALVOR, "list"], env={"SALVOR_PASSWORD": secret,
                                     "SALVOR_REPOSITORY": str(place.repo)})


@case(tags="address")
def not_a_repository(place):
    place.says(place.salvor("list", status=1), place.repo, "init")
    place.repo.mkdir()
    place.says(place.salvor("list", status=1), place.repo, "init")
    (place.repo / "config").write_text("something else")
    done = place.salvor("list", status=(1, 4))
    place.says(done, place.repo)
    done = place.salvor("init", "--no-config", status=1)
    place.says(done, "already")
    equal((place.repo / "config").read_text(), "something else", "the file that was there")
    done = place.run([SALVOR, "-r", "gopher:there", "list"], status=(1, 2))
    place.says(done, "gopher")


@case(tags="address")
def newer_version(place):
    small(place)
    sealed = Repository(place.repo, place.env["SALVOR_PASSWORD"])
    config = sealed.config()
    equal(config["version"], 2, "version")
    sealed.write_config(dict(config, version=3))
    for command in (["list"], ["backup", "./tree"], ["restore", "tree"]):
        place.says(place.salvor(*command, status=1), "version 3")
    for fields in (dict(config, chunker_polynomial="25b468838dcb70"), {}, [], dict(config, id="x")):
        sealed.write_config(fields)
        done = place.salvor("list", status=(0, 1, 4))
        if done.status:
            place.says(done, "config")
    sealed.write_config(config)
    place.clean()


def damaged(place, kind, how, *commands):
    small(place)
    path = next(p for p in sorted((place.repo / kind).rglob("*")) if p.is_file()) \
        if kind != "config" else place.repo / "config"
    good = path.read_bytes()
    before = bytes_of(place.repo)
    del before[str(path.relative_to(place.repo))]
    damage(path, how)
    for command in commands:
        for cached in (True, False):
            place.env["SALVOR_CACHE_DIR"] = str(place.root / ("cache" if cached else "no-cache"))
            done = place.salvor(*command, status=None)
            check(done.status in (1, 3, 4), f"{command}: status {done.status}\n{done.text()}")
            place.says(done, "config" if kind == "config" else path.name[:8])
    for name, digest in before.items():
        equal(bytes_of(place.repo).get(name), digest, f"{name} after commands on a damaged {kind}")
    path.write_bytes(good)
    place.env["SALVOR_CACHE_DIR"] = str(place.root / "cache")
    place.clean()
    place.restore("tree")


for _kind, _commands in (("config", (["list"], ["verify"])),
                         ("keys", (["list"],)),
                         ("index", (["verify"],)),
                         ("snapshots", (["verify"],)),
                         ("data", (["verify", "--read-data"],))):
    for _how in ("truncated", "altered", "empty"):
        def _run(place, kind=_kind, how=_how, commands=_commands):
            damaged(place, kind, how, *commands)
        _run.__name__ = f"{_kind}_{_how}"
        case(tags="address")(_run)


@case(tags="address")
def damaged_snapshot_does_not_hide_the_others(place):
    first = small(place)
    (place.data / "tree/file").write_text("other words")
    second = place.backup("./tree")
    damage(place.repo / "snapshots" / second["snapshot"], "altered")
    done = place.salvor("--json", "list")
    place.says(done, second["snapshot"][:8])
    equal([s["id"] for s in place.fields(done, "snapshots")], [first["snapshot"]], "snapshots")
    to = place.root / "out"
    done = place.salvor("restore", "tree", "--to", to, status=4)
    place.says(done, f"--snapshot {first['snapshot'][:8]}")
    check(not to.exists(), "an older snapshot was restored as if it were the newest")
    place.salvor("restore", "--snapshot", first["snapshot"][:8], "--to", to)
    done = place.salvor("prune", status=None)
    check(done.status != 0, "prune must not decide what is needed while a snapshot is unreadable")


def sqlite_refused(place, name, *words, status=4):
    before = facts(place.data)
    done = place.salvor("backup", f"sqlite:{name}", status=status)
    place.says(done, name, *words)
    equal(facts(place.data), before, "the directory")
    return done


@case(tags="address")
def no_database(place):
    place.init()
    (place.data / "text.db").write_text("this is no database\n" * 500)
    sqlite_refused(place, "text.db", "not a SQLite database")
    (place.data / "empty.db").write_text("")
    place.salvor("backup", "sqlite:empty.db", status=None)
    (place.data / "folder.db").mkdir()
    place.says(place.salvor("backup", "sqlite:folder.db", status=(1, 2)), "folder.db")
    place.says(place.salvor("backup", "sqlite:nothing.db", status=(1, 2)), "nothing.db")
    check(not (place.data / "nothing.db").exists(), "a database was made")


@case(tags="address")
def encrypted_database(place):
    place.init()
    (place.data / "cipher.db").write_bytes(place.rng.randbytes(64 << 10))
    sqlite_refused(place, "cipher.db", "encrypted")


@case(tags="address")
def damaged_database(place):
    place.init()
    path = place.data / "broken.db"
    bank.make(path, "delete", ballast=5000)
    data = bytearray(path.read_bytes())
    for at in range(8192, len(data) - 4096, 16384):
        data[at:at + 3000] = bytes(3000)
    path.write_bytes(data)
    done = place.salvor("backup", "sqlite:broken.db", status=(1, 3, 4))
    place.says(done, "broken.db")
    path.write_bytes(data[:len(data) // 2 + 100])
    done = place.salvor("backup", "sqlite:broken.db", status=(1, 3, 4))
    place.says(done, "broken.db")


@case(limit=90)
def database_locked_for_long(place):
    place.init()
    path = place.data / "busy.db"
    bank.make(path, "delete")
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("BEGIN EXCLUSIVE")
    begun = time.monotonic()
    done = place.salvor("backup", "sqlite:busy.db", status=(1, 6), limit=75)
    place.says(done, "busy.db", "locked")
    check(time.monotonic() - begun > 5, "gave up at once")
    db.execute("ROLLBACK")
    db.close()
    place.salvor("backup", "sqlite:busy.db")


@case()
def file_where_a_directory_should_be(place):
    small(place)
    target = place.root / "target"
    target.write_text("precious")
    done = place.salvor("restore", "tree", "--to", target, "--yes", env=UNATTENDED, status=(1, 2, 5))
    place.says(done, target)
    equal(target.read_text(), "precious", "the file")
    done = place.salvor("restore", "tree", "--to", target / "below", status=(1, 2))
    place.says(done, target)
    inside = place.root / "inside"
    (inside / "tree").parent.mkdir()
    (inside / "tree").write_text("precious too")
    place.salvor("restore", "tree", "--to", inside, "--yes", env=UNATTENDED, status=None)
    found = [p.read_text() for p in inside.rglob("*") if p.is_file()]
    check("precious too" in found or (inside / "tree/file").exists(), f"lost: {found}")
    repo = place.root / "file-repo"
    repo.write_text("x")
    place.says(place.run([SALVOR, "-r", repo, "init", "--no-config"], status=(1, 2)), repo)


@case()
def directory_where_a_file_should_be(place):
    small(place)
    file = place.data / "tree/file"
    file.unlink()
    file.mkdir()
    (file / "precious").write_text("precious")
    place.salvor("restore", "tree", "--yes", env=UNATTENDED, status=None)
    found = [p.read_text() for p in place.data.rglob("precious")]
    equal(found, ["precious"], "what was in the directory")


@case(tags="address")
def read_only_target(place):
    small(place)
    script = """
mount -t tmpfs -o ro none "$1" && shift && exec "$@"
"""
    target = place.root / "target"
    target.mkdir()
    done = place.in_own_mounts(script, target, SALVOR, "-r", place.repo, "restore", "tree", "--to",
                               target / "here", status=1)
    place.says(done, "read-only", target)


@case(tags="address")
def unknown_resource(place):
    small(place)
    place.says(place.salvor("restore", "tre", status=(1, 2)), "tre")
    place.says(place.salvor("backup", "tre", status=2), "tre")
    place.says(place.salvor("restore", "nothing", status=(1, 2)), "nothing")
    place.says(place.salvor("verify", "nothing", status=(1, 2)), "nothing")
    config = place.data / "salvor.yaml"
    config.write_text(f"name: x\nrepository: {{ url: {place.repo} }}\n"
                      f"resources:\n  secrets: {{ type: files, paths: [{place.data}/tree] }}\n")
    place.says(place.salvor("backup", "secret", repo=False, status=2), "secrets")
    place.says(place.salvor("run", "daily", repo=False, status=2), "daily")


@case(limit=90)
def ambiguous_snapshot(place):
    place.init()
    for n in range(17):
        place.salvor("backup", "-", "--name", "s", input=f"{n}")
    ids = [s["id"] for s in place.snapshots()]
    equal(len(ids), 17, "snapshots")
    first = next(c for c in "0123456789abcdef" if sum(i.startswith(c) for i in ids) > 1)
    done = place.salvor("restore", "s", "--snapshot", first, "--to", place.root / "x", status=(1, 2))
    for one in [i for i in ids if i.startswith(first)][:2]:
        place.says(done, one[:8])
    place.says(place.salvor("show", "ffff" * 4, status=(1, 2)), "ffff")
    place.says(place.salvor("show", "not-hex", status=(1, 2)), "not-hex")


@case()
def two_resources_of_one_name(place):
    for folder in ("one", "two"):
        (place.data / folder).mkdir()
        bank.make(place.data / folder / "app.db")
    place.init()
    done = place.salvor("backup", "sqlite:one/app.db", "sqlite:two/app.db", status=2)
    place.says(done, "app", "--name")
    equal(place.snapshots(), [], "snapshots")


SLIPS = {
    "unknown_key": ("name: x\nrepositroy: { url: /x }\n", ["2:", "repositroy", "repository"]),
    "unknown_resource_key": (
        "name: x\nrepository: { url: /x }\nresources:\n  a: { type: files, pahts: [x] }\n",
        ["4:", "pahts", "paths"]),
    "unset_variable": ("name: x\nrepository: { url: '${NOT_SET_AT_ALL}' }\n",
                       ["2:", "NOT_SET_AT_ALL"]),
    "literal_secret": ("name: x\nrepository: { url: /x, password: hunter2 }\n",
                       ["2:", "password"]),
    "tab": ("name: x\nrepository:\n\turl: /x\n", ["3:"]),
    "unclosed": ("name: x\nrepository: { url: /x\n", [":"]),
    "twice": ("name: x\nname: y\nrepository: { url: /x }\n", ["2:", "name"]),
    "unknown_type": ("name: x\nrepository: { url: /x }\nresources:\n  a: { type: sqllite }\n",
                     ["4:", "sqllite", "sqlite"]),
    "bad_duration": ("name: x\nrepository: { url: /x }\nresources:\n  a:\n    type: files\n"
                     "    paths: [x]\n    objectives: { rpo: soon }\n", ["7:", "soon"]),
    "bad_number": ("name: x\nrepository: { url: /x }\nresources:\n  a:\n    type: files\n"
                   "    paths: [x]\n    keep: { daily: many }\n", ["7:", "many"]),
    "list_for_map": ("name: x\nrepository: [a, b]\n", ["2:", "repository"]),
    "job_of_unknown_resource": ("name: x\nrepository: { url: /x }\nresources:\n"
                                "  a: { type: files, paths: [x] }\njobs:\n"
                                "  daily: { backup: [b] }\n", ["6:", "b"]),
    "not_yaml": ("\x00\x01\x02 binary", ["salvor.yaml"]),
    "empty": ("", ["salvor.yaml"]),
    "no_paths": ("name: x\nrepository: { url: /x }\nresources:\n  a: { type: files }\n",
                 ["4:", "path"]),
    "bomb": ("a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\n"
             "c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: [*c,*c,*c,*c,*c,*c]\n", ["salvor.yaml"]),
}
for _name, (_text, _words) in SLIPS.items():
    def _slip(place, text=_text, words=_words):
        (place.data / "salvor.yaml").write_text(text)
        for command in (["config", "check"], ["backup"], ["status"]):
            done = place.salvor(*command, repo=False, status=2, limit=20)
            place.says(done, "salvor.yaml", *words)
            check("hunter2" not in done.err, "the secret is shown")
    _slip.__name__ = f"yaml_{_name}"
    case(tags="address")(_slip)


@case()
def usage(place):
    """Wrong words: status 2, and what would have been right."""
    for words, says in (([], "help"), (["bakcup"], "backup"), (["list", "--jsn"], "json"),
                        (["backup", "--name"], "name"), (["restore"], "restore"),
                        (["key", "frobnicate"], "frobnicate"), (["dump", "x"], "dump"),
                        (["restore", "a", "--at", "1999-99-99"], "1999-99-99"),
                        (["verify", "--read-data=200%"], "200%"),
                        (["forget", "--keep-last", "-3"], "-3"),
                        (["restore", "a", "--at", "now", "--snapshot", "x"], "--at")):
        place.says(place.salvor(*words, status=2), says)
    place.salvor("--help")
    place.salvor("--version")
    for command in ("init", "backup", "run", "list", "show", "dump", "restore", "undo", "verify",
                    "forget", "prune", "unlock", "key", "status", "config", "repair"):
        check(place.salvor(command, "--help").out.startswith("usage"), f"{command} --help")
    done = place.run([SALVOR, "list"], status=2)
    place.says(done, "-r", "init")


@case()
def mistakes_at_night(place):
    """What, on what, why, and what next."""
    small(place)
    (place.data / "file").write_text("x")
    for words, status, says in (
            (["restore", "tree", "--to", "file"], 1, ("file", "not a directory", "--to")),
            (["dump", "latest", "tree/nothing/at/all"], 1, ("nothing", "show", "tree")),
            (["verify", "tre"], 1, ("tre", "salvor list")),
            (["forget", "tre", "--keep-last", "1"], 1, ("tre", "salvor list"))):
        place.says(place.salvor(*words, status=status), *says)
    wrong = place.root / "wrong"
    wrong.write_text("wrong")
    wrong.chmod(0o600)
    place.says(place.salvor("-p", wrong, "list", status=1), "it came from -p", "SALVOR_PASSWORD_FILE")
    place.repo.rename(place.root / "away")
    place.says(place.salvor("list", status=1), place.repo, "mount", "salvor init")
    (place.root / "away").rename(place.repo)
    place.without_root()
    place.repo.chmod(0)
    place.says(place.salvor("list", status=1), "permission denied", "owns")
    place.repo.chmod(0o700)


@case()
def standard_output_is_full(place):
    small(place)
    done = place.run(["sh", "-c", '"$@" >/dev/full', "sh", SALVOR, "-r", place.repo, "list"],
                     status=1)
    place.says(done, "standard output")
    done = place.run(["sh", "-c", '"$@" >/dev/full', "sh", SALVOR, "-r", place.repo, "dump",
                      "latest", "tree/file"], status=1)


@case()
def errors_as_json(place):
    done = place.salvor("--json", "list", status=1)
    error = json.loads(done.out.splitlines()[-1])["error"]
    check(error["code"] and error["message"], f"{error}")


@case()
def hostile_names_do_not_reach_the_terminal(place):
    tree = place.data / "tree"
    tree.mkdir()
    (tree / "esc\x1b[2Jname").write_text("x")
    place.init()
    place.salvor("backup", "./tree")
    done = place.salvor("show", "latest", "tree")
    check("\x1b" not in done.out + done.err, "an escape sequence is printed raw")
    done = place.salvor("restore", "tree", "--to", place.root / "x")
    check("\x1b" not in done.out + done.err, "an escape sequence is printed raw")


@case(tags="address")
def paths_never_leave_the_target(place):
    """Trees that restic would not write either, made by hand: names with slashes and dots."""
    fill(place.data / "tree", place.rng, 3)
    place.init()
    place.backup("./tree")
    sealed = Repository(place.repo, place.env["SALVOR_PASSWORD"])
    for name in ("..", ".", "a/b", "/etc/evil", "", "../../evil", "x\x00y"):
        node = {"name": name, "type": "file", "mode": 420, "mtime": "2026-01-01T00:00:00Z",
                "atime": "2026-01-01T00:00:00Z", "ctime": "2026-01-01T00:00:00Z", "uid": 0,
                "gid": 0, "user": "", "group": "", "content": []}
        snapshot = sealed.add_tree_snapshot([node])
        to = place.root / "deep" / "er" / "out"
        done = place.salvor("restore", "--snapshot", snapshot, "--to", to, status=None)
        if done.status == 0:
            raise Failed(f"a tree with the name {name!r} was restored as if it were good")
        outside = [p for p in place.root.rglob("*evil*")] + \
            ([place.data.parent / "etc/evil"] if os.path.exists("/etc/evil") else [])
        equal(outside, [], f"{name!r}: written")
        (place.repo / "snapshots" / snapshot).unlink()


main()
