"""Figures, and the machine on which they were taken."""

import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from local_cluster.panda import ROOT


@dataclass(frozen=True)
class Figure:
    name: str
    unit: str
    # In the order in which they were taken; the figure is their median.
    runs: list


class Table:
    def __init__(self, arguments):
        self.arguments = arguments
        self.figures = []

    def add(self, name, unit, runs):
        """A figure and the runs behind it. Told at once, because the whole table may take long."""
        figure = Figure(name, unit, list(runs))
        self.figures.append(figure)
        print(f"  {name}: {shown(statistics.median(figure.runs))} {unit}", file=sys.stderr, flush=True)

    def print(self):
        if not self.figures:
            return
        lines = [("NAME", "FIGURE", "UNIT", "N", "RUNS")]
        for figure in self.figures:
            runs = " ".join(shown(run) for run in figure.runs) if len(figure.runs) > 1 else ""
            lines.append((figure.name, shown(statistics.median(figure.runs)), figure.unit, str(len(figure.runs)), runs))
        name, number, unit, count = (max(len(line[column]) for line in lines) for column in range(4))
        for line in lines:
            print(f"{line[0]:<{name}}  {line[1]:>{number}}  {line[2]:<{unit}}  {line[3]:>{count}}  {line[4]}".rstrip())
        for what, value in machine().items():
            print(f"{what}: {value}")
        print(f"command: ops/figures {shlex.join(self.arguments)}", flush=True)

    def write(self, path):
        rows = [
            {"name": figure.name, "figure": statistics.median(figure.runs), "unit": figure.unit, "n": len(figure.runs), "runs": figure.runs}
            for figure in self.figures
        ]
        written = {"command": ["ops/figures", *self.arguments], "machine": machine(), "figures": rows}
        Path(path).write_text(json.dumps(written, indent=1) + "\n")


def shown(number):
    """As many digits as mean something."""
    if number >= 100 or number == int(number):
        return f"{number:,.0f}"
    return f"{number:.1f}" if number >= 10 else f"{number:.2f}"


def machine():
    cpu = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), ": unknown")
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        "cores": len(os.sched_getaffinity(0)),
        "CPU": cpu.split(":", 1)[1].strip(),
        "memory": f"{memory / (1 << 30):.1f} GiB",
        "kernel": platform.release(),
        "commit": commit(),
    }


def commit():
    """What was built, as git names it; a folder without git has no name for it."""

    def git(*arguments):
        return subprocess.run(["git", "-C", ROOT, *arguments], capture_output=True, text=True)

    try:
        head = git("rev-parse", "--short=12", "HEAD")
    except FileNotFoundError:
        return "unknown"
    if head.returncode != 0:
        return "unknown"
    return head.stdout.strip() + (" with changes" if git("status", "--porcelain").stdout else "")
