"""Bit flips, truncations and losses over all kinds of objects: each found and named (Shows 7)."""
import shutil

from live import Failed, bytes_of, case, change, check, counts, equal, fill, main, same
from sealed import Repository


def repository(place, files=15):
    tree = place.data / "tree"
    place.init()
    (place.root / "second").write_text("second passphrase\n")
    place.salvor("key", "add", "--new-password-file", place.root / "second")
    for _ in range(3):
        fill(tree, place.rng, files, largest=300_000)
        place.backup("./tree")
        change(tree, place.rng, 4)
    return tree


def objects(place):
    """Objects by kind."""
    found = {}
    for path in sorted(place.repo.rglob("*")):
        if path.is_file():
            kind = path.relative_to(place.repo).parts[0]
            found.setdefault(kind, []).append(path)
    return found


def harm(rng, path):
    """Damages a file; says how."""
    data = bytearray(path.read_bytes())
    how = rng.choice(("flip", "flip", "flip", "cut", "zeros", "empty", "longer"))
    if how == "flip":
        at = rng.randrange(len(data))
        data[at] ^= 1 << rng.randrange(8)
        how = f"flip in byte {at}"
    elif how == "cut":
        del data[rng.randrange(len(data)):]
    elif how == "zeros":
        at = rng.randrange(len(data))
        n = min(len(data) - at, 512)
        data[at:at + n] = bytes(b ^ 0xff for b in data[at:at + n])
    elif how == "empty":
        del data[:]
    else:
        data += rng.randbytes(rng.randrange(1, 50))
    path.chmod(0o600)
    path.write_bytes(data)
    return how


@case(limit=240, full=3600)
def flips_and_truncations(place):
    repository(place)
    place.clean()
    found = objects(place)
    check(set(found) >= {"config", "keys", "data", "index", "snapshots"}, f"kinds: {set(found)}")
    kinds = sorted(found)
    for n in range(counts(60, 500)):
        kind = kinds[n % len(kinds)]
        path = place.rng.choice(found[kind])
        good = path.read_bytes()
        how = harm(place.rng, path)
        name = "config" if kind == "config" else path.name[:8]
        done = place.salvor("verify", "--read-data", status=None)
        if done.status == 0 or name not in done.err:
            raise Failed(f"{how} of {path.relative_to(place.repo)} was "
                         f"{'not found' if done.status == 0 else 'not named'}\n{done.text()}")
        if kind not in ("config", "keys"):
            equal(done.status, 4, f"status of verify after {how} of {kind}")
        path.write_bytes(good)
    place.clean()


@case(limit=120, full=600)
def losses(place):
    """A missing object is found and named like a damaged one."""
    repository(place, 6)
    found = objects(place)
    for kind in ("data", "index"):
        for path in found[kind][:counts(4, 40)]:
            good = path.read_bytes()
            path.unlink()
            done = place.salvor("verify", status=None)
            check(done.status == 4, f"{path} is missing, status {done.status}\n{done.text()}")
            if kind == "data":
                place.says(done, path.name[:8])
            path.write_bytes(good)
    for path in found["snapshots"]:
        pass  # a snapshot that is gone leaves no trace; the ledger is not the repository
    place.clean()


@case(limit=60, tags="address")
def share_of_the_data(place):
    repository(place)
    packs = len(objects(place)["data"])
    for share, least in (("5%", 1), ("1/2", -(-packs // 2)), ("100%", packs)):
        read = place.fields(place.salvor("--json", "verify", f"--read-data={share}"),
                            "verify")["packs_read"]
        check(read == least, f"{share} of {packs} packs: {read} read, not {least}")


@case(limit=60, tags="address")
def restore_goes_around_damage(place):
    """What is whole comes back, what is not is named, and the status says so."""
    tree = place.data / "tree"
    tree.mkdir()
    for n in range(6):
        (tree / f"file-{n}").write_bytes(place.rng.randbytes(9 << 20))
    place.init()
    place.backup("./tree")
    expected = bytes_of(tree)
    path = max(objects(place)["data"], key=lambda p: p.stat().st_size)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.chmod(0o600)
    path.write_bytes(data)
    to = place.root / "out"
    done = place.salvor("restore", "tree", "--to", to, status=(1, 3, 4))
    check("file-" in done.err, "the damaged file is not named")
    now = bytes_of(to / "tree")
    wrong = [name for name in now if name in expected and now[name] != expected[name]]
    equal(wrong, [], "files with wrong bytes")
    check(len([n for n in now if n in expected]) >= 4, f"only {sorted(now)} came back")


@case(limit=60, tags="address")
def prune_takes_the_copy_that_is_whole(place):
    """Two machines saved the same at the same moment, so that each blob is in two packs, and then
    one of the two is damaged: pruning goes on with the other, and leaves nothing damaged."""
    tree = place.data / "tree"
    fill(tree, place.rng, 8, largest=300_000)
    place.init()
    before = place.root / "before"
    shutil.copytree(place.repo, before)
    place.restic("backup", "tree")  # it saves no moment in a tree: both save the same blobs
    mine = objects(place)["data"]
    both = [place.repo, place.root / "other"]
    both[0].rename(both[1])
    before.rename(both[0])
    place.restic("backup", "tree")
    others = objects(place)["data"]
    shutil.copytree(both[1], both[0], dirs_exist_ok=True)
    place.clean()
    shutil.copytree(place.repo, before)
    told = ""
    for damaged in mine, others:
        shutil.rmtree(place.repo)
        shutil.copytree(before, place.repo)
        for n, path in enumerate(damaged):
            data = bytearray(path.read_bytes())
            data[len(data) // 4] ^= 4
            path.chmod(0o600)
            path.write_bytes(data[:len(data) // 2] if n == 0 else data)
        place.salvor("verify", "--read-data", status=4)
        told += place.salvor("prune").err
        place.clean()
        for snapshot in place.snapshots():
            to = place.restore("--snapshot", snapshot["id"])
            same(bytes_of(to / "tree"), bytes_of(tree))
    check("damaged" in told and "other packs" in told, f"the damage is not told: {told}")


@case(limit=60, tags="address")
def index_is_made_anew(place):
    repository(place)
    for path in objects(place)["index"]:
        path.unlink()
    shutil.rmtree(place.root / "cache")
    place.salvor("restore", "tree", "--to", place.root / "x", status=(1, 3, 4))
    place.salvor("repair", "index")
    place.clean()


@case(limit=60, tags="address")
def cache_is_not_trusted(place):
    """Damage to salvor's own cache never makes a wrong backup or restore, and stops none."""
    tree = repository(place)
    place.backup("./tree")
    expected = bytes_of(tree)
    for n in range(counts(12, 100)):
        files = [p for p in (place.root / "cache").rglob("*") if p.is_file() and p.stat().st_size]
        if not files:
            place.backup("./tree")
            continue
        harm(place.rng, place.rng.choice(files))
        to = place.root / f"out-{n}"
        place.salvor("restore", "tree", "--to", to)
        equal(bytes_of(to / "tree"), expected, "restored with a damaged cache")
        place.backup("./tree")
    place.clean()


@case(limit=60, tags="address thread")
def damaged_cache_is_replaced_on_the_way(place):
    """Damage that is met in the middle of a command: it says so and goes on with the index itself,
    and a backup does not upload anew what the damaged block had known."""
    tree = place.data / "tree"
    fill(tree, place.rng, 600, largest=20_000)
    place.init()
    place.backup("./tree")
    expected = bytes_of(tree)
    for words in (("restore", "tree", "--to", place.root / "out"), ("backup", "./tree", "--reread")):
        shutil.rmtree(place.root / "cache")  # so that the next one covers all
        place.restore("tree")
        cache = next((place.root / "cache").glob("*/index"))
        good = cache.read_bytes()
        # Its first page holds what is looked at when it is opened; the entries come after it.
        cache.write_bytes(good[:4096] + bytes(b ^ 0x40 for b in good[4096:]))
        done = place.salvor("--json", *words)
        place.says(done, "cache", "was damaged", "read anew")
        check(not cache.exists(), "the damaged cache is still there")
        if words[0] == "backup":
            made = place.fields(done, "backup")
            check(made["bytes_new"] < 100_000, f"{made['bytes_new']} bytes were new")
        place.restore("tree")
        check(cache.exists(), "the cache was not made anew")
    same(bytes_of(place.root / "out/tree"), expected)
    place.clean()


@case(limit=60)
def altered_metadata_is_refused(place):
    """Who has the passphrase but not salvor's key cannot pass a snapshot off as salvor's (O3)."""
    tree = place.data / "tree"
    tree.mkdir()
    (tree / "file").write_text("true")
    place.init()
    backup = place.backup("./tree")
    to = place.root / "forged"
    place.restic("restore", backup["snapshot"], "--target", to)
    (to / "tree/content/tree/file").write_text("forged")
    place.restic("backup", "tree", "--tag", "salvor,resource=tree,type=files", cwd=to)
    done = place.salvor("verify", status=4)
    place.says(done, "manifest")
    manifest = to / "tree/manifest.json"
    manifest.chmod(0o600)
    (to / "tree/content/tree/file").write_text("true")
    manifest.write_text(manifest.read_text().replace('"', '" ', 1).replace('" ', '"', 1) + " ")
    place.restic("backup", "tree", "--tag", "salvor,resource=tree,type=files", cwd=to)
    done = place.salvor("verify", status=4)
    place.says(done, "sign")


@case(limit=60)
def missing_key_of_signatures_is_refused(place):
    """On a machine that trusts no key, signatures cannot be checked, and verify does not pass."""
    tree = place.data / "tree"
    tree.mkdir()
    (tree / "file").write_text("true")
    place.init()
    place.backup("./tree")
    shutil.rmtree(place.root / "state")
    done = place.salvor("verify", status=4)
    place.says(done, "sign")
    place.salvor("restore", "tree", "--to", place.root / "out")


@case(limit=60, tags="address")
def forged_objects_do_no_harm(place):
    """Valid by their seal, wrong by their content."""
    tree = place.data / "tree"
    tree.mkdir()
    (tree / "file").write_text("true")
    place.init()
    backup = place.backup("./tree")
    sealed = Repository(place.repo, place.env["SALVOR_PASSWORD"])
    for fields in ({"tree": "00" * 32, "time": "2026-01-01T00:00:00Z", "paths": ["/x"]},
                   {"tree": backup["tree"], "time": "no time", "paths": ["/x"]},
                   {"time": "2026-01-01T00:00:00Z"}, {}, [], 7, "text"):
        name = sealed.add("snapshots", fields)
        done = place.salvor("verify", status=(1, 4))
        check(name[:8] in done.err or "00000000" in done.err, f"{fields}: not named\n{done.err}")
        place.salvor("list", status=(0, 1, 4))
        (place.repo / "snapshots" / name).unlink()
    for fields in ({"packs": [{"id": "00" * 32, "blobs": [
            {"id": "11" * 32, "type": "data", "offset": 4294967295, "length": 4294967295}]}]},
            {"packs": [{"id": "zz", "blobs": []}]}, {"packs": 3}, 7, {"packs": [{"blobs": [{}]}]}):
        name = sealed.add("index", fields)
        done = place.salvor("verify", "--read-data", status=(1, 4))
        check(name[:8] in done.err or "00000000" in done.err, f"{fields}: not named\n{done.err}")
        (place.repo / "index" / name).unlink()
    place.clean()


main()
