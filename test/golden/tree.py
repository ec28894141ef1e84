#!/usr/bin/env python3
"""Trees that restic writes now, read and written again by salvor: the bytes must not differ.

usage: tree.py TREE_REWRITE   (exit status 77: skipped, there is no restic)

The directory holds every kind of entry and name there is, except what restic 0.14 itself does not
keep: sockets are left out of a backup, and link targets that are not UTF-8 lose those bytes.
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile

NAMES = [
    b"plain", b"with space", b'quote"x', b"back\\slash", b"tab\there", b"nl\nx", b"\r\a\b\f\v",
    b"\x01ctl\x7f", b"bad\xff\xfeutf", b"\xe0\xb8", b"\xed\xa0\x80sur", b"\xc0\xaf",
    "caf\u00e9".encode(), "cafe\u0301".encode(), "\U0001f600emoji".encode(),
    "\u2028\u2029".encode(), "\u00a0nbsp".encode(), "\u00adshy".encode(), "\ufeffbom".encode(),
    "\ufffdrepl".encode(), "\u3000".encode(), "\ue000".encode(), "\U000e0001tag".encode(),
    "\U0001fae0 of Unicode 14".encode(), b"<&>", b"'single'", b"`tick`", b"a%b", b"-", b"...",
    b"n" * 255,
]


def fill(top):
    for name in NAMES:
        with open(os.path.join(top, name), "wb") as f:
            f.write(b"content of " + name)

    def at(name):
        return os.path.join(top, os.fsencode(name))

    def write(name, data=b"s"):
        with open(at(name), "wb") as f:
            f.write(data)

    write("empty", b"")
    write("big", os.urandom(3_000_000))
    for name, mode in (("suid", 0o4755), ("sgid", 0o2755), ("both", 0o6711), ("none", 0)):
        write(name)
        os.chmod(at(name), mode)
    os.mkdir(at("sticky"))
    os.chmod(at("sticky"), 0o1777)
    os.mkdir(at("emptydir"))
    os.mkdir(at("sub"))
    write("sub/file")
    os.symlink("plain", at("link"))
    os.symlink('nowhere <&> "quoted" \\ \u2028 \u00e9', at("dangling"))
    os.link(at("plain"), at("hard"))
    os.mkfifo(at("fifo"))
    for name, ns in (("t0", 0), ("t1", -1_500_000_000), ("t2", 1_234_567_890_123_456_789),
                     ("t3", 1_719_792_000_500_000_000), ("t4", 4_102_444_800_000_000_001)):
        write(name)
        os.utime(at(name), ns=(ns, ns))
    if os.geteuid() == 0:
        os.mknod(at("char"), 0o020644, os.makedev(1, 3))
        os.mknod(at("block"), 0o060600, os.makedev(7, 300))
        os.chown(at("t0"), 12345, 4_000_000_000)
    try:
        os.setxattr(at("plain"), "user.foo", b"bar\x00\xff")
        os.setxattr(at("empty"), "user.z", b"")
        os.setxattr(at("empty"), "user.a", b"1")
        os.setxattr(at("sub"), "user.dir", b"x")
    except OSError as error:
        print("without extended attributes:", error)


def restic(*words, zone="UTC"):
    env = dict(os.environ, RESTIC_PASSWORD="x", TZ=zone, RESTIC_PROGRESS_FPS="0")
    return subprocess.run(["restic", "--no-cache", *words], env=env, check=True,
                          stdout=subprocess.PIPE).stdout


def compare(rewrite, repo, snapshot, zone):
    """All trees of a snapshot; how many there were, and how many nodes in them."""
    trees = {json.loads(restic("-r", repo, "cat", "snapshot", snapshot))["tree"]}
    done, nodes = set(), 0
    while trees - done:
        tree = min(trees - done)
        done.add(tree)
        blob = restic("-r", repo, "cat", "blob", tree)
        ours = subprocess.run([rewrite], input=blob, env=dict(os.environ, TZ=zone), check=True,
                              stdout=subprocess.PIPE).stdout
        if ours != blob:
            at = next(i for i, (a, b) in enumerate(zip(ours + b"\0", blob + b"\0")) if a != b)
            sys.exit(f"tree {tree} in {zone} differs at byte {at}:\n"
                     f"restic: {blob[max(0, at - 80):at + 80]}\n"
                     f"salvor: {ours[max(0, at - 80):at + 80]}")
        found = json.loads(blob)["nodes"]
        nodes += len(found)
        trees |= {node["subtree"] for node in found if "subtree" in node}
    return len(done), nodes


def main():
    rewrite = os.path.abspath(sys.argv[1])
    if shutil.which("restic") is None:
        print("there is no restic")
        return 77
    with tempfile.TemporaryDirectory() as top:
        files, repo = os.path.join(top, "files"), os.path.join(top, "repo")
        os.mkdir(files)
        fill(os.fsencode(files))
        restic("init", "-r", repo)
        for zone in ("UTC", "America/New_York"):
            restic("-r", repo, "backup", "-q", "--tag", zone, "--force", files, zone=zone)
            found = json.loads(restic("-r", repo, "snapshots", "--json", "--tag", zone))
            trees, nodes = compare(rewrite, repo, found[-1]["id"], zone)
            print(f"{zone}: {trees} trees with {nodes} entries: same bytes")
    return 0


sys.exit(main())
