"""A mail server for journeys: takes what comes over SMTP (RFC 5321) on loopback, each mail as a file of the folder that is named;
prints its port. Plain, without authentication; ends with its standard input."""

import os
import socketserver
import sys
import threading


class Dialogue(socketserver.StreamRequestHandler):
    def say(self, line):
        self.wfile.write(line.encode() + b"\r\n")

    def handle(self):
        self.say("220 sink")
        for line in self.rfile:
            verb = line.split()[0].upper() if line.split() else b""
            if verb == b"DATA":
                self.say("354 go on")
                self.keep(self.mail())
                self.say("250 taken")
            elif verb == b"QUIT":
                self.say("221 bye")
                return
            else:
                self.say("250 fine")

    def mail(self):
        lines = []
        for line in self.rfile:
            if line == b".\r\n":
                break
            lines.append(line[1:] if line.startswith(b"..") else line)
        return b"".join(lines)

    def keep(self, mail):
        with self.server.lock:
            self.server.taken += 1
            path = os.path.join(sys.argv[1], f"mail-{self.server.taken}")
            # Under its name once it is whole.
            with open(path + ".new", "wb") as file:
                file.write(mail)
            os.rename(path + ".new", path)


class Sink(socketserver.ThreadingTCPServer):
    daemon_threads = True
    lock = threading.Lock()
    taken = 0


sink = Sink(("127.0.0.1", 0), Dialogue)
print(sink.server_address[1], flush=True)
threading.Thread(target=sink.serve_forever, daemon=True).start()
sys.stdin.read()
