"""One file a story; the registry of all of them."""

from __future__ import annotations

import difflib

from tcplab.core.knobs import ParameterError
from tcplab.experiments.accept_queue import AcceptQueue
from tcplab.experiments.bind_or_connect import BindOrConnect
from tcplab.experiments.client_gone import ClientGone
from tcplab.experiments.dead_peer import DeadPeer
from tcplab.experiments.experiment import Experiment
from tcplab.experiments.fin_or_rst import FinOrRst
from tcplab.experiments.handshake_and_close import HandshakeAndClose
from tcplab.experiments.idle_firewall import IdleFirewall
from tcplab.experiments.keepalive import Keepalive
from tcplab.experiments.port_range import PortRange
from tcplab.experiments.proxy_legs import ProxyLegs
from tcplab.experiments.rst_in_window import RstInWindow
from tcplab.experiments.slow_reader import SlowReader
from tcplab.experiments.stale_reject import StaleReject
from tcplab.experiments.time_wait import TimeWait
from tcplab.experiments.unanswered_connect import UnansweredConnect
from tcplab.experiments.why_time_wait import WhyTimeWait

#: Every experiment by the name that notebooks and the command line use.
EXPERIMENTS: dict[str, type[Experiment]] = {
    each.name: each
    for each in (
        HandshakeAndClose,
        FinOrRst,
        UnansweredConnect,
        RstInWindow,
        Keepalive,
        IdleFirewall,
        DeadPeer,
        ClientGone,
        SlowReader,
        ProxyLegs,
        PortRange,
        TimeWait,
        WhyTimeWait,
        BindOrConnect,
        AcceptQueue,
        StaleReject,
    )
}


def find(name: str) -> type[Experiment]:
    """An experiment by name; raises `ParameterError` with the nearest name when there is none."""
    try:
        return EXPERIMENTS[name]
    except KeyError:
        near = difflib.get_close_matches(name, EXPERIMENTS, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(EXPERIMENTS)}."
        raise ParameterError(f"no experiment {name!r}: {hint}") from None
