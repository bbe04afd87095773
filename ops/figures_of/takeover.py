"""What a router reads when it takes over all shards of one that was killed.

An edge listens to many chats, most of them idle: nobody says anything there. The new owner is to read what active chats
need, however many idle ones there are: the figures for few and for many idle ones, and for few and for more active ones,
stand beside each other. The other router starts when the first one is killed, so that the first had interest in all
chats. Reads are counted from the kill until some time after the last shard was taken over.
"""

import http.client
import re
import time

from local_cluster import lifecycle
from local_cluster.part import PROBE_SECONDS
from local_cluster.panda import SHARDS
from local_cluster.process import until
from local_cluster.refusal import Refusal

from .load import BEGINS
from .own_cluster import own_cluster
from .store_reads import store_reads

# Below the 10,000 that a user may be in.
CHATS_A_SESSION = 5_000
SESSIONS_MIN = 20
# Before the kill, so that what was made before the load is behind every checkpoint; then the time in which the new owner
# takes over and every active chat is spoken in.
BEFORE_SECONDS, BEHIND_SECONDS, TAKEOVER_SECONDS_MAX = 30, 30, 120
# The load goes on for so long while shards are taken over.
TAKEOVER_SECONDS = 40
# Of each active chat, on the average.
SECONDS_A_MESSAGE = 4
KILLED, TAKES_OVER = "router-1", "router-2"


def measure(options, table):
    most, active = options.chats, options.active
    sessions = max(SESSIONS_MIN, -(-(most + 4 * active) // CHATS_A_SESSION))
    few, some = max(1, most // 500), max(1, most // 10)
    for idle, speaking in ((few, active), (some, active), (some, 4 * active), (most, active)):
        name = f"{idle:,} idle chats, {speaking:,} active"
        for what, unit, figure in takeover(idle, speaking, sessions):
            table.add(f"{name}: {what}", unit, [figure])


def takeover(idle, active, sessions):
    """(what, unit, figure) of one kill, in a cluster of its own."""
    rate = max(1, active // SECONDS_A_MESSAGE)
    seconds = BEFORE_SECONDS + TAKEOVER_SECONDS + BEHIND_SECONDS
    flags = {"chats": idle + active, "active": active, "rate": rate, "duration": f"{seconds}s", "transport": "quic", "patience": "60m"}
    with own_cluster(edges=1, routers=2) as cluster:
        killed, takes_over, store = (cluster.parts[name] for name in (KILLED, TAKES_OVER, "cassandra-1"))
        lifecycle.stop([takes_over])
        await_all_shards(killed)
        with cluster.load("steady", sessions=sessions, **flags) as load:
            load.comes_to(BEGINS)
            time.sleep(BEFORE_SECONDS)
            before = store_reads(store)
            began = time.monotonic()
            lifecycle.kill(killed)
            lifecycle.restart(cluster.cluster, takes_over)
            await_all_shards(takes_over)
            owned = time.monotonic() - began
            time.sleep(BEHIND_SECONDS)
            loads = metric(takes_over, "panda_router_row_loads_total")
            took = {table: count - before[table] for table, count in store_reads(store).items()}
            report = load.end()
    yield "loads of rows by the router that took over", "loads", loads
    for table, count in took.items():
        yield f"what the store read of {table}", "reads", count
    yield "kill of one router and start of the other until it owns all shards", "s", owned
    yield "longest ack of the load", "s", report["ack_us"]["max"] / 1e6


def await_all_shards(router):
    def owns_all():
        try:
            return metric(router, "panda_router_shards_owned") == SHARDS
        except (OSError, http.client.HTTPException):
            # It has much to do just then.
            return False

    if not until(owns_all, TAKEOVER_SECONDS_MAX):
        raise Refusal(f"{router.name} does not own all shards after {TAKEOVER_SECONDS_MAX} s")


def metric(router, name):
    asked = http.client.HTTPConnection(router.host, router.health, timeout=PROBE_SECONDS)
    try:
        asked.request("GET", "/metrics")
        text = asked.getresponse().read().decode()
    finally:
        asked.close()
    found = re.search(rf"^{name}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE)
    if not found:
        raise Refusal(f"{router.name} has no metric {name}")
    return int(float(found[1]))
