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

# The one list of what tcplab offers. Type checkers take these lines as imports (`as` makes them public
# in a typed package); at run time they are read as a table, so that nothing is imported before it is
# used. Reading them needs the source file; lists of names beside the imports would go out of step.
if TYPE_CHECKING:
    from tcplab.agree import agreement as agreement
    from tcplab.bench import run as run
    from tcplab.capture import CaptureError as CaptureError
    from tcplab.capture.capture import Capture as Capture
    from tcplab.capture.capture import read_capture as read_capture
    from tcplab.capture.findings import diagnose as diagnose
    from tcplab.capture.pcap import write_pcap as write_pcap
    from tcplab.capture.recordings import recording as recording
    from tcplab.core.knobs import ParameterError as ParameterError
    from tcplab.core.trace import Trace as Trace
    from tcplab.experiments import EXPERIMENTS as EXPERIMENTS
    from tcplab.experiments import AcceptQueue as AcceptQueue
    from tcplab.experiments import BindOrConnect as BindOrConnect
    from tcplab.experiments import ClientGone as ClientGone
    from tcplab.experiments import DeadPeer as DeadPeer
    from tcplab.experiments import FinOrRst as FinOrRst
    from tcplab.experiments import HandshakeAndClose as HandshakeAndClose
    from tcplab.experiments import IdleFirewall as IdleFirewall
    from tcplab.experiments import Keepalive as Keepalive
    from tcplab.experiments import PortRange as PortRange
    from tcplab.experiments import ProxyLegs as ProxyLegs
    from tcplab.experiments import RstInWindow as RstInWindow
    from tcplab.experiments import SlowReader as SlowReader
    from tcplab.experiments import StaleReject as StaleReject
    from tcplab.experiments import TimeWait as TimeWait
    from tcplab.experiments import UnansweredConnect as UnansweredConnect
    from tcplab.experiments import WhyTimeWait as WhyTimeWait
    from tcplab.pictures.timeline_layout import timeline as timeline
    from tcplab.pictures.timer_race import which_timer_wins as which_timer_wins
    from tcplab.studies import STUDIES as STUDIES
    from tcplab.studies import Failover as Failover
    from tcplab.studies import Pool as Pool
    from tcplab.studies import PortChurn as PortChurn
    from tcplab.sweep import sweep as sweep
    from tcplab.widgets.clinic import clinic as clinic
    from tcplab.widgets.console import console as console
    from tcplab.widgets.explorer import explore as explore
    from tcplab.widgets.lesson import open_lesson as open_lesson
    from tcplab.widgets.linux import both as both
    from tcplab.widgets.linux import versions as versions
    from tcplab.widgets.maps import bind_matrix as bind_matrix
    from tcplab.widgets.maps import heat_map as heat_map
    from tcplab.widgets.maps import idle_map as idle_map
    from tcplab.widgets.maps import lost_probe_map as lost_probe_map
    from tcplab.widgets.replay import replay as replay
    from tcplab.widgets.show import picture as picture
    from tcplab.widgets.show import pool_defaults as pool_defaults
    from tcplab.widgets.show import segment_table as segment_table
    from tcplab.widgets.show import what_if as what_if
    from tcplab.widgets.topology import topology as topology

    __version__: str


def _read_homes() -> dict[str, str]:
    """The module of each name, from the imports above."""
    homes = {}
    with open(__file__, encoding="utf-8") as source:
        for line in source:
            match line.split():
                case ["from", home, "import", name, "as", _]:
                    homes[name] = home
    return homes


_HOMES = _read_homes()
__all__ = list(_HOMES)


if not TYPE_CHECKING:  # or a type checker would take any name

    def __getattr__(name: str) -> Any:
        if name == "__version__":
            from importlib.metadata import version

            value: Any = version("tcplab")
        elif name in _HOMES:
            value = getattr(import_module(_HOMES[name]), name)
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
