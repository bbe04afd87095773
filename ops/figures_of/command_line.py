"""The commands of `ops/figures`."""

import argparse
import resource
import signal
import sys

from local_cluster import panda
from local_cluster.refusal import Refusal

from . import cluster, growth, serve, storm, takeover
from .table import Table

ABOUT = """\
Starts what it needs with data of its own, loads it with panda-loadtest, prints a table, and stops and removes all of it.
It fails if something does not run or the checker finds a violation, never because something is slow. The load tester
runs on the same machine and takes its share of it: compare figures of one machine only, with nothing else on it."""


def main(arguments):
    options = parser().parse_args(arguments)
    # What is asked to end must still stop what it started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    files_as_many_as_allowed()
    table = Table(arguments)
    try:
        if panda.BUILD != "release":
            raise Refusal(f"PANDA_BUILD is {panda.BUILD}: figures are those of the release build; unset it")
        if options.json:
            # Hours later it would be too late to learn that it cannot be written.
            open(options.json, "a").close()
        panda.build()
        options.measure(options, table)
    except Refusal as refusal:
        print(f"figures: {refusal}", file=sys.stderr)
        return 1
    except OSError as failed:
        if not options.json or failed.filename != options.json:
            raise
        print(f"figures: --json {options.json} cannot be written: {failed.strerror}", file=sys.stderr)
        options.json = None
        return 1
    except KeyboardInterrupt:
        print("figures: interrupted; nothing that was started is left", file=sys.stderr)
        return 1
    finally:
        # What was measured before something failed is no less true.
        table.print()
        if options.json:
            # Of a run that came to nothing, too: what is in there would pass for its figures.
            table.write(options.json)
    return 0


def files_as_many_as_allowed():
    """Each WebSocket needs a file in the server and one in the load tester."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def parser():
    top = argparse.ArgumentParser(prog="ops/figures", description=ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = top.add_subparsers(required=True, metavar="WHAT")

    def command(name, measure, about):
        added = commands.add_parser(name, help=about, description=about)
        added.set_defaults(measure=measure)
        added.add_argument("--json", metavar="FILE", help="write the table as JSON, too")
        return added

    one = command("serve", serve.measure, "one process: memory a session, messages a second, deliveries, delays")
    one.add_argument("--runs", type=positive, default=3, metavar="N", help="of each figure, each with new data (default: 3)")
    one.add_argument("--sessions", type=positive, default=10_000, metavar="N", help="idle ones (default: 10000)")
    one.add_argument("--beyond", type=positive, default=40_000, metavar="N", help="messages a second that are more than it can take (default: 40000)")

    many = command("cluster", cluster.measure, "a cluster: messages, delays, processor time by part, how long a shard's move is felt")
    many.add_argument("--runs", type=positive, default=3, metavar="N", help="of each figure, in one cluster (default: 3)")
    many.add_argument("--edges", type=positive, metavar="N", help="edges (default: 1, then 3)")
    many.add_argument("--routers", type=positive, metavar="M", help="routers (default: 1, then 3)")

    move = command("takeover", takeover.measure, "what a router reads when it takes over from one that was killed, for few and many idle chats")
    move.add_argument("--chats", type=positive, default=500_000, metavar="N", help="the most idle chats (default: 500000)")
    move.add_argument("--active", type=positive, default=500, metavar="N", help="active chats (default: 500)")
    lost = command("storm", storm.measure, "an edge that is killed with all its sessions: when they are back, and what that costs, with one secret for all edges and without")
    lost.add_argument("--runs", type=positive, default=1, metavar="N", help="of each, in one cluster (default: 1)")
    lost.add_argument("--sessions", type=positive, default=15_000, metavar="N", help="on the edge that is killed (default: 15000)")
    lost.add_argument("--routers", type=positive, default=1, metavar="M", help="routers (default: 1)")
    lost.add_argument("--reports", metavar="FOLDER", help="keep each run's report there, as JSON and as a page")
    grows = command("growth", growth.measure, "how memory grows with sessions, fan-out with listeners, and one message with what else there is, as a page of plots")
    grows.add_argument("--runs", type=positive, default=1, metavar="N", help="of each point (default: 1)")
    grows.add_argument("--reports", default="loadtest/reports", metavar="FOLDER", help="where growth.json and growth.html go (default: loadtest/reports)")
    return top


def positive(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number
