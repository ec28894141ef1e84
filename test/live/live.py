"""What the whole-program tests share. A test is a program test/live/test_<noun>.py:

    from live import case, main

    @case(limit=30)
    def wrong_passphrase(place):
        place.init()
        done = place.salvor("list", env={"SALVOR_PASSWORD": "no"}, status=1)
        place.says(done, "passphrase")

    main()

`python3 test_noun.py` runs all its cases, `python3 test_noun.py CASE` one of them, `--list` tells
them. Every case has a directory of its own for repository, state, cache and data. $SALVOR names the
program, $SALVOR_TEST_SCALE=full asks for the full counts of script/torture, $SALVOR_TEST_SEED
repeats what a test chose at random, $SALVOR_TEST_KEEP leaves the directories.
"""
import contextlib
import hashlib
import json
import os
import pathlib
import random
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
import traceback

import process

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SALVOR = os.environ.get("SALVOR", str(ROOT / "build" / "salvor"))
FULL = os.environ.get("SALVOR_TEST_SCALE") == "full"
SANITIZED = any(os.environ.get(f"{s}SAN_OPTIONS") for s in ("A", "T"))
SEED = os.environ.get("SALVOR_TEST_SEED") or "1"  # script/torture varies it
PASSPHRASE = "correct horse"

sys.path.insert(0, str(ROOT / "examples" / "demo"))
import bank  # noqa: E402, F401

_cases = {}


class Failed(Exception):
    pass


class Skipped(Exception):
    pass


def case(limit=60, full=None, tags=""):
    """Marks a function as a case: seconds that it may take, and how many with the full counts;
    `tags`: the sanitizers, "address" and "thread", that run it too."""
    def mark(function):
        _cases[function.__name__] = (function, full if FULL and full else limit, tags)
        return function
    return mark


def counts(sample, full):
    return full if FULL else sample


def need_root():
    if os.geteuid() != 0:
        raise Skipped("needs root")


class Place:
    """A directory with all that one test needs, and the programs run in it."""

    def __init__(self, root):
        self.root = root
        self.repo = root / "repo"
        self.data = root / "data"
        self.program = [SALVOR]
        self.rng = random.Random(SEED)
        self.transcript = []
        for name in ("home", "tmp", "data"):
            (root / name).mkdir()
        keep = {k: v for k, v in os.environ.items() if k == "PATH" or k.endswith("SAN_OPTIONS")}
        self.env = dict(keep, HOME=str(root / "home"), TMPDIR=str(root / "tmp"), TZ="UTC",
                        LANG="C.UTF-8", SALVOR_PASSWORD=PASSPHRASE, SALVOR_TEST_KDF="fast",
                        SALVOR_STATE_DIR=str(root / "state"), SALVOR_CACHE_DIR=str(root / "cache"),
                        RESTIC_PASSWORD=PASSPHRASE, RESTIC_CACHE_DIR=str(root / "restic-cache"))

    # ---- programs ----

    def run(self, argv, status=0, input=None, env=None, cwd=None, limit=None):
        """Runs it; anything but `status` (a number, several, or None for any) fails the test."""
        if isinstance(input, str):
            input = input.encode()
        done = process.run(argv, limit=limit or 120, input=input, cwd=cwd or self.data,
                           env={**self.env, **(env or {})})
        self.transcript.append(done.text())
        allowed = status if isinstance(status, (tuple, list, set)) else (status,)
        if done.status not in allowed and status is not None:
            raise Failed(f"status {done.status}, not {status}: "
                         f"{' '.join(str(a) for a in argv)}\n{done.err[-3000:]}")
        self.sane(done)
        return done

    def sane(self, done):
        """What no run of any program may do: die by itself, or show secrets."""
        if done.status < 0 and done.status != -9:
            raise Failed(f"died by signal {-done.status}:\n{done.text()}")
        for sign in ("AddressSanitizer", "LeakSanitizer", "ThreadSanitizer", "runtime error:"):
            if sign in done.err:
                raise Failed(done.err[-8000:])
        if PASSPHRASE in done.out + done.err:
            raise Failed(f"the passphrase is shown:\n{done.text()}")

    def salvor(self, *args, repo=True, **more):
        where = ["-r", self.repo] if repo else []
        return self.run([*self.program, *where, *args], **more)

    def in_own_mounts(self, script, *words, **more):
        """Runs a shell script ($1, $2, ... are the words) that may mount, where nobody else sees
        it; as root of a user namespace if we are not root."""
        alone = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-r", "-m"]
        if process.run([*alone, "mount", "-t", "tmpfs", "none", "/mnt"]).status != 0:
            raise Skipped("this machine does not let us mount")
        return self.run([*alone, "sh", "-c", script, "sh", *words], **more)

    def without_root(self):
        """From now on salvor runs as somebody who is not root and owns all that is here."""
        if os.geteuid() == 0:
            copy = shutil.copy(SALVOR, self.root / "salvor")  # root's directories may be closed
            subprocess.run(["chown", "-R", "65534:65534", self.root], check=True)
            self.program = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", copy]

    def start(self, *args, stdin=subprocess.PIPE, env=None, cwd=None):
        """salvor in the background."""
        return subprocess.Popen([SALVOR, "-r", str(self.repo), *map(str, args)], stdin=stdin,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                cwd=cwd or self.data, env={**self.env, **(env or {})})

    def restic(self, *args, **more):
        return self.run(["restic", "-r", self.repo, *args], **more)

    def at(self, moment, *args, **more):
        """salvor at another moment: "2026-11-20 10:00:00"."""
        return self.run(["faketime", "-f", f"@{moment}", SALVOR, "-r", self.repo, *args], **more)

    # ---- steps that most tests take ----

    def init(self):
        return self.salvor("init", "--no-config")

    def backup(self, *args, status=0, **more):
        """Backs up; the fields of the last `backup` line of its JSON."""
        return self.fields(self.salvor("--json", "backup", *args, status=status, **more), "backup")

    def snapshots(self, **more):
        return self.fields(self.salvor("--json", "list", **more), "snapshots")

    def clean(self, restic=True):
        """Verifies with salvor, and with restic as the second opinion."""
        self.salvor("verify", "--read-data")
        if restic:
            self.restic("check", "--read-data")

    def restore(self, *args, **more):
        """Restores into a new directory; its path."""
        to = pathlib.Path(tempfile.mkdtemp(prefix="restored-", dir=self.root)) / "out"
        self.salvor("restore", *args, "--to", to, **more)
        return to

    def copy_to(self, other):
        """Sets another place's repository, state and cache to copies of this one's."""
        for name in ("repo", "state", "cache"):
            shutil.rmtree(other.root / name, ignore_errors=True)
            if (self.root / name).exists():
                shutil.copytree(self.root / name, other.root / name, symlinks=True)

    # ---- what came out ----

    @staticmethod
    def fields(done, key):
        found = None
        for line in done.out.splitlines():
            value = json.loads(line)
            if key in value:
                found = value[key]
        if found is None:
            raise Failed(f"no {key} in the output:\n{done.text()}")
        return found

    @staticmethod
    def says(done, *words):
        """The error names all of these, and is one that a person can use."""
        for word in words:
            if str(word).lower() not in done.err.lower():
                raise Failed(f"the message does not say \"{word}\":\n{done.text()}")


def check(condition, message):
    if not condition:
        raise Failed(message)


def equal(found, expected, what):
    if found != expected:
        raise Failed(f"{what}: {found!r}, expected {expected!r}")


# ---- trees of files ----

def text_bytes(rng, size):
    """Bytes as in logs and documents: about a third of it remains when compressed."""
    words = [b"%x" % rng.getrandbits(rng.choice((8, 16, 24, 40))) for _ in range(200)]
    out = bytearray()
    while len(out) < size:
        out += b" ".join(rng.choices(words, k=12)) + b"\n"
    return bytes(out[:size])


def some_bytes(rng, size):
    return rng.randbytes(size) if rng.random() < 0.4 else text_bytes(rng, size)


def fill(directory, rng, files=40, largest=200_000):
    """Files of all sizes in a few directories, with modes and times of their own."""
    directory.mkdir(parents=True, exist_ok=True)
    for n in range(files):
        folder = directory / rng.choice(("a", "a/b", "c", "c/d/e", "."))
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"file-{n}"
        size = 0 if n == 0 else int(largest ** rng.random())
        path.write_bytes(some_bytes(rng, size))
        path.chmod(rng.choice((0o600, 0o640, 0o644, 0o755, 0o400)))
        when = 1_500_000_000_000_000_000 + rng.getrandbits(57)
        os.utime(path, ns=(when, when))


def change(directory, rng, count=6):
    """Changes, adds and removes a few files."""
    files = sorted(p for p in directory.rglob("*") if p.is_file() and not p.is_symlink())
    for path in rng.sample(files, min(count, len(files))):
        act = rng.random()
        if act < 0.2:
            path.unlink()
            continue
        if act < 0.6:
            mode = path.stat().st_mode
            data = bytearray(path.read_bytes() + b"+")
            data[rng.randrange(len(data))] ^= 0x55
            path.chmod(0o600)
            path.write_bytes(data)
            path.chmod(mode)
        else:
            path.with_name(path.name + "-more").write_bytes(some_bytes(rng, rng.randrange(90_000)))


def xattrs(path):
    try:
        return {n: os.getxattr(path, n, follow_symlinks=False)
                for n in os.listxattr(path, follow_symlinks=False)}
    except OSError:
        return {}


def facts(top, directory_times=True):
    """Everything that a backup must bring back, by path as bytes below `top`."""
    top = os.fsencode(top)
    found = {}
    inodes = {}
    for folder, folders, files in os.walk(top):
        for name in sorted(folders + files + ([b"."] if folder == top else [])):
            path = os.path.join(folder, name)
            relative = os.path.relpath(path, top)
            s = os.lstat(path)
            kind = stat.S_IFMT(s.st_mode)
            entry = [oct(s.st_mode), s.st_uid, s.st_gid, xattrs(path)]
            if kind != stat.S_IFDIR or directory_times:
                entry.append(s.st_mtime_ns)
            if kind == stat.S_IFREG:
                with open(path, "rb") as f:
                    entry += [s.st_size, hashlib.file_digest(f, "sha256").hexdigest()]
                if s.st_nlink > 1:
                    entry.append(inodes.setdefault(s.st_ino, relative))
            elif kind == stat.S_IFLNK:
                entry.append(os.readlink(path))
            elif kind in (stat.S_IFCHR, stat.S_IFBLK):
                entry.append(s.st_rdev)
            found[relative] = tuple(map(repr, entry))
    return found


def bytes_of(top):
    """Only the bytes: path to digest."""
    return {p.relative_to(top).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
            for p in pathlib.Path(top).rglob("*") if p.is_file() and not p.is_symlink()}


def same(found, expected, what="restored"):
    """Fails naming the first differences."""
    lines = []
    for path in sorted(set(found) | set(expected)):
        if found.get(path) != expected.get(path):
            lines.append(f"  {path!r}:\n    is     {found.get(path)}\n    not    {expected.get(path)}")
    if lines:
        raise Failed(f"{what}: {len(lines)} differences\n" + "\n".join(lines[:8]))


@contextlib.contextmanager
def until(seconds, what):
    """`while waiting():` with a time limit."""
    end = time.monotonic() + seconds

    def waiting():
        if time.monotonic() > end:
            raise Failed(f"{what}: not within {seconds} s")
        time.sleep(0.02)
        return True
    yield waiting


# ---- running ----

def run_case(name):
    function, _, _ = _cases[name]
    # A directory name without the characters of a pattern, for tests that use globs.
    root = pathlib.Path(tempfile.mkdtemp(prefix=f"salvor-{name}-".replace("_", "-")))
    place = Place(root)
    begun = time.monotonic()
    try:
        function(place)
        print(f"ok {name} {time.monotonic() - begun:.1f} s")
        return 0
    except Skipped as reason:
        print(reason)
        return 77
    except Exception as problem:
        print(f"FAILED {name} after {time.monotonic() - begun:.1f} s; again with "
              f"SALVOR_TEST_SEED={SEED}")
        for text in place.transcript[-12:]:
            print("".join(f"  {line[:2000]}\n" for line in text.splitlines()[-40:]), end="")
        if not isinstance(problem, Failed):
            traceback.print_exc(file=sys.stdout)
        print(f"{type(problem).__name__}: {problem}".encode(errors="backslashreplace").decode())
        return 1
    finally:
        if os.environ.get("SALVOR_TEST_KEEP"):
            print(f"left in {root}")
        else:
            subprocess.run(["chmod", "-R", "u+rwX", root], stderr=subprocess.DEVNULL, check=False)
            shutil.rmtree(root, ignore_errors=True)


def main():
    for interruption in (signal.SIGINT, signal.SIGHUP):  # whoever runs us may ignore them
        signal.signal(interruption, signal.SIG_DFL)
    if sys.argv[1:] == ["--list"]:
        for name, (_, limit, tags) in _cases.items():
            print(f"{name}\t{limit}\t{tags}")
        sys.exit(0)
    unknown = [name for name in sys.argv[1:] if name not in _cases]
    if unknown:
        sys.exit(f"no case {unknown[0]}; there are {', '.join(_cases)}")
    sys.exit(max([run_case(name) for name in sys.argv[1:] or _cases], default=0))
