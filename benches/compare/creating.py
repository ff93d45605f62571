"""What taking a snapshot costs."""

import itertools
import os
import re
import shutil
import time

from measure import Contender, Figure, execute, figure, in_order, interleaved, ratio


def unchanged(place, sizes, runs, found):
    """A second snapshot of which nothing has changed, beside everything else that could be done."""
    seed = place.seeds.log(sizes.segments)
    a, b, c = place.twins(seed, "abc")
    place.has_snapshot(a)
    target = place.path("copy")
    remove = lambda _: place.remove(target)
    contenders = [
        Contender("cowlog create", lambda: place.create(a), lambda s: place.delete(a, s)),
        Contender("cp -al", lambda: execute(["cp", "-al", b, target]), remove),
        Contender("cp -al, sync -f", lambda: in_order(["cp", "-al", b, target], ["sync", "-f", target]), remove),
        Contender("the links alone", lambda: execute([place.helper, "links", b, target]), remove),
    ]
    if shutil.which("rsync"):
        # Its own twin: `cp -al` and hard links move the ctime of what they link, which restic would read again.
        before = place.path("rsynced")
        execute(["rsync", "-a", f"{c}/", before])
        rsync = ["rsync", "-a", f"--link-dest={before}", f"{c}/", target]
        contenders.append(Contender("rsync --link-dest", lambda: execute(rsync), remove))
    if shutil.which("restic"):
        repository = {"RESTIC_REPOSITORY": str(place.path("restic")), "RESTIC_PASSWORD": "x",
                      "RESTIC_CACHE_DIR": str(place.path("restic-cache"))}
        execute(["restic", "-q", "init"], env=repository)
        restic = ["restic", "-q", "backup", "."]
        execute(restic, cwd=c, env=repository)
        contenders.append(Contender("restic backup", lambda: execute(restic, cwd=c, env=repository)))
    original = [place.helper, "original", c, target]
    contenders.append(Contender("copy and sync each (the original)", lambda: execute(original), remove))
    samples = interleaved(contenders, runs, place.root)
    found.table(f"create, {sizes.segments:,} segments, nothing changed", samples)
    ours = samples["cowlog create"]
    found.peers = {name: figure([s.wall for s in of]).value for name, of in samples.items()}
    found.goals["create-durable"] = ratio(ours, samples["cp -al, sync -f"])
    found.goals["create"] = ratio(ours, samples["cp -al"])
    found.goals["create-links"] = ratio(ours, samples["the links alone"])
    for key, name in [("rsync", "rsync --link-dest"), ("restic", "restic backup"),
                      ("original", "copy and sync each (the original)")]:
        if samples.get(name):
            found.goals[key] = ratio(samples[name], ours)


def partitions(place, sizes, runs, found):
    """The same number of files, as a data directory."""
    seed = place.seeds.data(32, sizes.segments // 32)
    a, b = place.twins(seed, "ab")
    place.has_snapshot(a)
    target = place.path("copy")
    remove = lambda _: place.remove(target)
    samples = interleaved([
        Contender("cowlog create", lambda: place.create(a), lambda s: place.delete(a, s)),
        Contender("cp -al", lambda: execute(["cp", "-al", b, target]), remove),
        Contender("cp -al, sync -f", lambda: in_order(["cp", "-al", b, target], ["sync", "-f", target]), remove),
        Contender("the links alone", lambda: execute([place.helper, "links", b, target]), remove),
    ], runs, place.root)
    found.table(f"create, 32 partitions of {sizes.segments // 32} segments, nothing changed", samples)
    found.goals["partitions"] = ratio(samples["cowlog create"], samples["cp -al"])
    found.goals["partitions-links"] = ratio(samples["cowlog create"], samples["the links alone"])
    found.goals["partitions-durable"] = ratio(samples["cowlog create"], samples["cp -al, sync -f"])


def growth(place, sizes, runs, found):
    """The time per file, from few files to many."""
    target = place.path("copy")
    per_file = {}
    for segments in sizes.growth:
        a, b = place.twins(place.seeds.log(segments), "ab")
        place.has_snapshot(a)
        samples = interleaved([
            Contender("cowlog create", lambda: place.create(a), lambda s: place.delete(a, s)),
            Contender("cp -al", lambda: execute(["cp", "-al", b, target]), lambda _: place.remove(target)),
        ], runs, place.root)
        found.table(f"create, {segments:,} segments, nothing changed", samples)
        for name, of in samples.items():
            found.growth.setdefault(name, {})[segments] = figure([s.wall for s in of]).value
            per_file.setdefault(name, []).append(figure([s.wall / (3 * segments) for s in of]))
        ours, theirs = (figures[-1].value * 1e6 for figures in per_file.values())
        found.notes.append(f"{segments:,} segments: {ours:.1f} µs per file, `cp -al` {theirs:.1f} µs")
    for key, figures in zip(("growth", "growth-cp"), per_file.values()):
        found.goals[key] = max(map(dearer, *zip(*itertools.combinations(figures, 2))), key=lambda f: f.value)


def dearer(small, large):
    """How much more a file costs at the larger of two sizes."""
    return Figure(large.value / small.value, large.least / small.most, large.most / small.least,
                  max(small.noise, large.noise), small.runs)


def store(place, sizes, runs, found):
    """A store of one snapshot beside one of many: create and list."""
    few, many = place.twins(place.seeds.log(2), ["few", "many"])
    execute([place.helper, "fill", many, sizes.snapshots])
    whole = place.seeds.log(sizes.segments)
    for path in few, many:
        # New inodes: those of the small log are in its snapshots.
        execute(["cp", "-a", "--reflink=never", "--remove-destination", f"{whole}/.", path])
    time.sleep(3)
    for path in few, many:
        place.create(path)
    samples = interleaved([
        Contender("create, 1 snapshot", lambda: place.create(few), lambda s: place.delete(few, s)),
        Contender(f"create, {sizes.snapshots:,} snapshots", lambda: place.create(many),
                  lambda s: place.delete(many, s)),
        Contender(f"list, {sizes.snapshots:,} snapshots",
                  lambda: execute([place.cowlog, "list", many, "--json"])),
        Contender("cowlog --version", lambda: execute([place.cowlog, "--version"])),
    ], runs, place.root)
    found.table(f"a log of {sizes.segments:,} segments, of which a store has {sizes.snapshots:,} snapshots when it had two", samples)
    one, more, listed, _ = samples.values()
    found.goals["snapshots"] = ratio(more, one)
    found.goals["list"] = figure([s.cpu * 1e3 for s in listed])


def idle(place, sizes, runs, found):
    """Partitions that nobody wrote to: what is copied, and how often they, or a log that did not change, are read."""
    [a] = place.twins(place.seeds.data(sizes.idle, 3), "a")
    place.has_snapshot(a)
    copied = place.create(a).json["bytes_copied"]
    log, = place.twins(place.seeds.log(sizes.segments), "a")
    place.has_snapshot(log)
    trace = place.path("trace")
    calls = "trace=read,pread64,readv,preadv,preadv2,copy_file_range,sendfile,splice,ioctl,mmap"
    read = 0
    for source in a, log:
        execute(["strace", "-f", "-qq", "-y", "-s", "0", "-o", trace, "-e", calls,
                 place.cowlog, "create", source, "--force", "--json"])
        # A call that another thread's interrupts has its files on its first line. A clone or a mapping counts as a read too.
        read += len(re.findall(r"^\d+ +\w+\(.*/\d{20}\.(?:log|index|timeindex)>", trace.read_text(), re.MULTILINE))
        os.remove(trace)
    found.goals["idle-copied"] = Figure(copied, copied, copied)
    found.goals["idle-read"] = Figure(read, read, read)


def memory(place, sizes, runs, found):
    """The most memory that each operation has."""
    target = place.path("restored")
    for many, segments in ("", sizes.segments), ("-many", sizes.growth[-1]):
        a, = place.twins(place.seeds.log(segments), "a")
        shutil.rmtree(a / ".snapshots", ignore_errors=True)
        # Younger files would not be inherited.
        time.sleep(3)
        operations = {
            "first create": (["create", a], lambda: None),
            "create": (["create", a, "--force"], lambda: None),
            "verify": (["verify", a, "latest"], lambda: None),
            "restore": (["restore", a, "latest", "--to", target, "--method", "copy"], lambda: place.remove(target)),
            "delete": (["delete", a, "latest"], lambda: None),
        }
        used = {key: [] for key in operations}
        # It does not change from run to run.
        for _ in range(min(runs, 3)):
            for key, (command, undo) in operations.items():
                # Its parent is the helper, not this script: the kernel counts the memory of the process that starts one as its own.
                used[key].append(execute([place.helper, "memory", place.cowlog, *command]).json["bytes"] / 1e6)
                undo()
            place.remove(a / ".snapshots")
        found.notes.append(f"most memory, {3 * segments:,} files: " + ", ".join(
            f"{key} {figure(of).value:.0f} MB" for key, of in used.items()))
        found.goals["memory" + many] = figure(used["create"])
        found.goals["memory-others" + many] = max((figure(of) for key, of in used.items() if key != "create"), key=lambda f: f.value)


def active(place, sizes, runs, found):
    """A log that is one active segment: it is copied."""
    log = place.log("active", 1, sizes.active)
    segment, target = log / f"{0:020}.log", place.path("copy")
    copy = ["cp", "--reflink=never", segment, target]
    remove = lambda _: target.unlink()
    samples = interleaved([
        Contender("cowlog create", lambda: place.create(log), lambda _: place.remove(log / ".snapshots")),
        Contender("cp --reflink=never", lambda: execute(copy), remove),
        Contender("cp --reflink=never, sync -f", lambda: in_order(copy, ["sync", "-f", target]), remove),
    ], runs, place.root)
    found.table(f"create, one active segment of {sizes.active >> 20:,} MiB", samples)
    found.goals["active"] = ratio(samples["cowlog create"], samples["cp --reflink=never"])
    found.goals["active-durable"] = ratio(samples["cowlog create"], samples["cp --reflink=never, sync -f"])


ALL = [unchanged, partitions, growth, store, idle, memory, active]
