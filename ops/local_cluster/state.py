"""What a cluster is, kept in one folder: its size, its ports, and where its processes have their data, logs and records."""

import base64
import contextlib
import fcntl
import json
import os
import re
import socket
import sys
import uuid
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from . import disks
from .refusal import Refusal

SERVICES = ("kafka", "cassandra", "postgres", "redis")
REPLICAS = (1, 3)
# Far from what `panda serve` listens on (8080, 8443, 9600) and below the ports that the system hands out itself.
FIRST_PORT, LAST_PORT, PORTS_A_CLUSTER = 20000, 29900, 100
FIRST_PORTS_ALLOWED = range(1024, 65536 - PORTS_A_CLUSTER + 1)
PORT_OFFSETS = {"kafka": 0, "kafka controller": 1, "cassandra": 2, "cassandra storage": 3, "postgres": 4, "redis": 5}


@dataclass(frozen=True)
class Size:
    """What `up` can be asked for; it stays the cluster's until `down --wipe`, but for more of Panda's own processes."""

    services: list
    replicas: int
    edges: int
    routers: int
    # One that was made before there were any has none.
    apis: int = 0
    # Whether links go through processes that can be cut, and whether services have disks that can be filled.
    link_proxies: bool = False
    small_disks: bool = False
    # Whether edges speak TLS, and whether the last of them seals what it gives to sessions with a secret of its own.
    tls: bool = False
    lone_secret: bool = False


@dataclass(frozen=True)
class Cluster:
    """A cluster that was made by `up`, whether it runs or not."""

    folder: Path
    size: Size
    first_port: int
    kafka_id: str

    @property
    def name(self):
        return self.folder.name

    def port(self, what):
        return self.first_port + PORT_OFFSETS[what]

    def host(self, number):
        """Each replica has an address of its own and the same ports."""
        return f"127.0.0.{number}"

    def hosts(self):
        return [self.host(number) for number in range(1, self.size.replicas + 1)]

    def data(self, part):
        return self.disk(part) / "data" if disks.has(self, part) else self.folder / "data" / part

    def disk(self, part):
        """Where the disk of a process is mounted that has one of its own."""
        return self.folder / "disks" / part

    def filled(self, part):
        """How much the log of a process held, in bytes, when its disk was filled."""
        return self.folder / "disks" / f"{part}.filled"

    def config(self, part):
        return self.folder / "config" / part

    def log(self, part):
        return self.folder / "logs" / f"{part}.log"

    def record(self, part):
        return self.folder / "processes" / part


def root():
    """The folder of all clusters of this user: on a disk, and with a path that the user `postgres` may pass through."""
    folder = Path(os.environ.get("PANDA_CLUSTERS") or f"/var/tmp/panda-clusters-{os.getuid()}")
    folder.mkdir(mode=0o711, parents=True, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise Refusal(f"{folder} belongs to somebody else; name another folder in the variable PANDA_CLUSTERS")
    return folder


def folder_of(name):
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,31}", name):
        raise Refusal(f"'{name}' is no name for a cluster: lower-case letters, digits and dashes, at most 32")
    return root() / name


@contextlib.contextmanager
def locked(name):
    """One command at a time makes, starts or stops the clusters of a name; a second one waits. Gives the lock, for children
    that are to hold it, too."""
    with open(folder_of(name).with_suffix(".lock"), "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for another command that works on cluster '{name}'", file=sys.stderr)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock


def load(name):
    """The cluster of that name, None if there is none."""
    folder = folder_of(name)
    try:
        saved = json.loads((folder / "cluster.json").read_text())
        return Cluster(folder, Size(**saved["size"]), saved["first_port"], saved["kafka_id"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as wrong:
        raise Refusal(f"{folder}/cluster.json is not what this version writes ({wrong}); remove {folder}") from wrong


def make(name, size, first_port, listens):
    """Makes the folder of a new cluster, with ports that are free.

    `listens` says where a cluster would listen. Ports of clusters that are down stay theirs.
    """
    folder = folder_of(name)
    with open(root() / ".ports.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        kafka_id = new_kafka_id()
        others = [other for path in root().glob("*/cluster.json") if (other := load(path.parent.name))]
        candidates = [first_port] if first_port else range(FIRST_PORT, LAST_PORT + 1, PORTS_A_CLUSTER)
        for candidate in candidates:
            cluster = Cluster(folder, size, candidate, kafka_id)
            conflict = conflict_of(cluster, others, listens(cluster))
            if not conflict:
                break
        else:
            raise Refusal(
                f"{conflict}; choose other ports with --first-port"
                if first_port
                else f"no {PORTS_A_CLUSTER} ports from {FIRST_PORT} on are free; 'down --wipe' clusters that you no longer need"
            )
        for part in ("data", "config", "logs", "processes"):
            (folder / part).mkdir(mode=0o711, parents=True, exist_ok=True)
        save(cluster)
    return cluster


def unmake(cluster):
    """A cluster that could not get what it was to be made with is none: the next one of its name may be another."""
    (cluster.folder / "cluster.json").unlink()


def resize(cluster, size):
    """The same cluster with another size."""
    cluster = replace(cluster, size=size)
    save(cluster)
    return cluster


def save(cluster):
    """Whole or not at all: a cluster exists once its file does."""
    saved = {"size": asdict(cluster.size), "first_port": cluster.first_port, "kafka_id": cluster.kafka_id}
    (cluster.folder / "cluster.json.new").write_text(json.dumps(saved, indent=1) + "\n")
    (cluster.folder / "cluster.json.new").rename(cluster.folder / "cluster.json")


def new_kafka_id():
    """An ID as Kafka writes it, and not one that its tools take for an option."""
    while (made := base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith("-"):
        pass
    return made


def conflict_of(cluster, others, listens):
    """What stands against a cluster's ports, in words; None if nothing does."""
    for other in others:
        if abs(other.first_port - cluster.first_port) < PORTS_A_CLUSTER:
            return f"ports from {other.first_port} on belong to cluster '{other.name}', whether it runs or not"
    taken = next((where for where in listens if is_taken(*where)), None)
    return taken and f"{taken[0]}:{taken[1]} is in use by another process"


def is_taken(host, port):
    with socket.socket() as probe:
        # As servers do, so that connections that are only winding down do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return True
    return False
