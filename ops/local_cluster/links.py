"""The processes that stand before the routers' links where `--link-proxies` asks for them, so that links can be cut."""

import sys
from pathlib import Path

from .part import Part, Talk

PROGRAM = Path(__file__).parent / "link_proxy.py"
# No process of a cluster listens at this address otherwise: a proxy has its router's port there.
HOST = "127.0.0.9"


class Link(Part):
    """`link-N` carries what edges and APIs have to say to `router-N`, which tells them this address."""

    def __init__(self, router, number):
        super().__init__(router.cluster, f"link-{number}")
        self.router = router

    @property
    def address(self):
        return address_of(self.router)

    def listens(self):
        return [(HOST, self.router.links)]

    def prepare(self):
        self.cluster.data(self.name).mkdir(exist_ok=True)

    def command(self):
        return [sys.executable, "-B", PROGRAM, self.address, f"{self.router.host}:{self.router.links}"]

    def ready(self):
        # It connects for us to a router that may not be there yet: that it takes a connection is all.
        with Talk(HOST, self.router.links):
            return True


def address_of(router):
    return f"{HOST}:{router.links}"
