"""Processes that outlive the command that started them, and how they are known again.

A process is known by its ID, its start time and the boot it belongs to: IDs are used again, the three together are not.
Each writes its own record before it becomes the service, so that none runs unrecorded, whenever the starter is killed.
Signals go through a pidfd that is opened before the start time is compared: in between the ID cannot change hands.
"""

import os
import select
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
CHILDREN_ROUNDS_MAX = 100
KILL_SECONDS = 10


@dataclass(frozen=True)
class Stat:
    """What /proc says of a process."""

    state: str
    parent: int
    threads: int
    start: int
    # What it and the children that it has waited for took of the processors.
    cpu_ticks: int

    @classmethod
    def of(cls, pid):
        """None where there is no such process."""
        try:
            line = (PROC / str(pid) / "stat").read_text(errors="replace")
        except OSError:
            return None
        # The name in brackets may hold anything, brackets and spaces too.
        fields = line[line.rindex(")") + 2 :].split()
        cpu_ticks = sum(int(ticks) for ticks in fields[11:15])
        return cls(fields[0], int(fields[1]), int(fields[17]), int(fields[19]), cpu_ticks)

    @property
    def ended(self):
        """Only the exit status is left: where the first thread is gone and another is not, ports are still held."""
        return self.state in "ZX" and self.threads <= 1


def boot():
    """Tells one boot of the machine from the next: start times are counted from it."""
    return (PROC / "sys/kernel/random/boot_id").read_text().strip()


@dataclass(frozen=True)
class Process:
    """A process that was seen alive, and perhaps no longer is."""

    pid: int
    start: int
    boot: str

    @classmethod
    def of(cls, pid):
        stat = Stat.of(pid)
        return stat and cls(pid, stat.start, boot())

    @classmethod
    def recorded(cls, record):
        """The process of a record; None if it was never started or its record was not finished."""
        try:
            pid, start, of_boot = record.read_text().split()
        except (FileNotFoundError, ValueError):
            return None
        return cls(int(pid), int(start), of_boot)

    def stat(self):
        """None once this very process is gone, whoever has its ID now."""
        stat = Stat.of(self.pid)
        return stat if stat and stat.start == self.start and boot() == self.boot else None

    def alive(self):
        stat = self.stat()
        return stat is not None and not stat.ended

    def paused(self):
        stat = self.stat()
        return stat is not None and stat.state == "T"

    def memory_bytes(self):
        """The resident memory of the process and of what it started."""
        pages = 0
        for process in [self, *self.descendants()]:
            try:
                pages += int((PROC / str(process.pid) / "statm").read_text().split()[1])
            except OSError:
                continue  # It ended while we looked.
        return pages * os.sysconf("SC_PAGE_SIZE")

    def cpu_seconds(self):
        """The processor time of the process and of what it started, since each began."""
        stats = [Stat.of(process.pid) for process in [self, *self.descendants()]]
        return sum(stat.cpu_ticks for stat in stats if stat) / os.sysconf("SC_CLK_TCK")

    def descendants(self):
        """What the process started, and what that started."""
        children = {}
        for entry in PROC.iterdir():
            if entry.name.isdigit() and (stat := Stat.of(int(entry.name))) and not stat.ended:
                children.setdefault(stat.parent, []).append(Process(int(entry.name), stat.start, self.boot))
        found, ahead = [], [self] if self.alive() else []
        while ahead:
            of_one = children.get(ahead.pop().pid, [])
            found += of_one
            ahead += of_one
        return found

    def signal(self, number):
        """Signals this process and no other; nothing happens if it is gone."""
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:
            if self.alive():
                signal.pidfd_send_signal(handle, number)
        except ProcessLookupError:
            pass  # It ended in between, which is no fault of the caller.
        finally:
            os.close(handle)

    def pause(self):
        """Stops the process and all that it started; answers with all of them.

        The parent first, and again until no new child appears: a stopped process starts none.
        """
        family = [self]
        self.signal(signal.SIGSTOP)
        for _ in range(CHILDREN_ROUNDS_MAX):
            new = [process for process in self.descendants() if process not in family]
            if not new:
                return family
            for process in new:
                process.signal(signal.SIGSTOP)
            family += new
        return family

    def resume(self):
        # The children first: a parent that runs may look after them at once.
        for process in [*reversed(self.descendants()), self]:
            process.signal(signal.SIGCONT)

    def kill(self):
        """Ends the process and all that it started, as a loss of power would: none of them gets to act on it.

        Answers whether all of them are gone; one that waits for a disk may take its time.
        """
        family = self.pause()
        for process in family:
            process.signal(signal.SIGKILL)
        return all(process.wait(seconds=KILL_SECONDS) for process in family)

    def wait(self, seconds):
        """Whether the process ended within the time."""
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return True
        try:
            if not self.alive():
                return True
            poll = select.poll()
            poll.register(handle, select.POLLIN)
            return bool(poll.poll(seconds * 1000))
        finally:
            os.close(handle)


def start(command, *, record, log, folder, user=None):
    """Starts a command in a session of its own, its output appended to `log`, itself recorded in `record`."""
    as_user = {"user": user, "group": user, "extra_groups": []} if user else {}
    with open(log, "ab") as output, open(record, "wb", buffering=0) as own_record:

        def write_record():
            # Runs in the new process: ID and start time stay what they are when it becomes the service.
            process = Process.of(os.getpid())
            own_record.write(f"{process.pid} {process.start} {process.boot}\n".encode())

        subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=write_record,
            **as_user,
        )
    return Process.recorded(record)


def until(condition, seconds, every=0.1):
    """Whether the condition came true within the time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(every)
    return True
