"""The verbs of `ops/cluster` and what they print."""

import argparse
import os
import sys

from . import disks, lifecycle, panda, state
from .refusal import Refusal

ABOUT = """\
A whole cluster of ordinary processes on this machine: edges, APIs and routers over real Kafka, Cassandra, PostgreSQL and
Redis, on loopback, without a container engine. What is missing is fetched or installed where that needs nobody's
password. Its data is real (synced to the disk) and stays until 'down --wipe', all in one folder under /var/tmp (or the
variable PANDA_CLUSTERS)."""


def main(arguments):
    options = parser().parse_args(arguments)
    try:
        if not hasattr(os, "pidfd_open"):
            raise Refusal("processes are known by what Linux says of them: run this on Linux with Python 3.9 or newer")
        return options.run(options) or 0
    except Refusal as refusal:
        print(f"cluster: {refusal}", file=sys.stderr)
    except KeyboardInterrupt:
        print("\ncluster: interrupted; 'ops/cluster down' stops what was started", file=sys.stderr)
    return 1


def parser():
    top = argparse.ArgumentParser(prog="ops/cluster", description=ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = top.add_subparsers(required=True, metavar="VERB")

    def verb(name, run, about, of_part=False):
        command = verbs.add_parser(name, help=about, description=about)
        command.set_defaults(run=run)
        command.add_argument("--name", default="dev", help="which cluster (default: dev)")
        if of_part:
            command.add_argument("part", metavar="NAME", help="a process as 'status' names it, for example kafka-1")
        return command

    def sized(command):
        command.add_argument("--replicas", type=int, choices=state.REPLICAS, help="brokers, and nodes of Cassandra (default: 1)")
        command.add_argument("--first-port", type=int, metavar="N", help="the first of 100 ports (default: free ones from 20000 on)")
        command.add_argument(
            "--small-disks",
            action="store_true",
            default=None,
            help="give each of Kafka, Cassandra and PostgreSQL a disk of its own that 'fill' can fill (needs root and loop devices)",
        )

    command = verb("up", up, "start what does not run yet and wait until it is ready")
    sized(command)
    command.add_argument("--edges", type=int, metavar="N", help="edges (default: 0)")
    command.add_argument("--routers", type=int, metavar="M", help="routers (default: 0)")
    command.add_argument("--apis", type=int, metavar="N", help="processes of the HTTP API alone (default: 1 if there are routers)")
    command.add_argument(
        "--link-proxies",
        action="store_true",
        default=None,
        help="put a process link-N before the links of router-N: to 'kill' it resets them, to 'pause' it cuts them silently",
    )
    command.add_argument("--tls", action="store_true", default=None, help="let edges speak HTTPS, with one certificate made here")
    command.add_argument(
        "--lone-secret",
        action="store_true",
        default=None,
        help="let the last edge seal with a secret of its own: no other edge takes its tickets, which shows what one secret for all is worth",
    )
    command = verb("services", services, "start only backing services and print variables for the stores' contract tests")
    sized(command)
    command.add_argument("services", nargs="*", metavar="SERVICE", help=f"which: {', '.join(state.SERVICES)} (default: all)")
    command = verb("down", down, "stop all of it, and nothing else")
    command.add_argument("--wipe", action="store_true", help="remove its data as well")
    verb("status", status, "a line for each process")
    command = verb("logs", logs, "print the log of a process", of_part=True)
    command.add_argument("-f", "--follow", action="store_true", help="and what is added to it")
    verb("kill", kill, "kill -9 a process and all that it started; of link-N: reset the links of router-N", of_part=True)
    verb("pause", pause, "make a process hang, with its connections open; of link-N: cut the links of router-N without a word", of_part=True)
    verb("resume", resume, "let a paused process go on", of_part=True)
    verb("stop", stop, "stop a process in order; one that takes too long is killed, which is said", of_part=True)
    command = verb("restart", restart, "stop a process in order if it runs, start it, wait until it is ready", of_part=True)
    command.add_argument("--no-wait", action="store_true", help="only start it")
    verb("fill", fill, "fill the disk of a service that was made with 'up --small-disks', until 'free'", of_part=True)
    verb("free", free, "make room on a disk that 'fill' filled; start the service if it ended, and say so", of_part=True)
    return top


def up(options):
    own = {"edges": options.edges, "routers": options.routers, "apis": options.apis}
    made_with = {"link_proxies": options.link_proxies, "tls": options.tls, "lone_secret": options.lone_secret}
    asked = wanted(options, services=None, **made_with, **own)
    lifecycle.up(options.name, asked, options.first_port)
    return status(options)


def services(options):
    unknown = [name for name in options.services if name not in state.SERVICES]
    if unknown:
        raise Refusal(f"there is no service '{unknown[0]}'; there are {', '.join(state.SERVICES)}")
    chosen = [name for name in state.SERVICES if name in options.services] or None
    plain = {"link_proxies": None, "tls": None, "lone_secret": None}
    asked = wanted(options, services=chosen, **plain, edges=0, routers=0, apis=0)
    cluster = lifecycle.up(options.name, asked, options.first_port)
    for name in cluster.size.services:
        print(f"PANDA_TEST_{name.upper()}={lifecycle.SERVICES[name].test_address(cluster)}")


def wanted(options, services, edges, routers, apis, **made_with):
    """What was asked for; None is whatever the cluster has."""
    for what, count in (("edges", edges), ("routers", routers), ("apis", apis)):
        if count is not None and count < 0:
            raise Refusal(f"--{what} {count} makes no sense")
    if options.first_port is not None and options.first_port not in state.FIRST_PORTS_ALLOWED:
        allowed = state.FIRST_PORTS_ALLOWED
        raise Refusal(f"--first-port {options.first_port} does not do: from {allowed.start} to {allowed.stop - 1}")
    made_with |= {"replicas": options.replicas, "small_disks": options.small_disks}
    return {"services": services, "edges": edges, "routers": routers, "apis": apis, **made_with}


def down(options):
    lifecycle.down(options.name, options.wipe)


def status(options):
    cluster = existing(options.name)
    print(f"{'NAME':<12} {'STATE':<8} {'PID':>8} {'MEMORY':>8}  ADDRESS")
    for part in lifecycle.parts_of(cluster):
        process = part.process()
        alive = process is not None and process.alive()
        pid, memory = (process.pid, f"{process.memory_bytes() >> 20} MiB") if alive else ("-", "-")
        print(f"{part.name:<12} {state_of(process):<8} {pid:>8} {memory:>8}  {part.address}")
    if cluster.size.small_disks:
        names = (part.name for part in lifecycle.parts_of(cluster) if disks.has(cluster, part.name))
        print(f"small disks: {' '.join(names)}")
    if health := panda.health_of(lifecycle.parts_of(cluster)):
        print(f"health: {' '.join(f'{name}={address}' for name, address in health.items())}")
    if lone := panda.lone_edge(cluster):
        print(f"own secret: {lone}")
    if certificate := panda.certificate(cluster):
        print(f"certificate: {certificate}")
    if key := panda.admin_key(cluster):
        print(f"admin key: {key}")


def state_of(process):
    if process is None:
        return "stopped"
    if not process.alive():
        return "ended"  # By itself or killed: nobody stopped it in order.
    return "paused" if process.paused() else "running"


def logs(options):
    part = chosen(options)
    log = part.cluster.log(part.name)
    if not log.exists():
        raise Refusal(f"{part.name} has not said anything yet")
    sys.stdout.flush()
    os.execvp("tail", ["tail", "-n", "+1" if not options.follow else "100", *(["-F"] if options.follow else []), str(log)])


def kill(options):
    lifecycle.kill(running(options))


def pause(options):
    running(options).process().pause()


def resume(options):
    running(options).process().resume()


def stop(options):
    tell(lifecycle.stop_alone(running(options)))


def restart(options):
    part = chosen(options)
    tell(lifecycle.restart(part.cluster, part, wait=not options.no_wait))


def fill(options):
    lifecycle.fill(chosen(options))


def free(options):
    tell([lifecycle.free(chosen(options))])


def tell(sentences):
    """For whoever did it to a process and asks what became of it."""
    for sentence in sentences:
        print(sentence)


def existing(name):
    cluster = state.load(name)
    if cluster is None:
        raise Refusal(f"there is no cluster '{name}'; 'ops/cluster up --name {name}' makes it")
    return cluster


def chosen(options):
    parts = {part.name: part for part in lifecycle.parts_of(existing(options.name))}
    if options.part not in parts:
        raise Refusal(f"cluster '{options.name}' has no '{options.part}'; it has {', '.join(parts)}")
    return parts[options.part]


def running(options):
    part = chosen(options)
    if not part.running():
        raise Refusal(f"{part.name} does not run; 'ops/cluster restart {part.name} --name {options.name}' starts it")
    return part
