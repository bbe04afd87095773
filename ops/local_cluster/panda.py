"""Edges and routers: what `--edges` and `--routers` start. All that a cluster knows of Panda itself is in this file.

An edge or a router is one more `Part`: `prepare` writes its TOML configuration from the addresses of the services,
`command` is `panda edge` or `panda router` with that file, `ready` asks /readyz, `address` of an edge is its base URL.
"""

from .refusal import Refusal


def check(edges, routers):
    """Refuses what cannot be started; None is whatever the cluster has."""
    if edges or routers:
        raise Refusal("this panda has no roles 'edge' and 'router' yet: leave --edges and --routers at 0, or use 'panda serve'")


def parts(cluster):
    """In the order of their start, after the services."""
    check(cluster.size.edges, cluster.size.routers)
    return []


def admin_key(cluster):
    """The file with the first API key, which the first edge writes; None in a cluster without edges."""
    check(cluster.size.edges, cluster.size.routers)
    return None
