"""One process, `panda serve`, with new data for each run."""

import http.client
import os
import re
import subprocess
import tempfile
import time
from pathlib import Path

from local_cluster import panda
from local_cluster.part import PROBE_SECONDS
from local_cluster.process import Process, until
from local_cluster.refusal import Refusal

from .load import BEGINS, PROVISIONED, Load

START_SECONDS = 60
STOP_SECONDS = 30
# Of the idle sessions: how long they are held, and when their memory is looked at.
HELD, LOOKED_AT_SECONDS = "10s", 7
KIB = 1 << 10


def measure(options, table):
    for transport, name in (("ws", "WebSocket"), ("quic", "QUIC")):
        idle = [idle_memory(transport, options.sessions) for _ in range(options.runs)]
        sessions = f"{options.sessions:,} idle {name} sessions"
        table.add(f"{sessions}: server memory each", "KiB", [of_sessions for of_sessions, _ in idle])
        table.add(f"{sessions}: with user, inbox and chat", "KiB", [of_all for _, of_all in idle])
    saturated = [saturation(options.beyond) for _ in range(options.runs)]
    table.add("saturation: acked messages", "1/s", [reached for reached, *_ in saturated])
    table.add("saturation: acked messages a server CPU-second", "1/s", [a_second for _, a_second, _ in saturated])
    table.add("saturation: CPU of the load tester for each second of the server's", "s", [beside for *_, beside in saturated])
    table.add("a chat of 1,000: deliveries a server CPU-second", "1/s", [fan_out() for _ in range(options.runs)])
    delays = [delivery_ms() for _ in range(options.runs)]
    for place, percentile in enumerate(("p50", "p99")):
        table.add(f"1,000 messages/s: send to delivery, {percentile}", "ms", [delay[place] for delay in delays])


def idle_memory(transport, sessions):
    """KiB of resident memory for each session: what sessions alone add, and all that is there for them since the start."""
    with Server() as server:
        fresh = server.process.memory_bytes()
        with server.load("idle", sessions=sessions, duration=HELD, transport=transport) as load:
            load.comes_to(PROVISIONED)
            provisioned = server.process.memory_bytes()
            load.comes_to(BEGINS)
            time.sleep(LOOKED_AT_SECONDS)
            held = server.process.memory_bytes()
            load.end()
    return (held - provisioned) / sessions / KIB, (held - fresh) / sessions / KIB


def saturation(beyond):
    """Acked messages a second while more are due than both take, with one listener a chat; then what the server did with
    each second of its processor time, and how much the tester took for one. On a machine that they share the first figure
    is that of both: the more the tester takes, the more the server could do without it."""
    with Server() as server, server.load("steady", sessions=1_000, chats=1_000, rate=beyond, duration="20s") as load:
        spent = load.spent({"server": [server.process]})
        rates = load.end()["rates"]
    reached = rates["acked_per_second"]
    if reached > 0.95 * beyond:
        raise Refusal(f"{beyond} messages/s were no more than the server could take; give --beyond more")
    return reached, rates["acked"] / spent["server"], spent["load tester"] / spent["server"]


def fan_out():
    """Deliveries for each second of the server's processor time."""
    with Server() as server, server.load("steady", sessions=1_000, chats=1, rate=30, duration="20s") as load:
        spent = load.spent({"server": [server.process]})
        return load.end()["rates"]["delivered"] / spent["server"]


def delivery_ms():
    """p50 and p99 over all deliveries, from when the send was due."""
    with Server() as server, server.load("steady", sessions=1_000, chats=100, rate=1_000, duration="30s") as load:
        delay = load.end()["delivery_us"]
    return delay["p50"] / 1_000, delay["p99"] / 1_000


class Server:
    """A `panda serve` on free ports; gone with its data when it is left."""

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="panda-figures-serve.")
        self.data = Path(self.folder.name) / "data"
        said = Path(self.folder.name) / "said"
        addresses = [word for flag in ("--http", "--quic", "--health") for word in (flag, "127.0.0.1:0")]
        # All sessions come from one address.
        environment = {**os.environ, "PANDA_EDGE_CONNECTIONS_PER_ADDRESS_MAX": "1000000"}
        with open(said, "wb") as output:
            command = [panda.binary(), "serve", "--data", self.data, *addresses]
            self.child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment)
        self.process = Process.of(self.child.pid)
        try:
            until(lambda: self.is_ready(said.read_text()) or self.child.poll() is not None, START_SECONDS)
            if not self.is_ready(said.read_text()):
                raise Refusal(f"'panda serve' is not ready after {START_SECONDS} s:\n{said.read_text()[-2000:]}")
        except BaseException:
            self.__exit__()
            raise
        return self

    def is_ready(self, said):
        """Whether the panel is there and the process admits sessions."""
        found = {what: re.search(rf"^ *{what} *http://(\S+)", said, re.MULTILINE) for what in ("page", "health")}
        if not all(found.values()):
            return False
        self.http = found["page"][1].rstrip("/")
        asked = http.client.HTTPConnection(found["health"][1].rstrip("/"), timeout=PROBE_SECONDS)
        try:
            asked.request("GET", "/readyz")
            return asked.getresponse().status == 200
        except OSError:
            return False
        finally:
            asked.close()

    def load(self, scenario, **flags):
        return Load(scenario, self.data / "admin.key", [f"http://{self.http}"], **flags)

    def __exit__(self, *_):
        self.child.terminate()
        try:
            self.child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
        self.folder.cleanup()
