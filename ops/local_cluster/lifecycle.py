"""What `up`, `down` and `restart` do: everything that starts or ends several processes in an order."""

import shutil
import sys
import time
from dataclasses import replace

from . import cassandra, disks, kafka, panda, postgres, process, redis, state
from .refusal import Refusal

SERVICES = {"kafka": kafka, "cassandra": cassandra, "postgres": postgres, "redis": redis}
READY_SECONDS = 180
# Of these a cluster may get more.
GROWING = ("edges", "routers", "apis")
LOG_LINES_SHOWN = 20
# A process that met a full disk a moment before there was room may still end of it.
ENDS_LATE_SECONDS = 1
# How the system says it, and whoever writes hands it on.
NO_ROOM = b"No space left on device"


def parts_of(cluster):
    """Every process of a cluster, in the order of their start."""
    services = [part for name in cluster.size.services for part in SERVICES[name].parts(cluster)]
    return services + panda.parts(cluster)


def say(text):
    # Not where results go: `services` prints variables for a shell.
    print(text, file=sys.stderr, flush=True)


def up(name, wanted, first_port):
    """Makes the cluster if there is none, starts what does not run, waits until all of it is ready."""
    panda.check(wanted["edges"], wanted["routers"], wanted["apis"])
    with state.locked(name) as lock:
        cluster = state.load(name) or make(name, wanted, first_port, lock)
        check_unchanged(cluster, wanted, first_port)
        cluster = grow(cluster, wanted)
        parts = parts_of(cluster)
        absent = [part for part in parts if not part.running()]
        if not absent:
            say(f"cluster '{name}' runs already")
            return cluster
        if any(isinstance(part, panda.Process) for part in absent):
            panda.build()
        last = cluster.first_port + state.PORTS_A_CLUSTER - 1
        say(f"cluster '{name}' in {cluster.folder}, ports {cluster.first_port} to {last}")
        started = time.monotonic()
        try:
            start_all(cluster, parts, absent, lock)
        except BaseException:
            # Of what does not run, nobody would look for a disk.
            try:
                unmount(absent, lock)
            except Refusal as also:
                say(str(also))
            raise
        say(f"all is ready after {time.monotonic() - started:.1f} s")
        return cluster


def start_all(cluster, parts, absent, lock):
    """Starts what is absent of a cluster's processes and waits until all of them work together."""
    own = [part for part in absent if isinstance(part, panda.Process)]
    prepare(absent, lock)
    if cluster.size.replicas > 1:
        # A keyspace that is made before all nodes see each other is missing on those that join afterwards.
        services = [part for part in parts if not isinstance(part, panda.Process)]
        start([part for part in absent if part not in own])
        await_all(services, "works together with the others", lambda part: part.settled())
        start_own(cluster, own)
    else:
        start_own(cluster, absent)
    await_all(parts, "works together with the others", lambda part: part.settled())


def start_own(cluster, parts):
    """Starts them, but an edge with a secret of its own behind the others: whoever comes first seals the signing key that all
    of them must open."""
    lone = [part for part in parts if part.name == panda.lone_edge(cluster)]
    start([part for part in parts if part not in lone])
    start(lone)


def make(name, wanted, first_port, lock):
    size = state.Size(
        services=wanted["services"] or list(state.SERVICES),
        replicas=wanted["replicas"] or 1,
        edges=wanted["edges"] or 0,
        routers=wanted["routers"] or 0,
        apis=apis_of(wanted),
        link_proxies=bool(wanted["link_proxies"]),
        small_disks=bool(wanted["small_disks"]),
        tls=bool(wanted["tls"]),
        lone_secret=bool(wanted["lone_secret"]),
    )
    panda.check_secrets(size.edges, size.lone_secret)
    if size.small_disks:
        disks.check()
    cluster = state.make(name, size, first_port, lambda cluster: [at for part in parts_of(cluster) for at in part.listens()])
    if not size.small_disks:
        return cluster
    try:
        mount(parts_of(cluster), lock)
        # Until something runs, nobody would look for them.
        unmount(parts_of(cluster), lock)
    except BaseException:
        state.unmake(cluster)
        unmount(parts_of(cluster), lock)
        shutil.rmtree(cluster.folder / "disks")
        raise
    return cluster


def apis_of(wanted):
    """A cluster that gets its first routers gets an API as well."""
    if wanted["apis"] is None:
        return 1 if wanted["routers"] else 0
    return wanted["apis"]


def grow(cluster, wanted):
    """Panda's own processes keep nothing that another number of them would not fit: a cluster may get more."""
    more = {what: wanted[what] for what in GROWING if wanted[what] is not None}
    if not cluster.size.routers:
        more["apis"] = apis_of(wanted)
    size = replace(cluster.size, **more)
    panda.check(size.edges, size.routers, size.apis)
    if cluster.size.lone_secret and size.edges != cluster.size.edges:
        raise Refusal(f"the last edge of cluster '{cluster.name}' has a secret of its own, so it gets no further one: down --wipe it first")
    return cluster if size == cluster.size else state.resize(cluster, size)


def check_unchanged(cluster, wanted, first_port):
    """A cluster keeps the size and the ports it was made with: data of another size would not fit."""
    has = {**vars(cluster.size), "first_port": cluster.first_port}
    for what, value in {**wanted, "first_port": first_port}.items():
        grows = what in GROWING and value is not None and value > has[what]
        if value is not None and value != has[what] and not grows:
            shown = " ".join(has[what]) if what == "services" else has[what]
            made = f"without --{what.replace('_', '-')}" if shown is False else f"with {what.replace('_', '-')} {shown}"
            raise Refusal(
                f"cluster '{cluster.name}' was made {made}; "
                f"to change that, first run: ops/cluster down --wipe --name {cluster.name}"
            )


def prepare(parts, lock):
    """Finds out all that can be missing or in the way before the first of them runs."""
    for part in parts:
        for host, port in part.listens():
            if state.is_taken(host, port):
                raise Refusal(
                    f"{host}:{port}, where {part.name} listens, is in use by another process; stop that, "
                    f"or choose other ports with down --wipe and then up --first-port N"
                )
    mount(parts, lock)
    for part in parts:
        part.prepare()


def mount(parts, lock):
    """Mounts the disks of those that have one."""
    for part in parts:
        if disks.has(part.cluster, part.name):
            disks.mount(part.cluster, part.name, lock)


def unmount(parts, lock):
    """Unmounts the disks of those that do not run."""
    for part in parts:
        if disks.has(part.cluster, part.name) and not part.running():
            disks.unmount(part.cluster, part.name, lock)


def start(parts, wait=True):
    """Starts prepared processes side by side and, if wanted, waits until each serves clients."""
    for part, command in [(part, part.command()) for part in parts]:
        cluster, name = part.cluster, part.name
        process.start(command, record=cluster.record(name), log=cluster.log(name), folder=cluster.data(name), user=part.user)
    if wait:
        await_all(parts, "is ready", lambda part: part.ready())


def await_all(parts, what, condition):
    started = time.monotonic()
    missing = list(parts)

    def ask():
        for part in list(missing):
            if not part.running():
                raise Refusal(f"{part.name} ended during the start:\n{last_lines(part)}")
            if answers(part, condition):
                missing.remove(part)
                if what == "is ready":
                    say(f"{part.name} is ready after {time.monotonic() - started:.1f} s")
        return not missing

    if not process.until(ask, READY_SECONDS):
        names = ", ".join(part.name for part in missing)
        raise Refusal(f"not true of {names} after {READY_SECONDS} s: {what}. Its last lines:\n{last_lines(missing[0])}")


def answers(part, condition):
    try:
        return condition(part)
    except OSError:
        return False


def last_lines(part):
    lines = part.cluster.log(part.name).read_text(errors="replace").splitlines()
    return "\n".join(f"    {line}" for line in lines[-LOG_LINES_SHOWN:])


def stop(parts):
    """Ends processes in order, all asked at once; whoever takes too long is killed. Answers with a sentence for each that
    was."""
    started, killed = time.monotonic(), []
    running = [(part, found) for part in parts if (found := part.process()) and found.alive()]
    for part, found in running:
        found.resume()
        found.signal(part.stop_signal)
    for part, found in running:
        if not found.wait(max(0, part.stop_seconds - (time.monotonic() - started))):
            kill(part)
            killed.append(f"{part.name} did not end within {part.stop_seconds} s of being asked and was killed")
            say(killed[-1])
    return killed


def kill(part):
    if not part.process().kill():
        raise Refusal(f"{part.name} was killed and is not gone yet; look at it with: ps -fp {part.process().pid}")


def down(name, wipe):
    """Stops whatever runs of a cluster; with `wipe` also forgets it and its data."""
    with state.locked(name) as lock:
        cluster = state.load(name)
        if cluster is None:
            say(f"there is no cluster '{name}'")
            return
        started = time.monotonic()
        parts = list(reversed(parts_of(cluster)))
        # Edges, APIs and routers finish what they have begun while the services are still there.
        stop([part for part in parts if isinstance(part, panda.Process)])
        stop(parts)
        for part in parts:
            cluster.record(part.name).unlink(missing_ok=True)
        unmount(parts, lock)
        say(f"cluster '{name}' is down after {time.monotonic() - started:.1f} s")
        if wipe:
            shutil.rmtree(cluster.folder)
            say(f"removed {cluster.folder}")


def stop_alone(part):
    """Stops one process in order; the others go on. Answers as `stop`."""
    with state.locked(part.cluster.name):
        killed = stop([part])
        part.cluster.record(part.name).unlink(missing_ok=True)
        return killed


def restart(cluster, part, wait=True):
    """Stops one process in order if it runs, and starts it. Answers as `stop`."""
    with state.locked(cluster.name) as lock:
        killed = stop([part])
        prepare([part], lock)
        start([part], wait)
        return killed


def fill(part):
    """Leaves nothing of a process's own disk."""
    with state.locked(part.cluster.name) as lock:
        said = said_so_far(part)
        say(f"{part.name} has a full disk: {disks.fill(part.cluster, part.name, lock) >> 20} MiB were left")
        part.cluster.filled(part.name).write_text(str(said))
        if part.process() is None:
            unmount([part], lock)


def free(part):
    """Makes room on a process's own disk, and starts the process if it does not run. Answers with a sentence that says what
    became of it."""
    with state.locked(part.cluster.name) as lock:
        if (found := part.process()) and found.paused():
            resume = f"ops/cluster resume {part.name} --name {part.cluster.name}"
            raise Refusal(f"{part.name} is paused and takes no room; first run: {resume}")
        disks.free(part.cluster, part.name, lock)
        if part.process() is None:
            # It was stopped in order, and its disk is not in use.
            unmount([part], lock)
            return f"{part.name} is stopped"
        if heals(part):
            return f"{part.name} went on" + (" and found no room meanwhile" if found_no_room(part) else "")
        say(f"{part.name} does not run and is started")
        prepare([part], lock)
        start([part])
        return f"{part.name} ended and was started"


def said_so_far(part):
    """How much its log holds, in bytes."""
    log = part.cluster.log(part.name)
    return log.stat().st_size if log.exists() else 0


def found_no_room(part):
    """Whether the process said since its disk was filled that it could not write."""
    try:
        said = int(part.cluster.filled(part.name).read_text())
        with open(part.cluster.log(part.name), "rb") as log:
            log.seek(said)
            return NO_ROOM in log.read()
    except FileNotFoundError:
        return False  # Nobody filled it, or it said nothing.


def heals(part):
    """Whether a process that has room again serves clients, or has ended."""

    def decided():
        return not part.running() or answers(part, lambda part: part.ready())

    def ends():
        return process.until(lambda: not part.running(), ENDS_LATE_SECONDS)

    if ends():
        return False
    if not process.until(decided, READY_SECONDS):
        raise Refusal(f"{part.name} has room again and does not serve. Its last lines:\n{last_lines(part)}")
    # Who just answered may be about to end all the same.
    return not ends()
