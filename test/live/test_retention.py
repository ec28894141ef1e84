"""forget and prune: what the rules keep stays, what they do not goes, nothing else is touched."""
import datetime
import json

from live import bytes_of, case, check, equal, fill, main, same


def history(place, days):
    """One backup a day at noon, oldest first; their ids by day."""
    tree = place.data / "tree"
    fill(tree, place.rng, 4)
    place.at("2026-01-01 10:00:00", "init", "--no-config")
    made = {}
    for day in days:
        (tree / "day").write_text(f"{day}")
        done = place.at(f"{day} 12:00:00", "--json", "backup", "./tree")
        made[str(day)] = place.fields(done, "backup")["snapshot"]
    return made


def left(place):
    return sorted(s["time"][:10] for s in place.snapshots())


@case(limit=120)
def rules_by_the_calendar(place):
    start = datetime.date(2026, 1, 1)
    days = [start + datetime.timedelta(days=n) for n in (0, 1, 2, 9, 40, 41, 42, 43)]
    made = history(place, days)
    done = place.salvor("forget", "tree", "--keep-daily", "3", "--keep-monthly", "2", "--dry-run")
    equal(len(place.snapshots()), len(days), "snapshots after a dry run")
    check(made["2026-01-01"][:8] in done.out, "the dry run does not name what would go")
    place.salvor("forget", "tree", "--keep-daily", "3", "--keep-monthly", "2")
    # Three days that have a backup, however long ago; of the two months, each one's newest.
    equal(left(place), ["2026-01-10", "2026-02-11", "2026-02-12", "2026-02-13"], "left")
    place.salvor("forget", "tree", "--keep-within", "3d")
    equal(left(place), ["2026-02-11", "2026-02-12", "2026-02-13"], "within three days of the newest")
    place.salvor("prune")
    place.clean()
    to = place.restore("tree")
    equal((to / "tree/day").read_text(), "2026-02-13", "content of the newest")


@case(limit=60)
def the_newest_good_one_stays(place):
    made = history(place, [datetime.date(2026, 1, n) for n in (1, 2)])
    done = place.salvor("forget", "--snapshot", made["2026-01-02"], status=None)
    check(done.status == 5 or made["2026-01-02"] in {s["id"] for s in place.snapshots()},
          "the newest good snapshot is gone")
    place.salvor("forget", "tree", "--keep-last", "1")
    equal(left(place), ["2026-01-02"], "left")


@case(limit=60)
def only_what_is_ours(place):
    history(place, [datetime.date(2026, 1, n) for n in (1, 2, 3)])
    place.restic("backup", "tree", "--tag", "theirs")
    place.restic("backup", "tree")
    place.salvor("forget", "tree", "--keep-last", "1")
    tags = [s.get("tags") for s in json.loads(place.restic("snapshots", "--json").out)]
    equal(sum(t is None or t == ["theirs"] for t in tags), 2, "restic's snapshots")
    equal(len(tags), 3, "snapshots")


@case(limit=60)
def rules_are_per_resource(place):
    for name in ("one", "two"):
        fill(place.data / name, place.rng, 2)
    place.init()
    for _ in range(3):
        place.backup("./one", "./two")
    place.salvor("forget", "one", "--keep-last", "1")
    by = [s["resource"] for s in place.snapshots()]
    equal((by.count("one"), by.count("two")), (1, 3), "left of each")


@case(limit=60)
def no_rules_no_loss(place):
    """Without rules nothing goes; neither with a rule that would keep nothing."""
    history(place, [datetime.date(2026, 1, n) for n in (1, 2)])
    place.salvor("forget", "tree", status=None)
    equal(len(place.snapshots()), 2, "snapshots")
    place.salvor("forget", "tree", "--keep-last", "0", status=None)
    equal(len(place.snapshots()), 2, "snapshots")


@case(limit=90, tags="address thread")
def prune_frees_what_nothing_needs(place):
    tree = place.data / "tree"
    tree.mkdir()
    place.init()
    for n in range(4):
        for old in tree.iterdir():
            if place.rng.random() < 0.7:
                old.unlink()
        for m in range(6):
            (tree / f"{n}-{m}").write_bytes(place.rng.randbytes(1_500_000))
        place.backup("./tree")
    before = sum(p.stat().st_size for p in place.repo.rglob("*") if p.is_file())
    place.salvor("forget", "tree", "--keep-last", "1")
    place.salvor("prune", "--dry-run")
    equal(sum(p.stat().st_size for p in (place.repo / "data").rglob("*") if p.is_file()) >
          before * 0.9, True, "a dry run removes nothing")
    result = place.fields(place.salvor("--json", "prune", "--waste-limit", "0%"), "prune")
    equal(result["bytes_unused_left"], 0, "unused bytes left")
    needed = sum(p.stat().st_size for p in tree.iterdir())
    after = sum(p.stat().st_size for p in (place.repo / "data").rglob("*") if p.is_file())
    check(after < needed * 1.05 + 100_000, f"{after} bytes stay for {needed}")
    place.clean()
    same(bytes_of(place.restore("tree") / "tree"), bytes_of(tree))
    again = place.fields(place.salvor("--json", "prune", "--waste-limit", "0%"), "prune")
    equal((again["packs_removed"], again["packs_repacked"]), (0, 0), "a second prune")


@case(limit=60)
def waste_limit_is_kept(place):
    """With a limit, little waste stays and is not repacked; above it, it is."""
    tree = place.data / "tree"
    tree.mkdir()
    place.init()
    for n in range(20):
        (tree / f"{n}").write_bytes(place.rng.randbytes(400_000))
    place.backup("./tree")
    (tree / "0").unlink()
    place.backup("./tree")
    place.salvor("forget", "tree", "--keep-last", "1")
    result = place.fields(place.salvor("--json", "prune", "--waste-limit", "20%"), "prune")
    equal(result["packs_repacked"], 0, "packs repacked below the limit")
    check(result["bytes_unused_left"] > 300_000, "the waste should have stayed")
    result = place.fields(place.salvor("--json", "prune", "--waste-limit", "1%"), "prune")
    check(result["packs_repacked"] > 0, "nothing was repacked above the limit")
    place.clean()


main()
