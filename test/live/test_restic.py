"""salvor and stock restic on one repository, in both directions (X7)."""
import json
import os
import pathlib
import shutil

from live import (PASSPHRASE, Failed, bytes_of, case, change, check, counts, equal, facts, fill, main,
                  same)


def restic_snapshots(place):
    return json.loads(place.restic("snapshots", "--json").out)


def tree_of(place, snapshot, *path):
    """The id of a tree below a snapshot, as restic tells it."""
    tree = json.loads(place.restic("cat", "snapshot", snapshot).out)["tree"]
    for name in path:
        nodes = json.loads(place.restic("cat", "blob", tree).out)["nodes"]
        found = [n for n in nodes if n["name"] == name]
        if not found:
            raise Failed(f"{name} is not in tree {tree}: {[n['name'] for n in nodes]}")
        tree = found[0].get("subtree") or found[0]["content"]
    return tree


def data_blobs(place):
    return {line for line in place.restic("list", "blobs").out.splitlines()
            if line.startswith("data")}


@case(limit=90, tags="address thread")
def restic_reads_what_salvor_wrote(place):
    tree = place.data / "tree"
    fill(tree, place.rng, counts(40, 400), largest=3_000_000)
    (tree / "link").symlink_to("a/b")
    place.init()
    first = place.backup("./tree")
    before = facts(tree)
    change(tree, place.rng)
    second = place.backup("./tree")
    check(second["snapshot"] != first["snapshot"], "two backups, one snapshot")
    place.clean()
    for backup, expected in ((first, before), (second, facts(tree))):
        to = place.root / backup["snapshot"][:8]
        place.restic("restore", backup["snapshot"], "--target", to)
        same(facts(to / "tree" / "content" / "tree"), expected, "restored by restic")
        text = (to / "tree" / "RESTORE.txt").read_text()
        check("restic -r REPOSITORY restore" in text, "RESTORE.txt tells no command")
        check("latest" not in text and "pre-restore" in text,
              "restic's latest may be what a restore replaced")
        manifest = json.loads((to / "tree" / "manifest.json").read_text())
        equal(tree_of(place, backup["snapshot"], "tree", "content"),
              manifest.get("content") or manifest.get("tree"), "content's tree in the manifest")
    found = [s for s in restic_snapshots(place) if "resource=tree" in s["tags"]]
    equal(len(found), 2, "snapshots that restic finds by tag")
    check({"salvor", "type=files"} <= set(found[0]["tags"]), f"tags {found[0]['tags']}")


@case(limit=90, tags="address")
def check_is_clean_after_forget_prune_and_key_changes(place):
    tree = place.data / "tree"
    place.init()
    for _ in range(4):
        fill(tree, place.rng, 12)
        place.backup("./tree")
        change(tree, place.rng)
    (place.root / "new").write_text("another passphrase\n")
    place.salvor("key", "add", "--new-password-file", place.root / "new")
    place.clean()
    place.salvor("forget", "--keep-last", "2")
    place.restic("check", "--read-data")
    place.salvor("prune", "--waste-limit", "1%")
    place.clean()
    equal(len(place.snapshots()), 2, "snapshots left")
    keys = place.fields(place.salvor("--json", "key", "list"), "keys")
    equal(len(keys), 2, "keys")
    place.env["RESTIC_PASSWORD"] = place.env["SALVOR_PASSWORD"] = "another passphrase"
    old = [k["id"] for k in place.fields(place.salvor("--json", "key", "list"), "keys")
           if not k["current"]]
    place.salvor("key", "remove", old[0])
    place.clean()
    done = place.salvor("list", env={"SALVOR_PASSWORD": PASSPHRASE}, status=1)
    place.says(done, "passphrase")
    (place.root / "new").write_text("a third\n")
    place.salvor("key", "passwd", "--new-password-file", place.root / "new")
    place.env["RESTIC_PASSWORD"] = place.env["SALVOR_PASSWORD"] = "a third"
    place.clean()
    last = place.restore("tree")
    to = place.root / "by-restic"
    place.restic("restore", "latest", "--target", to, "--tag", "resource=tree")
    same(bytes_of(last / "tree"), bytes_of(to / "tree" / "content" / "tree"), "both restored")


def reads_restic(place, version, compression):
    tree = place.data / "tree"
    fill(tree, place.rng, 25, largest=4_000_000)
    (tree / "zeros").write_bytes(bytes(5_000_000))
    (tree / "link").symlink_to("c/d")
    option = ["--compression", compression] if version == 2 else []
    place.restic("init", "--repository-version", version)
    place.restic("backup", "tree", *option)
    old = facts(tree)
    change(tree, place.rng)
    place.restic("backup", "tree", *option)
    place.clean()
    snapshots = sorted(restic_snapshots(place), key=lambda s: s["time"])
    for snapshot, expected in zip(snapshots, (old, facts(tree))):
        to = place.restore("--snapshot", snapshot["id"])
        same(facts(to / "tree"), expected, f"restored from version {version}, {compression}")
    done = place.salvor("dump", snapshots[0]["id"], "/tree/zeros")  # the second one may have changed it
    equal(done.stdout, bytes(5_000_000), "dump")


@case(limit=60, tags="address")
def salvor_reads_version_1(place):
    reads_restic(place, 1, "none")


@case(limit=60)
def salvor_reads_version_2_uncompressed(place):
    reads_restic(place, 2, "off")


@case(limit=60, tags="thread")
def salvor_reads_version_2_auto(place):
    reads_restic(place, 2, "auto")


@case(limit=60)
def salvor_reads_version_2_max(place):
    reads_restic(place, 2, "max")


@case(limit=120)
def both_in_turn(place):
    """Each sees, keeps and can restore what the other did, whoever made the repository."""
    tree = place.data / "tree"
    fill(tree, place.rng, 20)
    place.restic("init")
    states = {}
    for turn in range(counts(2, 6)):
        states[place.backup("./tree")["snapshot"]] = ("salvor", facts(tree))
        change(tree, place.rng)
        place.restic("backup", "tree", "--tag", f"turn-{turn}")
        newest = max(restic_snapshots(place), key=lambda s: s["time"])
        states[newest["id"]] = ("restic", facts(tree))
        change(tree, place.rng)
    place.clean()
    place.restic("forget", "--keep-last", "1", "--tag", "turn-0", "--tag", "turn-1", "--prune",
                 "--group-by", "host")
    place.clean()
    place.salvor("forget", "tree", "--keep-last", "1")
    place.salvor("prune")
    place.clean()
    left = {s["id"] for s in place.snapshots()}
    equal(left, {s["id"] for s in restic_snapshots(place)}, "snapshots as both list them")
    check(sum(states[s][0] == "salvor" for s in left) == 1, "salvor's newest is kept")
    check(any(states[s][0] == "restic" for s in left), "salvor touched what restic made")
    for snapshot in left:
        by, expected = states[snapshot]
        to = place.restore("--snapshot", snapshot)
        same(facts(to / "tree"), expected, f"restored by salvor, written by {by}")
        to = place.root / f"r-{snapshot[:8]}"
        place.restic("restore", snapshot, "--target", to)
        inside = "tree/content/tree" if by == "salvor" else "tree"
        same(facts(to / inside), expected, f"restored by restic, written by {by}")


@case(limit=60)
def blobs_below_512_kib_are_shared(place):
    tree = place.data / "tree"
    fill(tree, place.rng, 60, largest=500_000)
    place.init()
    place.restic("backup", "tree")
    before = data_blobs(place)
    place.backup("./tree")
    more = data_blobs(place) - before
    check(len(more) <= 5, f"{len(more)} data blobs more, where only the manifest, its signature, "
                          "RESTORE.txt and salvor.yaml are new")
    other = place.data / "other"
    fill(other, place.rng, 30, largest=500_000)
    place.backup("./other")
    before = data_blobs(place)
    place.restic("backup", "other")
    equal(data_blobs(place) - before, set(), "data blobs that restic added")


@case(limit=60)
def tree_ids_are_equal(place):
    """Byte for byte the JSON that restic writes: odd names, links, devices, attributes."""
    tree = place.data / "tree"
    fill(tree, place.rng, 20)
    odd = ["quote\"s", "back\\slash", "<html>&'", "tab\tnew\nline", "\u2028\u2029", "ünïcödé",
           "bell\x07", "del\x7f", "emoji\U0001f600", "-dash", " space ", "%41"]
    for name in odd:
        (tree / name).write_text(name)
    for name in (b"latin\xe9", b"\xff\xfe", b"cut\xe2\x82"):
        pathlib.Path(os.fsdecode(os.fsencode(tree) + b"/" + name)).write_text("not UTF-8")
    (tree / "link").symlink_to("nowhere/<at>/all")
    os.link(tree / "-dash", tree / "hard")
    (tree / "empty").mkdir()
    (tree / "sticky").mkdir()
    (tree / "sticky").chmod(0o1777)
    (tree / "suid").write_text("x")
    (tree / "suid").chmod(0o4755)
    os.mkfifo(tree / "pipe")
    os.setxattr(tree / "-dash", "user.comment", b"words \x00 and \xff bytes")
    os.setxattr(tree / "empty", "user.dir", b"")
    for index, name in enumerate(odd):
        os.utime(tree / name, ns=(10**18 + index * 111111111, 10**18 + index * 111111111))
    os.utime(tree / "hard", ns=(0, 0))
    place.init()
    place.restic("backup", "tree")
    theirs = tree_of(place, restic_snapshots(place)[0]["id"], "tree")
    backup = place.backup("./tree")
    ours = tree_of(place, backup["snapshot"], "tree", "content", "tree")
    if ours != theirs:
        one = json.loads(place.restic("cat", "blob", ours).out)["nodes"]
        two = json.loads(place.restic("cat", "blob", theirs).out)["nodes"]
        lines = [f"{a}\n  restic: {b}" for a, b in zip(one, two) if a != b]
        raise Failed("trees differ:\n" + "\n".join(lines[:5]))
    to = place.root / "out"
    place.restic("restore", backup["snapshot"], "--target", to)
    same(bytes_of(to / "tree" / "content" / "tree"), bytes_of(tree), "restored by restic")


@case(limit=60)
def restic_rewrites_tags_and_salvor_still_knows(place):
    """Changing tags changes a snapshot's id; what it is stays known."""
    tree = place.data / "tree"
    fill(tree, place.rng, 10)
    place.init()
    backup = place.backup("./tree")
    place.restic("tag", "--add", "important", backup["snapshot"])
    now = place.snapshots()
    equal(len(now), 1, "snapshots")
    check(now[0]["id"] != backup["snapshot"], "the id should have changed")
    check("important" in now[0]["tags"], "the tag is not shown")
    place.clean()
    same(facts(place.restore("tree") / "tree"), facts(tree))
    shutil.rmtree(place.root / "cache")
    place.clean(restic=False)


main()
