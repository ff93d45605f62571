"""What it costs to hash, verify, restore and delete snapshots, and to write and read a log."""

import subprocess
import time

from measure import Contender, ENVIRONMENT, Failed, Figure, Sample, execute, figure, in_order, interleaved, ratio, settle


def data_files(directory):
    names = ("*.log", "*.index", "*.timeindex")
    return sorted(path for pattern in names for path in directory.glob(pattern))


def first_reflink(place, sizes, runs, found):
    """A first snapshot by reflink reads and hashes everything once."""
    if not place.reflinks:
        return
    log = place.log("big", 64, sizes.big // 64)
    store = log / ".snapshots"
    if store.exists():
        place.remove(store)
    samples = interleaved([
        Contender("cowlog create --method reflink", lambda: place.create(log, "--method", "reflink"),
                  lambda _: place.remove(store)),
        Contender("b3sum", lambda: execute(["b3sum", *data_files(log)])),
    ], runs, place.root, cold=True)
    found.table(f"first create, {sizes.big >> 20:,} MiB in 64 segments, cold", samples)
    found.goals["first-reflink"] = ratio(*samples.values())


def verify(place, sizes, runs, found):
    big = place.log("big", 64, sizes.big // 64)
    small, = place.twins(place.seeds.log(sizes.segments), "a")
    for key, log, cold, what in [
        ("verify", big, False, f"{sizes.big >> 20:,} MiB in 64 segments, cached"),
        ("verify-cold", big, True, f"{sizes.big >> 20:,} MiB in 64 segments, cold"),
        ("verify-small", small, False, f"{3 * sizes.segments:,} small files, cached"),
    ]:
        snapshot = log / ".snapshots" / place.has_snapshot(log)

        def check(*options):
            return lambda: execute(["b3sum", "--check", "--quiet", *options, "manifest.b3"], cwd=snapshot)

        contenders = [
            Contender("cowlog verify", lambda: execute([place.cowlog, "verify", log, snapshot.name, "--json"])),
            Contender("b3sum --check", check()),
        ]
        if key == "verify":
            contenders.append(Contender("b3sum --check --no-mmap", check("--no-mmap")))
        samples = interleaved(contenders, runs, place.root, cold=cold)
        found.table(f"verify, {what}", samples)
        ours, *theirs = samples.values()
        found.goals[key] = ratio(ours, theirs[0])
        if key == "verify":
            found.goals["verify-read"] = ratio(ours, theirs[1])


def restore(place, sizes, runs, found):
    log = place.log("big", 64, sizes.big // 64)
    snapshot = log / ".snapshots" / place.has_snapshot(log)
    target = place.path("restored")
    remove = lambda _: place.remove(target)

    def ours(method):
        return lambda: execute([place.cowlog, "restore", log, snapshot.name, "--to", target, "--method", method])

    if place.reflinks:
        samples = interleaved([
            Contender("cowlog restore --method reflink", ours("reflink"), remove),
            Contender("b3sum", lambda: execute(["b3sum", *data_files(snapshot)])),
            Contender("b3sum --no-mmap", lambda: execute(["b3sum", "--no-mmap", *data_files(snapshot)])),
        ], runs, place.root)
        found.table(f"restore by reflink, {sizes.big >> 20:,} MiB in 64 segments, cached", samples)
        restored, mapped, read = samples.values()
        found.goals["restore-reflink"] = ratio(restored, mapped)
        found.goals["restore-reflink-read"] = ratio(restored, read)
    copy = ["cp", "-a", "--reflink=never", snapshot, target]
    samples = interleaved([
        Contender("cowlog restore --method copy", ours("copy"), remove),
        Contender("cp -a --reflink=never, sync -f", lambda: in_order(copy, ["sync", "-f", target]), remove),
    ], runs, place.root)
    found.table(f"restore by copy, {sizes.big >> 20:,} MiB in 64 segments, cached", samples)
    found.goals["restore-copy"] = ratio(*samples.values())


def delete(place, sizes, runs, found):
    """Until it is decided and durable that the snapshot is gone, and until its files are."""
    a, b = place.twins(place.seeds.log(sizes.segments), "ab")
    place.has_snapshot(a)
    target, latest = place.path("copy"), []

    def prepare():
        latest[:] = [place.create(a).json["id"]]

    def until_decided():
        sample = execute([place.helper, "delete", a, *latest])
        # What a process costs before it begins belongs to it.
        return Sample(sample.wall - sample.json["seconds"] + sample.json["decided"], 0)

    samples = interleaved([
        Contender("cowlog delete", lambda: execute([place.cowlog, "delete", a, *latest, "--quiet"]), before=prepare),
        Contender("cowlog delete, until decided", until_decided, before=prepare),
        Contender("rm -rf", lambda: execute(["rm", "-rf", target]), before=lambda: execute(["cp", "-al", b, target])),
    ], runs, place.root)
    found.table(f"delete, {3 * sizes.segments:,} files", samples)
    found.goals["delete-decided"] = ratio(samples["cowlog delete, until decided"], samples["rm -rf"])
    found.goals["delete-gone"] = ratio(samples["cowlog delete"], samples["rm -rf"])


def writer(place, sizes, runs, found):
    """What a process that appends notices of snapshots that another one takes all the time."""
    alone, beside, snapshots = [], [], 0
    for turn in range(runs):
        for results, disturbed in ((alone, False), (beside, True))[::1 - turn % 2 * 2]:
            settle(place.root)
            log = place.path("written")
            child = subprocess.Popen([str(place.helper), "writer", str(log), str(sizes.writing)], env=ENVIRONMENT,
                                     stdout=subprocess.PIPE, text=True)
            try:
                ends = time.monotonic() + sizes.writing - 0.3
                time.sleep(0.5)
                while disturbed and time.monotonic() < ends and child.poll() is None:
                    place.create(log)
                    snapshots += 1
                output, _ = child.communicate(timeout=sizes.writing + 60)
            except BaseException:
                child.kill()
                child.wait()
                raise
            if child.returncode != 0:
                raise Failed(f"the writer: exit code {child.returncode}")
            results.append(Sample(0, 0, output))
            place.remove(log)
    found.goals["writer"] = ratio(beside, alone, lambda s: s.json["p999_us"])
    # Every append, and those that do not begin a segment, for which the log syncs the one before.
    longest = {key: [[s.json[f"longest{key}_us"] / 1e3 for s in of] for of in (alone, beside)] for key in ("", "_within")}
    found.notes.append(
        f"writer: {sum(s.json['appends'] for s in beside):,} appends while {snapshots} snapshots were taken; p99.9 "
        f"{figure([s.json['p999_us'] for s in alone]).value:.0f} µs alone, "
        f"{figure([s.json['p999_us'] for s in beside]).value:.0f} µs beside them; longest pause of all runs "
        f"{max(longest[''][0]):.1f} ms alone, {max(longest[''][1]):.1f} ms beside them; of the appends that begin no segment "
        f"{max(longest['_within'][0]):.1f} and {max(longest['_within'][1]):.1f} ms")
    for key, (lonely, disturbed) in longest.items():
        # What it has alone too is not the snapshots' doing. The goal binds the longest, not the median.
        excess = [pause if pause > max(lonely) else 0.0 for pause in disturbed]
        found.goals["writer-pause" + key.replace("_", "-")] = Figure(max(excess), min(excess), max(excess))


def log(place, sizes, runs, found):
    """The format beside plain files, measured within a process."""
    path, plain = place.path("appended"), place.path("plain")

    def inside(*args):
        def measured():
            sample = execute([place.helper, *args])
            return Sample(sample.json["seconds"], sample.cpu)
        return measured

    samples = interleaved([
        Contender("Log::append", inside("append", path, sizes.batches), lambda _: place.remove(path)),
        Contender("write", inside("write", plain, sizes.batches), lambda _: plain.unlink()),
    ], runs, place.root)
    found.table(f"append, {sizes.batches:,} batches of 1 KiB", samples)
    found.goals["append"] = ratio(*samples.values())
    execute([place.helper, "append", path, sizes.batches])
    samples = interleaved([
        Contender("every batch, CRC checked", inside("batches", path)),
        Contender("scan, CRC checked", inside("scan", path)),
        Contender("read", inside("read", path)),
    ], runs, place.root)
    found.table(f"read, {sizes.batches:,} batches of 1 KiB, cached", samples)
    found.goals["read"] = ratio(samples["every batch, CRC checked"], samples["read"])
    found.goals["scan"] = ratio(samples["scan, CRC checked"], samples["read"])
    place.remove(path)


ALL = [first_reflink, verify, restore, delete, writer, log]
