"""The goals: what is measured, in which unit, and how much it may be."""

from dataclasses import dataclass
from typing import Callable, Union

from measure import Figure, NOISE_BOUND

@dataclass
class Goal:
    key: str
    title: str
    # Per filesystem, or for all; without one the figure is for comparison only.
    limit: Union[float, dict, None] = None
    unit: str = "ratio"
    at_least: bool = False

    def limit_on(self, kind):
        return self.limit.get(kind) if isinstance(self.limit, dict) else self.limit

    def met(self, figure: Figure, kind):
        limit = self.limit_on(kind)
        return figure.value >= limit if self.at_least else figure.value <= limit

    def untold(self, figure: Figure, kind):
        """Noise does not matter where all runs are on one side of the limit."""
        return figure.noise > NOISE_BOUND and figure.least <= self.limit_on(kind) <= figure.most

    def show(self, value):
        return UNITS[self.unit](value)


UNITS: dict[str, Callable[[float], str]] = {
    "ratio": lambda v: f"{v:.3f}" if v < 0.1 else f"{v:.2f}",
    "times": lambda v: f"{v:,.1f}×" if v < 10 else f"{v:,.0f}×",
    "ms": lambda v: f"{v:.1f} ms",
    "MB": lambda v: f"{v:.0f} MB",
    "calls": lambda v: f"{v:,.0f}",
    "bytes": lambda v: f"{v:,.0f} B",
}

GOALS = [
    Goal("create-durable", "create, nothing changed / `cp -al` and `sync -f`", 0.95),
    Goal("create", "create, nothing changed / `cp -al`, which syncs nothing", {"ext4": 1.07, "xfs": 1.15, "btrfs": 1.17}),
    Goal("create-links", "create, nothing changed / its links alone, one by one, which no snapshot by hard links can do without"),
    Goal("partitions", "the same as 32 partitions / `cp -al`", {"ext4": 0.8, "xfs": 1.0, "btrfs": 1.0}),
    Goal("partitions-durable", "the same as 32 partitions / `cp -al` and `sync -f`", 0.95),
    Goal("partitions-links", "the same as 32 partitions / its links alone, by two threads"),
    Goal("rsync", "`rsync -a --link-dest` / create", {"ext4": 4, "xfs": 4, "btrfs": 3.5}, "times", True),
    Goal("restic", "second `restic backup` / create", 10, "times", True),
    Goal("original", "copying and syncing each file, as the original did / create", {"ext4": 500}, "times", True),
    Goal("growth", "create, time per file: the most at any size / at any smaller size", 1.3),
    Goal("growth-cp", "`cp -al`, the same"),
    Goal("snapshots", "create with many snapshots in the store / with one", 1.1),
    Goal("idle-copied", "create over idle partitions: bytes copied", 0, "bytes"),
    Goal("idle-read", "the same, and create over an unchanged log: calls that read, map or clone a segment's files", 0, "calls"),
    Goal("memory", "create: most memory", 32, "MB"),
    Goal("memory-many", "create of the largest log: most memory", 150, "MB"),
    Goal("memory-others", "first create, verify, restore, delete: most memory", 32, "MB"),
    Goal("memory-others-many", "the same of the largest log", 150, "MB"),
    Goal("active", "create, one active segment / `cp --reflink=never`, which syncs nothing", 1.15),
    Goal("active-durable", "create, one active segment / `cp --reflink=never` and `sync -f`"),
    Goal("first-reflink", "first create by reflink, cold / `b3sum` of the files", 1.1),
    Goal("verify", "verify, cached / `b3sum --check`", 1.0),
    Goal("verify-read", "verify, cached / `b3sum --check --no-mmap`, which reads too, with one thread"),
    Goal("verify-cold", "verify, cold / `b3sum --check`", 1.0),
    Goal("verify-small", "verify, small files / `b3sum --check`", 0.7),
    Goal("restore-reflink", "restore by reflink, verified / `b3sum` of the files", 1.05),
    Goal("restore-reflink-read", "restore by reflink, verified / `b3sum --no-mmap` of the files, which reads too, with one thread"),
    Goal("restore-copy", "restore by copy, verified / `cp -a --reflink=never` and `sync -f`", 1.0),
    Goal("list", "list of many snapshots: CPU", 5, "ms"),
    Goal("delete-decided", "delete, until it is decided and durable / `rm -rf`", 0.05),
    Goal("delete-gone", "delete, until its files are gone / `rm -rf`", 0.95),
    Goal("writer", "p99.9 of appends while snapshots are taken / alone", 2.0),
    Goal("writer-pause", "longest pause of a writer that it does not have alone", 20, "ms"),
    Goal("writer-pause-within", "the same, where the append begins no segment", 20, "ms"),
    Goal("append", "append of 1 KiB batches / `write`", 1.3),
    Goal("read", "every batch, CRC checked / `read`", 1.2),
    Goal("scan", "scan, CRC checked / `read`"),
]
