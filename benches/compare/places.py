"""Filesystems on loop devices, and the logs that are put on them."""

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from measure import ENVIRONMENT, Failed, execute, settle

# None of them discards what the image has.
KINDS = {
    "ext4": ["mkfs.ext4", "-q", "-F", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0"],
    "xfs": ["mkfs.xfs", "-q", "-f", "-K", "-m", "reflink=1"],
    "btrfs": ["mkfs.btrfs", "-q", "-f", "-K"],
}
MOUNTED = {"ext4": "defaults", "xfs": "defaults", "btrfs": "nodiscard"}
TITLES = {"ext4": "ext4", "xfs": "XFS", "btrfs": "btrfs"}

# How old a file must be before its times are believed.
TRUSTED_AGE = 2.5


def system(*argv):
    environment = ENVIRONMENT | {"PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin"}
    done = subprocess.run([str(a) for a in argv], env=environment, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True)
    if done.returncode != 0:
        raise Failed(f"{argv[0]}: {done.stderr.strip()}")
    return done.stdout


class Seeds:
    """Logs in memory, where syncing costs nothing, to be copied from."""

    def __init__(self, helper):
        memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
        self.helper = helper
        self.root = Path(tempfile.mkdtemp(prefix="cowlog-compare-", dir=memory))

    def log(self, segments) -> Path:
        return self._made(f"log-{segments}", [("", segments)])

    def data(self, partitions, segments) -> Path:
        return self._made(f"data-{partitions}x{segments}", [(f"orders-{p}", segments) for p in range(partitions)])

    def _made(self, name, logs) -> Path:
        whole, path = self.root / name, self.root / f"{name}.making"
        if not whole.exists():
            for directory, segments in logs:
                (path / directory).mkdir(parents=True)
                execute([self.helper, "make", path / directory, segments, 2048])
            path.rename(whole)
        return whole

    def remove(self):
        shutil.rmtree(self.root, ignore_errors=True)


class Place:
    """A mounted filesystem of its own, which goes when the block is left, however it is left."""

    def __init__(self, kind, image_dir, gibibytes, seeds, cowlog, helper, direct=False):
        self.kind, self.seeds, self.cowlog, self.helper = kind, seeds, cowlog, helper
        self.size = int(gibibytes * (1 << 30))
        self.home = Path(tempfile.mkdtemp(prefix="cowlog-compare-", dir=image_dir))
        self.image, self.root = self.home / "image", self.home / "mnt"
        self.reflinks = kind != "ext4"
        self.direct = direct

    def __enter__(self):
        try:
            # Whoever writes where an image is still empty pays for what the disk below it has to allocate.
            system("dd", "if=/dev/zero", f"of={self.image}", "bs=8M", f"count={self.size}", "iflag=count_bytes",
                   "conv=fsync")
            self.root.mkdir()
            system(*KINDS[self.kind], self.image)
            direct = ["--direct-io=on"] if self.direct else []
            device = system("losetup", "--find", "--show", *direct, self.image).strip()
            try:
                system("mount", "-o", MOUNTED[self.kind], device, self.root)
            finally:
                # Where it is mounted it goes with the mount.
                system("losetup", "--detach", device)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        patience = time.monotonic() + 20
        while os.path.ismount(self.root):
            try:
                system("umount", self.root)
            except Failed as why:
                if time.monotonic() > patience:
                    print(f"{why}; detaching lazily", flush=True)
                    system("umount", "-l", self.root)
                    break
                time.sleep(0.1)
        shutil.rmtree(self.home, ignore_errors=True)

    def path(self, name) -> Path:
        return self.root / name

    def twins(self, seed, names) -> list:
        """Copies of a seed, equal byte for byte, old enough to be believed."""
        paths = [self.path(f"{seed.name}-{name}") for name in names]
        missing = [path for path in paths if not path.exists()]
        for path in missing:
            execute(["cp", "-a", "--reflink=never", seed, path])
        if missing:
            settle(self.root)
            time.sleep(TRUSTED_AGE)
        return paths

    def log(self, name, segments, size) -> Path:
        """A log of large segments, written here."""
        path = self.path(name)
        if not path.exists():
            execute([self.helper, "make", path, segments, size])
            settle(self.root)
            time.sleep(TRUSTED_AGE)
        return path

    def create(self, source, *options):
        return execute([self.cowlog, "create", source, "--force", "--json", *options])

    def delete(self, source, created):
        execute([self.cowlog, "delete", source, created.json["id"], "--quiet"])

    def has_snapshot(self, source) -> str:
        """The id of a snapshot of it: the latest, or a first one."""
        ids = execute([self.cowlog, "list", source, "--json"]).json
        return ids[-1]["id"] if ids else self.create(source).json["id"]

    @staticmethod
    def remove(path):
        shutil.rmtree(path)
