"""Edges, APIs and routers: what `--edges`, `--apis` and `--routers` start. All that a cluster knows of Panda itself is in this
file, but for what stands before the routers' links (`links`)."""

import http.client
import json
import os
import secrets
import subprocess
import sys
from pathlib import Path

from . import links
from .part import PROBE_SECONDS, Part
from .refusal import Refusal

ROOT = Path(__file__).resolve().parents[2]
SHARDS = 64
# Each has ports of its own among the cluster's hundred: HTTP, QUIC and health of an edge, links and health of a router,
# HTTP and health of an API.
EDGES_MAX, EDGE_PORTS, FIRST_EDGE_PORT = 16, 3, 10
ROUTERS_MAX, ROUTER_PORTS, FIRST_ROUTER_PORT = 16, 2, 60
APIS_MAX, API_PORTS, FIRST_API_PORT = 4, 2, 92


def check(edges, routers, apis):
    """Refuses what cannot be started; None is whatever the cluster has."""
    for what, count, most in (("edges", edges, EDGES_MAX), ("routers", routers, ROUTERS_MAX), ("apis", apis, APIS_MAX)):
        if count is not None and count > most:
            raise Refusal(f"--{what} {count} is more than the {most} that have ports in a cluster")
    if edges and routers == 0:
        raise Refusal("edges without routers admit nobody: give --routers 1 or more")
    if apis and routers == 0:
        raise Refusal("an API without routers takes no messages: give --routers 1 or more")


def check_secrets(edges, lone_secret):
    if lone_secret and edges < 3:
        raise Refusal("--lone-secret is for the last of three edges or more: the others share theirs")


# What processes run is the release build, unless PANDA_BUILD says debug: the binaries that the tests were built with.
BUILD = os.environ.get("PANDA_BUILD", "release")


def build():
    """Builds the server and the load tester; nothing happens if they are built."""
    if BUILD != "release":
        if not binary().exists():
            raise Refusal(f"PANDA_BUILD is {BUILD}, but there is no {binary()}: run 'ops/test binaries', or unset PANDA_BUILD")
        return
    script = ". ops/toolchain && need_toolchain && build_release"
    # Standard output is for what the caller says.
    if subprocess.run(["bash", "-c", script], cwd=ROOT, stdout=sys.stderr).returncode != 0:
        raise Refusal("panda could not be built; what stands above says why")


def binary():
    return Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target") / BUILD / "panda"


class Process(Part):
    """What edges, APIs and routers have in common: one program, one configuration, the same questions."""

    role = None

    def __init__(self, cluster, number, first_port):
        super().__init__(cluster, f"{self.role}-{number}")
        self.host = cluster.host(1)
        self.health = first_port

    def prepare(self):
        data = self.cluster.data(self.name)
        data.mkdir(exist_ok=True)
        folder = self.cluster.config(self.name)
        folder.mkdir(mode=0o711, parents=True, exist_ok=True)
        self.config = folder / "panda.toml"
        sections = {"health": {"address": f"{self.host}:{self.health}"}, "commands": self.commands(), **self.sections()}
        lines = [f"data = {quoted(data)}", f"fleet_secret = {quoted(self.secret())}"]
        for name, values in sections.items():
            lines += ["", f"[{name}]", *(f"{key} = {quoted(value)}" for key, value in values.items())]
        self.config.write_text("\n".join(lines) + "\n")

    def secret(self):
        """The file with the secret that all of them share."""
        return secret_file(self.cluster, "fleet.secret")

    def commands(self):
        return {"brokers": self.addresses("kafka"), "shards": SHARDS, "replicas": self.cluster.size.replicas}

    def addresses(self, service):
        return [f"{host}:{self.cluster.port(service)}" for host in self.cluster.hosts()]

    def command(self):
        return [binary(), self.role, "--config", self.config]

    def ready(self):
        return self.answers("/readyz")

    def settled(self):
        return self.answers("/sendz")

    def answers(self, question):
        asked = http.client.HTTPConnection(self.host, self.health, timeout=PROBE_SECONDS)
        try:
            asked.request("GET", question)
            return asked.getresponse().status == 200
        except http.client.HTTPException:
            return False
        finally:
            asked.close()


def secret_file(cluster, name, *previous):
    """A file with a new secret, and behind it what else is opened; made by whoever comes first."""
    path = cluster.folder / name
    if not path.exists():
        write_private(path, "\n".join([secrets.token_hex(32), *previous]) + "\n")
    return path


def write_private(path, text):
    """Readable by its owner only from the beginning."""
    with open(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
        file.write(text)


class Router(Process):
    role = "router"

    def __init__(self, cluster, number):
        first = cluster.first_port + FIRST_ROUTER_PORT + ROUTER_PORTS * (number - 1)
        super().__init__(cluster, number, first + 1)
        self.links = first

    @property
    def address(self):
        return f"{self.host}:{self.links}"

    def secret(self):
        shared = super().secret()
        if not self.cluster.size.lone_secret:
            return shared
        # Links are taken that are opened with either: it is the one process that knows the lone edge's.
        path = self.cluster.folder / "routers.secret"
        if not path.exists():
            write_private(path, shared.read_text() + lone_secret(self.cluster).read_text().splitlines()[0] + "\n")
        return path

    def listens(self):
        return [(self.host, self.links), (self.host, self.health)]

    def sections(self):
        return {
            "router": {"links": self.address, **self.advertised()},
            "events": {"nodes": self.addresses("cassandra"), "replicas": self.cluster.size.replicas},
        }

    def advertised(self):
        """Where edges and APIs are told to open their links, if that is not where this listens."""
        return {"advertise": links.address_of(self)} if self.cluster.size.link_proxies else {}


class Front(Process):
    """What edges and APIs have in common: HTTP, users and a cache."""

    scheme = "http"

    @property
    def address(self):
        return f"{self.scheme}://{self.host}:{self.http}"

    def listens(self):
        return [(self.host, self.http), (self.host, self.health)]

    def sections(self):
        return {
            "http": {"address": f"{self.host}:{self.http}", "edges": self.edges()},
            # On one machine everybody comes from one address.
            "edge": {"connections_per_address_max": 1_000_000, "http_connections_per_address_max": 1_000_000},
            "api": {"admin_key": self.cluster.folder / "admin.key"},
            "users": {"url": f"postgres://panda@{self.host}:{self.cluster.port('postgres')}/panda"},
            "cache": {"url": f"redis://{self.host}:{self.cluster.port('redis')}"},
        }


    def edges(self):
        """Where pages find all edges. One that is added later is told to the others at their next start."""
        scheme = "https" if self.cluster.size.tls else "http"
        return [f"{scheme}://{self.host}:{edge_port(self.cluster, number)}" for number in range(1, self.cluster.size.edges + 1)]


def edge_port(cluster, number):
    """The first of an edge's ports: its HTTP."""
    return cluster.first_port + FIRST_EDGE_PORT + EDGE_PORTS * (number - 1)


class Edge(Front):
    role = "edge"

    def __init__(self, cluster, number):
        first = edge_port(cluster, number)
        super().__init__(cluster, number, first + 2)
        self.http, self.quic = first, first + 1
        self.scheme = "https" if cluster.size.tls else "http"

    def secret(self):
        return lone_secret(self.cluster) if self.name == lone_edge(self.cluster) else super().secret()

    def sections(self):
        sections = {**super().sections(), "quic": {"address": f"{self.host}:{self.quic}"}}
        if self.cluster.size.tls:
            make_certificate(self.cluster)
            for section in ("http", "quic"):
                sections[section] |= {"certificate": certificate(self.cluster), "key": self.cluster.folder / "edges.key"}
        return sections


class Api(Front):
    role = "api"

    def __init__(self, cluster, number):
        first = cluster.first_port + FIRST_API_PORT + API_PORTS * (number - 1)
        super().__init__(cluster, number, first + 1)
        self.http = first


def quoted(value):
    # What JSON writes of text, numbers and lists of them, TOML reads.
    return json.dumps(value, default=str)


def parts(cluster):
    """In the order of their start, after the services."""
    size = cluster.size
    check(size.edges, size.routers, size.apis)
    kinds = ((Router, size.routers), (Edge, size.edges), (Api, size.apis))
    own = [kind(cluster, number) for kind, count in kinds for number in range(1, count + 1)]
    routers = own[: size.routers] if size.link_proxies else []
    return [links.Link(router, number) for number, router in enumerate(routers, start=1)] + own


def certificate(cluster):
    """The file with the certificate of all edges, where they speak TLS; it vouches for itself."""
    return cluster.folder / "edges.pem" if cluster.size.tls and cluster.size.edges else None


def make_certificate(cluster):
    if certificate(cluster).exists():
        return
    # Not one of an authority, so that whoever believes it believes nobody else. Whole or not at all: its key comes first.
    made = certificate(cluster).with_suffix(".new")
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "365", "-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"]
    try:
        done = subprocess.run(
            ["openssl", "req", "-x509", *kind, *names, "-keyout", cluster.folder / "edges.key", "-out", made],
            capture_output=True,
            text=True,
        )
    except FileNotFoundError:
        raise Refusal("--tls needs openssl: apt-get install openssl") from None
    if done.returncode != 0:
        raise Refusal(f"openssl could not make a certificate: {done.stderr.strip()}")
    made.rename(certificate(cluster))


def lone_edge(cluster):
    """The edge that has a secret of its own; None where all share theirs."""
    return f"edge-{cluster.size.edges}" if cluster.size.lone_secret else None


def lone_secret(cluster):
    """Its file. It opens what the others sealed, as one does whose secret is being replaced; nobody opens what it seals."""
    shared = secret_file(cluster, "fleet.secret").read_text().splitlines()[0]
    return secret_file(cluster, "lone.secret", shared)


def health_of(parts):
    """Where each of these processes that is Panda's own tells its health and its figures."""
    return {part.name: f"{part.host}:{part.health}" for part in parts if isinstance(part, Process)}


def admin_key(cluster):
    """The file with the first API key, which an edge or API writes; None in a cluster without either."""
    return cluster.folder / "admin.key" if cluster.size.edges or cluster.size.apis else None
