"""What it is to lose an edge with all its sessions, and what it is worth that all edges share one secret."""

import shutil
from pathlib import Path

from local_cluster import panda
from local_cluster.refusal import Refusal

from .own_cluster import NAME, own_cluster

# The last edge has a secret of its own, which the others do not open; they share theirs.
EDGES = 3
SECRETS = {"shared": "edge-1", "own": f"edge-{EDGES}"}
FIGURES = (
    ("half of the sessions back", "s", lambda storm: storm["p50_back_s"]),
    ("90 % back", "s", lambda storm: storm["p90_back_s"]),
    ("99 % back", "s", lambda storm: storm["p99_back_s"]),
    ("all back", "s", lambda storm: storm["all_back_s"]),
    ("TLS handshakes that resumed", "", lambda storm: storm["tls_resumed"]),
    ("full TLS handshakes", "", lambda storm: storm["tls_full"]),
    ("sessions opened by a ticket", "", lambda storm: storm["by_ticket"]),
    ("sessions opened by a token", "", lambda storm: storm["by_token"]),
    ("tries that failed", "", lambda storm: storm["tries_failed"]),
    ("calls of Postgres", "", lambda storm: storm["postgres_calls"]),
    ("reads of the event store for sessions", "", lambda storm: storm["store_reads"]),
    ("processor time of the edges that were left", "s", lambda storm: sum(edge["cpu_s"] for edge in storm["edges"])),
    ("longest time of an edge above 80 % of a core", "s", lambda storm: max(edge["longest_busy_s"] for edge in storm["edges"])),
)


def measure(options, table):
    with own_cluster(EDGES, options.routers, tls=True, lone_secret=True) as cluster:
        for secret, victim in SECRETS.items():
            storms = [storm(cluster, secret, victim, run, options) for run in range(options.runs)]
            for what, unit, figure in FIGURES:
                figures = [figure(storm) for storm in storms]
                if None in figures:
                    raise Refusal(f"not all sessions came back within the load tester's patience: {what}, {secret} secret")
                table.add(f"{options.sessions:,} sessions, {secret} secret: {what}", unit, figures)


def storm(cluster, secret, victim, run, options):
    """What the load tester tells of one edge that was killed; its report goes to where all are kept, if that was asked for."""
    command = {"cluster": NAME, "cluster_command": panda.ROOT / "ops/cluster", "victim": victim, "sessions": options.sessions}
    html = {"html": Path(options.reports) / f"storm-{secret}-secret-{run + 1}.html"} if options.reports else {}
    with cluster.load_of("storm", **command, **html) as load:
        report = load.end(or_limited=True)
        if options.reports:
            shutil.copyfile(load.report, html["html"].with_suffix(".json"))
    return report["storm"]
