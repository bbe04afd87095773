"""Two people, one in a full screen and one line by line: `conversation.py PANDA http://HOST:PORT SERVER_PID`. It kills the server."""

import os
import select
import signal
import subprocess
import sys
import tempfile

from terminal import Terminal, waits

panda, server, server_pid = sys.argv[1], sys.argv[2], int(sys.argv[3])


def chat(name, *flags, password=True):
    """The command of a person, and the variables that it runs with."""
    command = [panda, "chat", "--server", server, "--user", name, *flags]
    return command, {"PANDA_PASSWORD": f"correct horse {name}"} if password else {}


def full_screen(name, *flags, columns=80, rows=24):
    terminal = Terminal(*chat(name, *flags), columns=columns, rows=rows)
    terminal.sees(f"{name} · ", "· connected ●")
    return terminal


class Lines:
    """A person at the end of a pipe."""

    def __init__(self, name, *flags):
        command, environment = chat(name, *flags)
        self.out = tempfile.NamedTemporaryFile("r+", errors="replace")
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=self.out, stderr=self.out, env={**os.environ, **environment})

    def line(self, text):
        self.process.stdin.write(text.encode() + b"\n")
        self.process.stdin.flush()

    def text(self):
        with open(self.out.name, encoding="utf-8", errors="replace") as said:
            return said.read()

    def sees(self, text, beside=None):
        """Waits for a line, while the screen of `beside` is read."""
        meanwhile = {"meanwhile": lambda: beside.read(0.05)} if beside else {}
        waits(f"a line with {text!r}", lambda: text in self.text(), shown=self.text, **meanwhile)

    def quits(self):
        self.line("/quit")
        assert self.process.wait(30) == 0, self.text()


def asks_twice_for_a_new_password_and_never_shows_it():
    command, environment = chat("eve", "--register", password=False)
    eve = Terminal(command, environment)
    eve.sees("new password:")
    eve.keys("correct horse eve\r")
    eve.sees("the same again:")
    eve.keys("another\r")
    eve.sees("the two passwords differ")
    eve.waits("eve's command ends", lambda: eve.process.poll() == 1)
    eve = Terminal(command, environment)
    eve.sees("new password:")
    eve.keys("correct horse eve\r")
    eve.sees("the same again:")
    eve.keys("correct horse eve\r")
    eve.sees("· connected ●")
    assert b"horse" not in eve.raw
    eve.keys("\x04")
    eve.ends()


def says_plainly_what_stands_in_the_way():
    for name, flags, url, words in (
        ("eve", (), server, "The username or the password is wrong."),
        ("eve", ("--register",), server, "This name is taken"),
        ("eve", (), "http://127.0.0.1:9", "nobody answers at http://127.0.0.1:9"),
    ):
        command, _ = chat(name, *flags)
        command[command.index(server)] = url
        refused = Terminal(command, {"PANDA_PASSWORD": "not the right horse"}, columns=160)
        refused.sees(words)
        refused.waits("the command ends with 1", lambda: refused.process.poll() == 1)


def two_people_talk():
    ada, ben = full_screen("ada", "--register"), Lines("ben", "--register", "--ws")
    ben.sees("connected as ben", ada)
    ada.sees("No chat is open.", "QUIC")
    ada.line("/new tea @ben")
    ada.sees("1 tea", "the beginning of tea", "ada added ben")
    ben.sees("you are in tea", ada)
    ada.line("milk or lemon?")
    ada.sees("✓      ada milk or lemon?")
    ben.sees("[tea] ada: milk or lemon?", ada)
    ben.line("נענע, بالنعناع 🍃 日本語")
    ada.sees("ben נענע, بالنعناع 🍃 日本語")
    ada.keys("sugar")
    ben.sees("[tea] ada is typing", ada)
    ada.keys("\x15")
    ada.paste("one\ntwo")
    ada.sees("> one", "  two")
    ada.keys("\r")
    ben.sees("[tea] ada: one two", ada)

    ben.line("/dm @ada")
    ada.sees("1 @ben")
    ben.sees("you are in @ada", ada)
    ben.line("/open @ada")
    ben.sees("open: @ada", ada)
    ben.line("\x1b[2J\x1b]0;owned\x07psst")
    ada.sees("1 @ben            1")
    ada.keys("\t")
    ada.sees("�[2J�]0;owned�psst")
    ada.sees_no_more("1 @ben            1")
    assert b"\x1b]0;" not in ada.raw and b"\x1b[2J\x1b]" not in ada.raw, "nothing of ben's is obeyed"
    return ada, ben


def looks_back(ada, ben):
    ada.line("/open tea")
    for number in range(1, 121):
        ada.line(f"cup {number}")
    ben.sees("[tea] ada: cup 120", ada)
    ada.sees("cup 120")
    ada.keys("\x1b[5~")
    ada.sees("looking back", "cup 90")
    for _ in range(8):
        ada.keys("\x1b[5~")
    ada.sees("the beginning of tea", "cup 1")
    ada.keys("\x1b")
    ada.sees_no_more("looking back")
    ada.sees("cup 120")
    ada.line("/who")
    ada.sees("members", "ben (member)")
    ada.keys("\x1b")
    ada.sees_no_more("ben (member)")
    ada.line("/open nothing")
    ada.sees("there is no chat like nothing")


def stays_whole_in_any_size(ada, ben):
    for columns, rows in ((20, 5), (1, 1), (160, 50), (40, 10), (80, 24)):
        ada.resize(columns, rows)
        if columns >= 20:
            ada.sees("cup 120")
    ben.line("/open tea")
    ben.line("e" + "\u0301" * 8000 + " and still")
    ada.sees("and still")
    ben.line("x" * 16 * 1024)
    ada.sees("x" * 30)
    ben.line("short again")
    ada.sees("short again")


def what_was_seen_is_read(ada, ben):
    ada.keys("\x03")
    ada.ends()
    ben.line("/open @ada")
    ben.line("while you were away")
    ben.sees("[@ada] ben: while you were away")
    ada = full_screen("ada", "--ws", columns=160, rows=50)
    ada.sees("WebSocket", "1 @ben", "2 tea")
    ada.line("/open tea")
    ada.sees("short again")
    assert not any("─── new ─" in line for line in ada.text()), "all of tea was read"
    return ada


def what_was_said_is_stored_though_the_terminal_is_closed(ben):
    for flags in ((), ("--plain",)):
        eve = Terminal(*chat("eve", *flags))
        eve.sees("connected")
        if not flags:
            eve.line("/dm @ben")
            ben.sees("you are in @eve")
        eve.sees("open: @ben" if flags else "1 @ben")
        os.kill(server_pid, signal.SIGSTOP)
        eve.line(f"last words {flags}")
        if flags:
            # What the terminal echoes is not taken yet.
            eve.line("/help")
            eve.sees("begins with two slashes")
        else:
            eve.sees("eve last words")
        eve.closes()
        os.kill(server_pid, signal.SIGCONT)
        ben.sees(f"[@eve] eve: last words {flags}")
        waits("eve's client ends", lambda: eve.process.poll() is not None)


def a_lost_connection_is_shown_and_the_terminal_given_back(ada, ben):
    os.kill(server_pid, signal.SIGKILL)
    ada.sees("not connected, next attempt in ")
    ada.line("to nobody yet")
    ada.sees("…          ada to nobody yet")
    ada.keys("\x04")
    ada.sees("waiting up to 5 s for one line that is not stored yet")
    ada.keys("a secret for another prompt\r")
    ada.ends(1)
    ada.sees("not stored in time: to nobody yet")
    assert b"secret" not in ada.raw, "what is typed meanwhile is not shown"
    assert not select.select([ada.follower], [], [], 0)[0], "and reaches nobody"
    ben.quits()


def main():
    asks_twice_for_a_new_password_and_never_shows_it()
    says_plainly_what_stands_in_the_way()
    ada, ben = two_people_talk()
    looks_back(ada, ben)
    stays_whole_in_any_size(ada, ben)
    ada = what_was_seen_is_read(ada, ben)
    what_was_said_is_stored_though_the_terminal_is_closed(ben)
    a_lost_connection_is_shown_and_the_terminal_given_back(ada, ben)


if __name__ == "__main__":
    main()
