"""What is measured: the binaries, and how large everything is."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

TREE = Path(__file__).resolve().parents[2]


def build():
    """The release binary and the helper, where cargo says that they are."""
    command = ["cargo", "build", "--release", "--bin", "cowlog", "--example", "compare-helper",
               "--message-format", "json-render-diagnostics"]
    done = subprocess.run(command, cwd=TREE, stdout=subprocess.PIPE, text=True, check=True)
    artifacts = [json.loads(line) for line in done.stdout.splitlines()]
    found = {a["target"]["name"]: Path(a["executable"]) for a in artifacts if a.get("executable")}
    return found["cowlog"], found["compare-helper"]


@dataclass
class Sizes:
    segments: int = 5_000
    growth: tuple = (1_000, 5_000, 15_000, 50_000)
    snapshots: int = 1_000
    idle: int = 200
    big: int = 4 << 30
    active: int = 1 << 30
    writing: float = 5.0
    batches: int = 256 << 10
    image_gibibytes: float = 24


QUICK = Sizes(segments=320, growth=(100, 320, 1_000), snapshots=40, idle=20, big=64 << 20, active=32 << 20, writing=1.0,
              batches=8 << 10, image_gibibytes=2)
