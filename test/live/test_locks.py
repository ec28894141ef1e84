"""Locks: restic's, respected by both programs; ours that are stale go by themselves."""
import datetime
import json
import signal
import socket
import subprocess
import time

from live import SALVOR, case, check, equal, fill, main
from sealed import Repository


def small(place):
    fill(place.data / "tree", place.rng, 5)
    place.init()
    place.backup("./tree")


def locks(place):
    """Without what a process that was killed while it wrote one may have left."""
    return sorted(p.name for p in (place.repo / "locks").iterdir() if "tmp" not in p.name)


def wait_for_lock(place, child, count=1):
    end = time.monotonic() + 20
    while len(locks(place)) < count:
        check(child.poll() is None, "it ended before it had a lock")
        check(time.monotonic() < end, "no lock within 20 s")
        time.sleep(0.01)


def holder(place):
    """A backup that waits for its input, with its lock held."""
    child = place.start("backup", "-", "--name", "held")
    child.stdin.write(b"beginning\n")
    child.stdin.flush()
    wait_for_lock(place, child)
    return child


@case(limit=60, tags="address thread")
def two_at_once(place):
    """Backups go together; a prune waits for nobody and says who is in the way."""
    small(place)
    child = holder(place)
    place.backup("./tree")
    for command in (["prune"], ["forget", "tree", "--keep-last", "1"]):
        done = place.salvor(*command, status=6)
        place.says(done, socket.gethostname(), child.pid)
    out, err = child.communicate(b"end\n")
    equal(child.returncode, 0, f"status of the held backup: {err.decode()}")
    equal(locks(place), [], "locks left")
    place.salvor("prune")
    held = next(s["id"] for s in place.snapshots() if s["resource"] == "held")
    equal(place.salvor("dump", held, "held").out, "beginning\nend\n", "what was read")


@case(limit=60)
def many_backups_at_once(place):
    small(place)
    children = [place.start("backup", "-", "--name", f"n{n}") for n in range(6)]
    data = [place.rng.randbytes(400_000) for _ in children]
    for child, bytes_in in zip(children, data):
        child.stdin.write(bytes_in)
        child.stdin.close()
        child.stdin = None
    for child in children:
        out, err = child.communicate(timeout=50)
        equal(child.returncode, 0, f"status: {err.decode()}")
    for n, expected in enumerate(data):
        found = [s for s in place.snapshots() if s["resource"] == f"n{n}"]
        equal(place.salvor("dump", found[0]["id"], f"n{n}").stdout == expected, True, f"n{n}")
    place.clean()


@case(limit=60, tags="address")
def stale_lock_of_ours_goes_by_itself(place):
    small(place)
    child = holder(place)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    equal(len(locks(place)), 1, "locks left by the killed one")
    place.salvor("prune")
    equal(locks(place), [], "locks")
    child = holder(place)
    child.send_signal(signal.SIGKILL)
    zombie = child  # not waited for: dead, but still in the process table
    time.sleep(0.2)
    place.salvor("prune")
    equal(locks(place), [], "locks")
    zombie.communicate()
    place.clean()


@case(limit=60)
def living_lock_is_respected(place):
    """A process that is stopped is not dead."""
    small(place)
    child = holder(place)
    child.send_signal(signal.SIGSTOP)
    try:
        place.salvor("prune", status=6)
        place.salvor("unlock")
        equal(len(locks(place)), 1, "locks after unlock")
        place.salvor("unlock", "--all")
        equal(locks(place), [], "locks after unlock --all")
        place.salvor("prune")
    finally:
        child.send_signal(signal.SIGCONT)
    out, err = child.communicate(b"end\n")
    check(child.returncode != 0, "it went on to write without its lock")
    check(b"lock" in err, f"it does not say why: {err}")
    place.clean()


@case(limit=60)
def restic_respects_ours(place):
    small(place)
    child = holder(place)
    equal(len(place.restic("list", "--no-lock", "locks").out.split()), 1, "locks that restic lists")
    shown = json.loads(place.restic("cat", "--no-lock", "lock", locks(place)[0]).out)
    equal(shown["pid"], child.pid, "pid in the lock")
    equal(shown["hostname"], socket.gethostname(), "host in the lock")
    done = place.restic("prune", status=1)
    check("locked" in done.err, f"restic: {done.err}")
    place.restic("backup", "tree")
    place.restic("unlock")  # removes stale ones only
    equal(len(locks(place)), 1, "locks after restic's unlock")
    child.communicate(b"end\n")
    equal(child.returncode, 0, "status of the held backup")
    place.clean()


@case(limit=60)
def ours_respects_restic(place):
    small(place)
    child = subprocess.Popen(["restic", "-r", place.repo, "backup", "--stdin"], cwd=place.data,
                             stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=place.env)
    child.stdin.write(b"x")
    child.stdin.flush()
    wait_for_lock(place, child)
    done = place.salvor("prune", status=6)
    place.says(done, child.pid)
    place.backup("./tree")
    child.communicate(b"y")
    equal(child.returncode, 0, "status of restic")
    place.salvor("prune")
    place.clean()


def foreign(place, minutes, exclusive=True, host="elsewhere"):
    when = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(minutes=minutes)
    return Repository(place.repo, place.env["SALVOR_PASSWORD"]).add("locks", {
        "time": when.isoformat(), "exclusive": exclusive, "hostname": host, "username": "them",
        "pid": 4711, "uid": 0, "gid": 0})


@case(limit=60, tags="address")
def foreign_lock_is_watched_not_believed(place):
    """Its clock may be wrong: an old time in it is no proof that its owner is gone."""
    small(place)
    foreign(place, 120)
    done = place.salvor("backup", "./tree", status=6)
    place.says(done, "elsewhere", "4711", "unlock")
    equal(len(locks(place)), 1, "locks")
    place.restic("unlock")
    equal(len(locks(place)), 0, "locks after restic's unlock")
    foreign(place, 5)
    place.salvor("prune", status=6)
    place.salvor("unlock", "--all")
    place.salvor("prune")
    foreign(place, 5, exclusive=False)
    place.backup("./tree")
    place.salvor("prune", status=6)


@case(limit=60, tags="address")
def unreadable_lock_is_told(place):
    small(place)
    (place.repo / "locks" / ("ab" * 32)).write_bytes(b"not a lock")
    done = place.salvor("prune", status=(1, 4, 6))
    place.says(done, "abababab")
    (place.repo / "locks" / ("ab" * 32)).unlink()
    place.clean()


@case(limit=60)
def reading_needs_no_writing(place):
    """A role that may only read restores, lists and verifies."""
    small(place)
    script = 'mount --bind -o ro "$1" "$1" && mount -o remount,bind,ro "$1" && shift && exec "$@"'
    for words in (["list"], ["verify", "--read-data"],
                  ["restore", "tree", "--to", str(place.root / "out")]):
        place.in_own_mounts(script, place.repo, SALVOR, "-r", place.repo, *words)
    done = place.in_own_mounts(script, place.repo, SALVOR, "-r", place.repo, "backup", "./tree",
                               status=1)
    place.says(done, "read-only")


main()
