"""Files: everything about them comes back, whatever they are called (M3, B3)."""
import os
import pathlib
import signal
import socket
import subprocess
import threading
import time

from live import (SALVOR, Failed, bytes_of, case, change, check, equal, facts, fill, main,
                  need_root, same)

UNATTENDED = {"SALVOR_ALLOW_UNATTENDED_RESTORE": "1"}


def zoo(top):
    """One of each kind of thing."""
    top.mkdir()
    (top / "plain").write_bytes(b"bytes\n" * 1000)
    (top / "empty").write_bytes(b"")
    (top / "secret").write_text("key")
    (top / "secret").chmod(0o600)
    (top / "odd-mode").write_text("x")
    (top / "odd-mode").chmod(0o6751)
    with open(top / "sparse", "wb") as f:
        f.seek(40 << 20)
        f.write(b"end")
        f.truncate(60 << 20)
    (top / "deep/er/and/deeper").mkdir(parents=True)
    (top / "deep/er/and/deeper/leaf").write_text("leaf")
    (top / "closed").mkdir()
    (top / "closed" / "inside").write_text("x")
    (top / "one").write_text("hard")
    os.link(top / "one", top / "deep" / "two")
    os.link(top / "one", top / "three")
    (top / "link").symlink_to("plain")
    (top / "dangling").symlink_to("/nowhere/at all")
    (top / "to-dir").symlink_to("deep")
    os.symlink(b"not\xffutf8", os.fsencode(top / "raw-link"))
    os.mkfifo(top / "pipe")
    for name in (b"latin\xe9", b"new\nline", b"\xff\xfe\xfd", b"tab\there", b"\x01\x1b[31m",
                 b"x" * 255, b"quote\"'\\"):
        with open(os.fsencode(top) + b"/" + name, "wb") as f:
            f.write(name)
    os.setxattr(top / "plain", "user.one", b"\x00\x01binary")
    os.setxattr(top / "deep", "user.dir", b"on a directory")
    for n, path in enumerate(sorted(top.rglob("*"))):
        if not path.is_symlink():
            os.utime(path, ns=(10**18 + n, 1_234_567_890_123_456_789 + n * 1001))
    os.utime(top / "link", ns=(1, 999_999_999), follow_symlinks=False)
    os.utime(top / "secret", ns=(0, 0))
    (top / "closed").chmod(0o500)


@case(limit=60, tags="address thread")
def attributes_round_trip(place):
    top = place.data / "zoo"
    zoo(top)
    if os.geteuid() == 0:
        os.chown(top / "plain", 1234, 4321)
        os.lchown(top / "dangling", 99, 98)
        os.mknod(top / "device", 0o600 | 0o020000, os.makedev(1, 7))
        subprocess.run(["setfacl", "-m", "u:1234:rwx,g:99:r", top / "secret"], check=True)
        subprocess.run(["setfacl", "-d", "-m", "u:77:rx", top / "deep"], check=True)
    expected = facts(top)
    place.init()
    place.backup("./zoo")
    to = place.restore("zoo")
    same(facts(to / "zoo"), expected)
    check(os.stat(to / "zoo/sparse").st_blocks * 512 < 8 << 20, "the sparse file is not sparse")
    by_restic = place.root / "by-restic"
    place.restic("restore", "latest", "--target", by_restic)
    found = facts(by_restic / "zoo/content/zoo")
    del found[b"raw-link"], expected[b"raw-link"]  # restic 0.14 cannot keep such a target
    same(found, expected, "restored by restic")


@case(limit=60, tags="address")
def in_place_keeps_undo_takes_back(place):
    tree = place.data / "tree"
    fill(tree, place.rng, 20)
    (tree / "a").mkdir(exist_ok=True)
    (tree / "a/key").write_text("first")
    (tree / "a/key").chmod(0o600)
    before = facts(tree, directory_times=False)
    place.init()
    place.backup("./tree")
    change(tree, place.rng)
    (tree / "a/key").write_text("second")
    (tree / "a/key").chmod(0o600)  # the changes may have removed it
    (tree / "a/later").write_text("made after the backup")
    untouched = {p: p.stat().st_ino for p in tree.rglob("*") if p.is_file() and
                 before.get(os.fsencode(p.relative_to(tree))) ==
                 facts(tree, directory_times=False).get(os.fsencode(p.relative_to(tree)))}
    after = facts(tree, directory_times=False)

    plan = place.salvor("restore", "tree", "--dry-run")
    check("a/key" in plan.out, "the dry run does not name what would change")
    same(facts(tree, directory_times=False), after, "a dry run")
    place.salvor("restore", "tree", "--yes", env=UNATTENDED)
    now = facts(tree, directory_times=False)
    for path, entry in before.items():
        if now.get(path) != entry:
            raise Failed(f"{path}: {now.get(path)} is not {entry}")
    equal((tree / "a/key.pre-restore").read_text(), "second", "what was there")
    equal((tree / "a/key.pre-restore").stat().st_mode & 0o777, 0o600, "its mode")
    equal((tree / "a/later").read_text(), "made after the backup", "a file of later")
    for path, inode in untouched.items():
        equal(path.stat().st_ino, inode, f"{path} was rewritten though identical; inode")

    again = place.restore("tree")
    equal((again / "tree/a/key").read_text(), "first", "latest, which is not what was replaced")

    place.salvor("undo", "tree")
    now = facts(tree, directory_times=False)
    for path, entry in after.items():
        if now.get(path) != entry:
            raise Failed(f"after undo, {path}: {now.get(path)} is not {entry}")
    place.says(place.salvor("undo", "tree", status=1), "take back")


def whole(top):
    """All facts of a tree, and the times of its directories, before anything else is looked at."""
    return facts(top, directory_times=True)


@case(limit=60, tags="address")
def undo_brings_attributes_back(place):
    """Of files whose bytes a restore left alone, and of directories."""
    tree = place.data / "tree"
    (tree / "d/closed").mkdir(parents=True)
    for name in ("key", "d/plain", "d/noted", "d/closed/in", "d/empty"):
        (tree / name).write_text("" if name == "d/empty" else "bytes")
        (tree / name).chmod(0o600)
    (tree / "d/link").symlink_to("plain")
    os.setxattr(tree / "d/plain", "user.then", b"1")
    (tree / "d/closed").chmod(0o500)
    then = whole(tree)
    place.init()
    place.backup("./tree")

    (tree / "key").chmod(0o644)
    (tree / "d").chmod(0o711)
    os.setxattr(tree / "d/noted", "user.now", b"\x00\xff")
    os.setxattr(tree / "d", "user.now", b"on a directory")
    os.removexattr(tree / "d/plain", "user.then")
    os.utime(tree / "d/empty", ns=(5, 1_700_000_000_000_000_001))
    os.utime(tree / "d/link", ns=(5, 1_600_000_000_000_000_001), follow_symlinks=False)
    os.utime(tree / "d", ns=(5, 1_500_000_000_000_000_001))
    if os.geteuid() == 0:
        os.chown(tree / "d/plain", 1234, 4321)
        os.chown(tree / "d/closed", 1234, 4321)
    now = whole(tree)

    plan = place.salvor("restore", "tree", "--dry-run").out
    check("tree/key" in plan and "d/closed/in" not in plan, f"the dry run says {plan}")
    same(whole(tree), now, "after a dry run")
    done = place.salvor("restore", "tree", "--yes", env=UNATTENDED)
    check("salvor undo tree" in done.out, f"does not say how to take it back: {done.out}")
    same(whole(tree), then, "restored")
    check(not list(tree.rglob("*.pre-restore")), "files were kept that did not change")
    place.salvor("undo", "tree", "--dry-run")
    same(whole(tree), then, "after an undo that was only asked about")
    place.salvor("undo", "tree")
    same(whole(tree), now, "after undo")
    place.says(place.salvor("undo", "tree", status=1), "take back")


@case(limit=60)
def undo_brings_attributes_back_without_root(place):
    """A person's own files: a directory that is closed even to its owner is no obstacle."""
    tree = place.data / "tree"
    (tree / "closed").mkdir(parents=True)
    (tree / "closed/changed").write_text("then")
    (tree / "closed/same").write_text("same")
    (tree / "closed").chmod(0o500)
    place.without_root()
    place.init()
    place.backup("./tree")
    for path in (tree / "closed", tree / "closed/same"):
        path.chmod(0o700)
    (tree / "closed/changed").write_text("now")
    (tree / "closed").chmod(0o550)
    now = facts(tree, directory_times=False)
    place.salvor("restore", "tree", "--yes", env=UNATTENDED)
    equal((tree / "closed/changed").read_text(), "then", "restored")
    equal((tree / "closed").stat().st_mode & 0o777, 0o500, "mode of the restored directory")
    place.salvor("undo", "tree")
    found = facts(tree, directory_times=False)
    same({p: found.get(p) for p in now}, now, "after undo")


@case(limit=60)
def part_of_a_tree(place):
    tree = place.data / "tree"
    (tree / "etc/app").mkdir(parents=True)
    (tree / "etc/app/one").write_text("1")
    (tree / "etc/two").write_text("2")
    (tree / "other").write_text("3")
    place.init()
    place.backup("./tree")
    to = place.restore("tree", "--path", "tree/etc/app")
    equal(sorted(bytes_of(to)), ["tree/etc/app/one"], "restored")
    to = place.restore("tree", "--path", "tree/other")
    equal(sorted(bytes_of(to)), ["tree/other"], "restored")
    done = place.salvor("restore", "tree", "--path", "tree/nothing", "--to", place.root / "x",
                        status=1)
    place.says(done, "tree/nothing")
    check(not (place.root / "x").exists() or not any((place.root / "x").iterdir()),
          "something was written")
    shown = place.salvor("show", "latest", "tree/etc").out
    check("two" in shown and "app" in shown, f"show: {shown}")
    equal(place.salvor("dump", "latest", "tree/etc/two").out, "2", "dump")
    place.says(place.salvor("dump", "latest", "tree/etc/three", status=1), "three")


@case(limit=60)
def unreadable_is_partial(place):
    """Exit 3, named, and never in the way of the newest complete snapshot."""
    tree = place.data / "tree"
    fill(tree, place.rng, 8)
    place.without_root()
    run = place.salvor
    run("init", "--no-config")
    good = place.fields(run("--json", "backup", "./tree"), "backup")
    (tree / "locked").write_text("not even for its owner")
    (tree / "locked").chmod(0)
    (tree / "shut").mkdir()
    (tree / "shut" / "inside").write_text("x")
    (tree / "shut").chmod(0)
    done = run("--json", "backup", "./tree", status=3)
    place.says(done, "tree/locked")
    place.says(done, "tree/shut")
    partial = place.fields(done, "backup")
    check(partial["partial"], "not marked partial")
    to = place.root / "out"
    run("restore", "tree", "--to", to)
    check(not (to / "tree/locked").exists(), "latest should be the complete one")
    done = run("forget", "tree", "--keep-last", "1")
    left = {s["id"] for s in place.fields(run("--json", "list"), "snapshots")}
    check(good["snapshot"] in left, "the partial snapshot displaced the complete one")


@case()
def what_cannot_be_made_is_named_once(place):
    need_root()
    tree = place.data / "tree"
    tree.mkdir()
    for n in (1, 2):
        os.mknod(tree / f"device{n}", 0o600 | 0o020000, os.makedev(1, 7))
    (tree / "file").write_text("file")
    place.init()
    place.backup("./tree")
    place.without_root()
    for words in (["--to", place.root / "out"], ["--to", place.root / "out2", "--dry-run"]):
        done = place.salvor("restore", "tree", *words, status=3)
        for n in (1, 2):
            equal((done.out + done.err).count(f"device{n}"), 1, f"device{n} in {done.text()}")
        place.says(done, "only root can make devices")
    equal((place.root / "out/tree/file").read_text(), "file", "the other file")


@case(limit=60)
def files_that_change_and_vanish(place):
    """Either one state of the file is in the snapshot, or the snapshot says that it is partial."""
    tree = place.data / "tree"
    tree.mkdir()
    block = 1 << 20
    stop = threading.Event()

    def rewrite():
        n = 0
        while not stop.is_set():
            n += 1
            with open(tree / "busy", "r+b") as f:
                for _ in range(24):
                    f.write(bytes([n % 256]) * block)
            (tree / f"brief-{n % 50}").write_bytes(b"x" * 1000)
            (tree / f"brief-{(n + 25) % 50}").unlink(missing_ok=True)
    (tree / "busy").write_bytes(bytes(24 * block))
    (tree / "calm").write_text("calm")
    place.init()
    thread = threading.Thread(target=rewrite)
    thread.start()
    try:
        for _ in range(5):
            done = place.salvor("--json", "backup", "./tree", status=(0, 3))
            backup = place.fields(done, "backup")
            equal(done.status, 3 if backup["partial"] else 0, "status")
            if backup["partial"]:
                check(any("busy" in m for m in backup["missing"]), f"missing: {backup['missing']}")
                continue
            to = place.restore("tree", "--snapshot", backup["snapshot"])
            data = (to / "tree/busy").read_bytes()
            check(data == bytes([data[0]]) * len(data), "a mix of two states, called complete")
    finally:
        stop.set()
        thread.join()
    place.clean(restic=False)


@case(limit=30)
def unchanged_files_are_not_read_again(place):
    tree = place.data / "tree"
    fill(tree, place.rng, 20)
    place.init()
    first = place.backup("./tree")
    second = place.backup("./tree")
    empty = sum(p.stat().st_size == 0 for p in tree.rglob("file-*"))
    equal(second["files_unchanged"], second["files"] - empty, "unchanged")
    third = place.backup("--reread", "./tree")
    equal(third["files_unchanged"], 0, "unchanged, though told to read again")
    path = next(p for p in sorted(tree.rglob("file-*")) if p.stat().st_size > 0)
    was = path.stat()
    path.chmod(0o600)
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(data)  # same size, and the old time put back: only ctime tells
    os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))
    fourth = place.backup("./tree")
    check(fourth["snapshot"] != first["snapshot"], "no new snapshot")
    same(bytes_of(place.restore("tree") / "tree"), bytes_of(tree))


@case(limit=30)
def excludes_and_globs(place):
    tree = place.data / "tree"
    for name in ("a.key", "b.key", "c.txt", "node_modules/x.js", "cache/CACHEDIR.TAG",
                 "cache/data", "logs/app.log", "logs/keep.txt", "deep/node_modules/y", "deep/z"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(name)
    (tree / "cache/CACHEDIR.TAG").write_text("Signature: 8a477f597d28d172789f06886806bc55\n")
    config = place.data / "salvor.yaml"
    config.write_text(f"""
name: test
repository: {{ url: {place.repo} }}
resources:
  keys: {{ type: files, paths: ["{tree}/*.key"] }}
  tree: {{ type: files, paths: ["{tree}"], exclude: [node_modules, "*.log"] }}
""")
    place.salvor("init", repo=False)
    place.salvor("backup", repo=False)
    to = place.restore("keys")
    equal(sorted(bytes_of(to)), ["a.key", "b.key"], "by glob")
    found = bytes_of(place.restore("tree") / "tree")
    for name in ("node_modules/x.js", "deep/node_modules/y", "logs/app.log"):
        check(name not in found, f"{name} should be left out")
    for name in ("c.txt", "logs/keep.txt", "deep/z"):
        check(name in found, f"{name} is not there")


@case(limit=30)
def special_files_do_not_hang(place):
    """A pipe without a writer, a socket, a device: kept as what they are, never read."""
    tree = place.data / "tree"
    tree.mkdir()
    os.mkfifo(tree / "pipe")
    with socket.socket(socket.AF_UNIX) as s:
        here = os.getcwd()
        os.chdir(tree)
        s.bind("socket")
        os.chdir(here)
        place.init()
        place.salvor("backup", "./tree", limit=20)
    to = place.restore("tree")
    check(pathlib.Path(to / "tree/pipe").is_fifo(), "the pipe")


@case(limit=60)
def interrupted_restore_leaves_no_half_file(place):
    tree = place.data / "tree"
    tree.mkdir()
    for n in range(6):
        (tree / f"big-{n}").write_bytes(place.rng.randbytes(12_000_000))
    place.init()
    place.backup("./tree")
    expected = bytes_of(tree)
    for path in tree.iterdir():
        path.write_bytes(b"the present " + path.name.encode())
    present = bytes_of(tree)
    for wait in (0.02, 0.05, 0.1, 0.2):
        child = place.start("restore", "tree", "--yes", env=UNATTENDED)
        time.sleep(wait)
        child.send_signal(signal.SIGKILL)
        child.communicate()
        for path in tree.glob("big-?"):
            digest = bytes_of(tree)[path.name]
            check(digest in (expected[path.name], present[path.name]),
                  f"{path.name} is neither the old nor the new one")
    place.salvor("restore", "tree", "--yes", env=UNATTENDED)
    now = bytes_of(tree)
    for name, digest in expected.items():
        equal(now[name], digest, name)
    for name, digest in present.items():
        check(digest in now.values(), f"the earlier {name} is lost")


main()
