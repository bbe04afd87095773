"""A run of `panda-loadtest`, which says on standard error how far it is."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from local_cluster import panda
from local_cluster.process import Process, until
from local_cluster.refusal import Refusal

# What it says of itself, each alone on a line.
PROVISIONED, BEGINS, DELIVERED = "provisioned", "load begins", "all delivered"
# The load tester itself was the limit: its own latencies mean nothing then; what servers used may.
LIMITED = 5
# A load does not end by itself if the target hangs; no figure takes so long.
SECONDS_MAX = 7_200
LOOK_SECONDS = 0.02


class Load:
    """Started when it is entered; gone when it is left, however that is."""

    def __init__(self, scenario, api_key, targets=(), **flags):
        self.arguments = [scenario, "--api-key-file", str(api_key)]
        for target in targets:
            self.arguments += ["--target", target]
        for flag, value in flags.items():
            # Of a switch there is no value.
            self.arguments += [f"--{flag.replace('_', '-')}"] + ([] if value is True else [str(value)])

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="panda-figures-load.")
        self.said = Path(self.folder.name) / "said"
        self.report = Path(self.folder.name) / "report.json"
        with open(self.said, "wb") as said:
            program = panda.binary().with_name("panda-loadtest")
            command = [program, *self.arguments, "--json", self.report]
            self.child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said)
        self.process = Process.of(self.child.pid)
        return self

    def __exit__(self, *_):
        if self.child.poll() is None:
            self.child.kill()
        self.child.wait()
        self.folder.cleanup()

    def spent(self, processes):
        """Of each name, the processor seconds that its processes took from the load's begin until all was delivered."""
        processes = {**processes, "load tester": [self.process]}

        def so_far():
            return {name: sum(process.cpu_seconds() for process in some) for name, some in processes.items()}

        self.comes_to(BEGINS)
        before = so_far()
        self.comes_to(DELIVERED)
        return {name: seconds - before[name] for name, seconds in so_far().items()}

    def comes_to(self, mark):
        """Returns as soon as it says so."""

        def said_or_ended():
            return mark in self.said.read_text(errors="replace").splitlines() or self.child.poll() is not None

        if not until(said_or_ended, SECONDS_MAX, LOOK_SECONDS):
            raise Refusal(f"the load did not come to '{mark}' within {SECONDS_MAX} s{self.tail()}")
        if mark not in self.said.read_text(errors="replace").splitlines():
            self.end()
            raise Refusal(f"the load ended before it came to '{mark}'{self.tail()}")

    def end(self, or_limited=False):
        """What it found; the checker was green. Where figures are not the load tester's own, it may have been a limit, which is
        said."""
        try:
            status = self.child.wait(SECONDS_MAX)
        except subprocess.TimeoutExpired:
            raise Refusal(f"the load did not end within {SECONDS_MAX} s{self.tail()}") from None
        # One that was killed has opened its report and written nothing.
        written = self.report.read_text() if self.report.exists() else ""
        report = json.loads(written) if written else {}
        if or_limited and status == LIMITED and report.get("held") is not False:
            for limit in report["verdict"]["harness_limits"]:
                print(f"  the load tester was a limit: {limit}", file=sys.stderr, flush=True)
            return report
        if status == 0:
            return report
        faults = report.get("chaos", {}).get("faults", [])
        evidence = report.get("evidence", []) + [what for fault in faults for what in [*fault["broken"], fault["problem"]] if what]
        raise Refusal(f"panda-loadtest {' '.join(self.arguments)}: exit status {status}\n" + "\n".join(evidence) + self.tail())

    def tail(self):
        lines = self.said.read_text(errors="replace").splitlines()[-10:]
        return "; its last lines:" + "".join(f"\n    {line}" for line in lines)
