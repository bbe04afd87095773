"""How many reads Cassandra has served, as it says itself."""

import struct

ROWS = 2
GLOBAL_TABLE, MORE_PAGES = 0x01, 0x02
QUESTION = "SELECT keyspace_name, table_name, count FROM system_views.local_read_latency"
ONE = 0x0001


def store_reads(node, keyspace="panda"):
    """Reads of partitions since the node started, by table."""
    answer = node.query(QUESTION, ONE)
    if answer is None:
        raise ConnectionError(f"{node.name} does not tell how often it was read")
    return {table.decode(): int.from_bytes(count, "big") for of, table, count in rows(answer) if of.decode() == keyspace}


def rows(answer):
    """Rows of a result of plain columns as the native protocol has them (version 4, section 4.2.5.2)."""
    at = 0

    def take(form):
        nonlocal at
        values = struct.unpack_from(form, answer, at)
        at += struct.calcsize(form)
        return values if len(values) > 1 else values[0]

    def skip(count):
        nonlocal at
        at += count

    kind, flags, columns = take(">iii")
    if kind != ROWS or flags & MORE_PAGES or not flags & GLOBAL_TABLE:
        raise ConnectionError("an answer of another form than was asked for")
    for _ in ("keyspace", "table"):
        skip(take(">H"))
    for _ in range(columns):
        skip(take(">H"))
        take(">H")  # A type; those that were asked for are one number.
    found = []
    for _ in range(take(">i")):
        row = []
        for _ in range(columns):
            length = max(take(">i"), 0)
            row.append(answer[at : at + length])
            skip(length)
        found.append(row)
    return found
