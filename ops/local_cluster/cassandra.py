"""Apache Cassandra, which speaks Scylla's protocol: one node, or three with an address each."""

import struct

from . import disks, packages
from .part import FILES, Part, Talk

STARTUP, READY, QUERY, RESULT = 0x01, 0x02, 0x07, 0x08
ONE, ALL = 0x0001, 0x0005
# A table that every node has a copy of when there are three.
ON_EVERY_NODE = "SELECT * FROM system_distributed.parent_repair_history LIMIT 1"


class Node(Part):
    def __init__(self, cluster, number):
        super().__init__(cluster, f"cassandra-{number}")
        self.number = number
        self.host = cluster.host(number)
        self.port = cluster.port("cassandra")

    @property
    def address(self):
        return f"{self.host}:{self.port}"

    def listens(self):
        return [(self.host, self.port), (self.host, self.cluster.port("cassandra storage"))]

    def prepare(self):
        data = self.cluster.data(self.name)
        for folder in ("data", "commitlog", "hints", "saved_caches", "cdc"):
            (data / folder).mkdir(parents=True, exist_ok=True)
        storage = self.cluster.port("cassandra storage")
        self.config = self.write_config(
            "cassandra.yaml",
            "cassandra.yaml",
            cluster=self.cluster.name,
            host=self.host,
            port=self.port,
            storage=storage,
            # All of them, so that a node starts whichever of the others is away.
            seeds=",".join(f"{host}:{storage}" for host in self.cluster.hosts()),
            data=data,
            # On a disk that fills up, what is stored into a mapped file and finds no room is lost where it is stored, and
            # Java says so late, and to whichever thread: a write could be acknowledged that is not in the log. Written past
            # the cache, what has no room fails where it is written. Other disks need not be able to do that.
            commitlog_access="direct" if disks.has(self.cluster, self.name) else "legacy",
        )

    def command(self):
        archives = packages.archives("cassandra")
        (measurer,) = archives.glob("jamm-*.jar")
        heap = "512m" if self.cluster.size.replicas == 1 else "384m"
        # The tokens of the nodes are given, evenly spread, so that a node need not wait to see others' before it starts.
        token = (self.number - 1) * 2**64 // self.cluster.size.replicas - 2**63
        settings = {
            "cassandra-foreground": "yes",
            "cassandra.config": f"file://{self.config}",
            "cassandra.storagedir": self.cluster.data(self.name),
            "cassandra.logdir": self.cluster.data(self.name),
            "logback.configurationFile": FILES / "cassandra.logback.xml",
            "cassandra.initial_token": token,
            "cassandra.ring_delay_ms": 0,
            "cassandra.skip_wait_for_gossip_to_settle": 0,
            "cassandra.superuser_setup_delay_ms": 0,
            # Its clock for timeouts would go five hundred times a second, also while nobody asks anything.
            "cassandra.approximate_time_precision_ms": 20,
            "cassandra.consistent.rangemovement": "false",
            "cassandra.libjemalloc": "-",
            "java.awt.headless": "true",
            "jna.nosys": "true",
        }
        return [
            packages.java(),
            f"@{FILES}/cassandra.java.args",
            f"-javaagent:{measurer}",
            "-Xms256m",
            f"-Xmx{heap}",
            "-Xss512k",
            "-XX:MaxDirectMemorySize=256m",
            "-XX:+UseSerialGC",
            # The second compiler takes a third of the node for minutes, and runs of load are not much longer.
            "-XX:TieredStopAtLevel=1",
            "-XX:+ExitOnOutOfMemoryError",
            *(f"-D{key}={value}" for key, value in settings.items()),
            "-cp",
            f"{archives}/*",  # The asterisk is Java's to expand.
            "org.apache.cassandra.service.CassandraDaemon",
        ]

    def ready(self):
        return self.query("SELECT key FROM system.local", ONE) is not None

    def settled(self):
        # Only an answer from all nodes shows that each sees the others; schema changes need that.
        return self.cluster.size.replicas == 1 or self.query(ON_EVERY_NODE, ALL) is not None

    def query(self, statement, consistency=ALL):
        """The bytes of a result as they came; None if it was refused."""
        with Talk(self.host, self.port) as talk:
            version = {"CQL_VERSION": "3.0.0"}
            pairs = b"".join(string(key) + string(value) for key, value in version.items())
            if self.exchange(talk, STARTUP, struct.pack(">H", len(version)) + pairs)[0] != READY:
                return None
            text = statement.encode()
            no_flags = 0
            body = struct.pack(">i", len(text)) + text + struct.pack(">HB", consistency, no_flags)
            opcode, answer = self.exchange(talk, QUERY, body)
            return answer if opcode == RESULT else None

    def exchange(self, talk, opcode, body):
        version, flags, stream = 4, 0, 0
        talk.send(struct.pack(">BBhBi", version, flags, stream, opcode, len(body)) + body)
        _, _, _, opcode, length = struct.unpack(">BBhBi", talk.read(9))
        return opcode, talk.read(length)


def string(text):
    return struct.pack(">H", len(text)) + text.encode()


def parts(cluster):
    return [Node(cluster, number) for number in range(1, cluster.size.replicas + 1)]


def test_address(cluster):
    return ",".join(node.address for node in parts(cluster))
