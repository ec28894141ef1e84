"""What a restore may replace, and who must agree (B11, O5; DESIGN section 7)."""
import os
import pty
import select
import subprocess
import time

from live import SALVOR, bytes_of, case, check, equal, main

CONSENT = {"SALVOR_ALLOW_UNATTENDED_RESTORE": "1"}


def service(place):
    """A backed-up tree that has changed since."""
    tree = place.data / "tree"
    tree.mkdir()
    (tree / "file").write_text("then")
    place.init()
    place.backup("./tree")
    (tree / "file").write_text("now")
    return tree / "file"


def on_terminal(place, *words, answer):
    """(status, what was shown) of salvor at a terminal where somebody types."""
    master, slave = pty.openpty()
    child = subprocess.Popen([SALVOR, "-r", place.repo, *words], stdin=slave, stdout=slave,
                             stderr=slave, env=place.env, cwd=place.data, start_new_session=True)
    os.close(slave)
    shown, asked, end = b"", False, time.monotonic() + 30
    while time.monotonic() < end:
        ready, _, _ = select.select([master], [], [], 0.1)
        if ready:
            try:
                piece = os.read(master, 65536)
            except OSError:
                break
            if not piece:
                break
            shown += piece
        if not asked and b"go on:" in shown:
            os.write(master, answer.encode() + b"\n")
            asked = True
    os.close(master)
    child.wait(10)
    return child.returncode, shown.decode(errors="replace")


@case(tags="address")
def unattended_needs_both(place):
    file = service(place)
    before = bytes_of(place.data)
    for words, env in (([], {}), (["--yes"], {}), ([], CONSENT),
                       (["--yes"], {"SALVOR_ALLOW_UNATTENDED_RESTORE": "0"}),
                       (["--yes"], {"SALVOR_ALLOW_UNATTENDED_RESTORE": "yes"})):
        done = place.salvor("restore", "tree", *words, env=env, status=5)
        place.says(done, "--yes", "SALVOR_ALLOW_UNATTENDED_RESTORE")
        equal(bytes_of(place.data), before, "the files after a refusal")
    place.salvor("restore", "tree", "--yes", env=CONSENT)
    equal(file.read_text(), "then", "restored")
    equal(file.with_name("file.pre-restore").read_text(), "now", "kept")


@case()
def a_person_types_the_name(place):
    file = service(place)
    for answer in ("", "yes", "y", "Tree", "tree2"):
        status, shown = on_terminal(place, "restore", "tree", answer=answer)
        equal(status, 5, f"status after {answer!r}: {shown}")
        equal(file.read_text(), "now", "the file after a refusal")
    status, shown = on_terminal(place, "restore", "tree", answer="tree")
    equal(status, 0, f"status: {shown}")
    equal(file.read_text(), "then", "restored")
    check("undo" in shown, f"does not say how to take it back: {shown}")


@case()
def new_directories_need_nothing(place):
    service(place)
    place.salvor("restore", "tree", "--to", place.root / "new" / "place")
    empty = place.root / "empty"
    empty.mkdir()
    place.salvor("restore", "tree", "--to", empty)
    equal((empty / "tree/file").read_text(), "then", "restored")


@case()
def full_directories_do(place):
    service(place)
    full = place.root / "full"
    (full / "tree").mkdir(parents=True)
    (full / "tree/file").write_text("another")
    (full / "more").write_text("more")
    place.salvor("restore", "tree", "--to", full, status=5)
    equal((full / "tree/file").read_text(), "another", "after a refusal")
    place.salvor("restore", "tree", "--to", full, "--dry-run")
    equal((full / "tree/file").read_text(), "another", "after a dry run")
    place.salvor("restore", "tree", "--to", full, "--yes", env=CONSENT)
    equal((full / "tree/file").read_text(), "then", "restored")
    equal((full / "more").read_text(), "more", "what the snapshot does not have")


@case()
def in_place_asks_even_when_all_is_lost(place):
    file = service(place)
    file.unlink()
    file.parent.rmdir()
    place.salvor("restore", "tree", status=5)
    check(not file.parent.exists(), "refused, yet something was written")
    place.salvor("restore", "tree", "--yes", env=CONSENT)
    equal(file.read_text(), "then", "restored")


@case()
def without_keeping(place):
    file = service(place)
    place.salvor("restore", "tree", "--without-keeping", status=5)
    place.salvor("restore", "tree", "--without-keeping", "--yes", env=CONSENT)
    equal(file.read_text(), "then", "restored")
    equal(sorted(p.name for p in file.parent.iterdir()), ["file"], "files")
    place.says(place.salvor("undo", status=1), "take back")
    equal(file.read_text(), "then", "after an undo that has nothing to take back")


@case()
def kept_twice(place):
    """A second restore keeps again, and loses nothing that the first kept; undo goes back once."""
    file = service(place)
    place.salvor("restore", "tree", "--yes", env=CONSENT)
    file.write_text("later")
    place.salvor("restore", "tree", "--yes", env=CONSENT)
    texts = {p.read_text() for p in file.parent.iterdir()}
    equal(texts, {"then", "now", "later"}, "what is there")
    place.salvor("undo")
    equal(file.read_text(), "later", "after undo")


@case()
def terminal_asks_for_passphrase(place):
    service(place)
    del place.env["SALVOR_PASSWORD"], place.env["RESTIC_PASSWORD"]
    place.says(place.salvor("list", status=2), "SALVOR_PASSWORD_FILE")


@case()
def no_passphrase_for_what_is_not_there(place):
    """The address is looked at before anybody is asked to type."""
    del place.env["SALVOR_PASSWORD"], place.env["RESTIC_PASSWORD"]
    (place.root / "bare").mkdir()
    for where in ("nowhere", "bare"):
        place.repo = place.root / where
        status, shown = on_terminal(place, "list", answer="")
        equal(status, 1, f"status: {shown}")
        check("Passphrase" not in shown, f"asked for one: {shown}")
        check(where in shown and "salvor init" in shown, f"the message: {shown}")
        place.says(place.salvor("list", status=1), where)


main()
