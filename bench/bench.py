"""Measures salvor beside restic and borg: the same data, the same run, one after the other.

Data: one database dump of 1 GiB (bench/dump.c) and a tree of 100,000 small files; a tenth of both
with --quick. Steps: a first backup of the file, the same bytes again from a pipe under a new name,
restore, verification that reads all data. Peak memory is the largest of all steps, stored size the
repository after the first backup. With --repeat each step is measured so often and the least time
counts, since noise only adds. The table ends with the goals; a missed one is shown, not punished.
"""
import argparse
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time

import bench_postgres

HERE = pathlib.Path(__file__).resolve().parent
GOALS = {("dump", "first backup"): 0.5, ("dump", "again, from a pipe"): 0.45,
         ("dump", "restore"): 0.6, ("tree", "first backup"): 0.6,
         ("dump", "peak memory"): 0.8, ("tree", "peak memory"): 0.8,
         ("dump", "stored size"): 1.05, ("tree", "stored size"): 1.05}


def measure(argv, env, cwd, stdin=None):
    """(seconds, seconds of processor, peak bytes) of one command that must succeed."""
    with open(stdin or os.devnull, "rb") as source, tempfile.TemporaryFile() as said:
        begun = time.monotonic()
        child = subprocess.Popen([str(a) for a in argv], stdin=source, stdout=said, stderr=said,
                                 env=env, cwd=cwd)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        took = time.monotonic() - begun
        if child.returncode != 0:
            said.seek(0)
            sys.exit(f"bench: {argv[0]} failed with status {child.returncode}:\n"
                     f"{said.read().decode(errors='replace')[-3000:]}")
    return took, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024


def piped(argv, path):
    """The command with its input from a pipe, not a file that could be mapped."""
    words = " ".join(f"'{a}'" for a in argv)
    return ["sh", "-c", f"cat '{path}' | {words}"]


class Tool:
    def __init__(self, top, salvor):
        self.top = top
        self.salvor = salvor
        self.repo = top / f"{self.name}-repo"
        self.env = {"PATH": os.environ["PATH"], "HOME": str(top), "LANG": "C.UTF-8",
                    "TMPDIR": str(top), "SALVOR_PASSWORD": "bench", "RESTIC_PASSWORD": "bench",
                    "BORG_PASSPHRASE": "bench", "BORG_BASE_DIR": str(top / "borg-base"),
                    "RESTIC_CACHE_DIR": str(top / "restic-cache"),
                    "SALVOR_STATE_DIR": str(top / "salvor-state"),
                    "SALVOR_CACHE_DIR": str(top / "salvor-cache")}

    def run(self, argv, cwd=None):
        return measure(argv, self.env, cwd or self.top)

    def stored(self):
        return sum(f.lstat().st_size for f in self.repo.rglob("*") if f.is_file())

    def version(self):
        done = subprocess.run([self.argv()[0], *self.asks_version], capture_output=True, text=True,
                              env=self.env, check=False)
        return " ".join(done.stdout.split()[:2])


class Salvor(Tool):
    name = "salvor"
    asks_version = ["--version"]

    def argv(self):
        return [self.salvor, "-q", "-r", self.repo]

    def init(self):
        self.run([*self.argv(), "init", "--no-config"])

    def backup(self, path):
        return self.run([*self.argv(), "backup", f"./{path}"])

    def again(self, path):
        return self.run(piped([*self.argv(), "backup", "-", "--name", "again"], path))

    def restore(self, path, to):
        return self.run([*self.argv(), "restore", pathlib.Path(path).stem, "--to", to])

    def verify(self):
        return self.run([*self.argv(), "verify", "--read-data"])


class Restic(Tool):
    name = "restic"
    asks_version = ["version"]

    def argv(self):
        return ["restic", "-q", "-r", self.repo]

    def init(self):
        self.run([*self.argv(), "init"])

    def backup(self, path):
        return self.run([*self.argv(), "backup", path, "--tag", "first"])

    def again(self, path):
        return self.run(piped([*self.argv(), "backup", "--stdin", "--stdin-filename", "again"],
                              path))

    def restore(self, path, to):
        return self.run([*self.argv(), "restore", "latest", "--tag", "first", "--target", to])

    def verify(self):
        return self.run([*self.argv(), "check", "--read-data"])


class Borg(Tool):
    name = "borg"
    asks_version = ["--version"]

    def argv(self):
        return ["borg"]

    def init(self):
        self.run(["borg", "init", "--encryption", "repokey-blake2", self.repo])

    def backup(self, path):
        return self.run(["borg", "create", "-C", "zstd,1", f"{self.repo}::first", path])

    def again(self, path):
        return self.run(piped(["borg", "create", "-C", "zstd,1", "--stdin-name", "again",
                               f"{self.repo}::again", "-"], path))

    def restore(self, path, to):
        to.mkdir()
        return self.run(["borg", "extract", f"{self.repo}::first"], cwd=to)

    def verify(self):
        return self.run(["borg", "check", "--verify-data", self.repo])


def make_dump(top, size):
    generator = top / "dump-generator"
    subprocess.run(["cc", "-O2", "-o", generator, HERE / "dump.c"], check=True)
    with open(top / "dump.sql", "wb") as out:
        subprocess.run([generator, str(size)], stdout=out, check=True)
    return "dump.sql"


def make_tree(top, files):
    """Sources, notes and pictures: sizes from nothing to 60 KiB, half of them below 2 KiB."""
    rng = random.Random(1)
    with open(top / "dump.sql", "rb") as f:
        text = f.read(8 << 20)
    noise = rng.randbytes(1 << 20)
    for n in range(files):
        folder = top / "tree" / f"{n // 5000:02}" / f"{n // 50 % 100:02}"
        if n % 50 == 0:
            folder.mkdir(parents=True, exist_ok=True)
        size = int(60_000 ** rng.random() ** 0.7)
        source = noise if rng.random() < 0.2 else text
        at = rng.randrange(len(source) - size)
        (folder / f"file-{n}").write_bytes(source[at:at + size])
    return "tree"


def equal_trees(one, two):
    return subprocess.run(["diff", "-r", "-q", one, two], stdout=subprocess.DEVNULL,
                          check=False).returncode == 0


def steps(tool, data, path, top):
    """Everything once for one tool and one kind of data: {step: (seconds, cpu, bytes)}."""
    shutil.rmtree(tool.repo, ignore_errors=True)
    tool.init()
    os.sync()
    result = {"first backup": tool.backup(path)}
    result["stored size"] = tool.stored()
    if data == "dump":
        result["again, from a pipe"] = tool.again(path)
    else:
        result["again, unchanged"] = tool.backup(path) if tool.name != "borg" else None
    to = top / "restored"
    os.sync()
    result["restore"] = tool.restore(path, to)
    found = next(p for p in [to / path, to / str(top).lstrip("/") / path] if p.exists())
    if not equal_trees(found, top / path):
        sys.exit(f"bench: {tool.name} restored other bytes")
    shutil.rmtree(to)
    result["verify --read-data"] = tool.verify()
    result["peak memory"] = max(r[2] for r in result.values() if isinstance(r, tuple))
    return result


def better(old, new):
    """Of two measurements of a step the one with less noise in it."""
    if old is None or new is None:
        return old or new
    return min(old, new)


def size(n):
    return f"{n / 2**20:.0f} MiB"


def show(value):
    if value is None:
        return "-"
    if isinstance(value, tuple):
        return f"{value[0]:.2f} s ({value[1]:.1f})"
    return size(value)


def first(value):
    return value[0] if isinstance(value, tuple) else value


def table(results, data, title):
    print(f"\n{title}")
    print(f"  {'':20} {'salvor':>16} {'restic':>16} {'borg':>16}   salvor/restic   goal")
    missed = 0
    for step in results["salvor"]:
        row = [results[tool].get(step) if tool in results else None
               for tool in ("salvor", "restic", "borg")]
        goal = GOALS.get((data, step))
        ratio = first(row[0]) / first(row[1]) if row[0] and row[1] else None
        verdict = ""
        if goal is not None and ratio is not None:
            verdict = f"{goal:5.2f}  {'reached' if ratio <= goal else 'MISSED'}"
            missed += ratio > goal
        print(f"  {step:20} {show(row[0]):>16} {show(row[1]):>16} {show(row[2]):>16}   "
              f"{f'{ratio:.2f}' if ratio else '-':>13}   {verdict}")
    return missed


def main():
    parser = argparse.ArgumentParser(prog="script/bench", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("salvor", help=argparse.SUPPRESS)
    parser.add_argument("--quick", action="store_true", help="a tenth of the data")
    parser.add_argument("--repeat", type=int, default=1, metavar="N")
    parser.add_argument("--only", choices=("dump", "tree", "postgres"))
    parser.add_argument("--without-borg", action="store_true")
    parser.add_argument("--json", metavar="FILE", help="the measurements for a machine")
    args = parser.parse_args()
    mib, files = (128, 10_000) if args.quick else (1024, 100_000)
    everything = {}
    missed = 0
    with tempfile.TemporaryDirectory(prefix="salvor-bench-") as name:
        top = pathlib.Path(name)
        tools = [Salvor, Restic] + ([] if args.without_borg else [Borg])
        tools = [tool(top, os.path.abspath(args.salvor)) for tool in tools]
        print(f"{', '.join(t.version() for t in tools)}; {os.cpu_count()} processors; "
              "seconds of wall time (of processor time)", flush=True)
        kinds = {"dump": ("dump.sql", f"One database dump of {mib} MiB"),
                 "tree": ("tree", f"A tree of {files:,} files")}
        if args.only != "postgres":
            make_dump(top, mib << 20)
        if args.only in (None, "tree"):
            make_tree(top, files)
        for data, (path, title) in kinds.items():
            if args.only not in (None, data):
                continue
            results = {}
            for _ in range(args.repeat):
                for tool in tools:  # in turn, so that a disturbance does not hit one of them only
                    new = steps(tool, data, path, top)
                    old = results.get(tool.name)
                    results[tool.name] = {s: better(old[s], new[s]) for s in new} if old else new
            missed += table(results, data, title)
            everything[data] = results
        if args.only in (None, "postgres"):
            lost, everything["postgres"] = bench_postgres.bench(top, os.path.abspath(args.salvor), measure,
                                                          better, args.quick, args.repeat)
            missed += lost
    print(f"\n{missed} goals missed" if missed else "\nall goals reached")
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(everything, indent=1) + "\n")


main()
