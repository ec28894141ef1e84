"""The documents: what README.md and doc/guide.md show is run, in order, as a reader would; and each
configuration under examples/ loads and works. CONTRIBUTING.md says what marks there are."""
import os
import pathlib
import pty
import re
import select
import shutil
import subprocess
import time

import postgres
from live import ROOT, SALVOR, Failed, case, main

HOME = "/home/you"  # as the documents show it
PROMPT = " to go on: "
COMMAND_LIMIT = 60
# What may differ from the documents: words with digits in them, and units.
LOOSE = re.compile(r"\S*\d\S*")
UNITS = {"B", "KiB", "MiB", "GiB", "ms", "s", "min", "h", "d", "old,"}


class Step:
    """One command of a document and what it is expected to say."""

    def __init__(self, where, command):
        self.where = where
        self.command = command
        self.expected = []
        self.answers = []
        self.status = 0


def console_steps(where, lines):
    steps = []
    for number, line in lines:
        if line.startswith("$ "):
            steps.append(Step(f"{where}:{number}", line[2:]))
        elif steps and steps[-1].command.endswith("\\"):
            steps[-1].command = steps[-1].command[:-1] + line.strip()
        elif not steps:
            raise Failed(f"{where}:{number}: a console block begins with a command")
        elif re.fullmatch(r"\[status \d+\]", line):
            steps[-1].status = int(line[8:-1])
        elif PROMPT in line:
            steps[-1].answers.append(line.split(PROMPT, 1)[1])
        elif line.strip():
            steps[-1].expected.append(line)
    return steps


def steps_of(document):
    """Everything that a document has one do, in order: steps, and files to write."""
    where = document.relative_to(ROOT)
    found, block, kind, target = [], None, "", None
    for number, line in enumerate(document.read_text().splitlines(), 1):
        if block is not None and line == "```":
            if kind == "console":
                found += console_steps(where, block)
            elif target:
                text = "".join(f"{text}\n" for _, text in block)
                found.append(Step(f"{where}:{number}", f"cat > {target} <<'END'\n{text}END"))
            block, target = None, None
        elif block is not None:
            block.append((number, line))
        elif line.startswith("```"):
            block, kind = [], line[3:]
        elif mark := re.fullmatch(r"<!-- (before|file): (.*) -->", line):
            if mark[1] == "file":
                target = mark[2]
            else:
                found.append(Step(f"{where}:{number}", mark[2]))
    if block is not None:
        raise Failed(f"{where}: a block is not closed")
    return found


class Shell:
    """Runs one command after the other, each in the directory and environment that the one before
    left."""

    def __init__(self, place):
        self.home = place.root / "home"
        bin_dir = place.root / "bin"
        bin_dir.mkdir()
        (bin_dir / "salvor").symlink_to(pathlib.Path(SALVOR).resolve())
        self.cwd = str(self.home)
        self.env = {k: v for k, v in place.env.items()
                    if not k.endswith(("_PASSWORD", "RESTIC_CACHE_DIR"))}
        self.env["PATH"] = f"{bin_dir}:{self.env['PATH']}"
        self.env["TERM"] = "dumb"
        self.after = place.root / "after"
        self.place = place

    def run(self, step):
        script = f"set -a\n{step.command}\nstatus=$?\n{{ pwd; env -0; }} > {self.after}\nexit $status\n"
        run = self.on_terminal if step.answers else self.plainly
        status, output = run(["bash", "-c", script], step.answers)
        self.place.transcript.append(f"{step.where}\n$ {step.command}\n{output}")
        if status != step.status:
            raise Failed(f"{step.where}: status {status}, not {step.status}\n"
                         f"$ {step.command}\n{output}")
        if self.after.exists():
            cwd, _, variables = self.after.read_text().partition("\n")
            self.cwd = cwd
            pairs = (v.split("=", 1) for v in variables.split("\0") if "=" in v)
            self.env = {k: v for k, v in pairs if not k.startswith("BASH_FUNC")}
            self.after.unlink()
        return output.replace(str(self.home), HOME)

    def plainly(self, argv, _):
        done = subprocess.run(argv, cwd=self.cwd, env=self.env, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=COMMAND_LIMIT, check=False)
        return done.returncode, done.stdout.decode(errors="replace")

    def on_terminal(self, argv, answers):
        """The same on a terminal of its own, answering what is asked."""
        child, terminal = pty.fork()
        if child == 0:
            os.chdir(self.cwd)
            os.execvpe(argv[0], argv, self.env)
        output, answers = b"", list(answers)
        answered = 0
        deadline = time.monotonic() + COMMAND_LIMIT
        while time.monotonic() < deadline:
            if not select.select([terminal], [], [], 1)[0]:
                continue
            try:
                more = os.read(terminal, 65536)
            except OSError:  # the other end is closed
                break
            if not more:
                break
            output += more
            if answers and output[answered:].rstrip(b" ").endswith(PROMPT.strip().encode()):
                answered = len(output)
                os.write(terminal, answers.pop(0).encode() + b"\n")
        else:
            os.kill(child, 9)
        os.close(terminal)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if answers:
            raise Failed(f"nobody asked for the answer {answers[0]!r}:\n"
                         f"{output.decode(errors='replace')}")
        return status, output.decode(errors="replace").replace("\r\n", "\n").replace("\r", "\n")


def words(line):
    return ["#" if LOOSE.fullmatch(w) or w in UNITS else w for w in line.split()]


def same(expected, line):
    """Loosely: numbers, units and ids may differ; "..." at the end stands for the rest."""
    want, have = words(expected), words(line)
    for i, word in enumerate(want):
        if word == "...":
            return True
        if i >= len(have) or (word != have[i] and "#" not in (word, have[i])):
            return False
    return len(want) == len(have)


def compare(step, output):
    lines = iter(output.splitlines())
    for expected in step.expected:
        if expected.strip() == "...":
            continue
        if not any(same(expected, line) for line in lines):
            raise Failed(f"{step.where}: $ {step.command}\ndid not print, in this order: "
                         f"{expected}\nbut:\n{output}")


@case(limit=240)
def commands(place):
    """README.md and then doc/guide.md, which goes on where it ends."""
    with postgres.server() as server:
        shell = Shell(place)
        shell.env |= {k: str(v) for k, v in server.env().items() if k != "PGDATABASE"}
        shell.env["PATH"] += f":{server.bin}"
        for name in ("README.md", "doc/guide.md"):
            steps = steps_of(ROOT / name)
            if len(steps) < 10:
                raise Failed(f"{name} has only {len(steps)} commands: are they marked `console`?")
            for step in steps:
                compare(step, shell.run(step))


@case()
def links(place):
    """Links between the documents lead somewhere."""
    del place
    for document in [*ROOT.glob("*.md"), *(ROOT / "doc").glob("*.md")]:
        text = document.read_text()
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
            if not (document.parent / link).exists():
                raise Failed(f"{document.relative_to(ROOT)} links to {link}, which is not there")
        titles = {re.sub(r"[^a-z0-9 -]", "", t.lower()).replace(" ", "-")
                  for t in re.findall(r"^#+ (.*)$", text, re.M)}
        for anchor in re.findall(r"\]\(#([^)]*)\)", text):
            if anchor not in titles:
                raise Failed(f"{document.relative_to(ROOT)} has no section #{anchor}")


def fixture(directory, home, name):
    """The files that an example's configuration names."""
    files = {
        "macaron": [".env", "docker-compose.yml", "~/.config/factory/openai.key"],
        "ops-8.3": [".env", "docker-compose.yml", "config/app.toml", "ops/deploy.sh",
                    "run/environment"],
        "moltbeat": [".env", "keys/api.key", "src/server.js", "node_modules/x/index.js"],
    }
    databases = {"macaron": [f"data/{n}.db" for n in range(7)],
                 "ops-8.3": ["backend/data/app.db"]}  # of its development form
    for file in files.get(name, []):
        path = home / file[2:] if file.startswith("~/") else directory / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{file}\n" * 100)
        path.chmod(0o600)
    for file in databases.get(name, []):
        path = directory / file
        path.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["sqlite3", path, "CREATE TABLE t (a); INSERT INTO t VALUES (1)"],
                       check=True)


@case(limit=180)
def examples(place):
    """Each configuration under examples/ loads, and its jobs run."""
    found = sorted((ROOT / "examples").glob("*/*.yaml"))
    if len(found) < 5:
        raise Failed(f"only {len(found)} examples")
    with postgres.server() as server:
        server.createdb("app")
        place.env |= {k: str(v) for k, v in server.env("app").items()}
        place.env["DATABASE_URL"] = server.url("app")
        for config in found:
            example(place, config)


def example(place, config):
    name = f"{config.parent.name}-{config.stem}"
    directory = place.root / name
    directory.mkdir()
    shutil.copy(config, directory / "salvor.yaml")
    fixture(directory, place.root / "home", config.parent.name)
    repository = place.root / f"{name}-repository"

    def salvor(*words):
        return place.run([SALVOR, "-r", repository, *words], cwd=directory)

    salvor("init")
    salvor("config", "check")
    for job in re.findall(r"^  (\w+): \{ at:", config.read_text(), re.M):
        salvor("run", job)
    salvor("status")
    if "FAILED" in "".join(place.transcript):
        raise Failed(f"{name}: {place.transcript[-1]}")
    kept = {p for p in directory.rglob("*") if p.is_file()}
    for resource in re.findall(r"^  (\w+):\n    type:", config.read_text(), re.M):
        salvor("restore", resource, "--to", place.root / f"{name}-{resource}")
    missing = [p for p in kept if p.name == ".env"
               and not list(place.root.glob(f"{name}-*/**/.env"))]
    if missing:
        raise Failed(f"{name}: .env did not come back")


main()
