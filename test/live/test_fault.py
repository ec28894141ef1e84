"""Every store call fails once, in each way: loud failure or success, and a rerun converges
(issue: Shows 7)."""
import shutil

from live import FULL, Failed, bytes_of, case, change, check, counts, fill, main, same


class Template:
    """A small repository with some history, copied for each fault."""

    def __init__(self, place):
        self.place = place
        self.tree = place.data / "tree"
        fill(self.tree, place.rng, 10, largest=200_000)
        place.init()
        for _ in range(3):
            place.backup("./tree")
            change(self.tree, place.rng, 3)
        place.salvor("forget", "tree", "--keep-last", "2")
        place.backup("./tree")
        change(self.tree, place.rng, 3)
        self.names = ("repo", "state", "cache")
        for name in self.names:
            shutil.copytree(place.root / name, place.root / f"template-{name}")
        self.expected = bytes_of(self.tree)
        self.newest = bytes_of(place.restore("tree") / "tree")

    def reset(self):
        for name in self.names:
            shutil.rmtree(self.place.root / name)
            shutil.copytree(self.place.root / f"template-{name}", self.place.root / name)
        shutil.rmtree(self.place.root / "out", ignore_errors=True)


def every_call(place, kind, *words):
    template = Template(place)
    calls = place.root / "calls"
    tried, failed = 0, 0
    step = counts(3, 1)
    number = 1 + place.rng.randrange(step)
    while True:
        template.reset()
        fault = {"SALVOR_STORE_FAULT": f"{number}:{kind}", "SALVOR_STORE_FAULT_CALLS": str(calls)}
        calls.unlink(missing_ok=True)
        done = place.salvor(*words, env=fault, status=None, limit=60)
        crashed = done.status == -9
        if not crashed and int(calls.read_text()) < number:
            break  # there is no call of that number: all are through
        tried += 1
        failed += done.status != 0
        if kind in ("transient", "lost-reply") and done.status != 0:
            raise Failed(f"call {number}: {kind} should have been repeated\n{done.text()}")
        if done.status not in (0, -9) and "fault injected" not in done.err:
            raise Failed(f"call {number}: the failure is not told\n{done.text()}")
        if done.status:
            shutil.rmtree(place.root / "out", ignore_errors=True)
            place.salvor(*words)  # the same again, with nothing done in between
        place.salvor("verify", "--read-data")
        if words[0] == "restore":
            same(bytes_of(place.root / "out/tree"), template.newest, f"call {number}: restored")
        if words[0] == "backup":
            same(bytes_of(place.restore("tree") / "tree"), template.expected,
                 f"call {number}: restored")
        if tried % 10 == 1:
            place.restic("check", "--read-data")
        number += step
    check(tried >= 2, f"only {tried} calls were tried")
    print(f"{' '.join(map(str, words))}: {tried} calls failed once ({kind}), {failed} runs failed")


@case(limit=90)
def backup_goes_on_after_every_crash(place):
    """Killed before each of its calls in turn: the next one is done, whatever it finds half-made."""
    template = Template(place)
    number, killed = 0, -9
    while killed == -9:
        number += 1
        template.reset()
        killed = place.salvor("backup", "./tree", status=(0, -9), env={
            "SALVOR_STORE_FAULT": f"{number}:crash"}).status
        made = place.backup("./tree")
        check(made["snapshot"] and not made["partial"], f"call {number}: {made}")
    check(number > 20, f"only {number} calls")
    place.clean()


def define(name, *words):
    for kind in ("transient", "final", "short", "lost-reply", "crash", "crash-after"):
        def run(place, kind=kind):
            (place.root / "second").write_text("second passphrase\n")
            every_call(place, kind, *[w.replace("OUT", str(place.root / "out"))
                                      .replace("SECOND", str(place.root / "second"))
                                      for w in words])
        run.__name__ = f"{name}_{kind}".replace("-", "_")
        case(limit=120, full=1800)(run)


define("backup", "backup", "./tree")
define("restore", "restore", "tree", "--to", "OUT")
define("forget", "forget", "tree", "--keep-last", "1")
define("prune", "prune", "--waste-limit", "0.1%")
if FULL:
    define("verify", "verify", "--read-data")
    define("list", "list")
    define("dump", "dump", "latest", "/tree/manifest.json")
    define("repair", "repair", "index")
    define("key", "key", "add", "--new-password-file", "SECOND")
    define("unlock", "unlock")

main()
