"""What every process of a cluster has in common: the seam between `lifecycle` and the services."""

import signal
import socket
import string
from pathlib import Path

from .process import Process

FILES = Path(__file__).parent / "files"
PROBE_SECONDS = 2


class Part:
    """One process: where it listens, how it is prepared, started, asked and stopped."""

    stop_signal = signal.SIGTERM
    stop_seconds = 20
    user = None

    def __init__(self, cluster, name):
        self.cluster = cluster
        self.name = name

    @property
    def address(self):
        """What `status` shows: where clients find it."""
        raise NotImplementedError

    def listens(self):
        """Every (host, port) that must be free before a start."""
        raise NotImplementedError

    def prepare(self):
        """Writes the configuration and, the first time, an empty store. Before every start."""
        raise NotImplementedError

    def command(self):
        raise NotImplementedError

    def ready(self):
        """Whether this process serves clients, by asking it. OSError counts as no."""
        raise NotImplementedError

    def settled(self):
        """Whether it also works together with its fellows: what a cluster that just started waits for."""
        return True

    def process(self):
        """The process that was last started, alive or not; None if there is none or it was stopped in order."""
        return Process.recorded(self.cluster.record(self.name))

    def running(self):
        process = self.process()
        return process is not None and process.alive()

    def write_config(self, file, template, **values):
        """Fills a file of `files/` in; a name without a value is an error."""
        folder = self.cluster.config(self.name)
        folder.mkdir(mode=0o711, parents=True, exist_ok=True)
        path = folder / file
        path.write_text(string.Template((FILES / template).read_text()).substitute(values))
        return path


class Talk:
    """A connection for one question, which a paused process does not hold up for long."""

    def __init__(self, host, port):
        self.socket = socket.create_connection((host, port), timeout=PROBE_SECONDS)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def read(self, count, most=1 << 20):
        if count > most:
            raise ConnectionError(f"an answer of {count} bytes")
        data = b""
        while len(data) < count:
            more = self.socket.recv(count - len(data))
            if not more:
                raise ConnectionError("the connection ended within an answer")
            data += more
        return data
