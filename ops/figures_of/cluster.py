"""A cluster: what it does at a rate, what each part of it takes, and how long the move of a shard is felt."""

from local_cluster import panda

from .load import Load
from .own_cluster import NAME, own_cluster

SIZES = ((1, 1), (3, 3))
RATES = (300, 1_000)
# Three listeners a chat, who are on different edges where there are three.
SESSIONS, CHATS, SECONDS = 300, 100, 30
# Every shard has chats, so that a move of any is felt.
MOVED = {"sessions": 256, "chats": 256, "rate": 200}
MESSAGES = 10_000
# The same faults each time, so that figures of two runs compare; chats of their own.
SEEDS = {"stop": 3, "restart": 1, "kill": 2}


def measure(options, table):
    sizes = SIZES
    if options.edges or options.routers:
        sizes = ((options.edges or 1, options.routers or 1),)
    for edges, routers in sizes:
        name = f"{edges} edge{'s' * (edges > 1)} + {routers} router{'s' * (routers > 1)}"
        with own_cluster(edges, routers) as cluster:
            # What runs for the first time in Java is not what runs on.
            steady(cluster, RATES[0], SECONDS)
            for rate in RATES:
                at_rate(cluster, rate, options.runs, f"{name}, {rate:,}/s", table)
            if routers > 1:
                for kind, what in (("stop", "planned stop"), ("restart", "planned stop and start at once"), ("kill", "kill and start")):
                    acks, away = longest_acks(cluster, kind, options.runs)
                    table.add(f"{name}: {what} of a router: longest ack", "s", acks)
                    if any(away):
                        table.add(f"{name}: from the {kind} to the start of that router", "s", away)


def at_rate(cluster, rate, runs, name, table):
    taken = [steady(cluster, rate, SECONDS) for _ in range(runs)]
    table.add(f"{name}: acked messages", "1/s", [report["rates"]["acked_per_second"] for report, _ in taken])
    for percentile in ("p50", "p99"):
        delays = [report["delivery_us"][percentile] / 1_000 for report, _ in taken]
        table.add(f"{name}: send to delivery, {percentile}", "ms", delays)
    for part in taken[0][1]:
        spent = [seconds[part] / report["rates"]["acked"] * MESSAGES for report, seconds in taken]
        table.add(f"{name}: CPU for {MESSAGES:,} messages, {part}", "s", spent)


def steady(cluster, rate, seconds):
    """What the load tester reports, and the processor seconds of each part while the load ran."""
    with cluster.load("steady", sessions=SESSIONS, chats=CHATS, rate=rate, duration=f"{seconds}s") as load:
        spent = load.spent(cluster.processes())
        return load.end(), spent


def longest_acks(cluster, kind, runs):
    """Of each fault the longest wait for an ack, from when its send was due until the router is back and all is calm, or, of
    a stop, until the later start begins; and how long the router was kept away, which is the same in every run."""
    chaos = {"cluster": NAME, "cluster_command": panda.ROOT / "ops/cluster", "parts": "router", "kinds": kind, "faults": runs}
    with Load("chaos", cluster.admin_key, seed=SEEDS[kind], **chaos, **MOVED) as load:
        faults = load.end()["chaos"]["faults"]
    longest = "longest_ack_held_s" if kind == "stop" else "longest_ack_s"
    return [fault[longest] for fault in faults], [fault["hold_s"] for fault in faults]
