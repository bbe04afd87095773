"""A program in a pseudo-terminal of its own, and what a person would see there."""

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time

import pyte

# A guard against hanging, not a measure.
PATIENCE_S = 30


def waits(what, holds, meanwhile=lambda: time.sleep(0.05), shown=lambda: ""):
    """Waits until something holds."""
    until = time.monotonic() + PATIENCE_S
    while not holds():
        if time.monotonic() > until:
            raise AssertionError(f"expected: {what}; but there is\n{shown()}")
        meanwhile()


class Terminal:
    """Runs a command with a terminal at both ends, and reads the screen."""

    def __init__(self, command, environment, columns=80, rows=24):
        self.screen = pyte.Screen(columns, rows)
        self.stream = pyte.ByteStream(self.screen)
        self.raw = b""
        self.leader, follower = pty.openpty()
        self._size(columns, rows)
        self.before = termios.tcgetattr(follower)
        self.process = subprocess.Popen(
            command, stdin=follower, stdout=follower, stderr=follower, start_new_session=True,
            # Without a controlling terminal nobody hears of another size.
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
            env={**os.environ, "TERM": "xterm-256color", "TZ": "UTC", **environment})
        # Kept open, so that what was said last and the modes can be read after the end.
        self.follower = follower

    def _size(self, columns, rows):
        fcntl.ioctl(self.leader, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def resize(self, columns, rows):
        """Another size, as by dragging the window's corner."""
        self.screen.resize(rows, columns)
        self._size(columns, rows)

    def keys(self, text):
        """Presses keys."""
        os.write(self.leader, text.encode())

    def line(self, text):
        """Types a line and ends it."""
        self.keys(text + "\r")

    def paste(self, text):
        """Pastes, as a terminal with bracketed paste does."""
        self.keys(f"\x1b[200~{text}\x1b[201~")

    def closes(self):
        """Closes the window: the program is told, and can neither read nor write any more."""
        os.close(self.leader)
        os.close(self.follower)

    def read(self, seconds):
        """Reads what is drawn, if something is within the time."""
        readable, _, _ = select.select([self.leader], [], [], seconds)
        if readable:
            data = os.read(self.leader, 65536)
            self.raw += data
            self.stream.feed(data)

    def text(self):
        """The screen as lines. The second half of a wide character is an empty cell."""
        rows = (self.screen.buffer[row] for row in range(self.screen.lines))
        return ["".join(row[column].data for column in range(self.screen.columns)).rstrip() for row in rows]

    def waits(self, what, holds):
        """Waits until something holds, and reads what is drawn meanwhile."""
        waits(what, holds, lambda: self.read(0.05), lambda: "\n".join(self.text()))

    def sees(self, *texts):
        """Waits until all of the texts are on the screen."""
        for text in texts:
            self.waits(f"the screen shows {text!r}", lambda: any(text in line for line in self.text()))

    def sees_no_more(self, text):
        """Waits until a text is gone."""
        self.waits(f"the screen shows no {text!r}", lambda: not any(text in line for line in self.text()))

    def ends(self, status=0):
        """Waits until the program has ended with a status, and the terminal is as it was."""
        self.waits("the program ends", lambda: self.process.poll() is not None)
        while select.select([self.leader], [], [], 0.2)[0]:
            self.read(0)
        ended = self.process.returncode
        assert ended == status, f"expected: status {status}, not {ended}\n" + "\n".join(self.text())
        after = termios.tcgetattr(self.follower)
        assert after == self.before, "expected: the terminal's modes are as they were"
        taken, given = self.raw.rfind(b"\x1b[?1049h"), self.raw.rfind(b"\x1b[?1049l")
        assert taken < given, "expected: the alternate screen is left"
        assert self.raw.rfind(b"\x1b[?25h") > self.raw.rfind(b"\x1b[?25l"), "expected: the cursor is shown again"
        assert self.raw.rfind(b"\x1b[?2004l") > self.raw.rfind(b"\x1b[?2004h"), "expected: pastes are as they were"
