"""PostgreSQL: one server, synced writes, no passwords, loopback only."""

import os
import shutil
import signal
import subprocess

from . import disks, packages
from .part import PROBE_SECONDS, Part
from .process import Stat, until
from .refusal import Refusal

PREVIOUS_SECONDS = 10
OWNER = DATABASE = "panda"


class Postgres(Part):
    stop_signal = signal.SIGINT  # Does not wait for clients to leave; SIGTERM would.

    def __init__(self, cluster):
        super().__init__(cluster, "postgres")
        self.host = cluster.host(1)
        self.port = cluster.port("postgres")
        # PostgreSQL refuses to run as root.
        self.user = "postgres" if os.getuid() == 0 else None

    @property
    def address(self):
        return f"postgres://{OWNER}@{self.host}:{self.port}/{DATABASE}"

    def listens(self):
        return [(self.host, self.port)]

    def prepare(self):
        data = self.cluster.data(self.name)
        initdb = packages.postgres_tool("initdb")
        if (data / "PG_VERSION").exists():
            self.wait_for_previous(data / "postmaster.pid")
            return
        shutil.rmtree(data, ignore_errors=True)  # What an interrupted attempt left.
        fresh = data.with_suffix(".new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        if self.user:
            shutil.chown(fresh, self.user, self.user)
        locale = ["--encoding=UTF8", "--locale=C.UTF-8"]
        self.run(initdb, "--pgdata", fresh, "--username", OWNER, "--auth=trust", *locale)
        self.run(packages.postgres_tool("postgres"), "--single", "-D", fresh, "template1", said=f"CREATE DATABASE {DATABASE}\n")
        fresh.rename(data)

    def wait_for_previous(self, lock):
        """Waits until the system has no trace of a killed server, which takes some systems a second or two.

        Until then its ID looks alive to the next server, which then refuses to start.
        """
        if lock.exists():
            pid = int(lock.read_text().split()[0])
            until(lambda: not ((stat := Stat.of(pid)) and stat.ended), PREVIOUS_SECONDS)

    def run(self, *command, said=""):
        as_user = {"user": self.user, "group": self.user, "extra_groups": []} if self.user else {}
        done = subprocess.run(command, input=said, capture_output=True, text=True, cwd="/", **as_user)
        if done.returncode != 0:
            raise Refusal(f"postgres could not make its store: {done.stderr.strip()[-2000:]}")

    def command(self):
        settings = {
            "listen_addresses": self.host,
            "unix_socket_directories": "",
            "fsync": "on",
            "synchronous_commit": "on",
            "max_connections": 200,
            "shared_buffers": "64MB",
        }
        if disks.has(self.cluster, self.name):
            # Twice its checkpoint's worth may lie there at a time.
            settings["max_wal_size"] = "96MB"
        options = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
        return [packages.postgres_tool("postgres"), "-D", str(self.cluster.data(self.name)), "-p", str(self.port), *options]

    def ready(self):
        probe = [packages.postgres_tool("pg_isready"), "--quiet", f"--timeout={PROBE_SECONDS}", "--dbname", self.address]
        return subprocess.run(probe).returncode == 0


def parts(cluster):
    return [Postgres(cluster)]


def test_address(cluster):
    return Postgres(cluster).address
