"""The one door to scapy: imported on first use (a third of a second), and kept quiet.

scapy looks for routes, interfaces and a manufacturer database when it is imported, and warns
about what it misses; none of that matters to reading and writing files.
"""

from __future__ import annotations

import logging
from functools import cache
from importlib import import_module
from types import SimpleNamespace
from typing import Any

#: Modules that teach scapy what may stand around a TCP segment: VXLAN, Geneve, MPLS, PPPoE.
TUNNELS = ("scapy.layers.vxlan", "scapy.contrib.geneve", "scapy.contrib.mpls", "scapy.layers.ppp")


@cache
def scapy() -> Any:
    """The names of scapy that tcplab uses: layers, and the readers and writer of files."""
    for name in ("scapy", "scapy.loading", "scapy.runtime"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    from scapy.config import conf
    from scapy.error import Scapy_Exception
    from scapy.layers.inet import IP, TCP
    from scapy.layers.inet6 import IPv6
    from scapy.layers.l2 import Ether
    from scapy.utils import RawPcapReader, RawPcapWriter

    return SimpleNamespace(
        Ether=Ether, IP=IP, IPv6=IPv6, TCP=TCP, RawPcapReader=RawPcapReader, RawPcapWriter=RawPcapWriter,
        Scapy_Exception=Scapy_Exception, link_layers=conf.l2types.num2layer,
    )  # fmt: skip


@cache
def scapy_with_tunnels() -> Any:
    """The same, ready to look inside of tunnels."""
    names = scapy()
    for module in TUNNELS:
        import_module(module)
    return names
