"""A cluster that is there for figures only."""

import contextlib

from local_cluster import lifecycle, panda, state
from local_cluster.refusal import Refusal

from .load import Load

NAME = "figures"
COMPLAINTS_SHOWN = 3


@contextlib.contextmanager
def own_cluster(edges, routers):
    """Started here, and gone with its data afterwards."""
    if state.load(NAME):
        raise Refusal(f"there is a cluster '{NAME}' already; run: ops/cluster down --wipe --name {NAME}")
    wanted = {"services": None, "replicas": 1, "edges": edges, "routers": routers, "apis": None}
    try:
        own = Own(lifecycle.up(NAME, wanted, first_port=None))
        try:
            yield own
        except Refusal as refusal:
            # Its logs are gone with it.
            raise Refusal(f"{refusal}\n{own.complaints()}") from refusal
    finally:
        lifecycle.down(NAME, wipe=True)


class Own:
    def __init__(self, cluster):
        self.parts = {part.name: part for part in lifecycle.parts_of(cluster)}
        self.edges = [part.address for part in self.parts.values() if isinstance(part, panda.Edge)]
        self.admin_key = panda.admin_key(cluster)

    def processes(self):
        """All that run, by what they are: three routers are one entry."""
        kinds = {}
        for name, part in self.parts.items():
            kind, _, number = name.rpartition("-")
            kinds.setdefault(kind if number.isdigit() else name, []).append(part.process())
        return kinds

    def complaints(self):
        """The last of each of Panda's own processes."""
        lines = []
        for name, part in self.parts.items():
            if isinstance(part, panda.Process):
                said = part.cluster.log(name).read_text(errors="replace").splitlines()
                lines += [f"{name}: {line}" for line in said if '"WARN"' in line or '"ERROR"' in line][-COMPLAINTS_SHOWN:]
        return "\n".join(lines)

    def load(self, scenario, **flags):
        """Sessions spread over all edges."""
        return Load(scenario, self.admin_key, self.edges, **flags)
