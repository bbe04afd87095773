"""Redis as Panda uses it: a cache that may be lost at any time, so it writes nothing to the disk."""

from . import packages
from .part import Part, Talk


class Redis(Part):
    def __init__(self, cluster):
        super().__init__(cluster, "redis")
        self.host = cluster.host(1)
        self.port = cluster.port("redis")

    @property
    def address(self):
        return f"redis://{self.host}:{self.port}"

    def listens(self):
        return [(self.host, self.port)]

    def prepare(self):
        self.cluster.data(self.name).mkdir(exist_ok=True)

    def command(self):
        server = packages.tool("redis-server", "redis-server")
        where = ["--bind", self.host, "--port", str(self.port), "--dir", str(self.cluster.data(self.name))]
        return [server, *where, "--save", "", "--appendonly", "no", "--maxmemory", "128mb", "--maxmemory-policy", "allkeys-lru"]

    def ready(self):
        with Talk(self.host, self.port) as talk:
            talk.send(b"PING\r\n")
            return talk.read(7) == b"+PONG\r\n"


def parts(cluster):
    return [Redis(cluster)]


def test_address(cluster):
    return Redis(cluster).address
