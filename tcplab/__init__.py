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
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tcplab.advice.timers import which_timer_wins
    from tcplab.agree import agreement
    from tcplab.bench import run
    from tcplab.capture import CaptureError
    from tcplab.capture.capture import Capture, read_capture
    from tcplab.capture.findings import diagnose
    from tcplab.capture.pcap import write_pcap
    from tcplab.capture.recordings import recording
    from tcplab.core.knobs import ParameterError
    from tcplab.core.trace import Trace
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
    from tcplab.studies import STUDIES, Failover, Pool, PortChurn
    from tcplab.sweep import sweep
    from tcplab.widgets.clinic import clinic
    from tcplab.widgets.explorer import explore
    from tcplab.widgets.linux import both
    from tcplab.widgets.maps import heat_map, idle_map
    from tcplab.widgets.replay import replay
    from tcplab.widgets.show import picture, segment_table, what_if
    from tcplab.widgets.topology import topology

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
    "Capture": "tcplab.capture.capture",
    "CaptureError": "tcplab.capture",
    "Failover": "tcplab.studies",
    "ParameterError": "tcplab.core.knobs",
    "Pool": "tcplab.studies",
    "PortChurn": "tcplab.studies",
    "STUDIES": "tcplab.studies",
    "Trace": "tcplab.core.trace",
    "agreement": "tcplab.agree",
    "both": "tcplab.widgets.linux",
    "clinic": "tcplab.widgets.clinic",
    "diagnose": "tcplab.capture.findings",
    "explore": "tcplab.widgets.explorer",
    "heat_map": "tcplab.widgets.maps",
    "idle_map": "tcplab.widgets.maps",
    "picture": "tcplab.widgets.show",
    "read_capture": "tcplab.capture.capture",
    "recording": "tcplab.capture.recordings",
    "replay": "tcplab.widgets.replay",
    "run": "tcplab.bench",
    "segment_table": "tcplab.widgets.show",
    "sweep": "tcplab.sweep",
    "topology": "tcplab.widgets.topology",
    "what_if": "tcplab.widgets.show",
    "which_timer_wins": "tcplab.advice.timers",
    "write_pcap": "tcplab.capture.pcap",
}


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


class _Face(ModuleType):
    """The package itself: a name it exports is never the module of the same name (`what_if`, `sweep`)."""

    def __setattr__(self, name: str, value: Any) -> None:
        # Python's import sets each submodule as an attribute of its package.
        if name not in __all__ or not isinstance(value, ModuleType):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Face


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
