"""Child processes with a time limit: the whole process group goes when the limit is reached."""
import dataclasses
import os
import signal
import subprocess


@dataclasses.dataclass
class Done:
    argv: list
    status: int  # negative: the signal that ended it
    stdout: bytes
    stderr: bytes

    @property
    def out(self):
        return self.stdout.decode(errors="surrogateescape")

    @property
    def err(self):
        return self.stderr.decode(errors="surrogateescape")

    def text(self):
        """What a person needs to see of it."""
        words = " ".join(str(a) for a in self.argv)
        text = f"$ {words}\n{self.out}{self.err}status {self.status}\n"
        return text.encode(errors="backslashreplace").decode()


def run(argv, limit=60, input=None, env=None, cwd=None):
    argv = [a if isinstance(a, bytes) else str(a) for a in argv]
    child = subprocess.Popen(argv, stdin=subprocess.DEVNULL if input is None else subprocess.PIPE,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, cwd=cwd,
                             start_new_session=True)
    try:
        out, err = child.communicate(input, timeout=limit)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        out, err = child.communicate()
        err += f"\nended: it took longer than {limit} s\n".encode()
    return Done(argv, child.returncode, out, err)
