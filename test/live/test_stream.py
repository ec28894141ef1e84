"""Standard input under a name, and what is stored once only."""
import hashlib

from live import case, check, equal, main, text_bytes


def stored(place):
    return sum(p.stat().st_size for p in (place.repo / "data").rglob("*") if p.is_file())


@case(limit=60, tags="address thread")
def round_trip_of_sizes(place):
    place.init()
    for size in (0, 1, 511, 524_287, 524_288, 1 << 20, (8 << 20) + 1, 20_000_001):
        data = text_bytes(place.rng, size) if size % 2 else place.rng.randbytes(size)
        made = place.backup("-", "--name", "pipe", input=data)
        equal(made["bytes"], size, "bytes")
        equal(place.salvor("dump", made["snapshot"], "pipe").stdout == data, True, f"dump {size}")
        to = place.restore("pipe")
        equal((to / "pipe").read_bytes() == data, True, f"restored {size}")
    place.clean()


@case(limit=60)
def the_same_bytes_again(place):
    """Under another name, moved by some bytes, cut at the front: hardly anything is stored anew."""
    place.init()
    data = place.rng.randbytes(24 << 20)
    place.backup("-", "--name", "first", input=data)
    base = stored(place)
    made = place.backup("-", "--name", "second", input=data)
    check(stored(place) - base < 100_000, f"{stored(place) - base} bytes more for the same bytes")
    check(made["bytes_new"] < 100_000, f"{made['bytes_new']} bytes are called new")
    base = stored(place)
    moved = b"some bytes before it" + data[:10 << 20] + b"and between" + data[(10 << 20) + 500:]
    place.backup("-", "--name", "third", input=moved)
    check(stored(place) - base < 10 << 20, f"{stored(place) - base} bytes more for moved bytes")
    digest = hashlib.sha256(place.salvor("dump", "latest", "third").stdout).digest()
    equal(digest, hashlib.sha256(moved).digest(), "digest")


@case(limit=60)
def restic_reads_the_stream(place):
    place.init()
    data = text_bytes(place.rng, 3_000_000)
    made = place.backup("-", "--name", "dump-sql", input=data)
    found = place.restic("dump", made["snapshot"], "/dump-sql/content/dump-sql")
    equal(found.stdout == data, True, "bytes by restic")


@case(limit=60)
def zeros_cost_nothing(place):
    place.init()
    place.backup("-", "--name", "zeros", input=bytes(64 << 20))
    check(stored(place) < 200_000, f"{stored(place)} bytes for zeros")


@case()
def a_name_is_needed(place):
    place.init()
    done = place.salvor("backup", "-", input="x", status=(0, 2))
    if done.status == 2:
        place.says(done, "--name")


main()
