"""Two captures, one story: what a proxy did between its client and its server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import Any

from tcplab.capture.reading import Capture
from tcplab.trace import Trace

#: What the ends of either leg are called in the whole.
FRONT = {"client": "client", "server": "proxy"}
BACK = {"client": "proxy", "server": "database"}


def both_legs(front: Capture, back: Capture) -> Trace:
    """A client's connection to a proxy and the proxy's connection to the database as one trace.

    Each capture holds its leg as its first connection; their clocks must agree, as on one machine. Hosts
    are `client`, `proxy` and `database`, times count from the earlier capture's first packet, nanoseconds.
    What a DBA or a program looked up meanwhile (`ss`, logs) stays with the captures: only calls that the
    session itself felt are kept.
    """
    began = min(front.began, back.began)
    legs = [
        _renamed(capture.connection(0), names, capture.began - began)
        for capture, names in ((front, FRONT), (back, BACK))
    ]
    first, second = legs
    return replace(
        first,
        hosts={**first.hosts, **second.hosts},
        passages=_in_order(leg.passages for leg in legs),
        calls=_in_order(leg.calls for leg in legs),
        sockets=_in_order(leg.sockets for leg in legs),
        end=max(leg.end for leg in legs),
        warnings=[*first.warnings, *second.warnings],
    )


#: Calls by which a session is used or ended; every other one only looks.
DEEDS = "psql -c", "ip address"


def _renamed(leg: Trace, names: Mapping[str, str], later: int) -> Trace:
    """The same leg with its ends' names in the whole, on the whole's clock."""
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


def _in_order(parts: Any) -> list[Any]:
    items: Sequence[Any] = [item for part in parts for item in part]
    return sorted(items, key=attrgetter("t"))
