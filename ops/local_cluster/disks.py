"""Small disks: where `--small-disks` asks for them, each service that stores anything has a file system of its own, which
can be filled.

It is ext4 in an image in the cluster's folder, mounted beside it. Nothing is kept of what is mounted: the system knows,
and where it would be follows from the cluster. So `down` finds all of it, whatever became of who mounted it.
"""

import errno
import os
import shutil
import subprocess

from .process import until
from .refusal import Refusal

# Of each service; the smallest that starts, takes a load, and is full within moments of being filled.
MIB = {"kafka": 256, "cassandra": 512, "postgres": 384}
UNMOUNT_SECONDS = 10
BALLAST = "ballast"
BALLAST_STEP_BYTES = 64 << 20
NEEDS = "which needs root, loop devices and mkfs.ext4: run it where they are, or without --small-disks"


def has(cluster, part):
    """Whether a process has a disk of its own."""
    return cluster.size.small_disks and service_of(part) in MIB


def service_of(part):
    return part.partition("-")[0]


def mount(cluster, part):
    """Makes the disk of a process if there is none, and mounts it if it is not."""
    place = cluster.disk(part)
    if os.path.ismount(place):
        return
    place.mkdir(mode=0o711, parents=True, exist_ok=True)
    image = place.with_suffix(".img")
    if not image.exists():
        make(image, MIB[service_of(part)])
    run("mount", "-o", "loop", image, place)
    # Servers run as other users, who pass through.
    place.chmod(0o711)


def make(image, mib):
    """Whole or not at all: an image is there once it has its file system."""
    fresh = image.with_suffix(".new")
    with open(fresh, "wb") as file:
        file.truncate(mib << 20)
    # Nothing is held back for root: full is full.
    run("mkfs.ext4", "-q", "-m", "0", fresh)
    fresh.rename(image)


def check():
    """Refuses where no disk can be made, before anything else is."""
    if os.geteuid() != 0 or not shutil.which("mkfs.ext4") or not os.path.exists("/dev/loop-control"):
        raise Refusal(f"--small-disks mounts a disk for each service, {NEEDS}")


def run(*command):
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError as missing:
        raise Refusal(f"{missing.filename} is missing; --small-disks mounts a disk for each service, {NEEDS}") from missing
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()
        raise Refusal(f"'{' '.join(map(str, command))}' failed ({said}); --small-disks mounts a disk for each service, {NEEDS}")


def unmount(cluster, part):
    """Unmounts the disk of a process that has ended; what is on it stays."""
    place = cluster.disk(part)

    def gone():
        return not os.path.ismount(place) or subprocess.run(["umount", place], capture_output=True).returncode == 0

    if not until(gone, UNMOUNT_SECONDS):
        raise Refusal(f"{place} is still in use after {UNMOUNT_SECONDS} s; look at what holds it with: fuser -vm {place}")


def fill(cluster, part):
    """Takes all that is left of a disk, to the last block; answers how much that was, in bytes."""
    check_has(cluster, part)
    mount(cluster, part)
    taken, step = 0, BALLAST_STEP_BYTES
    with open(cluster.disk(part) / BALLAST, "ab") as ballast:
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


def free(cluster, part):
    """Gives back what `fill` took, also of a disk that is not mounted: on a full one nothing starts."""
    check_has(cluster, part)
    mount(cluster, part)
    (cluster.disk(part) / BALLAST).unlink(missing_ok=True)


def check_has(cluster, part):
    if not has(cluster, part):
        which = f"--small-disks gives one to {', '.join(MIB)}" if cluster.size.small_disks else "'up --small-disks' makes them"
        raise Refusal(f"{part} has no disk of its own: {which}")
