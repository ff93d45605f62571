"""docs/performance.md."""

import os
import platform
import shutil
import subprocess
from datetime import datetime, timezone

from goals import GOALS
from measure import NOISE_BOUND, figure
from places import TITLES


def first_line(*argv):
    try:
        done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return (done.stdout or done.stderr).strip().split("\n")[0]


def processor():
    with open("/proc/cpuinfo") as info:
        return next((line.split(":", 1)[1].strip() for line in info if line.startswith("model name")),
                    platform.machine())


def gibibytes_of_memory():
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / (1 << 30)


def commit_of(tree):
    commit = first_line("git", "-C", tree, "describe", "--always") or "unknown"
    changed = first_line("git", "-C", tree, "status", "--porcelain", "--untracked-files=no", "--", ".", ":!docs")
    return f"{commit}-dirty" if changed else commit


def versions(commit, cowlog):
    found = {"cowlog": f"{first_line(cowlog, '--version')}, commit {commit}"}
    for program, option in [("cp", "--version"), ("b3sum", "--version"), ("rsync", "--version"),
                            ("restic", "version"), ("strace", "--version"), ("rustc", "--version")]:
        found[program] = first_line(program, option) if shutil.which(program) else None
    return found


def cell(goal, found, kind):
    result = found.goals.get(goal.key)
    if result is None:
        return "–"
    text = goal.show(result.value)
    if result.most > result.least:
        text += f" ({goal.show(result.least)}–{goal.show(result.most)})"
    if result.cpu:
        text += f", CPU {goal.show(result.cpu)}"
    limit = goal.limit_on(kind)
    if limit is None:
        return text
    if goal.untold(result, kind):
        return f"{text}, too noisy ({result.noise:.0%})"
    return f"{text}, {'met' if goal.met(result, kind) else '**not met**'}"


def limit_of(goal):
    if goal.limit is None:
        return ""
    sign = "≥" if goal.at_least else "≤"
    if isinstance(goal.limit, dict) and len(set(goal.limit.values())) > 1:
        return ", ".join(f"{TITLES[k]} {sign} {goal.show(v)}" for k, v in goal.limit.items())
    if isinstance(goal.limit, dict):
        [(kind, value), *more] = goal.limit.items()
        return f"{sign} {goal.show(value)}" + ("" if more else f" ({TITLES[kind]})")
    return f"{sign} {goal.show(goal.limit)}"


def milliseconds(samples, of):
    f = figure([of(s) * 1e3 for s in samples])
    return f"{f.value:,.1f} ({f.least:,.1f}–{f.most:,.1f})"


OFFSITE = "## Copies elsewhere"


def write(path, commit, cowlog, command, sizes, runs, loads, image_dir, results):
    kinds = list(results)
    lines = [
        "# Performance",
        "",
        f"Measured by `{command}`, which writes this page.",
        f"Ratios are medians of the ratios of {runs} runs each, taken in turns (A B C C B A A B C …), with the least and the",
        "most in brackets; 1.00 is the time of what stands behind the slash, *CPU* the ratio of the processor times. Where the middle half of the",
        f"ratios spreads over more than {NOISE_BOUND:.0%} of their median, and not all of them are on one side of the goal, the cell says *too noisy*",
        "to tell. Everything ran on filesystems of their own on loop devices, on trees that are equal byte for byte.",
        "",
        "| | |", "|---|---|",
        f"| date | {datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC |",
        f"| machine | {processor()}, {os.cpu_count()} cores, {gibibytes_of_memory():.0f} GiB of memory |",
        f"| load before and after | {loads[0]:.2f}, {loads[1]:.2f} |",
        f"| kernel | {platform.system()} {platform.release()} |",
        f"| images on | {first_line('findmnt', '-no', 'FSTYPE', '-T', image_dir) or 'unknown'} |",
    ]
    lines += [f"| {name} | {version or 'not installed'} |" for name, version in versions(commit, cowlog).items()]
    lines += [
        f"| sizes | {sizes.segments:,} segments are {3 * sizes.segments:,} files; large sets are {sizes.big >> 20:,} MiB "
        f"in 64 segments; many snapshots are {sizes.snapshots:,}; the largest log has {3 * sizes.growth[-1]:,} files; "
        f"{sizes.idle:,} idle partitions |",
        "", "## Goals", "",
        "| what | goal | " + " | ".join(TITLES[k] for k in kinds) + " |",
        "|---|---|" + "---|" * len(kinds),
    ]
    for goal in GOALS:
        cells = [cell(goal, results[kind], kind) for kind in kinds]
        if set(cells) != {"–"}:
            lines.append(f"| {goal.title} | {limit_of(goal)} | " + " | ".join(cells) + " |")
    lines += [
        "", "A goal that is held against a command without `sync -f` is held against one that a power cut may leave nothing of.",
        "Why goals are not met: [performance-limits.md](performance-limits.md).",
    ]
    stem = os.path.splitext(os.path.basename(path))[0]
    if any(found.growth for found in results.values()):
        lines += ["", f"![the time of a create by the number of segments]({stem}-growth.svg)"]
    if any(found.peers for found in results.values()):
        lines += ["", f"![a snapshot of which nothing changed, by what takes it]({stem}-peers.svg)"]
    for kind in kinds:
        lines += ["", f"## {TITLES[kind]}, all times in ms"]
        for title, samples in results[kind].tables:
            lines += ["", f"**{title}**", "", "| | wall | CPU |", "|---|---|---|"]
            for name, of in samples.items():
                if of:
                    cpu = milliseconds(of, lambda s: s.cpu) if any(s.cpu for s in of) else ""
                    lines.append(f"| {name} | {milliseconds(of, lambda s: s.wall)} | {cpu} |")
        if results[kind].notes:
            lines += ["", *[f"- {note}" for note in results[kind].notes]]
    path.parent.mkdir(parents=True, exist_ok=True)
    # What benches/offsite/run wrote stays.
    before = path.read_text() if path.exists() else ""
    if OFFSITE in before:
        lines += ["", OFFSITE + before.split(OFFSITE, 1)[1].rstrip("\n")]
    with open(path, "w") as page:
        page.write("\n".join(lines) + "\n")
