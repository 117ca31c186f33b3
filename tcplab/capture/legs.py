"""Two captures, one story: what a proxy did between its client and its server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from operator import attrgetter
from typing import TYPE_CHECKING

from tcplab.trace import Trace

if TYPE_CHECKING:  # reading needs NumPy, which a browser lacks
    from tcplab.capture.reading import Capture
    from tcplab.capture.stored import StoredCapture

#: What the ends of either leg are called in the whole.
FRONT = {"client": "client", "server": "proxy"}
BACK = {"client": "proxy", "server": "database"}
#: Calls by which a session is used or ended; every other one that a sidecar has only looks.
DEEDS = "psql -c", "ip address"


def both_legs(front: Capture | StoredCapture, back: Capture | StoredCapture) -> Trace:
    """A client's connection to a proxy and the proxy's connection to the database as one trace.

    Each capture holds its leg as its first connection (`CaptureError` where it has none); their clocks must
    agree, as on one machine. Hosts are `client`, `proxy` and `database`; times are nanoseconds from the
    earlier capture's first packet. Of the calls beside the captures those are kept that the session itself
    felt; what a DBA looked up meanwhile (`ss`, logs) stays with the captures.
    """
    began = min(front.began, back.began)
    first = _renamed(front.connection(0), FRONT, front.began - began)
    second = _renamed(back.connection(0), BACK, back.began - began)
    in_order = attrgetter("t")
    return replace(
        first,
        hosts={**first.hosts, **second.hosts},
        passages=sorted(first.passages + second.passages, key=in_order),
        calls=sorted(first.calls + second.calls, key=in_order),
        sockets=sorted(first.sockets + second.sockets, key=in_order),
        end=max(first.end, second.end),
        warnings=[*first.warnings, *second.warnings],
    )


def _renamed(leg: Trace, names: Mapping[str, str], later: int) -> Trace:
    """The same leg with its ends' names in the whole, `later` nanoseconds on the whole's clock."""
    return replace(
        leg,
        hosts={names[host]: address for host, address in leg.hosts.items()},
        passages=[
            replace(
                p,
                t=p.t + later,
                sender=names[p.sender],
                receiver=names[p.receiver],
                arrives=None if p.arrives is None else p.arrives + later,
            )
            for p in leg.passages
        ],
        calls=[
            call._replace(t=call.t + later, began=call.began + later, host=names[call.host])
            for call in leg.calls
            if call.call.startswith(DEEDS)
        ],
        sockets=[sample._replace(t=sample.t + later, host=names[sample.host]) for sample in leg.sockets],
        end=leg.end + later,
    )
