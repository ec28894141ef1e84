"""kill -9 at random moments of backup, forget and prune (issue: Shows 5)."""
import os
import signal
import subprocess
import time

from live import SALVOR, Failed, bytes_of, case, change, check, counts, equal, fill, main, same


class Victim:
    """A repository under a life of backups, forgets and prunes, most of them killed half-way."""

    def __init__(self, place):
        self.place = place
        self.rng = place.rng
        self.tree = place.data / "tree"
        self.states = {}  # snapshot: what it must bring back
        self.usual = {}   # command: seconds that it takes when nobody kills it
        fill(self.tree, self.rng, 25, largest=2_000_000)
        place.init()

    def grow(self):
        change(self.tree, self.rng, 8)
        (self.tree / "bulk").write_bytes(self.rng.randbytes(self.rng.randrange(1 << 20, 24 << 20)))

    def run(self, *words):
        """Unkilled: it must work at once, whatever was killed before."""
        begun = time.monotonic()
        done = self.place.salvor("--json", *words)
        self.usual[words[0]] = time.monotonic() - begun
        return done

    def backup(self):
        expected = bytes_of(self.tree)
        made = self.place.fields(self.run("backup", "./tree"), "backup")
        self.states[made["snapshot"]] = expected
        return made

    def kill(self, *words):
        """True if it was killed before its end. What it had reported done must hold."""
        expected = bytes_of(self.tree)
        child = self.place.start("--json", *words)
        time.sleep(self.rng.random() * self.usual[words[0]] * 1.1)
        child.send_signal(signal.SIGKILL)
        out, err = child.communicate()
        if child.returncode == 0 and words[0] == "backup":
            made = self.place.fields(Output(out), "backup")
            self.states[made["snapshot"]] = expected
        elif child.returncode not in (0, -signal.SIGKILL):
            raise Failed(f"{words}: status {child.returncode}\n{err.decode()}")
        return child.returncode != 0

    def judge(self):
        place = self.place
        present = {s["id"] for s in place.snapshots()}
        gone = set(self.states) - present
        for snapshot in gone:  # forgotten; retention is asked to keep the two newest
            del self.states[snapshot]
        place.clean()
        check(self.states, "no snapshot is left")
        for snapshot in self.rng.sample(sorted(self.states), min(2, len(self.states))):
            to = place.restore("tree", "--snapshot", snapshot)
            same(bytes_of(to / "tree"), self.states[snapshot], f"snapshot {snapshot[:8]}")
            subprocess.run(["rm", "-rf", to.parent], check=True)


class Output:
    def __init__(self, out):
        self.out = out.decode()

    def text(self):
        return self.out


def killed(place, number, *steps):
    victim = Victim(place)
    done = 0
    for step in [("backup", "./tree"), *steps]:
        victim.grow()
        victim.backup()
        victim.run(*step)
    while done < number:
        victim.grow()
        if victim.rng.random() < 0.5 or len(victim.states) < 4:
            victim.backup()
        if len(victim.states) > 8:  # or each round would verify more than the one before
            victim.run("forget", "tree", "--keep-last", "4")
            victim.run("prune")
        for step in steps:
            done += victim.kill(*step)
            if victim.rng.random() < 0.5:
                victim.run(*step)  # the next command clears the lock by itself
        newest = max((s for s in place.snapshots()), key=lambda s: s["time"])
        if newest["id"] not in victim.states:  # saved, and killed before it could say so
            place.salvor("forget", "--snapshot", newest["id"], status=None)
        victim.judge()
    print(f"{done} kills")


@case(limit=150, full=3600)
def during_backup(place):
    killed(place, counts(6, 80), ("backup", "./tree"))


@case(limit=150, full=3600)
def during_forget_and_prune(place):
    killed(place, counts(6, 60), ("forget", "tree", "--keep-last", "2"),
           ("prune", "--waste-limit", "1%"))


@case(limit=150, full=3600)
def during_everything(place):
    killed(place, counts(6, 60), ("backup", "./tree"), ("forget", "tree", "--keep-last", "3"),
           ("prune", "--waste-limit", "1%"))


@case(limit=60)
def unfinished_files_are_removed(place):
    """What a kill leaves half-written, in whatever directory, goes with the next prune, once it is
    too old to be anybody's work. strace kills where a rename would have finished the file."""
    tree = place.data / "tree"
    tree.mkdir()
    (tree / "file").write_text("some")
    place.init()
    for rename in (1, 2, 3):  # of the main thread: lock, index, snapshot
        place.run(["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=renameat2,renameat", "-e",
                   f"inject=renameat2,renameat:signal=SIGKILL:when={rename}", SALVOR, "-r",
                   place.repo, "backup", "./tree"], status=None)
    left = sorted(place.repo.rglob("*-tmp-*"))
    equal([p.parent.name for p in left], ["index", "locks", "snapshots"], "where files are left")
    left.append(place.repo / "data" / "00" / f"{'0' * 64}-tmp-123456")  # as restic calls them
    left[-1].parent.mkdir(exist_ok=True)
    left[-1].write_bytes(bytes(1 << 20))
    young = place.repo / "data" / "00" / "salvor-tmp-00000000000000000001"
    young.write_bytes(b"a living writer's")
    for path in left:
        os.utime(path, (time.time() - 3600,) * 2)
    place.salvor("prune", "--dry-run")
    check(all(p.exists() for p in left), "a dry run removed something")
    done = place.salvor("prune")
    place.says(done, "unfinished")
    equal(list(place.repo.rglob("*-tmp-*")), [young], "left")
    place.backup("./tree")
    place.clean()


@case(limit=60)
def uploads_are_not_repeated(place):
    """What a killed backup had uploaded is found again, not uploaded twice."""
    tree = place.data / "tree"
    tree.mkdir()
    for n in range(16):
        (tree / f"big-{n}").write_bytes(place.rng.randbytes(16 << 20))
    place.init()
    child = place.start("backup", "./tree")

    def uploaded():
        return sum(p.stat().st_size for p in (place.repo / "data").rglob("*")
                   if p.is_file() and "." not in p.name)
    end = time.monotonic() + 40
    while uploaded() < 140 << 20 and child.poll() is None and time.monotonic() < end:
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    before = uploaded()
    check(child.returncode == -9, "the backup had ended")
    made = place.backup("./tree")
    total = uploaded()
    # What each of four uploads had just put there may not be in the journal yet.
    check(made["bytes_resumed"] >= before - (4 * 17 << 20),
          f"only {made['bytes_resumed']} of {before} bytes were taken over")
    check(total < (16 * 16 << 20) * 1.02 + (before - made["bytes_resumed"]), "uploaded twice")
    place.clean()
    same(bytes_of(place.restore("tree") / "tree"), bytes_of(tree))
    equal(list((place.repo / "locks").iterdir()), [], "locks left")


@case(limit=60, tags="address thread")
def interrupt_ends_in_order(place):
    """Ctrl-C: no lock stays, nothing is half done, the status is not 0."""
    tree = place.data / "tree"
    tree.mkdir()
    for n in range(10):
        (tree / f"big-{n}").write_bytes(place.rng.randbytes(16 << 20))
    place.init()
    for wait in (0.05, 0.3):
        child = place.start("backup", "./tree")
        time.sleep(wait)
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=30)
        check(child.returncode in (0, 1, -signal.SIGINT), f"status {child.returncode}: {err}")
        equal(list((place.repo / "locks").iterdir()), [], "locks left")
    place.backup("./tree")
    place.clean(restic=False)


main()
