"""Apache Kafka in KRaft mode: each process is broker and controller. One, or three that replicate."""

import struct
import subprocess

from . import packages
from .part import FILES, Part, Talk
from .refusal import Refusal

METADATA = 3  # The key of the request, of which version 1 is asked.


class Broker(Part):
    # A broker that stops asks the controllers first; the last of three no longer finds a majority of them and would
    # wait for minutes. What it acknowledged is on the disk by then.
    stop_seconds = 10

    def __init__(self, cluster, number):
        super().__init__(cluster, f"kafka-{number}")
        self.number = number
        self.host = cluster.host(number)
        self.port = cluster.port("kafka")

    @property
    def address(self):
        return f"{self.host}:{self.port}"

    def listens(self):
        return [(self.host, self.port), (self.host, self.cluster.port("kafka controller"))]

    def prepare(self):
        replicas = self.cluster.size.replicas
        controller = self.cluster.port("kafka controller")
        voters = (f"{number}@{host}:{controller}" for number, host in enumerate(self.cluster.hosts(), start=1))
        self.config = self.write_config(
            "server.properties",
            "kafka.properties",
            number=self.number,
            host=self.host,
            port=self.port,
            controller=controller,
            voters=",".join(voters),
            data=self.cluster.data(self.name),
            replicas=replicas,
            in_sync=2 if replicas > 1 else 1,
        )
        if not (self.cluster.data(self.name) / "meta.properties").exists():
            self.format()

    def format(self):
        tool = ["kafka.tools.StorageTool", "format", "-t", self.cluster.kafka_id, "-c", str(self.config)]
        done = subprocess.run([*self.java("-Xmx128m", "-XX:TieredStopAtLevel=1"), *tool], capture_output=True, text=True)
        if done.returncode != 0:
            raise Refusal(f"{self.name} could not make its store: {(done.stderr or done.stdout).strip()[-2000:]}")

    def java(self, *flags):
        log4j = f"-Dlog4j2.configurationFile={FILES}/kafka.log4j2.properties"
        # The asterisk is Java's to expand.
        return [packages.java(), *flags, "-XX:+UseSerialGC", log4j, "-cp", f"{packages.archives('kafka')}/*"]

    def command(self):
        heap = "512m" if self.cluster.size.replicas == 1 else "256m"
        # Room for what lives shortly: with less of it, collecting it is a twelfth of what a broker does under load.
        java = self.java("-Xms192m", "-Xmn96m", f"-Xmx{heap}", "-XX:+ExitOnOutOfMemoryError", "-Djava.awt.headless=true")
        return [*java, "kafka.Kafka", str(self.config)]

    def ready(self):
        return self.number in self.brokers()

    def settled(self):
        return len(self.brokers()) == self.cluster.size.replicas

    def brokers(self):
        """The numbers of the brokers that this one knows to be alive."""
        name = b"panda-cluster"
        no_topics = 0
        request = struct.pack(f">hhih{len(name)}si", METADATA, 1, 0, len(name), name, no_topics)
        with Talk(self.host, self.port) as talk:
            talk.send(struct.pack(">i", len(request)) + request)
            (length,) = struct.unpack(">i", talk.read(4))
            answer = talk.read(length)
        (count,) = struct.unpack_from(">i", answer, 4)
        numbers, at = set(), 8
        for _ in range(count):
            number, host_length = struct.unpack_from(">ih", answer, at)
            (rack_length,) = struct.unpack_from(">h", answer, at + 6 + host_length + 4)
            at += 6 + host_length + 4 + 2 + max(rack_length, 0)
            numbers.add(number)
        return numbers


def parts(cluster):
    return [Broker(cluster, number) for number in range(1, cluster.size.replicas + 1)]


def test_address(cluster):
    return ",".join(broker.address for broker in parts(cluster))
