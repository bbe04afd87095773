"""How costs grow: memory with sessions, fan-out with listeners, one message with what else the process holds. Each at points that
lie at least a factor of 100 apart, each point in a `panda serve` with new data."""

import json
import subprocess
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path

from local_cluster import panda
from local_cluster.refusal import Refusal

from .load import BEGINS
from .serve import LOOKED_AT_SECONDS, Server
from .table import machine

KIB = 1 << 10
SESSIONS = (150, 500, 1_500, 5_000, 15_000)
LISTENERS = (10, 30, 100, 300, 1_000)
CHATS = (100, 300, 1_000, 3_000, 10_000, 30_000)
# What a point costs in time; at a rate at which the largest fan-out is 20,000 deliveries a second.
FAN_OUT_RATE, RATE, SECONDS = 20, 200, 20
# Sessions of the chats that are many; messages go to the first of them.
FEW_SESSIONS, ACTIVE = 100, 100
# Sessions that cost the load tester little; one of a hundred is checked.
LEAN = {"lean": True}
MICROSECONDS = 1_000_000


def measure(options, table):
    curves = [
        curve(memory, "Memory of sessions", "sessions", "KiB", SESSIONS, MEMORY, options, table),
        curve(fan_out, "A message to a chat of many", "listeners", "µs of processor time", LISTENERS, FAN_OUT, options, table),
        curve(message_among_sessions, "A message beside many sessions", "sessions", "µs of processor time", SESSIONS, AMONG_SESSIONS, options, table),
        curve(message_among_chats, "A message beside many chats", "chats", "µs of processor time", CHATS, AMONG_CHATS, options, table),
    ]
    write(curves, options)


MEMORY = "Resident memory that the process holds beyond what it held when it started, for WebSocket sessions, each with its user, its inbox and two chats of ten members."
FAN_OUT = f"Processor time of the server by message, from the first to the last delivery: {FAN_OUT_RATE} messages a second to one chat, whose members all listen."
AMONG_SESSIONS = f"Processor time of the server by message: {RATE} messages a second to random chats of ten members, two of which each session is in, so that there are a fifth as many chats. What sessions cost that do nothing, such as their heartbeats, is in it."
AMONG_CHATS = f"Processor time of the server by message: {RATE} messages a second to {ACTIVE} chats, with {FEW_SESSIONS} sessions that listen to all of the chats together. What the process does anyway, such as its ticks, is in it."


def curve(figure, title, x, y, places, about, options, table):
    points = []
    for place in places:
        runs = [figure(place) for _ in range(options.runs)]
        table.add(f"{title}: {place:,} {x}", y, runs)
        points.append({"x": place, "runs": runs})
    return {"title": title, "about": about, "x": x, "y": y, "points": points}


def memory(sessions):
    """KiB that sessions add, with what is kept of their users, inboxes and chats: that is let go of slowly, so that a look between
    the two would show too much before and too little afterwards."""
    with Server() as server:
        before = server.process.memory_bytes()
        with server.load("idle", sessions=sessions, duration="10s", transport="ws", settle="10s", **LEAN) as load:
            load.comes_to(BEGINS)
            time.sleep(LOOKED_AT_SECONDS)
            held = server.process.memory_bytes()
            load.end(or_limited=True)
    return max(held - before, 0) / KIB


def fan_out(listeners):
    """Microseconds of the server's processor time for a message."""
    return of_a_message("steady", sessions=listeners, chats=1, rate=FAN_OUT_RATE)


def message_among_sessions(sessions):
    return of_a_message("idle", sessions=sessions, rate=RATE, transport="ws", **LEAN)


def message_among_chats(chats):
    return of_a_message("steady", sessions=FEW_SESSIONS, chats=chats, active=ACTIVE, rate=RATE)


def of_a_message(scenario, **flags):
    with Server() as server, server.load(scenario, duration=f"{SECONDS}s", **flags) as load:
        spent = load.spent({"server": [server.process]})
        return spent["server"] / load.end(or_limited=True)["rates"]["acked"] * MICROSECONDS


def write(curves, options):
    """The points, with the lines that `panda-loadtest growth` draws through them."""
    about = machine()
    of_machine = {"cpu": about["CPU"], "cores": about["cores"], "memory_bytes": memory_of_machine(), "kernel": about["kernel"]}
    started = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    command = f"ops/figures growth --runs {options.runs} --reports {options.reports}"
    points = {"growth": 1, "command": command, "started": started, "commit": about["commit"], "machine": of_machine, "curves": curves}
    folder = Path(options.reports)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", suffix=".json", prefix="panda-growth.") as file:
        json.dump(points, file)
        file.flush()
        program = panda.binary().with_name("panda-loadtest")
        written = ["--json", folder / "growth.json", "--html", folder / "growth.html"]
        done = subprocess.run([program, "growth", file.name, *written], stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise Refusal(f"panda-loadtest growth: exit status {done.returncode}")


def memory_of_machine():
    lines = Path("/proc/meminfo").read_text().splitlines()
    total = next(line for line in lines if line.startswith("MemTotal:"))
    return int(total.split()[1]) * KIB
