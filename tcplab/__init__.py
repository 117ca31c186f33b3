"""tcplab: the TCP behaviours that break database connections, to change and to watch.

    >>> import tcplab
    >>> trace = tcplab.run(tcplab.Keepalive(idle_s=60, interval_s=10, probes=3))
    >>> trace.outcome["detected_after_s"]
    90.0

Everything here is imported when it is first used, so that `import tcplab` itself costs next to
nothing and works where scapy, plotly or ipywidgets are missing.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tcplab.agree import agreement
    from tcplab.bench import run
    from tcplab.capture import CaptureError
    from tcplab.capture.findings import diagnose
    from tcplab.capture.pcap import write_pcap
    from tcplab.capture.reading import Capture, read_capture
    from tcplab.capture.runs import recording
    from tcplab.counterfactual import what_if
    from tcplab.desk import clinic
    from tcplab.experiments import (
        EXPERIMENTS,
        AcceptQueue,
        BindOrConnect,
        ClientGone,
        DeadPeer,
        FinOrRst,
        HandshakeAndClose,
        IdleFirewall,
        Keepalive,
        PortRange,
        ProxyLegs,
        RstInWindow,
        SlowReader,
        StaleReject,
        TimeWait,
        UnansweredConnect,
        WhyTimeWait,
    )
    from tcplab.fleet import STUDIES, Failover, Pool, PortChurn
    from tcplab.grid import sweep
    from tcplab.knobs import ParameterError
    from tcplab.timers import which_timer_wins
    from tcplab.trace import Trace
    from tcplab.view.both import both
    from tcplab.view.explorer import explore
    from tcplab.view.heat_map import heat_map
    from tcplab.view.idle_desk import idle_map
    from tcplab.view.replay import replay
    from tcplab.view.show import picture, segment_table
    from tcplab.way.desk import topology

    __version__: str

__all__ = [
    "EXPERIMENTS",
    "STUDIES",
    "AcceptQueue",
    "BindOrConnect",
    "Capture",
    "CaptureError",
    "ClientGone",
    "DeadPeer",
    "Failover",
    "FinOrRst",
    "HandshakeAndClose",
    "IdleFirewall",
    "Keepalive",
    "ParameterError",
    "Pool",
    "PortChurn",
    "PortRange",
    "ProxyLegs",
    "RstInWindow",
    "SlowReader",
    "StaleReject",
    "TimeWait",
    "Trace",
    "UnansweredConnect",
    "WhyTimeWait",
    "agreement",
    "both",
    "clinic",
    "diagnose",
    "explore",
    "heat_map",
    "idle_map",
    "picture",
    "read_capture",
    "recording",
    "replay",
    "run",
    "segment_table",
    "sweep",
    "topology",
    "what_if",
    "which_timer_wins",
    "write_pcap",
]

#: Where each name lives, if not among the experiments.
_HOMES = {
    "Capture": "tcplab.capture.reading",
    "CaptureError": "tcplab.capture",
    "Failover": "tcplab.fleet",
    "ParameterError": "tcplab.knobs",
    "Pool": "tcplab.fleet",
    "PortChurn": "tcplab.fleet",
    "STUDIES": "tcplab.fleet",
    "Trace": "tcplab.trace",
    "agreement": "tcplab.agree",
    "both": "tcplab.view.both",
    "clinic": "tcplab.desk",
    "diagnose": "tcplab.capture.findings",
    "explore": "tcplab.view.explorer",
    "heat_map": "tcplab.view.heat_map",
    "idle_map": "tcplab.view.idle_desk",
    "picture": "tcplab.view.show",
    "read_capture": "tcplab.capture.reading",
    "recording": "tcplab.capture.runs",
    "replay": "tcplab.view.replay",
    "run": "tcplab.bench",
    "segment_table": "tcplab.view.show",
    "sweep": "tcplab.grid",
    "topology": "tcplab.way.desk",
    "what_if": "tcplab.counterfactual",
    "which_timer_wins": "tcplab.timers",
    "write_pcap": "tcplab.capture.pcap",
}

#: A browser's Python has no NumPy, and other homes for what needs it.
if sys.platform == "emscripten":
    _HOMES |= dict.fromkeys(("read_capture", "diagnose"), "tcplab.capture.stored")


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("tcplab")
    elif name in __all__:
        value = getattr(import_module(_HOMES.get(name, "tcplab.experiments")), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
