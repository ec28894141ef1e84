"""Full disks and limits: a clear message, and nothing lost (Bad input)."""
from live import bank, SALVOR, bytes_of, case, check, equal, fill, main

UNATTENDED = {"SALVOR_ALLOW_UNATTENDED_RESTORE": "1"}
SCRIPT = 'mount -t tmpfs -o size="$2" none "$1" && shift 2 && exec sh -c "$@"'


def small_disk(place, directory, size, script, **more):
    """Runs a shell script where `directory` is a file system of its own, of that size."""
    directory.mkdir(parents=True, exist_ok=True)
    return place.in_own_mounts(SCRIPT, directory, size, script,
                               env={"S": f"{SALVOR} -r {place.repo}", "SALVOR": SALVOR,
                                    "D": str(directory), **more.pop("env", {})}, **more)


@case(tags="address")
def target_is_full(place):
    fill(place.data / "tree", place.rng, 10)
    (place.data / "tree/big").write_bytes(place.rng.randbytes(8 << 20))
    place.init()
    place.backup("./tree")
    done = small_disk(place, place.root / "small", "4m", "$S restore tree --to $D/out",
                      status=(1, 3))
    place.says(done, "space", "big")


@case()
def full_in_place_loses_nothing(place):
    """The old file stays until the new one is whole."""
    tree = place.data / "tree"
    tree.mkdir()
    (tree / "big").write_bytes(place.rng.randbytes(3 << 20))
    small = place.root / "small"
    place.init()
    script = f"""
cp -a {tree} $D/tree && cd $D && $S backup ./tree >/dev/null &&
head -c 3000000 /dev/urandom >$D/tree/big && sha256sum <$D/tree/big >{place.root}/before
$S restore tree --yes; status=$?
for f in $D/tree/*; do sha256sum <$f; done >{place.root}/after; ls -la $D/tree
exit $status
"""
    done = small_disk(place, small, "5m", script, env=UNATTENDED, status=(1, 3))
    place.says(done, "space")
    check((place.root / "before").read_text() in (place.root / "after").read_text(),
          f"the present file is lost\n{done.text()}")


@case(tags="address")
def repository_is_full(place):
    """The backup fails aloud, earlier ones stay good, and it goes on when there is room again."""
    fill(place.data / "tree", place.rng, 10)
    place.init()
    script = f"""
cp -a {place.repo}/. $D/ && S="$SALVOR -r $D" && $S backup ./tree >/dev/null || exit 90
head -c 12000000 /dev/urandom >tree/big
$S backup ./tree; status=$?
rm tree/big
$S verify --read-data && restic -r $D check --read-data >/dev/null || exit 91
$S backup ./tree >/dev/null && $S restore tree --to {place.root}/out >/dev/null || exit 92
exit $status
"""
    done = small_disk(place, place.root / "small", "6m", script, status=1)
    place.says(done, "space")
    equal(bytes_of(place.root / "out/tree"), bytes_of(place.data / "tree"), "restored")


@case()
def temporary_directory_is_full(place):
    """The copy of a database does not fit: told, with the way out, and nothing is left there."""
    bank.make(place.data / "app.db", ballast=50_000)
    place.init()
    small = place.root / "small"
    done = small_disk(place, small, "1m", "$S backup sqlite:app.db; s=$?; ls -A $D >&3; exit $s"
                      .replace(">&3", f">{place.root}/left"), env={"TMPDIR": str(small)}, status=1)
    place.says(done, "space", "TMPDIR")
    equal((place.root / "left").read_text(), "", "left in the temporary directory")


@case(tags="address")
def state_and_cache_cannot_be_written(place):
    """A machine without room for its own notes still backs up and restores, and says so."""
    fill(place.data / "tree", place.rng, 5)
    place.init()
    blocked = place.root / "blocked"
    blocked.write_text("a file")
    env = {"SALVOR_STATE_DIR": str(blocked / "state"), "SALVOR_CACHE_DIR": str(blocked / "cache")}
    done = place.salvor("backup", "./tree", env=env)
    place.says(done, "ledger", "cache")
    place.salvor("restore", "tree", "--to", place.root / "out", env=env)
    equal(bytes_of(place.root / "out/tree"), bytes_of(place.data / "tree"), "restored")


@case()
def file_size_limit(place):
    """ulimit -f: EFBIG instead of a signal."""
    (place.data / "tree").mkdir()
    (place.data / "tree/big").write_bytes(place.rng.randbytes(30 << 20))
    place.init()
    done = place.run(["sh", "-c", f"ulimit -f 2000; exec {SALVOR} -r {place.repo} backup ./tree"],
                     status=1)
    place.says(done, "large")
    place.clean()


@case()
def descriptors_run_out(place):
    fill(place.data / "tree", place.rng, 60)
    place.init()
    place.run(["sh", "-c", f"ulimit -n 40; exec {SALVOR} -r {place.repo} backup ./tree"])
    place.clean()
    equal(bytes_of(place.restore("tree") / "tree"), bytes_of(place.data / "tree"), "restored")


main()
