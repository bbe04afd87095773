"""Small disks: where `--small-disks` asks for them, each service that stores anything has a file system of its own, which
can be filled.

It is ext4 in an image in the cluster's folder, mounted beside it. Nothing is kept of what is mounted: the system knows,
and where it would be follows from the cluster. So `down` finds all of it, whatever became of who mounted it. What makes,
mounts and unmounts it holds the cluster's lock itself, and so keeps others out when who started it was killed.
"""

import errno
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from .process import until
from .refusal import Refusal

# Of each service; the smallest that starts, takes a load, and is full within moments of being filled.
MIB = {"kafka": 256, "cassandra": 512, "postgres": 384}
TRIED_MIB = 4
UNMOUNT_SECONDS = 10
BALLAST = "ballast"
BALLAST_STEP_BYTES = 64 << 20
NEEDS = "which needs root, loop devices and mkfs.ext4: run it where they are, or without --small-disks"


def has(cluster, part):
    """Whether a process has a disk of its own."""
    return cluster.size.small_disks and service_of(part) in MIB


def service_of(part):
    return part.partition("-")[0]


def mount(cluster, part, lock):
    """Makes the disk of a process if there is none, and mounts it if it is not."""
    place = cluster.disk(part)
    if os.path.ismount(place):
        return
    place.mkdir(mode=0o711, parents=True, exist_ok=True)
    image = place.with_suffix(".img")
    if not image.exists():
        make(image, MIB[service_of(part)], lock)
    run("mount", "-o", "loop", image, place, lock=lock)
    # Servers run as other users, who pass through.
    place.chmod(0o711)


def make(image, mib, lock=None):
    """Whole or not at all: an image is there once it has its file system."""
    fresh = image.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    # It holds what its service lets nobody else read.
    with open(os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
        file.truncate(mib << 20)
    # Nothing is held back for root: full is full.
    run("mkfs.ext4", "-q", "-m", "0", fresh, lock=lock)
    fresh.rename(image)


def check():
    """Refuses where no disk can be made, before anything else is."""
    if os.geteuid() != 0 or not shutil.which("mkfs.ext4") or not os.path.exists("/dev/loop-control"):
        raise Refusal(f"--small-disks mounts a disk for each service, {NEEDS}")
    # Who is root in a container has all of that, and may not mount.
    with tempfile.TemporaryDirectory(prefix="panda-disk.") as folder:
        image, place = Path(folder) / "tried.img", Path(folder) / "tried"
        make(image, TRIED_MIB)
        place.mkdir()
        run("mount", "-o", "loop", image, place)
        run("umount", place)


def run(*command, lock=None):
    try:
        done = subprocess.run(command, capture_output=True, text=True, pass_fds=(lock.fileno(),) if lock else ())
    except FileNotFoundError as missing:
        raise Refusal(f"{missing.filename} is missing; --small-disks mounts a disk for each service, {NEEDS}") from missing
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()
        raise Refusal(f"'{' '.join(map(str, command))}' failed ({said}); --small-disks mounts a disk for each service, {NEEDS}")


def unmount(cluster, part, lock):
    """Unmounts the disk of a process that has ended; what is on it stays."""
    place = cluster.disk(part)

    def gone():
        if not os.path.ismount(place):
            return True
        return subprocess.run(["umount", place], capture_output=True, pass_fds=(lock.fileno(),)).returncode == 0

    if not until(gone, UNMOUNT_SECONDS):
        raise Refusal(f"{place} is still in use after {UNMOUNT_SECONDS} s; look at what holds it with: fuser -vm {place}")


def fill(cluster, part, lock):
    """Takes all that is left of a disk, to the last block; answers how much that was, in bytes."""
    check_has(cluster, part)
    mount(cluster, part, lock)
    taken, step = 0, BALLAST_STEP_BYTES
    with open(cluster.disk(part) / BALLAST, "ab") as ballast:
        # What is taken is of that disk: never of the one that everything else is on.
        if os.fstat(ballast.fileno()).st_dev == os.stat(cluster.folder).st_dev:
            raise Refusal(f"{cluster.disk(part)} is no disk of its own: nothing was taken; look at: mount")
        at = ballast.tell()
        block = os.fstatvfs(ballast.fileno()).f_frsize
        # Its process writes meanwhile: what it frees is taken too, and what it takes is not there.
        while step >= block:
            try:
                os.posix_fallocate(ballast.fileno(), at, step)
                at += step
                taken += step
            except OSError as full:
                if full.errno != errno.ENOSPC:
                    raise
                step //= 2
    return taken


def free(cluster, part, lock):
    """Gives back what `fill` took, also of a disk that is not mounted: on a full one nothing starts."""
    check_has(cluster, part)
    mount(cluster, part, lock)
    (cluster.disk(part) / BALLAST).unlink(missing_ok=True)


def check_has(cluster, part):
    if not has(cluster, part):
        which = f"--small-disks gives one to {', '.join(MIB)}" if cluster.size.small_disks else "'up --small-disks' makes them"
        raise Refusal(f"{part} has no disk of its own: {which}")
