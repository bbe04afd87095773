"""A TCP proxy before the port at which a router takes links: bytes in, bytes out, and nothing else.

A program of its own, run as `link_proxy.py LISTEN_HOST:PORT TARGET_HOST:PORT`. It reads nothing of what it carries, so TLS
passes. What it holds of a connection is bounded each way: who does not read holds up who writes. Killed, its connections
are reset; paused, they stay open and no byte passes.
"""

import asyncio
import signal
import socket
import struct
import sys

CHUNK_BYTES = 64 * 1024
CONNECTIONS_MAX = 256
CONNECT_SECONDS = 5
# A socket that is closed, by the end of its process too, resets its connection and forgets what is not sent.
RESET = struct.pack("ii", 1, 0)
# It ends in order, and what is not sent still goes.
IN_ORDER = struct.pack("ii", 0, 0)


class Proxy:
    def __init__(self, target):
        self.target = target
        self.connections = 0

    async def take(self, reader, writer):
        """Carries one connection until both sides have ended it, or one has reset it."""
        prepare(writer)
        if self.connections >= CONNECTIONS_MAX:
            print(f"a connection is reset: there are {CONNECTIONS_MAX}", flush=True)
            writer.transport.abort()
            return
        self.connections += 1
        try:
            await self.carry_both(reader, writer)
        finally:
            self.connections -= 1

    async def carry_both(self, reader, writer):
        try:
            opened = asyncio.open_connection(*self.target, limit=CHUNK_BYTES)
            far_reader, far_writer = await asyncio.wait_for(opened, CONNECT_SECONDS)
        except (OSError, asyncio.TimeoutError) as error:
            # As the router itself would: whoever connects learns that nobody is there.
            print(f"a connection is reset: the router cannot be reached ({error})", flush=True)
            writer.transport.abort()
            return
        prepare(far_writer)
        ways = [asyncio.ensure_future(carry(reader, far_writer)), asyncio.ensure_future(carry(far_reader, writer))]
        try:
            await asyncio.gather(*ways)
        except OSError:
            # What one side reset, the other one finds reset.
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for end in (writer, far_writer):
                end.transport.abort()
        else:
            for end in (writer, far_writer):
                linger(end, IN_ORDER)
                end.close()


async def carry(reader, writer):
    """One way, up to its end, which is passed on too."""
    while data := await reader.read(CHUNK_BYTES):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


def prepare(writer):
    writer.transport.set_write_buffer_limits(high=CHUNK_BYTES)
    linger(writer, RESET)
    writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def linger(writer, how):
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, how)


def address(text):
    host, _, port = text.rpartition(":")
    return host, int(port)


async def run(listen, target):
    proxy = Proxy(address(target))
    server = await asyncio.start_server(proxy.take, *address(listen), limit=CHUNK_BYTES)
    print(f"{listen} leads to {target}", flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    # Asked to end, it ends at once, as killed: its connections are reset either way.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    asyncio.run(run(*sys.argv[1:]))
