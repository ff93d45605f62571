"""Running commands one after the other, in turns, and what their times say."""

import json
import os
import signal
import statistics
import subprocess
import time
from dataclasses import dataclass, field
from typing import Callable, Optional

# Figures whose middle half lies further apart than this, relative to their median, tell nothing.
NOISE_BOUND = 0.20

ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith(("COWLOG_", "RESTIC_"))} | {"LC_ALL": "C"}


def interrupt_once():
    """Makes what ends a program a KeyboardInterrupt, but the first time only: what was mounted is unmounted in peace."""
    numbers = signal.SIGINT, signal.SIGTERM, signal.SIGHUP

    def interrupted(*_):
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in numbers:
        signal.signal(number, interrupted)


class Failed(Exception):
    pass


@dataclass
class Sample:
    wall: float
    cpu: float
    output: str = ""

    @property
    def json(self):
        return json.loads(self.output)


def execute(argv, cwd=None, env=None) -> Sample:
    """One process, from before it is started until it has been waited for."""
    argv = [str(a) for a in argv]
    started = time.perf_counter()
    child = subprocess.Popen(argv, cwd=cwd, env=ENVIRONMENT | (env or {}), stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, close_fds=False)
    try:
        output = child.stdout.read()
        _, status, usage = os.wait4(child.pid, 0)
    except BaseException:
        child.kill()
        child.wait()
        raise
    wall = time.perf_counter() - started
    child.stdout.close()
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        raise Failed(f"{' '.join(argv)[:500]}: exit code {child.returncode}")
    return Sample(wall, usage.ru_utime + usage.ru_stime, output.decode(errors="replace"))


def in_order(*commands, **options) -> Sample:
    """Several processes, as one command."""
    samples = [execute(argv, **options) for argv in commands]
    return Sample(sum(s.wall for s in samples), sum(s.cpu for s in samples), samples[-1].output)


@dataclass
class Contender:
    """What is measured, with what is done before and after it and does not count."""
    name: str
    measured: Callable[[], Sample]
    after: Callable[[Sample], None] = lambda sample: None
    before: Callable[[], None] = lambda: None


def settle(path):
    subprocess.run(["sync", "-f", str(path)], check=True)


def drop_caches():
    subprocess.run(["sync"], check=True)
    with open("/proc/sys/vm/drop_caches", "w") as control:
        control.write("3\n")


def interleaved(contenders, runs, place, cold=False) -> dict:
    """A B C C B A A B C …, so that none always comes behind the same other: the samples of each, without those of a first turn where
    caches are to be warm. The filesystem has nothing left to write when one begins."""
    samples = {c.name: [] for c in contenders}
    for turn in range(0 if cold else -1, runs):
        for c in contenders if turn % 2 == 0 else reversed(contenders):
            c.before()
            settle(place)
            if cold:
                drop_caches()
            sample = c.measured()
            c.after(sample)
            if turn >= 0:
                samples[c.name].append(sample)
    return samples


@dataclass
class Figure:
    """A measured value with the least and the most of all runs."""
    value: float
    least: float
    most: float
    noise: float = 0.0
    runs: int = 1
    cpu: Optional[float] = None  # the same of the processor time, where that was measured


def spread(values) -> float:
    """How far apart the middle half lies, relative to the median."""
    if len(values) < 2:
        return 0.0
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return (high - low) / middle if middle else 0.0


def figure(values, cpu=None) -> Figure:
    return Figure(statistics.median(values), min(values), max(values), spread(values), len(values), cpu)


def ratio(ours, theirs, of=lambda sample: sample.wall) -> Figure:
    """The median of the ratios of runs of the same turn."""
    cpu = [statistics.median(s.cpu for s in samples) for samples in (ours, theirs)]
    ours, theirs = [of(s) for s in ours], [of(s) for s in theirs]
    pairs = [a / b for a, b in zip(ours, theirs) if b > 0]
    return figure(pairs, cpu[0] / cpu[1] if all(cpu) else None)


@dataclass
class Findings:
    """What the benchmarks of one filesystem found."""
    goals: dict = field(default_factory=dict)   # key of a goal: Figure
    tables: list = field(default_factory=list)  # (title, {contender: samples})
    growth: dict = field(default_factory=dict)  # contender: {segments: seconds}
    peers: dict = field(default_factory=dict)   # contender: seconds
    notes: list = field(default_factory=list)

    def table(self, title, samples):
        self.tables.append((title, samples))
        for name, of in samples.items():
            if of:
                wall, cpu = figure([s.wall for s in of]), figure([s.cpu for s in of])
                print(f"    {name:<32} {wall.value * 1e3:10.1f} ms ({wall.least * 1e3:.1f}–{wall.most * 1e3:.1f}), "
                      f"CPU {cpu.value * 1e3:.1f} ms", flush=True)
