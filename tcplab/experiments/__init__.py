"""One file an experiment, and the registry of them: their imports, in the order of the course."""

from __future__ import annotations

from tcplab.experiments.experiment import Experiment

# isort: off
from tcplab.experiments.handshake_and_close import HandshakeAndClose as HandshakeAndClose
from tcplab.experiments.fin_or_rst import FinOrRst as FinOrRst
from tcplab.experiments.unanswered_connect import UnansweredConnect as UnansweredConnect
from tcplab.experiments.rst_in_window import RstInWindow as RstInWindow
from tcplab.experiments.keepalive import Keepalive as Keepalive
from tcplab.experiments.idle_firewall import IdleFirewall as IdleFirewall
from tcplab.experiments.dead_peer import DeadPeer as DeadPeer
from tcplab.experiments.client_gone import ClientGone as ClientGone
from tcplab.experiments.slow_reader import SlowReader as SlowReader
from tcplab.experiments.proxy_legs import ProxyLegs as ProxyLegs
from tcplab.experiments.port_range import PortRange as PortRange
from tcplab.experiments.time_wait import TimeWait as TimeWait
from tcplab.experiments.why_time_wait import WhyTimeWait as WhyTimeWait
from tcplab.experiments.bind_or_connect import BindOrConnect as BindOrConnect
from tcplab.experiments.accept_queue import AcceptQueue as AcceptQueue
from tcplab.experiments.stale_reject import StaleReject as StaleReject

#: Every experiment by the name that notebooks and the command line use.
EXPERIMENTS: dict[str, type[Experiment]] = {
    each.name: each
    for each in list(globals().values())
    if isinstance(each, type) and issubclass(each, Experiment) and each is not Experiment
}
