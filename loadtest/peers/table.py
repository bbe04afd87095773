#!/usr/bin/env python3
"""Medians of a results file of `run`, as tables in Markdown: table.py RESULTS.jsonl"""
import json
import statistics
import sys
from collections import defaultdict

# Ours and the floors first, then the others by name.
FIRST = [
    "panda", "panda-ticket", "panda-tls", "panda-tls-ticket",
    "floor-epoll", "floor-epoll-batch", "floor-tokio", "floor-tokio-task", "uws",
]
RATE = "per_cpu_s"
# A column: its title, the figure, digits behind the point, and by what the figure is multiplied.
SPREAD = ("spread %", "spread", 0, 1)
SERVER = ("server CPU %", "server_cpu_pct", 0, 1)
CLIENT = ("client CPU %", "client_cpu_pct", 0, 1)
PER_CPU = ("**per server CPU-s**", RATE, 0, 1)
LATENCIES = [("p50 ms", "p50_us", 2, 1e-3), ("p99 ms", "p99_us", 2, 1e-3), ("p99.9 ms", "p999_us", 2, 1e-3)]
LATE = ("late p99 ms", "late_p99_us", 2, 1e-3)
TRUTH = [("lost", "lost", 0, 1), ("doubled", "doubled", 0, 1), ("unacked", "unacked", 0, 1)]
DELIVERIES = ("deliveries/s", "deliveries_per_s", 0, 1)
ACKS = ("acks/s", "acks_per_s", 0, 1)
SATURATED = [
    DELIVERIES, PER_CPU, SPREAD, SERVER, CLIENT, ("deliveries/read", "done_per_read", 1, 1),
    *TRUTH, ("stalls", "stalls", 0, 1),
]
SCHEDULED = [DELIVERIES, PER_CPU, SPREAD, SERVER, *LATENCIES, LATE, *TRUTH]
TABLES = [
    ("W1: idle subscribed connections", "W1", [
        ("server RSS KiB/conn at n1", "rss_kib_per_conn_n1", 1, 1), ("at n2", "rss_kib_per_conn_n2", 1, 1),
        ("between them", "rss_kib_per_conn_between", 1, 1),
        ("PSS KiB/conn at n2", "pss_kib_per_conn_n2", 1, 1), ("base RSS MiB", "base_rss_mib", 0, 1),
        ("RSS MiB at n2", "rss_mib_n2", 0, 1),
        ("kernel slab KiB/pair", "slab_kib_per_pair", 1, 1), ("opened/s", "open_per_s", 0, 1),
        ("opened per CPU-s", "open_per_cpu_s", 0, 1), ("idle CPU %", "idle_cpu_pct", 1, 1),
    ]),
    ("W2a: 1 channel x 1,000 subscribers, saturated (16 publications under way)", "W2a-1x1000-max", SATURATED),
    ("W2b: 1,000 channels x 10 subscribers, saturated (2 under way in each)", "W2b-1000x10-max",
     [*SATURATED, ("RSS KiB/conn after", "rss_kib_per_conn_after", 1, 1)]),
    ("W2c: 1 channel x 1,000 subscribers, 20,000 deliveries/s on schedule", "W2c-1x1000-20k", SCHEDULED),
    ("W2d: 1,000 channels x 10 subscribers, 20,000 deliveries/s on schedule", "W2d-1000x10-20k", SCHEDULED),
    ("W3a: 1,000 connections publish and wait for the acknowledgement, saturated", "W3a-ack-max",
     [ACKS, PER_CPU, SPREAD, SERVER, CLIENT, *LATENCIES[:2], ("unacked", "unacked", 0, 1)]),
    ("W3b: the same at 5,000 messages/s on schedule", "W3b-ack-5k",
     [ACKS, PER_CPU, SPREAD, SERVER, *LATENCIES, LATE, ("unacked", "unacked", 0, 1)]),
    ("W4: connect, authenticate, subscribe, then close", "W4-churn",
     [("handshakes/s", "handshakes_per_s", 0, 1), PER_CPU, SPREAD, SERVER, CLIENT, *LATENCIES[:2],
      ("failed", "failed", 0, 1)]),
]


def read(path):
    """The head of the run, the peers' versions, and the measurements of each (peer, row)."""
    head, versions, rows = {}, {}, defaultdict(list)
    with open(path, encoding="utf-8") as lines:
        for line in map(json.loads, lines):
            if "command" in line:
                head = line
            elif "version" in line:
                versions[line["peer"]] = line["version"]
            else:
                rows[line["peer"], line["row"]].append(line)
    return head, versions, rows


def figures(measured, name):
    return [line[name] for line in measured if name in line]


def median(measured, name):
    found = figures(measured, name)
    return statistics.median(found) if found else None


def spread(measured):
    """(max - min) / median of the figure per CPU-second, in %."""
    found, middle = figures(measured, RATE), median(measured, RATE)
    return 100 * (max(found) - min(found)) / middle if len(found) > 1 and middle else None


def shown(value, digits=0):
    return "-" if value is None else f"{value:,.{digits}f}"


def cell(measured, column):
    _, name, digits, factor = column
    if name == "spread":
        return shown(spread(measured))
    value = median(measured, name)
    return shown(None if value is None else value * factor, digits)


def print_table(title, row, columns, peers, rows):
    peers = [peer for peer in peers if (peer, row) in rows]
    if not peers:
        return
    print(f"### {title}\n")
    print("| peer | " + " | ".join(column[0] for column in columns) + " |")
    print("|---|" + "---:|" * len(columns))
    for peer in peers:
        measured = rows[peer, row]
        failed = sum("error" in line for line in measured)
        name = f"{peer} ({failed} of {len(measured)} runs failed)" if failed else peer
        print(f"| {name} | " + " | ".join(cell(measured, column) for column in columns) + " |")
    print()


def print_ratios(peers, rows):
    """How many times as much Panda does with a second of CPU as each other one."""
    rated = [row for _, row, columns in TABLES if PER_CPU in columns and median(rows.get(("panda", row), []), RATE)]
    others = [peer for peer in peers if not peer.startswith("panda")]
    if not rated or not others:
        return
    print("### Panda's figure per server CPU-second, divided by each other one's\n")
    print("| peer | " + " | ".join(row.split("-")[0] for row in rated) + " |")
    print("|---|" + "---:|" * len(rated))
    for peer in others:
        cells = []
        for row in rated:
            theirs = median(rows.get((peer, row), []), RATE)
            cells.append(shown(median(rows["panda", row], RATE) / theirs if theirs else None, 2))
        print(f"| {peer} | " + " | ".join(cells) + " |")
    print()


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    head, versions, rows = read(sys.argv[1])
    peers = sorted(versions, key=lambda peer: (FIRST.index(peer) if peer in FIRST else len(FIRST), peer))
    print("### The run\n")
    for name, value in head.items():
        print(f"- {name.replace('_', ' ')}: {value}")
    for peer in peers:
        print(f"- {peer}: {versions[peer]}")
    repeats = max(map(len, rows.values()), default=0)
    print(f"\nMedians of up to {repeats} runs; 'spread' is (max - min) / median of the figure per CPU-second. Ratios within")
    print("one run may be compared, figures of different runs or machines may not.\n")
    for title, row, columns in TABLES:
        print_table(title, row, columns, peers, rows)
    print_ratios(peers, rows)
    errors = [line for measured in rows.values() for line in measured if "error" in line]
    if errors:
        print("### Failed runs\n")
        for line in errors:
            print(f"- {line['peer']} {line['row']} run {line['rep']}: {' '.join(line['error'].split())}")


if __name__ == "__main__":
    main()
