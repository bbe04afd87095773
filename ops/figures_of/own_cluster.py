"""A cluster that is there for figures only."""

import contextlib
import shutil
import sys
import tempfile
from pathlib import Path

from local_cluster import lifecycle, panda, state
from local_cluster.refusal import Refusal

from .load import Load

NAME = "figures"
# A cluster that just started on a machine with few cores may refuse for a while.
PATIENCE = "10m"


@contextlib.contextmanager
def own_cluster(edges, routers, **made_with):
    """Started here, and gone with its data afterwards. Made with `tls` and `lone_secret` where these are given."""
    if state.load(NAME):
        raise Refusal(f"there is a cluster '{NAME}' already; run: ops/cluster down --wipe --name {NAME}")
    plain = {"link_proxies": None, "small_disks": None, "tls": None, "lone_secret": None}
    wanted = {"services": None, "replicas": 1, "edges": edges, "routers": routers, "apis": None, **plain, **made_with}
    try:
        yield Own(lifecycle.up(NAME, wanted, first_port=None))
    except Exception as failed:
        kept = kept_logs()
        if isinstance(failed, Refusal) and kept:
            raise Refusal(f"{failed}\nthe cluster's logs are in {kept}") from failed
        if kept:
            print(f"figures: the cluster's logs are in {kept}", file=sys.stderr)
        raise
    finally:
        lifecycle.down(NAME, wipe=True)


def kept_logs():
    """A folder with the logs, which would be gone with the cluster; None where there are none yet."""
    cluster = state.load(NAME)
    if not cluster or not cluster.log("").parent.exists():
        return None
    kept = Path(tempfile.mkdtemp(prefix="panda-figures-logs."))
    return shutil.copytree(cluster.log("").parent, kept, dirs_exist_ok=True)


class Own:
    def __init__(self, cluster):
        self.cluster = cluster
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

    def load_of(self, scenario, **flags):
        """One that finds the cluster by its name."""
        return Load(scenario, self.admin_key, **{"patience": PATIENCE, **flags})

    def load(self, scenario, **flags):
        """Sessions spread over all edges."""
        return Load(scenario, self.admin_key, self.edges, **{"patience": PATIENCE, **flags})
