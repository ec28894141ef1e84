"""Runs the tests in stages and counts them; script/test is its front door.

Stages run one after the other, since each alone can keep two processors busy:
  format, scripts          what can be said without building
  gcc, clang               builds, where every warning is an error
  unit                     what meson knows: the cmocka programs under test/unit and others
  live                     whole-program tests, test/live/*.py and the five systems of
                           test/acceptance/*.py, against build/salvor
  address, thread          unit and whole-program tests again, under the sanitizers (whose added
                           code makes gcc warn of what cannot be: no errors there)
A test's name begins with its stage: "unit/base file", "address/live/restic tree_ids".
"""
import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
WORKERS = max(2, min(4, os.cpu_count() or 2)) + 1  # one of them waits for a disk or a clock
LIVE = ROOT / "test" / "live"
ACCEPTANCE = ROOT / "test" / "acceptance"

sys.path.insert(0, str(LIVE))
import process  # noqa: E402


class Tally:
    """Counts results and shows each as it comes; a failing test's output follows its name."""

    def __init__(self, words):
        self.words = words
        self.passed = 0
        self.failed = []
        self.skipped = []
        self.lock = threading.Lock()

    def wanted(self, name):
        return not self.words or any(word in name for word in self.words)

    def add(self, name, ok, seconds, output="", skipped=None):
        with self.lock:
            if skipped is not None:
                self.skipped.append(f"{name}: {skipped}")
                print(f"skip  {name}: {skipped}", flush=True)
                return
            if ok:
                self.passed += 1
            else:
                self.failed.append(name)
            print(f"{'pass' if ok else 'FAIL'}  {name}  {seconds:.1f} s", flush=True)
            if not ok:
                lines = output.rstrip().splitlines()
                if len(lines) > 200:
                    lines = lines[:60] + [f"... {len(lines) - 200} lines ..."] + lines[-140:]
                print("".join(f"    | {line}\n" for line in lines), end="", flush=True)

    def command(self, name, argv, limit=600, env=None):
        """One test that is one command; true if it passed or nobody asked for it."""
        if not self.wanted(name):
            return True
        begun = time.monotonic()
        done = process.run(argv, limit=limit, env=env, cwd=ROOT)
        self.add(name, done.status == 0, time.monotonic() - begun, done.text())
        return done.status == 0


def build(tally, name, directory, *options, cc=None):
    """Builds a variant. A test of its own when `name` is given; else only a failure counts."""
    env = dict(os.environ)
    if cc:
        env["CC"] = cc
    begun = time.monotonic()
    done = process.run([ROOT / "script" / "build", directory, *options], limit=900, env=env,
                       cwd=ROOT)
    ok = done.status == 0
    if not ok or name:
        tally.add(name or f"build {directory}", ok, time.monotonic() - begun, done.text())
    return ok


# The unit tests in which threads meet; the others have nothing to show ThreadSanitizer.
THREADED = ("base work", "base proc", "base stream", "base log", "store ", "conform", "repo writer",
            "repo lock", "repo index", "repo prune", "repo check", "job ")


def unit(tally, stage, directory, only=(), env=None):
    """What meson runs in a build: it says which tests there are, and writes how each one did."""
    listing = process.run(["meson", "introspect", "--tests", directory], limit=60, cwd=ROOT)
    tests = json.loads(listing.out)
    names = [t["name"] for t in tests if tally.wanted(f"{stage}/{t['name']}") and
             (not only or t["name"].startswith(only))]
    if not names:
        return
    base = "testlog-run"
    process.run(["meson", "test", "-C", directory, "--no-rebuild", "--logbase", base,
                 "--num-processes", str(WORKERS), *names],
                limit=900, cwd=ROOT, env=env)
    seen = set()
    log = ROOT / directory / "meson-logs" / f"{base}.json"
    for line in log.read_text().splitlines():
        result = json.loads(line)
        name = result["name"].split(" / ")[-1]
        seen.add(name)
        output = result.get("stdout", "") + result.get("stderr", "")
        tally.add(f"{stage}/{name}", result["result"] in ("OK", "EXPECTEDFAIL"),
                  result["duration"], output)
        for case in sorted(set(re.findall(r"^\[  SKIPPED \] (\w+)$", output, re.MULTILINE))):
            tally.add(f"{stage}/{name} {case}", True, 0, skipped="not possible on this machine")
    for name in set(names) - seen:
        tally.add(f"{stage}/{name}", False, 0, "meson test did not run it")


def live_cases():
    """Every case of every program: (program, case, limit in seconds, tags)."""
    cases = []
    for program in sorted([*LIVE.glob("test_*.py"), *ACCEPTANCE.glob("test_*.py")]):
        listing = process.run([sys.executable, program, "--list"], limit=60)
        if listing.status != 0:
            raise SystemExit(f"test: {program.name} --list failed:\n{listing.text()}")
        for line in listing.out.splitlines():
            case, limit, tags = line.split("\t")
            cases.append((program, case, int(limit), tags.split()))
    return cases


def live(tally, stage, directory, tag=None, env=None):
    """Whole-program tests, longest limit first, so that none is left running alone at the end."""
    env = dict(env or os.environ, SALVOR=str(ROOT / directory / "salvor"))

    def one(job):
        program, case, limit, _ = job
        name = f"{stage}/{program.stem.removeprefix('test_')} {case}"
        begun = time.monotonic()
        done = process.run([sys.executable, program, case], limit=limit * (3 if tag else 1),
                           env=env)
        skipped = done.out.strip().splitlines()[-1] if done.status == 77 else None
        tally.add(name, done.status == 0, time.monotonic() - begun, done.text(), skipped)

    jobs = [c for c in live_cases() if (tag is None or tag in c[3]) and
            tally.wanted(f"{stage}/{c[0].stem.removeprefix('test_')} {c[1]}")]
    jobs.sort(key=lambda c: -c[2])
    with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(one, jobs))


def memory():
    """Where a sync is free: for runs that look for mistakes of the program, not of a disk. Only with
    room, and with the attributes that tests set on files."""
    place = pathlib.Path("/dev/shm")
    try:
        room = shutil.disk_usage(place)
        with tempfile.NamedTemporaryFile(dir=place) as probe:
            os.setxattr(probe.name, "user.probe", b"1")
        return {"TMPDIR": str(place)} if room.free >= 4 << 30 else {}
    except OSError:
        return {}


def sanitized(tally, stage, directory, options, env, only=()):
    """Unit and whole-program tests in a build whose mistakes end the program with status 99."""
    if not any(tally.wanted(f"{stage}/{kind}") for kind in ("unit", "live")) and \
            not any(word.startswith(stage) for word in tally.words):
        return
    if not build(tally, None, directory, *options):
        return
    env = {**env, **memory()}
    unit(tally, f"{stage}/unit", directory, only, env)
    live(tally, f"{stage}/live", directory, tag=stage, env=env)


def main():
    parser = argparse.ArgumentParser(prog="script/test", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="name the whole-program tests")
    parser.add_argument("word", nargs="*", help="run only tests whose name contains a word")
    args = parser.parse_args()
    if args.list:
        for program, case, limit, tags in live_cases():
            print(f"live/{program.stem.removeprefix('test_')} {case}")
        return 0

    begun = time.monotonic()
    tally = Tally(args.word)
    scripts = [f for f in sorted((ROOT / "script").iterdir()) if f.read_bytes()[:9] == b"#!/bin/sh"]
    tally.command("format", [ROOT / "script" / "format", "--check"])
    tally.command("scripts", ["shellcheck", *scripts, ROOT / ".ci" / "run"])
    if build(tally, "gcc" if tally.wanted("gcc") else None, "build"):
        unit(tally, "unit", "build")
        live(tally, "live", "build")
    if tally.wanted("clang"):
        build(tally, "clang", "build-clang", cc="clang")
    sanitized(tally, "address", "build-address",
              ["-Db_sanitize=address,undefined", "-Db_lundef=false", "-Doptimization=1",
               "-Dwerror=false"],
              dict(os.environ, ASAN_OPTIONS="exitcode=99:detect_leaks=1:abort_on_error=0",
                   LSAN_OPTIONS="exitcode=99",
                   UBSAN_OPTIONS="halt_on_error=1:print_stacktrace=1:exitcode=99"))
    sanitized(tally, "thread", "build-thread",
              ["-Db_sanitize=thread", "-Db_lundef=false", "-Doptimization=1",
               "-Dwerror=false"],
              dict(os.environ, TSAN_OPTIONS="exitcode=99:halt_on_error=1:second_deadlock_stack=1"),
              only=THREADED)

    for name in tally.failed:
        print(f"failed: {name}")
    for text in tally.skipped:
        print(f"skipped: {text}")
    print(f"{time.monotonic() - begun:.0f} s")
    skipped = f", {len(tally.skipped)} skipped" if tally.skipped else ""
    print(f"{tally.passed} passed, {len(tally.failed)} failed{skipped}", flush=True)
    return 0 if tally.passed and not tally.failed else 1


if __name__ == "__main__":
    try:
        # Where the tests' PostgreSQL servers are, whose template is made once for all of them.
        with tempfile.TemporaryDirectory(prefix="salvor-pg-") as scratch:
            os.chmod(scratch, 0o755)
            os.environ["SALVOR_TEST_PG_DIR"] = scratch
            sys.exit(main())
    except subprocess.SubprocessError as problem:
        sys.exit(f"test: {problem}")
